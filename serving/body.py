"""A request's body, read whole: not too large, not too slowly, unpacked, and without holding up other requests."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from serving.document import LARGE_BYTES
from serving.errors import ServingError, invalid
from serving.turns import do_in_turn, find_visit

# What is packed may be a thousand times as much when unpacked.
_LARGE_PACKED_BYTES = 1 << 10
Result = TypeVar("Result")


async def work_on(body: bytes, work: Callable[[bytes], Result], limit: int = LARGE_BYTES) -> Result:
    """What `work` makes of a body: on the event loop, or beside it, in its turn, if the body has more than `limit` bytes.

    Raises:
      ServingError: as `do_in_turn`.
    """
    return await do_in_turn(len(body) > limit, work, body)


async def read_body(request: Request, limit: int, timeout_seconds: float) -> bytes:
    """The body, unpacked if it came as gzip.

    Args:
      request: the request whose body is read.
      limit: most bytes, packed and unpacked.
      timeout_seconds: within which all of it must come.

    Raises:
      ServingError: it is too large, too slow or badly packed, or all requests together hold too much.
    """
    too_large = ServingError("PAYLOAD_TOO_LARGE", f"the request's body is larger than {limit} bytes; send it in parts")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    visit = find_visit()
    chunks, size, held = [], 0, 0
    try:
        async with asyncio.timeout(timeout_seconds):
            stream = request.stream()
            # The stream ends with an empty chunk.
            while chunk := await (visit.read(stream) if visit and held else anext(stream)):
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
                if visit and size > LARGE_BYTES:
                    visit.hold(size - held)
                    held = size
    except TimeoutError:
        raise ServingError("REQUEST_TIMEOUT", "the request's body did not come in time") from None
    body = b"".join(chunks)
    if request.headers.get("content-encoding", "").lower() == "gzip":
        body = await work_on(body, partial(_unpack, limit, too_large), _LARGE_PACKED_BYTES)
        if visit and len(body) > LARGE_BYTES:
            visit.hold(len(body))
    if visit and len(body) <= LARGE_BYTES:
        visit.hurry()
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
