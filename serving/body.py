"""A request's body, read whole: not too large, not too slowly, unpacked.

What it says is not known here.
"""

import asyncio
import zlib

from starlette.requests import Request

from serving.errors import ServingError, invalid


async def read_body(request: Request, limit: int, timeout_seconds: float) -> bytes:
    """The body, unpacked if it came as gzip.

    Args:
      request: whose body is read.
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
    return _unpack(body, limit, too_large) if request.headers.get("content-encoding", "").lower() == "gzip" else body


def _unpack(packed: bytes, limit: int, too_large: ServingError) -> bytes:
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
