"""A JSON document as TensorFlow Serving reads and writes one: its tolerance, its words for what is wrong, its numbers.

After tensorflow_serving/util/json_tensor.cc and RapidJSON. What the values mean to a model is not known here.
"""

import base64
import binascii
import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.decimals import TooBigError, parse_decimal, write_decimals
from serving.errors import invalid
from serving.json_pieces import LargeDocument, decode_text, read_large
from serving.parse_errors import explain, find_half_pair, find_number, position_before_spelling, spell_strictly

# Work on a larger body takes some milliseconds and more; on a smaller one, handing it to a thread would cost as much.
LARGE_BYTES = 64 << 10
# An error quotes the value it is about; TensorFlow Serving quotes all of it, however long, and from 2.18 on 256 bytes.
_MAX_QUOTED = 1000
# Of what is repeated in an object the first counts, for these; to look at all of them takes long.
_KEYS = (b'"signature_name"', b'"instances"', b'"inputs"')
_MAX_FLOAT = float(np.finfo(np.float32).max)
_TYPE_NAMES = {tf.float32: "float", tf.float64: "double", tf.float16: "half"}
_WHITE_SPACE = b" \t\n\v\f\r"


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Bytes that are not UTF-8 stay what they are inside strings, as in TensorFlow Serving: `encode` gives them back.

    Raises:
      ServingError: it is not JSON, or not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    is_large = len(body) > LARGE_BYTES
    text = decode_text(body) if is_large else body.decode("utf-8-sig", "surrogateescape")
    try:
        document = _decode(text, is_large, has_repeated=max(map(body.count, _KEYS)) > 1)
    except _Malformed as error:
        # The parser counts bytes, and those of a byte order mark with them.
        offset = len(text[: error.position].encode("utf-8", "surrogateescape"))
        offset += len(codecs.BOM_UTF8) * body.startswith(codecs.BOM_UTF8)
        raise invalid(f"JSON Parse error: {error} at offset: {offset}") from None
    except RecursionError:
        raise invalid("JSON Parse error: Nested too deeply.") from None
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
    """The bytes of a JSON string."""
    return text.encode("utf-8", "surrogateescape")


def drop(document: Mapping[str, Any]) -> None:
    """Empties a document, if it is a large one, piece by piece: freed at once, it would hold everybody up."""
    if isinstance(document, LargeDocument):
        document.drop()


def to_body(value: object) -> bytes:
    """JSON as it is sent: `NaN` and the infinities as such, strings' bytes as they are."""
    return _ENCODER.encode(value).encode("utf-8", "surrogateescape")


def shorten_float(value: float) -> float:
    """A float32 with the digits TensorFlow Serving writes: six if they say it all, otherwise nine."""
    six = float(f"{value:.6g}")
    return six if np.float32(six) == value or value != value else float(f"{value:.9g}")


def dtype_name(dtype: tf.DType) -> str:
    """The name that TensorFlow Serving's messages give a type."""
    return str(_TYPE_NAMES.get(dtype, dtype.name))


def quote(value: object) -> str:
    """A JSON value inside a message, cut when long."""
    if isinstance(value, float) or (type(value) is int and not is_integer(value)):
        number = to_double(value)
        return write_decimals(np.array(number, np.float32 if abs(number) <= _MAX_FLOAT else np.float64))[0]
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
    # As absl::Base64Unescape, which skips white space and does without padding, but not with some of it.
    # Bytes, of which it is taken out at once: a text may have it millions of times.
    text = value["b64"].encode("utf-8", "replace").translate(None, _WHITE_SPACE)
    bare = text.rstrip(b"=.")
    padding = -len(bare) % 4
    if len(text) - len(bare) not in (0, padding):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(bare + b"=" * padding, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def is_integer(value: int) -> bool:
    """Whether the parser takes a whole number for an integer, and not for a double."""
    return -(2**63) <= value < 2**64


def to_double(value: float) -> float:
    """The number as a double.

    Raises:
      ServingError: it is too large.
    """
    try:
        return float(value)
    except OverflowError:
        raise invalid(f"JSON Parse error: {_TOO_BIG}") from None


class _Malformed(Exception):
    """What is wrong with a document; `position` says at which character."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def _decode(text: str, is_large: bool, has_repeated: bool) -> Any:
    """The value of a JSON text; a large one is read piece by piece.

    Raises:
      _Malformed: it is not JSON.
    """
    decoder = _FIRST_DECODER if has_repeated else _DECODER
    longer: list[int] = []
    while True:
        try:
            document = read_large(text, decoder) if is_large else decoder.decode(text)
        except json.JSONDecodeError as error:
            if error.msg == "Expecting value" and text.startswith(("Inf", "-Inf", "-NaN"), error.pos):
                strict, grown = spell_strictly(text)
                if strict != text:
                    text, longer = strict, grown
                    continue
            message, position = explain(text, error)
            raise _Malformed(message, position_before_spelling(position, longer)) from None
        except TooBigError as error:
            position = find_number(text, re.escape(str(error)))
            raise _Malformed(_TOO_BIG, position_before_spelling(position, longer)) from None
        except ValueError:
            # Python's limit of the digits of an integer.
            position = find_number(text, "[0-9]{4301,}")
            raise _Malformed(_TOO_BIG, position_before_spelling(position, longer)) from None
        if (half := find_half_pair(text)) is not None:
            raise _Malformed("The surrogate pair in string is invalid.", position_before_spelling(half, longer))
        return document


def _keep_first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs)) if len(dict(pairs)) < len(pairs) else dict(pairs)


_TOO_BIG = "Number too big to be stored in double."
_DECODER = json.JSONDecoder(parse_float=parse_decimal)
_FIRST_DECODER = json.JSONDecoder(parse_float=parse_decimal, object_pairs_hook=_keep_first)
_QUOTER = json.JSONEncoder(ensure_ascii=False, indent=4)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
