"""Clients that are silent, slow or endless are given up; those that offer more than is spoken here are answered."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import RunningServer
from waiting import wait_until

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
# What `curl --http2` and Java's HttpClient send with each first request.
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
BODY = '{"title": "um dia bom, São João"}'.encode()
ASK = b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
# Its answer is larger than what the system keeps for a connection.
ECHO = b'{"signature_name": "echo", "instances": ["' + b"x" * (7 << 20) + b'"]}'
LARGE = b"POST /v1/models/headlines:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ECHO) + ECHO


@contextlib.contextmanager
def connect(running: RunningServer, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(sent)
        yield client


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while received := client.recv(65536):
            answer += received
    return answer


def read_answers(client: socket.socket, count: int) -> list[tuple[int, dict[str, str], Any]]:
    """Status, headers and JSON of the next answers; a body of exactly the length that its head says."""
    answers = []
    with client.makefile("rb") as stream:
        for _ in range(count):
            version, status, _ = stream.readline().decode().split(" ", 2)
            assert version == "HTTP/1.1"
            headers = {}
            while line := stream.readline().decode().strip():
                name, value = line.split(": ", 1)
                headers[name] = value
            body = stream.read(int(headers.get("content-length", 0)))
            answers.append((int(status), headers, json.loads(body) if body else None))
    return answers


def take(client: socket.socket) -> bytes:
    """Some of what comes, while the connection is open."""
    received = client.recv(65536)
    assert received, "the server has closed the connection"
    return received


def drip(client: socket.socket) -> None:
    """Sends a byte now and then for as long as the connection is open."""
    with contextlib.suppress(OSError):
        while not threading.Event().wait(0.05):
            client.sendall(b"x")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (GET + b"x", b""),
        (POST + b'content-length: 100\r\n\r\n{"title"', b"HTTP/1.1 408 "),
        (POST + OFFER, b""),
        (POST + OFFER + b'content-length: 100\r\n\r\n{"title"', b"HTTP/1.1 408 "),
        (POST + OFFER + b'transfer-encoding: chunked\r\n\r\n5\r\n{"tit\r\n', b"HTTP/1.1 408 "),
        (GET + OFFER + b"\r\n" + GET + OFFER, b"HTTP/1.1 200 "),
    ],
    ids=["silent", "headers", "body", "offer", "body after offer", "chunks after offer", "second offer"],
)
def test_a_client_that_stops_in_the_middle_is_given_up(
    start: Callable[..., RunningServer], sent: bytes, answer: bytes
) -> None:
    running = start(timeout_seconds=0.3)
    with connect(running, sent) as client:
        assert read_all(client).startswith(answer)
    wait_until(lambda: running.connections == 0)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (GET + b"x: ", b""),
        (GET + b"\r\n" + GET + b"x: ", b"HTTP/1.1 200 "),
        (GET + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 200 "),
        (POST + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 408 "),
        (POST + OFFER + b"x: ", b""),
        (GET + OFFER + b"\r\n" + GET + OFFER + b"x: ", b"HTTP/1.1 200 "),
        (GET + OFFER + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 200 "),
        (POST + OFFER + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 408 "),
    ],
    ids=[
        "headers",
        "next headers",
        "body that nobody reads",
        "body",
        "offer",
        "next offer",
        "body that nobody reads after offer",
        "body after offer",
    ],
)
def test_a_client_that_goes_on_too_slowly_is_given_up(
    start: Callable[..., RunningServer], sent: bytes, answer: bytes
) -> None:
    running = start(timeout_seconds=0.3)
    with connect(running, sent) as client:
        dripping = threading.Thread(target=drip, args=(client,))
        dripping.start()
        assert read_all(client).startswith(answer)
        dripping.join()


def test_a_client_that_does_not_take_its_answer_is_given_up(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start(timeout_seconds=1)
    wait_until(lambda: bool(running.app.state.server.versions.loaded))
    with connect(running, LARGE) as client:
        client.recv(1)
        wait_until(lambda: running.connections == 0)


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start()
    wait_until(lambda: bool(running.app.state.server.versions.loaded))
    with connect(running, LARGE) as client:
        received = client.recv(65536)
        connection = running.only_connection
        wait_until(lambda: connection.timeout_keep_alive_task is not None)
        # As if the time had passed: uvicorn closes the connection once all is taken, and we look how that goes.
        running.call(connection.timeout_keep_alive_handler)
        connection._since -= running.settings.timeout_seconds
        for _ in range(3):
            running.call(connection._look)
            unsent = connection.transport.get_write_buffer_size()
            while connection.transport.get_write_buffer_size() >= unsent:
                received += take(client)
        length = int(received.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(received.partition(b"\r\n\r\n")[2]) < length:
            received += take(client)
    assert received.endswith(b"}")


def test_a_client_that_leaves_in_the_middle_harms_nobody(start: Callable[..., RunningServer]) -> None:
    running = start()
    with connect(running, POST + b'content-length: 100\r\n\r\n{"title"'):
        wait_until(lambda: running.connections == 1)
    wait_until(lambda: running.connections == 0)
    assert running.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        GET,
        GET + b"x: ",
        POST + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: ",
        GET + OFFER,
        POST + OFFER + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: ",
    ],
    ids=["many", "one", "after a body", "after an offer", "after an offer and a body"],
)
def test_headers_without_end_are_refused(server: RunningServer, sent: bytes) -> None:
    piece = b"x" * 65536 if sent.endswith(b": ") else b"x: y\r\n" * 10_000
    with connect(server, sent) as client, pytest.raises(ConnectionError):
        for _ in range(1000):
            client.sendall(piece)


def test_long_headers_and_a_body_in_small_chunks_are_read(server: RunningServer) -> None:
    headers = {f"x-{number}": "x" * 1000 for number in range(50)}

    def chunks() -> Iterator[bytes]:
        yield b'{"title": "bom", "more": "'
        yield from (b"xy" for _ in range(50_000))
        yield b'"}'

    assert server.post("/predict", content=chunks(), headers=headers).json()["label"] == "positive"


def test_more_connections_than_allowed_are_refused_until_one_goes(start: Callable[..., RunningServer]) -> None:
    running = start(max_connections=3)
    with connect(running):
        with connect(running):
            wait_until(lambda: running.connections == 2)
            refused = httpx.get(f"{running.url}/healthz")
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert refused.json() == {"error": "The server has 3 connections, its most; try again later."}
        wait_until(lambda: running.connections == 1)
        assert httpx.get(f"{running.url}/healthz").status_code == 200


CHUNKED = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    9,
    BODY[:9],
    len(BODY) - 9,
    BODY[9:],
)
WEBSOCKET = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAA\r\n"


@pytest.mark.parametrize("offer", [OFFER, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("body", [ASK, CHUNKED], ids=["length", "chunks"])
def test_a_request_that_offers_an_upgrade_is_answered_as_one_that_does_not(
    server: RunningServer, offer: bytes, body: bytes
) -> None:
    asked, offered = POST + body, POST + offer + body
    health = server.get("/healthz").json()
    with connect(server, asked + offered + GET + offer + b"\r\n" + offered + asked) as client:
        plain, *others = read_answers(client, 5)
        assert (plain[0], plain[2]["label"]) == (200, "positive")
        assert [(status, answer) for status, _, answer in others] == [
            (200, plain[2]), (200, health), (200, plain[2]), (200, plain[2]),
        ]  # fmt: skip
        assert "upgrade" not in {name for _, headers, _ in others for name in headers}
        # The connection is kept, and its next head may come byte by byte.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in offered:
            client.sendall(bytes([byte]))
        assert read_answers(client, 1)[0][2] == plain[2]


def test_a_connection_that_offers_an_upgrade_ends_where_the_request_says_so(server: RunningServer) -> None:
    last = GET + b"connection: upgrade, close\r\nupgrade: h2c\r\n\r\n"
    with connect(server, POST + OFFER + ASK + last) as client:
        (_, kept, _), (status, headers, _) = read_answers(client, 2)
        assert "connection" not in kept
        assert (status, headers["connection"]) == (200, "close")
        assert read_all(client) == b""


def test_a_body_that_waits_to_be_asked_for_is_asked_for_also_after_an_offer(server: RunningServer) -> None:
    for offer in (b"", OFFER):
        head, _, body = (POST + offer + b"expect: 100-continue\r\n" + ASK).partition(b"\r\n\r\n")
        with connect(server, head + b"\r\n\r\n") as client:
            assert read_answers(client, 1) == [(100, {}, None)]
            client.sendall(body)
            assert read_answers(client, 1)[0][2]["label"] == "positive"


@pytest.mark.parametrize("offer", [b"", OFFER], ids=["plain", "offer"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"content-length: 100000000\r\n", 413),
        (POST + b"content-encoding: br\r\ncontent-length: 5\r\n", 415),
        (b"POST /nope HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n", 404),
        (b"POST /version HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n", 405),
    ],
)
def test_a_refused_body_that_waits_to_be_asked_for_ends_the_connection(
    server: RunningServer, offer: bytes, sent: bytes, status: int
) -> None:
    with connect(server, sent + offer + b"expect: 100-continue\r\n\r\n") as client:
        ((answered, headers, _),) = read_answers(client, 1)
        assert (answered, headers["connection"]) == (status, "close")
        assert read_all(client) == b""


INVALID = {"error": "Invalid HTTP request received."}


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 no HTTP",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        b"CONNECT example.org:80 HTTP/1.1\r\n\r\n",
        POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + OFFER + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: gzip\r\n\r\n0\r\n\r\n",
        POST + OFFER + b"transfer-encoding: chunked\r\n\r\nno number\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json_after_what_was_asked_before_it(server: RunningServer, sent: bytes) -> None:
    secret = GET + b"\r\n"
    with connect(server, sent + secret) as client:
        ((status, headers, answer),) = read_answers(client, 1)
        assert (status, headers["content-type"], headers["connection"], answer) == (
            400, "application/json", "close", INVALID,
        )  # fmt: skip
        assert "date" in headers
        assert read_all(client) == b""
    with connect(server, POST + ASK + POST + OFFER + ASK + sent + secret) as client:
        assert [status for status, _, _ in read_answers(client, 3)] == [200, 200, 400]
        assert read_all(client) == b""


def test_what_is_no_http_behind_an_answered_request_gets_no_second_answer(server: RunningServer) -> None:
    with connect(server, GET + b"transfer-encoding: chunked\r\n\r\n") as client:
        assert read_answers(client, 1)[0][0] == 200
        client.sendall(b"no number\r\n")
        assert read_all(client) == b""


def test_another_version_of_http_is_refused_in_json(server: RunningServer) -> None:
    with connect(server, b"GET /healthz HTTP/2.0\r\n\r\n") as client:
        ((status, headers, answer),) = read_answers(client, 1)
        assert (status, headers["connection"]) == (505, "close")
        assert answer == {"error": "HTTP/2.0 is not spoken here; HTTP/1.1 is."}
        assert read_all(client) == b""
    with connect(server, POST.replace(b"1.1", b"1.0") + b"expect: 100-continue\r\n" + ASK) as client:
        assert read_all(client).startswith(b"HTTP/1.1 200 ")
