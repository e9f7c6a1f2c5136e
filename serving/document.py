"""A JSON document as TensorFlow Serving reads and writes one: its tolerance, its words for what is wrong, its numbers.

After tensorflow_serving/util/json_tensor.cc and RapidJSON. What the values mean to a model is not known here.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.errors import invalid
from serving.json_pieces import WRITTEN_VALUES, LargeDocument, decode_text, read_large, weigh, write_large

# Work on a larger body takes some milliseconds and more; on a smaller one, handing it to a thread would cost as much.
LARGE_BYTES = 64 << 10
# The wording of TensorFlow Serving's JSON parser for that of Python's.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or a closing bracket after a value.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_TOO_BIG = "JSON Parse error: Number too big to be stored in double."
# An error quotes the value it is about; TensorFlow Serving quotes all of it, however long.
_MAX_QUOTED = 1000
# Greatest magnitude of an integer, and of any number, that a float of this type keeps.
FLOAT_LIMITS = {
    tf.float32: (2**24 - 1, float(np.finfo(np.float32).max)),
    tf.float64: (2**53 - 1, float(np.finfo(np.float64).max)),
}


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Bytes that are not UTF-8 stay what they are inside strings, as in TensorFlow Serving: `encode` gives them back.

    Raises:
      ServingError: it is not JSON, or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        if len(body) > LARGE_BYTES:
            document = read_large(decode_text(body), _DECODER)
        else:
            document = _DECODER.decode(body.decode("utf-8-sig", "surrogateescape"))
    except json.JSONDecodeError as error:
        empty = error.msg == "Expecting value" and not error.doc.strip(" \t\r\n")
        message = "The document is empty." if empty else _PARSE_ERRORS.get(error.msg, error.msg)
        raise invalid(f"JSON Parse error: {message} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid("JSON Parse error: Nested too deeply.") from None
    except ValueError:
        raise invalid(_TOO_BIG) from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {quote(document)} Is not object")
    return document


def read_signature_name(document: Mapping[str, Any]) -> str:
    """The name of the signature that a request asks for; empty for the default one.

    Raises:
      ServingError: the name is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {quote(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def encode(text: str) -> bytes:
    """The bytes of a JSON string.

    Raises:
      ServingError: it holds half of a surrogate pair.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def drop(document: Mapping[str, Any]) -> None:
    """Empties a document, if it is a large one, piece by piece: freed at once, it would hold everybody up."""
    if isinstance(document, LargeDocument):
        document.drop()


def to_body(value: object) -> bytes:
    """JSON as it is sent: `NaN` and the infinities as such, strings' bytes as they are."""
    if weigh(value) > WRITTEN_VALUES:
        return b"".join(piece.encode("utf-8", "surrogateescape") for piece in write_large(value, _ENCODER))
    return _ENCODER.encode(value).encode("utf-8", "surrogateescape")


def shorten_float(value: float) -> float:
    """A float32 with the digits TensorFlow Serving writes: six if they say it all, otherwise nine."""
    six = float(f"{value:.6g}")
    return six if np.float32(six) == value or value != value else float(f"{value:.9g}")


def quote(value: object) -> str:
    """A JSON value inside a message, cut when long."""
    text = ""
    # Piece by piece: the rest of a large or deeply nested value is not even looked at.
    for piece in _QUOTER.iterencode(value):
        text += piece
        if len(text) > _MAX_QUOTED:
            return text[:_MAX_QUOTED] + "…"
    return text


def type_name(value: object) -> str:
    """The JSON type of a value, in the parser's words."""
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def is_base64(value: object) -> bool:
    """Whether a value is the `{"b64": "..."}` that stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: dict[str, Any]) -> bytes:
    """The bytes that a `{"b64": "..."}` stands for.

    Raises:
      ServingError: it is something else, or not base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    # As TensorFlow Serving's decoder, which does without padding and skips white space.
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def check_decimal(value: float, dtype: tf.DType) -> None:
    """Refuses a number that does not fit a float type.

    Raises:
      ServingError: it is too large.
    """
    max_integer, max_float = FLOAT_LIMITS[dtype]
    limit = max_integer if isinstance(value, int) and abs(value) < 2**64 else max_float
    if not _is_infinite(value) and abs(value) > limit:
        raise invalid(f"Cannot convert JSON value: {quote(value)} to {_float_name(dtype)} without loss of precision.")


def _float_name(dtype: tf.DType) -> str:
    return "float" if dtype == tf.float32 else "double"


def _is_infinite(value: float) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


_DECODER = json.JSONDecoder(parse_float=_parse_float)
_QUOTER = json.JSONEncoder(ensure_ascii=False, indent=4)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
