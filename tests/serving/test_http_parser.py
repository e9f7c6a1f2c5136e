"""A request that offers an upgrade is parsed as the same request without the offer, however it comes in."""

import httptools
import pytest

from serving.http_parser import Parser

OFFERS = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "websocket": b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n",
    "two lines": b"connection: upgrade\r\nupgrade: h2c\r\nUPGRADE: TLS/1.0, HTTP/2.0\r\nconnection: keep-alive\r\n",
}
BODIES = {
    "length": b"content-length: 4\r\n\r\nol\xc3\xa1",
    "chunks": b"transfer-encoding: chunked\r\n\r\n2\r\nol\r\n2;x=y\r\n\xc3\xa1\r\n0\r\nlast: z\r\n\r\n",
    "none": b"\r\n",
}


class Recorder:
    """What uvicorn's protocol keeps of a request, and nothing more."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.requests: list[tuple[bytes, bytes, bytes, bytes]] = []
        self.parser = Parser(self)
        self._body = b""

    def on_message_begin(self) -> None:
        self.url, self.headers, self._body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            names = b" ".join(name for name, _ in self.headers)
            self.requests.append((self.parser.get_method(), self.url, names, self._body))


def parse(*pieces: bytes) -> list[tuple[bytes, bytes, bytes, bytes]]:
    recorder = Recorder()
    for piece in pieces:
        recorder.parser.feed_data(piece)
    return recorder.requests


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("body", BODIES)
def test_a_request_that_offers_an_upgrade_is_read_whole_wherever_it_is_cut(offer: str, body: str) -> None:
    sent = b"POST /predict?a=b HTTP/1.1\r\nhost: x\r\n" + OFFERS[offer] + BODIES[body]
    following = b"GET /version HTTP/1.1\r\n\r\n" + sent
    whole = parse(sent + following)
    assert [(method, url) for method, url, _, _ in whole] == [
        (b"POST", b"/predict?a=b"), (b"GET", b"/version"), (b"POST", b"/predict?a=b"),
    ]  # fmt: skip
    assert [request[3] for request in whole] == [b"" if body == "none" else "olá".encode(), b"", whole[0][3]]
    assert b"upgrade" not in whole[0][2].split()
    assert b"connection" in whole[0][2].split()
    for cut in range(1, len(sent) + 1):
        assert parse(sent[:cut], sent[cut:] + following) == whole, cut
    assert parse(*(bytes([byte]) for byte in sent + following)) == whole


def test_many_small_offers_in_one_read_are_all_requests() -> None:
    assert len(parse((b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n") * 5_000)) == 5_000


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 4\r\ncontent-length: 5\r\n",
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        b"transfer-encoding: chunked, gzip\r\n",
        b"transfer-encoding : chunked\r\n",
        b"content-length: +4\r\n",
        b"x: y\r\n z\r\n",
        b"x: y\x00\r\n",
    ],
)
@pytest.mark.parametrize("offer_first", [True, False])
def test_an_offer_hides_nothing_that_is_refused_without_it(lines: bytes, offer_first: bool) -> None:
    offer = OFFERS["h2c"]
    for head in (lines, offer + lines if offer_first else lines + offer):
        with pytest.raises(httptools.HttpParserError):
            parse(b"POST / HTTP/1.1\r\n" + head + b"\r\nabcdGET /secret HTTP/1.1\r\n\r\n")


def test_a_proxy_is_not_played() -> None:
    with pytest.raises(httptools.HttpParserError):
        parse(b"CONNECT example.org:80 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
