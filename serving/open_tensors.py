"""The tensors of an Open Inference (V2) request and of its answer: as JSON, or as bytes that follow the JSON.

After open-inference-protocol specification/protocol/inference_rest.md and, for the bytes, triton-inference-server's
docs/protocol/extension_binary_data.md, which kserve's infer_type.py reads and writes too. No model is run here.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.document import decode_base64, encode, quote, shorten_float, to_body
from serving.errors import ServingError, invalid
from serving.tensors import MAX_RANK, Array
from serving.turns import check

# Of a shape, those of size 0 left out: NumPy refuses an array of none too if the product of its other sizes is too big.
_MAX_ELEMENTS = 2**31 - 1
# Elements that are read or written by one call: until it ends, it holds up every other thread.
_PIECE = 4096
BINARY_SIZE = "binary_data_size"
DTYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BYTES": tf.string,
}
_DATATYPES: dict[tf.DType, str] = {dtype: name for name, dtype in DTYPES.items()}


def datatype_of(dtype: tf.DType) -> str:
    """The protocol's name of a type; TensorFlow's where the protocol has none, which no request can then send."""
    return _DATATYPES.get(dtype) or str(dtype.name)


def read_parameters(holder: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The `parameters` of a request, an input or an output; none if they are left out.

    Raises:
      ServingError: they are no object.
    """
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise invalid(f"'parameters' of {what} must be an object, not {quote(parameters)}")
    return parameters


def read_shape(value: Any, name: str) -> tuple[int, ...]:
    """The `shape` of an input.

    Raises:
      ServingError: it is none, or one that no tensor has.
    """
    if not isinstance(value, list) or not all(type(size) is int and size >= 0 for size in value):
        raise invalid(f"'shape' of input '{name}' must be a list of whole numbers from 0, not {quote(value)}")
    if len(value) > MAX_RANK or math.prod(max(size, 1) for size in value) > _MAX_ELEMENTS:
        raise invalid(
            f"'shape' of input '{name}' has more than {MAX_RANK} dimensions, or {_MAX_ELEMENTS} elements: "
            f"{quote(value)}"
        )
    return tuple(value)


def read_tensor(content: Mapping[str, Any], name: str, dtype: tf.DType, rest: bytes, start: int) -> tuple[Array, int]:
    """The tensor of an input.

    Args:
      content: the input, as the request has it.
      name: its name.
      dtype: the type that the model takes.
      rest: the bytes that follow the JSON.
      start: where those of this input begin, if it has any.

    Returns:
      The tensor, and where the bytes of the next input begin.

    Raises:
      ServingError: shape and data do not agree, or a value is not of the type.
    """
    shape = read_shape(content.get("shape"), name)
    data, size = content.get("data"), read_parameters(content, f"input '{name}'").get(BINARY_SIZE)
    if data is not None and size is not None:
        raise invalid(f"input '{name}' has both 'data' and '{BINARY_SIZE}'; send one of them")
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(rest) - start:
            raise invalid(
                f"'{BINARY_SIZE}' of input '{name}' is {quote(size)}, but {len(rest) - start} bytes are left after the "
                "JSON; its end is what the header Inference-Header-Content-Length says"
            )
        return _from_bytes(rest[start : start + size], shape, name, dtype), start + size
    if not isinstance(data, list):
        raise invalid(f"input '{name}' needs 'data', a list, or the parameter '{BINARY_SIZE}' and as many bytes")
    flat = _flatten(data, shape, name)
    if len(flat) != math.prod(shape):
        raise invalid(f"'data' of input '{name}' has {len(flat)} elements, but its shape is {list(shape)}")
    pieces = []
    # Of no elements it is one piece too, for the type.
    for place in range(0, len(flat) or 1, _PIECE):
        check()
        pieces.append(_from_json(flat[place : place + _PIECE], name, dtype))
    return np.concatenate(pieces).reshape(shape), start


def write_tensor(name: str, tensor: Array, as_bytes: bool) -> tuple[bytes, bytes]:
    """An output as the answer's JSON has it, and the bytes that follow the JSON.

    Raises:
      ServingError: it holds what cannot be sent like that.
    """
    datatype = datatype_of(tf.as_dtype(tensor.dtype))
    if datatype not in DTYPES:
        raise invalid(f"output '{name}' is of type {datatype}, which the protocol has not; ask for other outputs")
    output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(tensor.shape)}
    if as_bytes:
        content = _to_bytes(tensor)
        return to_body({**output, "parameters": {BINARY_SIZE: len(content)}}), content
    return b'%b,"data":%b}' % (to_body(output)[:-1], _encode(name, tensor.ravel())), b""


def _encode(name: str, flat: Array) -> bytes:
    pieces = []
    for start in range(0, len(flat), _PIECE):
        check()
        pieces.append(to_body(_to_json(name, flat[start : start + _PIECE]))[1:-1])
    return b"[%b]" % b",".join(pieces)


