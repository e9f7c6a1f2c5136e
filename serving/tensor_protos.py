"""The tensors of gRPC messages, read and written as TensorFlow does it.

After tensorflow/core/framework/tensor.cc (`Tensor::FromProto`, `Tensor::AsProtoField`). No model is run here.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto

from serving.errors import ServingError, invalid
from serving.tensors import MAX_RANK, Array

_DIM = TensorShapeProto.Dim
# The field of a message that holds values of a type, one by one.
_FIELDS = {
    **dict.fromkeys((tf.half, tf.bfloat16), "half_val"),
    **dict.fromkeys((tf.dtypes.experimental.float8_e5m2, tf.dtypes.experimental.float8_e4m3fn), "float8_val"),
    **dict.fromkeys((tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32), "int_val"),
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.complex64: "scomplex_val",
    tf.complex128: "dcomplex_val",
    tf.string: "string_val",
}
_BY_NUMBER = {
    dtype.as_datatype_enum: (dtype, field, np.dtype(dtype.as_numpy_dtype)) for dtype, field in _FIELDS.items()
}
# Of the types that share one in NumPy, the first is the one that is written.
_BY_NUMPY = {kind: (number, field) for number, (_, field, kind) in reversed(_BY_NUMBER.items())}


def read_tensor(proto: TensorProto, name: str, max_bytes: int) -> Array:
    """The array that a message stands for.

    Its values come as `tensor_content` or one by one; of fewer than the shape has places, the last one fills the rest.

    Args:
      proto: the message.
      name: the input's, for messages.
      max_bytes: most bytes that a filled array may take, so that a small message does not become a large one.

    Raises:
      ServingError: it stands for none.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or len(shape) > MAX_RANK:
        raise _unreadable(name, f"a shape has up to {MAX_RANK} dimensions of 0 and more")
    count = math.prod(shape)
    if count >= 2**63:
        raise _unreadable(name, "its shape has too many places")
    if proto.dtype not in _BY_NUMBER:
        raise _unreadable(name, f"there are no values of type {proto.dtype}")
    dtype, field, kind = _BY_NUMBER[proto.dtype]
    if content := proto.tensor_content:
        if dtype == tf.string:
            return _objects(_split(content, count, name)).reshape(shape)
        if len(content) != count * kind.itemsize:
            raise _unreadable(name, f"tensor_content has {len(content)} bytes, its shape {count * kind.itemsize}")
        if dtype == tf.bool:
            # Whatever byte stands for it, true is 1.
            return np.not_equal(np.frombuffer(content, np.uint8), 0).reshape(shape)
        flat: Array = np.frombuffer(content, kind)
        return flat.reshape(shape)
    values = getattr(proto, field)
    places = count * 2 if kind.kind == "c" else count
    if len(values) < places:
        _check_size(values, count, kind, name, max_bytes)
    values = values[:places]
    flat = _objects(values) if dtype == tf.string else _numbers(values, field, kind)
    if len(flat) < count:
        rest: Any = flat[-1] if len(flat) else b"" if dtype == tf.string else kind.type(0)
        flat = np.concatenate([flat, np.full(count - len(flat), rest, kind)])
    return flat.reshape(shape)


def write_tensor(tensor: Array) -> TensorProto:
    """The message that stands for an array, its values one by one, as TensorFlow Serving writes them by default.

    Raises:
      ServingError: there is no message for its type.
    """
    if tensor.dtype not in _BY_NUMPY:
        raise ServingError("UNIMPLEMENTED", f"there is no message for a tensor of {tensor.dtype}")
    number, field = _BY_NUMPY[tensor.dtype]
    flat = tensor.ravel()
    if field == "half_val":
        flat = flat.view(np.uint16)
    elif field == "float8_val":
        flat = flat.view(np.uint8)
    elif tensor.dtype.kind == "c":
        flat = flat.view(flat.real.dtype)
    elif field == "int_val":
        flat = flat.astype(np.int32)
    shape = TensorShapeProto(dim=[_DIM(size=size) for size in tensor.shape])
    values = flat.tobytes() if field == "float8_val" else flat.tolist()
    return TensorProto(dtype=number, tensor_shape=shape, **{field: values})


def _unreadable(name: str, why: str) -> ServingError:
    return invalid(f"tensor parsing error: {name}: {why}")


def _check_size(values: Sequence[Any], count: int, kind: np.dtype[Any], name: str, max_bytes: int) -> None:
    size = count * kind.itemsize
    if kind.hasobject and len(values):
        size += count * len(values[-1])
    if size > max_bytes:
        raise _unreadable(
            name, f"{len(values)} values fill a shape that takes {size} bytes; at most {max_bytes} are filled, send all"
        )


def _numbers(values: Any, field: str, kind: np.dtype[Any]) -> Array:
    if field == "float8_val":
        return np.frombuffer(values, np.uint8).view(kind)
    if field == "half_val":
        return np.array(values, np.int64).astype(np.uint16).view(kind)
    if kind.kind == "c":
        parts = np.array(values, np.float32 if kind == np.complex64 else np.float64)
        return parts[: len(parts) // 2 * 2].view(kind)
    # A whole number that is too large for a narrow type keeps its low bits, as in C++.
    return np.array(values, np.int64).astype(kind) if field == "int_val" else np.array(values, kind)


def _objects(values: Sequence[bytes]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _split(content: bytes, count: int, name: str) -> list[bytes]:
    """The strings of TensorFlow's own form: all lengths, then all bytes (tensorflow/core/lib/core/coding.cc)."""
    # Each length takes a byte at least.
    broken = _unreadable(name, f"tensor_content holds no {count} strings")
    if count > len(content):
        raise broken
    lengths, place = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if place >= len(content) or shift > 63:
                raise broken
            byte = content[place]
            place += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if place + sum(lengths) != len(content):
        raise broken
    strings = []
    for length in lengths:
        strings.append(content[place : place + length])
        place += length
    return strings
