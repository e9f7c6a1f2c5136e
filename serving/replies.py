"""Answers over HTTP, of whatever address: JSON, errors, and what never changes."""

import functools
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.document import to_body
from serving.errors import HTTP_HEADERS, ServingError, to_text

Handler = Callable[[Request], Awaitable[Response]]


def to_json(value: object) -> Response:
    """An answer of JSON."""
    return Response(to_body(value), media_type="application/json")


def to_error(error: ServingError) -> Response:
    """The answer that tells of an error."""
    body = to_body({"error": to_text(error.message)})
    return Response(body, error.http_status, HTTP_HEADERS.get(error.code), media_type="application/json")


def internal_error() -> ServingError:
    """What is told of a fault of the server's own."""
    return ServingError("INTERNAL", "internal error; the server's log says more")


async def answer_failure(_: Request, error: Exception) -> Response:
    """Answers where the application has failed."""
    return to_error(internal_error())


async def answer_http_error(_: Request, error: Exception) -> Response:
    """Answers where no address was found, or no method of it."""
    assert isinstance(error, HTTPException)
    return Response(to_body({"error": error.detail}), error.status_code, error.headers, "application/json")


def send_constant(make: Callable[[], bytes], media_type: str, headers: dict[str, str]) -> Handler:
    """What always sends the same, made when it is first asked for."""
    content = functools.cache(make)

    async def send(_: Request) -> Response:
        return Response(content(), media_type=media_type, headers={"x-content-type-options": "nosniff", **headers})

    return send
