"""The tensors of a predict request and of its answer, by TensorFlow Serving's rules and with its messages.

After tensorflow_serving/util/json_tensor.cc. No model is run here and no HTTP is spoken.
"""

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.document import (
    FLOAT_LIMITS,
    check_decimal,
    decode_base64,
    encode,
    is_base64,
    quote,
    shorten_float,
    to_body,
    type_name,
)
from serving.errors import ServingError, invalid

# NumPy's limit; TensorFlow's is 254.
MAX_RANK = 32

_INT_RANGES = {
    tf.int8: (-(2**31), 2**31 - 1),
    tf.uint8: (-(2**31), 2**31 - 1),
    tf.int16: (-(2**31), 2**31 - 1),
    tf.int32: (-(2**31), 2**31 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint64: (0, 2**64 - 1),
}
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
    if not as_rows:
        columns = {name: _to_json(name, tensor) for name, tensor in outputs.items()}
        return to_body({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    rows = -1
    for name, tensor in outputs.items():
        if not tensor.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if rows >= 0 and rows != len(tensor):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(tensor)} expecting: {rows}")
        rows = len(tensor)
    columns = {name: _to_json(name, tensor) for name, tensor in outputs.items()}
    if len(columns) == 1:
        return to_body({"predictions": next(iter(columns.values()))})
    names = tuple(columns)
    return to_body({"predictions": [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]})


def _type_error(value: object, dtype: tf.DType) -> ServingError:
    names = {tf.float32: "float", tf.float64: "double"}
    return invalid(
        f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {names.get(dtype, dtype.name)}"
    )


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
    if dtype in FLOAT_LIMITS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _type_error(value, dtype)
        check_decimal(value, dtype)
        return float(value)
    if dtype in _INT_RANGES:
        low, high = _INT_RANGES[dtype]
        if type(value) is not int or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {quote(value)} to type: {dtype.name}")


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
    for element in value:
        _flatten(element, level + 1, shape, dtype, flat)


def _tensor(name: str, flat: list[Any], shape: tuple[int, ...], dtype: tf.DType) -> Array:
    if len(shape) > MAX_RANK:
        raise invalid(f"tensor parsing error: {name}")
    if dtype in (tf.int8, tf.uint8, tf.int16):
        # Read as int32, then narrowed, as TensorFlow does.
        return np.array(flat, np.int64).astype(dtype.as_numpy_dtype).reshape(shape)
    return np.array(flat, dtype.as_numpy_dtype).reshape(shape)


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
        raise invalid(f"JSON Value: {quote(document)} Excepting 'instances' to be an list/array")
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


def _to_json(name: str, tensor: Array) -> Any:
    """A tensor as nested lists."""
    if tensor.dtype == np.float32:
        flat: list[Any] = [shorten_float(value) for value in tensor.ravel().tolist()]
    elif tensor.dtype == object:
        as_bytes = name.endswith("_bytes")
        flat = [
            {"b64": base64.b64encode(value).decode()} if as_bytes else value.decode("utf-8", "surrogateescape")
            for value in tensor.ravel().tolist()
        ]
    elif tensor.dtype in (np.float64, np.bool_) or tensor.dtype.kind in "iu":
        return tensor.tolist()
    else:
        raise invalid(f"Failed to write JSON value for tensor type: {tf.as_dtype(tensor.dtype).name}")
    return _nest(flat, tensor.shape)


def _nest(flat: list[Any], shape: tuple[int, ...]) -> Any:
    if len(shape) == 1:
        return flat
    if not shape:
        return flat[0]
    size = math.prod(shape[1:])
    return [_nest(flat[index * size : (index + 1) * size], shape[1:]) for index in range(shape[0])]
