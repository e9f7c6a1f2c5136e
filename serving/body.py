"""A request's body, read whole: not too large, not too slowly, unpacked, and without holding up other requests."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from serving.document import LARGE_BYTES
from serving.errors import ServingError, invalid
from serving.turns import check, do_in_turn, find_visit

# What is packed may be a thousand times as much when unpacked.
_LARGE_PACKED_BYTES = 1 << 10
# Of a gzip member that begins, what is looked at first: members may be many and small.
_FIRST_BYTES = 512
Result = TypeVar("Result")


async def work_on(body: bytes, work: Callable[[bytes], Result], limit: int = LARGE_BYTES) -> Result:
    """What `work` makes of a body: on the event loop, or beside it, in its turn, if it has more than `limit` bytes.

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
      ServingError: it is too large, too slow, badly packed or packed in another way, or all requests together hold too
        much.
    """
    is_packed = _is_packed(request)
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
    if is_packed:
        body = await work_on(body, partial(_unpack, limit, too_large), _LARGE_PACKED_BYTES)
        if visit and len(body) > LARGE_BYTES:
            visit.hold(len(body))
    if visit and len(body) <= LARGE_BYTES:
        visit.hurry()
    return body


def _is_packed(request: Request) -> bool:
    """Whether the body comes as gzip.

    TensorFlow Serving unpacks whatever encoding has `gzip` in its name and takes every other for none
    (`NeedUncompressGzipContent` in util/net_http/server/internal/evhttp_request.cc), so that the client is told of JSON
    that is none.

    Raises:
      ServingError: it comes in an encoding that is not read.
    """
    named = ",".join(request.headers.getlist("content-encoding"))
    encodings = [name for part in named.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not encodings:
        return False
    if encodings in (["gzip"], ["x-gzip"]):  # one and the same (RFC 9110, 8.4.1.3)
        return True
    raise ServingError(
        "UNSUPPORTED_MEDIA_TYPE", f"Content-Encoding: {', '.join(encodings)} is not read; send gzip or plain JSON"
    )


def _unpack(limit: int, too_large: ServingError, packed: bytes) -> bytes:
    """All members of a gzip file, one after the other (RFC 1952, 2.2); TensorFlow Serving reads no more than one."""
    broken = invalid("the request's body is not the gzip that its header says")
    rest, position = memoryview(packed), 0
    pieces, size = [], 0
    while True:
        # Members of some bytes may be hundreds of thousands.
        check()
        unpacker, window = zlib.decompressobj(wbits=31), _FIRST_BYTES
        while not unpacker.eof:
            # What is left over by a member is copied, so it is shown little of what may be another's.
            packed_piece = rest[position : position + window]
            if not packed_piece:
                raise broken
            try:
                pieces.append(unpacker.decompress(packed_piece, limit + 1 - size))
            except zlib.error:
                raise broken from None
            size += len(pieces[-1])
            if size > limit:
                raise too_large
            position += len(packed_piece) - len(unpacker.unused_data)
            window *= 2
        if position == len(packed):
            return b"".join(pieces)
