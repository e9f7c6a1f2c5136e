"""A request's body, read whole: not too large, not too slowly, unpacked, and without holding up other requests."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from serving.errors import ServingError, invalid

# Work on a larger body takes some milliseconds and more; on a smaller one, handing it to a thread would cost as much.
_LARGE_BYTES = 64 << 10
Result = TypeVar("Result")


async def work_on(body: bytes, work: Callable[[bytes], Result]) -> Result:
    """What `work` makes of a body: on the event loop, or beside it if the body is large, so that others go on."""
    return work(body) if len(body) <= _LARGE_BYTES else await asyncio.to_thread(work, body)


async def read_body(request: Request, limit: int, timeout_seconds: float) -> bytes:
    """The body, unpacked if it came as gzip.

    Args:
      request: the request whose body is read.
      limit: most bytes, packed and unpacked.
      timeout_seconds: within which all of it must come.

    Raises:
      ServingError: it is too large, too slow or badly packed.
    """
    too_large = ServingError("PAYLOAD_TOO_LARGE", f"the request's body is larger than {limit} bytes; send it in parts")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise ServingError("REQUEST_TIMEOUT", "the request's body did not come in time") from None
    body = b"".join(chunks)
    if request.headers.get("content-encoding", "").lower() == "gzip":
        return await work_on(body, partial(_unpack, limit, too_large))
    return body


def _unpack(limit: int, too_large: ServingError, packed: bytes) -> bytes:
    broken = invalid("the request's body is not the gzip that its header says")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        body = unpacker.decompress(packed, limit + 1)
    except zlib.error:
        raise broken from None
    if len(body) > limit:
        raise too_large
    if not unpacker.eof:
        raise broken
    return body
