"""Load on the REST port of a model server, over connections that are kept open, and what came of it."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial


@dataclass
class Load:
    """What came of some requests: seconds each took, and how many did not give 200."""

    clients: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        return sorted(self.latencies)[min(len(self.latencies) - 1, int(share * len(self.latencies)))] * 1000


class _Client(asyncio.Protocol):
    """One connection that sends the next request as soon as it has the answer to the last."""

    def __init__(self, requests: Iterator[bytes], load: Load, done: asyncio.Future[None]) -> None:
        self._requests, self._load, self._done, self._answer = requests, load, done, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end_of_head, body = self._answer.partition(b"\r\n\r\n")
        if not end_of_head:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        self._load.latencies.append(time.perf_counter() - self._began)
        self._load.failed += b" 200 " not in head[:16]
        self._answer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def apply_load(port: int, path: str, bodies: list[bytes], clients: int, count: int) -> Load:
    """Sends `count` requests over `clients` connections, each sending one at a time."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
    requests = (
        f"{head}{len(body)}\r\n\r\n".encode() + body for body in (bodies[n % len(bodies)] for n in range(count))
    )
    load, loop = Load(clients), asyncio.get_running_loop()
    began, dones = time.perf_counter(), []
    for _ in range(clients):
        done: asyncio.Future[None] = loop.create_future()
        dones.append(done)
        await loop.create_connection(partial(_Client, requests, load, done), "127.0.0.1", port)
    await asyncio.gather(*dones)
    load.seconds = time.perf_counter() - began
    # Whatever closed a connection, amid a request or between two, what was to be sent over it was not answered.
    load.failed += count - len(load.latencies)
    return load
