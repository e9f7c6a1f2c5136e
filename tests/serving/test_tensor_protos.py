"""Tensors of messages: every type, both ways of writing values, and shapes that lie."""

from contextlib import suppress

import numpy as np
import pytest
import tensorflow as tf
from allocations import measure_peak
from tensorflow.core.framework.tensor_pb2 import TensorProto

from serving.errors import ServingError
from serving.tensor_protos import read_tensor, write_tensor

MAX_BYTES = 1 << 20
FLOAT8 = (tf.dtypes.experimental.float8_e5m2, tf.dtypes.experimental.float8_e4m3fn)
NUMBERS = (
    *(tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128, tf.bool),
    *(tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.uint32, tf.int64, tf.uint64),
    *FLOAT8,
)


def make_proto(dtype: tf.DType, *sizes: int, **values: object) -> TensorProto:
    proto = TensorProto(dtype=dtype.as_datatype_enum, **values)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
def test_every_type_of_number_is_read_and_written(dtype: tf.DType) -> None:
    array = np.array([[0, 1, 1], [1, 0, 3]]).astype(dtype.as_numpy_dtype)
    by_value = write_tensor(array)
    assert np.array_equal(tf.make_ndarray(by_value), array)
    by_content = make_proto(dtype, 2, 3, tensor_content=array.tobytes())
    for proto in (by_value, by_content):
        read = read_tensor(proto, "x", MAX_BYTES)
        assert read.dtype == array.dtype
        assert np.array_equal(read, array)


def test_strings_are_read_and_written_as_bytes() -> None:
    array = np.array([[b"\xff"], [b""]], object)
    assert read_tensor(write_tensor(array), "x", MAX_BYTES).tolist() == array.tolist()
    # tensorflow/core/framework/tensor.cc, `Helper<tstring>::Decode`: all lengths, then all bytes.
    content = make_proto(tf.string, 2, tensor_content=b"\x03\x81\x01abc" + b"d" * 129)
    assert read_tensor(content, "x", MAX_BYTES).tolist() == [b"abc", b"d" * 129]


def test_the_last_value_fills_a_shape_and_surplus_ones_are_left_out() -> None:
    # `FromProtoField` of tensorflow/core/framework/tensor.cc.
    assert read_tensor(make_proto(tf.float32, 2, 2, float_val=[1, 2]), "x", MAX_BYTES).tolist() == [[1, 2], [2, 2]]
    assert read_tensor(make_proto(tf.int64, 2), "x", MAX_BYTES).tolist() == [0, 0]
    assert read_tensor(make_proto(tf.string, 2), "x", MAX_BYTES).tolist() == [b"", b""]
    assert read_tensor(make_proto(tf.string, 3, string_val=[b"a", b"b"]), "x", MAX_BYTES).tolist() == [b"a", b"b", b"b"]
    assert read_tensor(make_proto(tf.int32, 1, int_val=[1, 2]), "x", MAX_BYTES).tolist() == [1]
    assert read_tensor(make_proto(tf.complex64, 2, scomplex_val=[1, 2]), "x", MAX_BYTES).tolist() == [1 + 2j, 1 + 2j]
    assert read_tensor(make_proto(tf.half, 2, half_val=[0x3C00]), "x", MAX_BYTES).tolist() == [1, 1]
    assert read_tensor(make_proto(tf.float32, 0, 3), "x", MAX_BYTES).shape == (0, 3)
    assert read_tensor(make_proto(tf.float32, float_val=[1]), "x", MAX_BYTES).shape == ()
    assert read_tensor(make_proto(tf.bool, 2, tensor_content=b"\x02\x00"), "x", MAX_BYTES).view(np.uint8).tolist() == [
        1,
        0,
    ]


LIES = [
    make_proto(tf.float32, 1 << 40, float_val=[1]),
    make_proto(tf.float32, 1 << 40),
    make_proto(tf.float32, *[1 << 62] * 4, float_val=[1]),
    make_proto(tf.float32, -1, float_val=[1]),
    make_proto(tf.float32, 0, -1),
    make_proto(tf.float32, *[1] * 255, float_val=[1]),
    make_proto(tf.string, 1 << 30, string_val=[b"a"]),
    make_proto(tf.string, 100, string_val=[b"a" * 20_000]),
    make_proto(tf.string, 1 << 40, tensor_content=b"\x01a"),
    make_proto(tf.string, 2, tensor_content=b"\x01\x05ab"),
    make_proto(tf.string, 1, tensor_content=b"\xff" * 20),
    make_proto(tf.float32, 1 << 40, tensor_content=b"1234"),
    make_proto(tf.float32, 2, tensor_content=b"1234"),
    make_proto(tf.resource, 1),
    make_proto(tf.variant, 1),
    make_proto(tf.qint8, 1, int_val=[1]),
    TensorProto(dtype=101, float_val=[1]),
    TensorProto(dtype=999),
    TensorProto(),
]


@pytest.mark.parametrize("proto", LIES, ids=lambda proto: str(proto)[:40])
def test_a_tensor_that_lies_is_refused(proto: TensorProto) -> None:
    with pytest.raises(ServingError, match=r"^tensor parsing error: x: ") as caught:
        read_tensor(proto, "x", MAX_BYTES)
    assert caught.value.code == "INVALID_ARGUMENT"


def read_all_lies() -> None:
    for proto in LIES:
        with suppress(ServingError):
            read_tensor(proto, "x", MAX_BYTES)


def test_a_tensor_that_lies_is_refused_without_being_made() -> None:
    assert measure_peak(read_all_lies) < MAX_BYTES


def test_an_unknown_rank_is_refused() -> None:
    proto = make_proto(tf.float32, float_val=[1])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ServingError, match="tensor parsing error"):
        read_tensor(proto, "x", MAX_BYTES)


def test_a_type_without_a_message_is_refused() -> None:
    with pytest.raises(ServingError, match="there is no message for a tensor of"):
        write_tensor(np.array(["2022-02-01"], "datetime64[D]"))
