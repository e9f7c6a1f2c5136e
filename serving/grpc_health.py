"""grpc.health.v1.Health: whether a model answers, for probes and load balancers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"
_Response = health_pb2.HealthCheckResponse
# How soon who watches is told of a change.
_LOOK_SECONDS = 0.1
# Each holds one of the calls that the server takes at a time, for as long as it likes and without a token.
_MAX_WATCHERS = 100


class Health:
    """Answers probes from what is so when they ask.

    The servicer of grpcio-health-checking is told of changes instead, forgets all who watch a service when one of them
    goes (`grpc_health/v1/_async.py`, no issue known), and never ends a watch, for which a server that stops would wait.
    """

    def __init__(self, names: tuple[str, ...], is_ready: Callable[[], bool]) -> None:
        """Knows these services, which are all as ready as the server is."""
        self._names = names
        self._is_ready = is_ready
        self._stopping = asyncio.Event()
        self._watchers = 0

    def stop(self) -> None:
        """Says from now on that nothing answers, and lets those who watch go."""
        self._stopping.set()

    async def check(self, body: bytes, context: Any) -> bytes:
        """Gives the state of a service."""
        name = await _read_name(body, context)
        if name not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service is called {name!r}; known are {self._names}")
        return self._state(name)

    async def watch(self, body: bytes, context: Any) -> AsyncIterator[bytes]:
        """Gives the state of a service, and again whenever it changes."""
        name = await _read_name(body, context)
        if self._watchers >= _MAX_WATCHERS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_WATCHERS} clients watch already; ask with Check instead"
            )
        self._watchers += 1
        try:
            last = b""
            while True:
                state = self._state(name)
                if state != last:
                    yield state
                last = state
                if self._stopping.is_set():
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._stopping.wait()
                except TimeoutError:
                    continue
        finally:
            self._watchers -= 1

    def _state(self, name: str) -> bytes:
        if name not in self._names:
            status = _Response.SERVICE_UNKNOWN
        elif self._is_ready() and not self._stopping.is_set():
            status = _Response.SERVING
        else:
            status = _Response.NOT_SERVING
        return bytes(_Response(status=status).SerializeToString())


async def _read_name(body: bytes, context: Any) -> Any:
    try:
        return health_pb2.HealthCheckRequest.FromString(body).service
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is no HealthCheckRequest")
