"""How the server listens: uvicorn, and an end to connections that only hold it up."""

import asyncio
import math
from typing import cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.half_closed import HalfClosable
from serving.settings import Settings

# Of a request's headers, besides the read in which they begin; uvicorn would keep them without end
# (Kludex/uvicorn#157).
_MAX_HEAD_BYTES = 64 << 10


class _Connection(HalfClosable, HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's keeps none open
    """A connection that is given up when its client keeps the server waiting.

    That is: no request begins, one does not come to the end of its headers, what is left of one that was answered does
    not come, or nothing of an answer is taken. uvicorn only minds a client that is silent after an answer
    (Kludex/uvicorn#1192). The body of a request has a time limit of its own, where it is read.
    """

    timeout_seconds: float
    _timer: asyncio.TimerHandle | None = None
    # When a request last began or was answered.
    _since = 0.0
    # Bytes that wait for the client to take them, at the last look.
    _unsent = math.inf
    _received = 0
    # What was received when the headers began that are being received.
    _head_began: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.timeout_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._head_began is not None and self._received - self._head_began > _MAX_HEAD_BYTES:
            self._head_began = None
            self.send_400_response(f"The request's headers are longer than {_MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._since = self.loop.time()
        self._head_began = self._received

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_began = None

    def on_chunk_header(self) -> None:
        # After the last chunk come headers again.
        self._head_began = self._received

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._head_began = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = self.loop.time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = math.inf

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

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


def configure(app: Starlette, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application."""

    class Connection(_Connection):
        timeout_seconds = settings.timeout_seconds

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
    )
