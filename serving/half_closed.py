"""Clients that send no more: those that still want their answer are told from those that have gone."""

import asyncio
from typing import Any

# Until the client is asked for the first time: most answers are there before. Each wait is twice the one before.
_FIRST_WAIT_SECONDS = 0.25
# Every HTTP/1.1 client must be able to read one, or several, before its answer (RFC 9110, 15.2).
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosable:
    """A connection that outlives the end of what its client sends, if that came after a whole request.

    The end looks the same whether a client has only closed its half (`nc -N`) or has gone. uvicorn takes all for gone,
    since asyncio closes a connection whose `eof_received` gives nothing. What tells them apart is how they take an
    answer: the system of one that has gone refuses it, whereupon the connection is lost and the request hears of it.
    So while the answer takes long, interim ones are sent.

    It comes before one of uvicorn's protocols among the base classes.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any
    pipeline: Any = ()

    def eof_received(self) -> bool:
        """Says whether the connection stays open."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.more_body:
            return False
        cycle.keep_alive = False
        if cycle.scope["http_version"] == "1.1":
            self.loop.call_later(_FIRST_WAIT_SECONDS, self._ask, cycle, _FIRST_WAIT_SECONDS)
        return True

    def _ask(self, cycle: Any, waited: float) -> None:
        if cycle.response_started or cycle.disconnected or self.transport.is_closing():
            return
        # Not amid the answer to a request before it.
        if not self.pipeline:
            self.transport.write(_INTERIM)
        self.loop.call_later(2 * waited, self._ask, cycle, 2 * waited)
