"""How the server listens: uvicorn, an end to connections that only hold it up, and HTTP's own errors as JSON."""

import asyncio
import math
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.document import to_body
from serving.half_closed import HalfClosable
from serving.http_parser import Parser
from serving.readiness import Readiness
from serving.settings import Settings

# Of a request's headers, besides the read in which they begin; uvicorn would keep them without end
# (Kludex/uvicorn#157).
_MAX_HEAD_BYTES = 64 << 10


class _Connection(HalfClosable, HttpToolsProtocol):
    """A connection that is given up when its client keeps the server waiting.

    That is: no request begins, one does not come to the end of its headers, what is left of one that was answered does
    not come, or nothing of an answer is taken. uvicorn only minds a client that is silent after an answer
    (Kludex/uvicorn#1192). The body of a request has a time limit of its own, where it is read.
    """

    timeout_seconds: float
    max_connections: int
    readiness: Readiness
    _timer: asyncio.TimerHandle | None = None
    # When a request last began or was answered.
    _since = 0.0
    # Bytes that wait for the client to take them, at the last look.
    _unsent = math.inf
    _received = 0
    # What was received when the headers began that are being received.
    _head_began: int | None = None
    # Whether the headers of a request have come, and not yet all of its body.
    _is_in_body = False
    # What is sent in the end, when the requests before one that is no HTTP have been answered.
    _last_words: bytes | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = Parser(self)
        self._served = self.app

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's keeps none open
        kept = self.cycle is not None and self.cycle.keep_alive
        stays = super().eof_received()
        if stays and self._last_words is not None:
            # With them the connection ends, and not before.
            self.cycle.keep_alive = kept
        return stays

    def data_received(self, data: bytes) -> None:
        if self._last_words is not None:
            return
        self._received += len(data)
        super().data_received(data)
        if self._head_began is not None and self._received - self._head_began > _MAX_HEAD_BYTES:
            self._head_began = None
            self.send_400_response(f"The request's headers are longer than {_MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._since = self.loop.time()
        self._head_began = self._received
        self._is_in_body = False

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        self.expect_100_continue &= version == "1.1"
        self.app = self._served
        # uvicorn's own answer to too many connections is no JSON.
        if len(self.connections) >= self.max_connections or len(self.tasks) >= self.max_connections:
            self.app = _refusal(503, f"The server has {self.max_connections} connections, its most; try again later.")
        elif version not in ("1.0", "1.1"):
            self.app = _refusal(505, f"HTTP/{version} is not spoken here; HTTP/1.1 is.")
        elif self.expect_100_continue:
            self.app = _close_if_unread(self._served)
        before = self.cycle
        super().on_headers_complete()
        # Of a request that offers an upgrade there is none yet: its head is parsed once more.
        if self.readiness.is_leaving and self.cycle is not before:
            # The answer says so, and the client's next request goes elsewhere.
            self.cycle.keep_alive = False
        self._head_began = None
        self._is_in_body = True

    def on_chunk_header(self) -> None:
        # After the last chunk come headers again.
        self._head_began = self._received

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._head_began = None

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_body = False

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        self._since = self.loop.time()
        if is_last and self._last_words is not None:
            self._close_with(self._last_words)

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, after the answers to the requests before it; nothing is read any more."""
        refusal, self._last_words = _refusal(400, msg), b""
        if not self._is_in_body:
            self._last_words = self._write(refusal)
            if not self._is_answering:
                self._close_with(self._last_words)
        elif self.pipeline:
            self.pipeline[0] = (self.cycle, cast(Any, refusal))
        elif self.cycle.response_started:
            self._close_with(b"")
        else:
            self._close_with(self._write(refusal))
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        # What the parser is about to read again, without the offer.
        return True

    def _write(self, response: Response) -> bytes:
        headers = [*self.server_state.default_headers, *response.raw_headers]
        return b"".join(
            [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", response.body]
        )

    def _close_with(self, last_words: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(last_words)
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = math.inf

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    @property
    def _is_idle(self) -> bool:
        """Whether it is silent after an answer, with a timer of uvicorn's."""
        return self.timeout_keep_alive_task is not None and not self.transport.is_closing()

    def _look(self) -> None:
        """Gives the connection up, or looks again later: one timer per connection, whatever the number of requests."""
        wait = self.timeout_seconds
        if self.flow.write_paused:
            unsent, self._unsent = self._unsent, self.transport.get_write_buffer_size()
            wait = wait if self._unsent < unsent else 0.0
        elif not self._is_answering and not self._is_idle:
            wait += self._since - self.loop.time()
        if wait > 0:
            self._timer = self.loop.call_later(wait, self._look)
        else:
            self.transport.abort()


def _refusal(status: int, message: str) -> Response:
    return Response(to_body({"error": message}), status, {"connection": "close"}, "application/json")


def _close_if_unread(app: ASGIApp) -> ASGIApp:
    """Closes the connection if a body was announced with `Expect` and answered without being asked for.

    The client may send it or not, so that nobody knows where its next request begins (RFC 9110, 10.1.1).
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        is_read = False

        async def read() -> Message:
            nonlocal is_read
            is_read = True
            return await receive()

        async def write(message: Message) -> None:
            if message["type"] == "http.response.start" and not is_read:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await app(scope, read, write)

    return run


def configure(app: Starlette, settings: Settings, readiness: Readiness) -> uvicorn.Config:
    """How uvicorn runs the application."""

    class Connection(_Connection):
        timeout_seconds = settings.timeout_seconds
        max_connections = settings.max_connections

    Connection.readiness = readiness
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
    )
