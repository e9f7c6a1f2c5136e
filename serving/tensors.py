"""The tensors of a predict request and of its answer, by TensorFlow Serving's rules and with its messages.

After tensorflow_serving/util/json_tensor.cc. No model is run here and no HTTP is spoken.
"""

import base64
import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.decimals import write_decimals
from serving.document import decode_base64, dtype_name, encode, is_base64, quote, to_double, type_name
from serving.errors import ServingError, invalid
from serving.turns import check

# NumPy's limit; TensorFlow's is 254.
MAX_RANK = 32
# To write more takes some milliseconds.
_MANY_VALUES = 512
# So much is read or written at a time, before it is asked whether anybody still waits for it.
_CHECKED_VALUES, _CHECKED_ROWS = 4096, 512

_INT_RANGES = {
    tf.int8: (-(2**31), 2**31 - 1),
    tf.uint8: (-(2**31), 2**31 - 1),
    tf.int16: (-(2**31), 2**31 - 1),
    tf.int32: (-(2**31), 2**31 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint64: (0, 2**64 - 1),
}
_FLOATS = (tf.float32, tf.float64)
Inputs = Mapping[str, tf.DType]
Array = NDArray[Any]
Tensors = dict[str, Array]


def read_inputs(document: Mapping[str, Any], inputs: Inputs, signature_name: str) -> tuple[Tensors, bool]:
    """The input tensors of a predict request.

    Args:
      document: the request.
      inputs: name and type of each input of the signature.
      signature_name: the one that the request names, for messages.

    Returns:
      One tensor per input, and whether they came as rows (`instances`) rather than as columns (`inputs`).

    Raises:
      ServingError: a value is missing, too many, ragged or of the wrong type.
    """
    if not inputs:
        raise invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    try:
        if "instances" in document:
            if "inputs" in document:
                raise invalid(
                    f"JSON Value: {quote(document)} Not formatted correctly expecting only"
                    " one of 'inputs' or 'instances' keys to exist "
                )
            return _read_rows(document, inputs), True
        if "inputs" in document:
            return _read_columns(document["inputs"], inputs), False
    except RecursionError:
        raise invalid("JSON Parse error: Nested too deeply.") from None
    raise invalid("Missing 'inputs' or 'instances' key")


def write_outputs(outputs: Tensors, as_rows: bool) -> bytes:
    """The body that answers a predict request.

    Args:
      outputs: the tensors by name.
      as_rows: whether they become `predictions`, a value or an object per row, or `outputs`, a value or an object of
        columns.

    Raises:
      ServingError: rows are asked for and the tensors do not agree on how many there are, or a type has no JSON.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if not as_rows:
        columns = {
            name: f"[{','.join(_write_rows(name, tensor))}]" if tensor.ndim else _write(name, tensor)[0]
            for name, tensor in outputs.items()
        }
        return _to_body("outputs", _object(columns) if len(columns) > 1 else next(iter(columns.values())))
    size = -1
    for name, tensor in outputs.items():
        if not tensor.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size >= 0 and size != len(tensor):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(tensor)} expecting: {size}")
        size = len(tensor)
    by_name = {name: _write_rows(name, tensor) for name, tensor in outputs.items()}
    rows = next(iter(by_name.values()))
    if len(by_name) > 1:
        # Each value after its name, once for all rows.
        columns_of_rows = [[f"{encode_basestring(name)}:{text}" for text in texts] for name, texts in by_name.items()]
        rows = [f"{{{','.join(values)}}}" for values in zip(*columns_of_rows, strict=True)]
    return _to_body("predictions", f"[{','.join(rows)}]")


def is_long(outputs: Tensors) -> bool:
    """Whether writing tensors takes long, in whatever form."""
    return any(tensor.size > _MANY_VALUES for tensor in outputs.values())


def _type_error(value: object, dtype: tf.DType) -> ServingError:
    return invalid(f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {dtype_name(dtype)}")


def _read_scalar(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        if isinstance(value, dict):
            return decode_base64(value)
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return encode(value)
    if dtype == tf.bool:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype in _FLOATS:
        # Any number: a float takes the nearest of its own, which may be zero or infinite.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _type_error(value, dtype)
        return to_double(value)
    if dtype in _INT_RANGES:
        low, high = _INT_RANGES[dtype]
        if type(value) is not int or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {dtype_name(dtype)}")


def _shape(value: object) -> tuple[int, ...]:
    """The shape that the first element of each level promises."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _flatten(value: Any, level: int, shape: tuple[int, ...], dtype: tf.DType, flat: list[Any]) -> None:
    """Appends the scalars of a nested list to `flat`, in order, if it has this shape everywhere."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1}"
                f" in the JSON DOM. Expected at level: {len(shape)}"
            )
        flat.append(_read_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for start in range(0, len(value), _CHECKED_VALUES):
        if start:
            check()
        for element in value[start : start + _CHECKED_VALUES]:
            _flatten(element, level + 1, shape, dtype, flat)


def _tensor(name: str, flat: list[Any], shape: tuple[int, ...], dtype: tf.DType) -> Array:
    if len(shape) > MAX_RANK:
        raise invalid(f"tensor parsing error: {name}")
    if dtype in (tf.int8, tf.uint8, tf.int16):
        # Read as int32, then narrowed, as TensorFlow does.
        return _array(flat, np.int64).astype(dtype.as_numpy_dtype).reshape(shape)
    with np.errstate(over="ignore"):
        return _array(flat, dtype.as_numpy_dtype).reshape(shape)


def _array(flat: list[Any], dtype: Any) -> Array:
    """As `np.array`, which holds the interpreter until all values are converted."""
    if len(flat) <= _CHECKED_VALUES:
        return np.array(flat, dtype)
    array = np.empty(len(flat), dtype)
    for start in range(0, len(flat), _CHECKED_VALUES):
        array[start : start + _CHECKED_VALUES] = np.array(flat[start : start + _CHECKED_VALUES], dtype)
    return array


def _read_columns(value: Any, inputs: Inputs) -> Tensors:
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    tensors = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        flat: list[Any] = []
        shape = _shape(value[name])
        _flatten(value[name], 0, shape, dtype, flat)
        tensors[name] = _tensor(name, flat, shape, dtype)
    return tensors


def _read_rows(document: Mapping[str, Any], inputs: Inputs) -> Tensors:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {quote(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {quote(document)} No values in 'instances' array")
    if len(inputs) > 1 and not isinstance(rows[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    by_name = isinstance(rows[0], dict) and not is_base64(rows[0])
    only = next(iter(inputs))
    flat: dict[str, list[Any]] = {name: [] for name in inputs}
    shapes: dict[str, tuple[int, ...]] = {}
    for number, row in enumerate(rows):
        if number % _CHECKED_ROWS == _CHECKED_ROWS - 1:
            check()
        if (isinstance(row, dict) and not is_base64(row)) != by_name:
            raise invalid(
                f"Expecting object but got list at item {number} of input list"
                if by_name
                else f"Expecting value/list but got object at item {number} of input list"
            )
        for name, value in row.items() if by_name else ((only, row),):
            try:
                _add_row(value, name, inputs, flat, shapes)
            except ServingError as error:
                key = f" key: {name}" if by_name else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of 'instances' list. "
                    f"Error: {error.code}: {error.message}"
                ) from None
        if by_name and row.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {quote(row)}"
                f" keys must be equal to: {','.join(sorted(inputs))}"
            )
    if missing := sorted(inputs.keys() - shapes.keys()):
        # A `{"b64": ...}` is a value, though an object, and so is taken for that of one input.
        raise invalid(
            f"input size does not match signature: {len(shapes)}!={len(inputs)} len({{{only}}}) != "
            f"len({{{','.join(sorted(inputs))}}}). Sent extra: {{}}. Missing but required: {{{','.join(missing)}}}."
        )
    return {name: _tensor(name, flat[name], (len(rows), *shapes[name]), dtype) for name, dtype in inputs.items()}


def _add_row(
    value: Any, name: str, inputs: Inputs, flat: dict[str, list[Any]], shapes: dict[str, tuple[int, ...]]
) -> None:
    if name not in inputs:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    before = len(flat[name])
    _flatten(value, 0, shape, inputs[name], flat[name])
    expected = shapes.setdefault(name, shape)
    if math.prod(expected) != len(flat[name]) - before:
        raise invalid(f"Expecting tensor size: {math.prod(expected)} but got: {len(flat[name]) - before}")
    if expected != shape:
        raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _write(name: str, tensor: Array) -> list[str]:
    """The texts of the values of a tensor, in order."""
    dtype = tf.as_dtype(tensor.dtype) if tensor.dtype != object else tf.string
    if dtype in _FLOATS:
        return write_decimals(tensor)
    flat = tensor.ravel().tolist()
    if dtype == tf.string:
        if name.endswith("_bytes"):
            return [f'{{"b64":"{base64.b64encode(value).decode()}"}}' for value in flat]
        return [encode_basestring(value.decode("utf-8", "surrogateescape")) for value in flat]
    if dtype == tf.bool:
        return ["true" if value else "false" for value in flat]
    if dtype in _INT_RANGES:
        return [str(value) for value in flat]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(dtype)}")


def _write_rows(name: str, tensor: Array) -> list[str]:
    """The text of each row of a tensor, some rows at a time."""
    step = max(1, _CHECKED_VALUES // max(1, math.prod(tensor.shape[1:])))
    rows: list[str] = []
    for start in range(0, len(tensor), step):
        if start:
            check()
        part = tensor[start : start + step]
        rows += _join(_write(name, part), part.shape)
    return rows


def _join(texts: list[str], shape: tuple[int, ...]) -> list[str]:
    """The rows of a tensor of this shape as nested arrays, of the texts of its values."""
    for level in range(len(shape) - 1, 0, -1):
        size = shape[level]
        texts = [f"[{','.join(texts[index * size : (index + 1) * size])}]" for index in range(math.prod(shape[:level]))]
    return texts


def _object(texts: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{encode_basestring(name)}:{text}' for name, text in texts.items())}}}"


def _to_body(key: str, text: str) -> bytes:
    return f'{{"{key}":{text}}}'.encode("utf-8", "surrogateescape")
