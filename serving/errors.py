"""What a request can be refused with: TensorFlow's status codes, and the HTTP status each becomes."""

from collections.abc import Callable
from functools import partial

# TensorFlow Serving's table; PAYLOAD_TOO_LARGE and the ones after it are HTTP's own and not TensorFlow's.
HTTP_STATUS = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
    "PAYLOAD_TOO_LARGE": 413,
    "REQUEST_TIMEOUT": 408,
    "UNSUPPORTED_MEDIA_TYPE": 415,
}
# What HTTP has a refusal say of the way out.
HTTP_HEADERS = {
    "UNAUTHENTICATED": {"www-authenticate": "Bearer"},
    "UNSUPPORTED_MEDIA_TYPE": {"accept-encoding": "gzip, identity"},
}


class ServingError(Exception):
    """A request that cannot be answered; its text is the `error` of the response."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status that TensorFlow Serving gives this code."""
        return HTTP_STATUS[self.code]


def to_text(message: str) -> str:
    """A message that can be sent: what it quotes, or the name of a file, may hold bytes that are no text."""
    return message.encode("utf-8", "replace").decode()


invalid: Callable[[str], ServingError] = partial(ServingError, "INVALID_ARGUMENT")
