"""httptools' parser, to which an offer of another protocol is a header like any other."""

from array import array
from typing import Protocol

import httptools


class Receiver(Protocol):
    """What the parser reads of the protocol that it calls back: the head that was parsed last."""

    url: bytes
    headers: list[tuple[bytes, bytes]]


class Parser(httptools.HttpRequestParser):
    """Reads a request that offers an upgrade as if it did not: a server may ignore the offer (RFC 9110, 7.8).

    llhttp takes what follows such a head for the other protocol, and httptools has no way to say that it is not
    (MagicStack/httptools#124, Kludex/uvicorn#2722). So the parser starts anew on the same head without the offer;
    whatever llhttp minds, it minds in both.
    """

    def __init__(self, receiver: Receiver) -> None:
        """Starts anew, whatever was parsed before."""
        super().__init__(receiver)
        self._receiver = receiver
        # As in uvicorn: else what follows a request that closes the connection would take its answer away.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        """Parses what has come.

        Raises:
          httptools.HttpParserError: it is no HTTP.
        """
        while True:
            try:
                return super().feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                rest = offer.args[0]
            if self.get_method() == b"CONNECT":
                raise httptools.HttpParserError("CONNECT asks for a proxy")
            head = self._head_without_offer()
            Parser.__init__(self, self._receiver)
            super().feed_data(head)
            # A view: a copy each time would cost the square of what came, if that is one small request after another.
            data = memoryview(data)[rest:]

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/%b" % (self.get_method(), self._receiver.url, self.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self._receiver.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])