def _flatten(data: list[Any], shape: tuple[int, ...], name: str) -> list[Any]:
    """The elements in order: `data` may be flat, or nested as the shape says."""
    if not any(isinstance(element, list) for element in data):
        return data
    rows = [data]
    for size in shape:
        for row in rows:
            if not isinstance(row, list) or len(row) != size:
                raise invalid(
                    f"'data' of input '{name}' is nested otherwise than its shape {list(shape)}: {quote(row)}"
                )
        rows = [element for row in rows for element in row]
    return rows


def _from_json(flat: list[Any], name: str, dtype: tf.DType) -> Array:
    if dtype == tf.string:
        return np.array([_read_text(value, name) for value in flat], object)
    wanted = {bool} if dtype == tf.bool else {int} if dtype.is_integer else {int, float}
    if not set(map(type, flat)) <= wanted:
        wrong = next(value for value in flat if type(value) not in wanted)
        raise invalid(f"{quote(wrong)} in 'data' of input '{name}' is no {datatype_of(dtype)}")
    if dtype.is_integer and flat:
        for value in (min(flat), max(flat)):
            if not dtype.min <= value <= dtype.max:
                raise _out_of_range(value, name, dtype)
    if not dtype.is_floating:
        return np.array(flat, dtype.as_numpy_dtype)
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:
        raise _out_of_range(max(flat, key=abs), name, dtype) from None
    with np.errstate(over="ignore"):
        narrow: Array = wide.astype(dtype.as_numpy_dtype)
    lost = np.isinf(narrow) & ~np.isinf(wide)
    if lost.any():
        raise _out_of_range(wide[lost][0].item(), name, dtype)
    return narrow


def _out_of_range(value: object, name: str, dtype: tf.DType) -> ServingError:
    return invalid(f"{quote(value)} in 'data' of input '{name}' is out of the range of {datatype_of(dtype)}")


def _read_text(value: Any, name: str) -> bytes:
    """A JSON string; or, since JSON has no bytes, what TensorFlow Serving's REST API takes for them."""
    if isinstance(value, str):
        return encode(value)
    if isinstance(value, dict):
        return decode_base64(value)
    raise invalid(f"{quote(value)} in 'data' of input '{name}' is no BYTES: neither a string nor {{\"b64\": \"...\"}}")


def _from_bytes(content: bytes, shape: tuple[int, ...], name: str, dtype: tf.DType) -> Array:
    count = math.prod(shape)
    if dtype == tf.string:
        elements = _split(content, count, name)
        array = np.empty(count, object)
        for place in range(0, count, _PIECE):
            array[place : place + _PIECE] = elements[place : place + _PIECE]
        return array.reshape(shape)
    expected = count * dtype.size
    if len(content) != expected:
        raise invalid(
            f"'{BINARY_SIZE}' of input '{name}' is {len(content)}, but {datatype_of(dtype)} of shape {list(shape)} "
            f"has {expected} bytes"
        )
    if dtype == tf.bool:
        return np.frombuffer(content, np.uint8).astype(np.bool_).reshape(shape)
    kind = np.dtype(dtype.as_numpy_dtype).newbyteorder("<")
    return np.frombuffer(content, kind).astype(dtype.as_numpy_dtype).reshape(shape)


def _split(content: bytes, count: int, name: str) -> list[bytes]:
    elements: list[bytes] = []
    place = 0
    while place < len(content) and len(elements) < count:
        if len(elements) % _PIECE == _PIECE - 1:
            check()
        # A length that is cut off is longer than what is left, as is one that lies.
        size = int.from_bytes(content[place : place + 4], "little") if place + 4 <= len(content) else len(content)
        place += 4
        if size > len(content) - place:
            raise invalid(f"element {len(elements)} of input '{name}' is longer than the bytes that are left of it")
        elements.append(content[place : place + size])
        place += size
    if len(elements) != count or place != len(content):
        raise invalid(f"the bytes of input '{name}' are not the {count} elements of its shape")
    return elements


def _to_bytes(tensor: Array) -> bytes:
    if tensor.dtype == object:
        return b"".join(part for value in tensor.ravel().tolist() for part in (struct.pack("<I", len(value)), value))
    return tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()


def _to_json(name: str, tensor: Array) -> list[Any]:
    flat: list[Any] = tensor.tolist()
    if tensor.dtype == object:
        try:
            return [value.decode() for value in flat]
        except UnicodeDecodeError:
            raise invalid(f"output '{name}' holds bytes that are no UTF-8; ask for it with 'binary_data'") from None
    if tensor.dtype.kind != "f":
        return flat
    if tensor.dtype == np.float32:
        flat = [shorten_float(value) for value in flat]
    # JSON has no NaN and no infinity: kserve's server writes null, and its client reads nothing else (both by orjson).
    return [value if math.isfinite(value) else None for value in flat]
