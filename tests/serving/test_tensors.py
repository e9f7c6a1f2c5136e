"""Values of every type, by the rules of `AddValueToTensor` and `AddSingleValueAndAdvance` in json_tensor.cc."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.document import parse_json
from serving.errors import ServingError
from serving.tensors import read_inputs, write_outputs


def read(dtype: tf.DType, values: str) -> Any:
    tensors, _ = read_inputs(parse_json(f'{{"inputs": {values}}}'.encode()), {"x": dtype}, "")
    return tensors["x"]


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        # Read as int32, and then narrowed as a C++ cast does it.
        (tf.int8, "[300, -129]", [44, 127]),
        (tf.uint8, "[-1, 256]", [255, 0]),
        (tf.int16, "[32768]", [-32768]),
        (tf.int32, "[-2147483648, 2147483647, -0]", [-(2**31), 2**31 - 1, 0]),
        (tf.uint32, "[4294967295]", [2**32 - 1]),
        (tf.int64, "[-9223372036854775808, 9223372036854775807]", [-(2**63), 2**63 - 1]),
        (tf.uint64, "[18446744073709551615]", [2**64 - 1]),
        (tf.float64, "[9007199254740993, 18446744073709551616, 5]", [2.0**53, 2.0**64, 5.0]),
        (tf.float32, "[16777217, 123456789012345678901234567890]", [2.0**24, float(np.float32(1.2345679e29))]),
        (tf.bool, "[true, false]", [True, False]),
        (tf.float32, "[[], []]", [[], []]),
        (tf.int32, "7", 7),
    ],
)
def test_a_value_is_read_as_its_type(dtype: tf.DType, text: str, value: Any) -> None:
    tensor = read(dtype, text)
    assert tensor.tolist() == value
    assert tensor.dtype == dtype.as_numpy_dtype


@pytest.mark.parametrize(
    ("dtype", "text", "message"),
    [
        (tf.int8, "[2147483648]", "JSON Value: 2147483648 Type: Number is not of expected type: int8"),
        (tf.int32, "[5.0]", "JSON Value: 5.0 Type: Number is not of expected type: int32"),
        (tf.uint32, "[-1]", "JSON Value: -1 Type: Number is not of expected type: uint32"),
        (
            tf.uint64,
            "[18446744073709551616]",
            "JSON Value: 1.84467441e+19 Type: Number is not of expected type: uint64",
        ),
        (tf.int64, "[1e40]", "JSON Value: 1e+40 Type: Number is not of expected type: int64"),
        (tf.string, "[NaN]", "JSON Value: NaN Type: Number is not of expected type: string"),
        (tf.float64, '["1"]', 'JSON Value: "1" Type: String is not of expected type: double'),
        (tf.bool, "[1]", "JSON Value: 1 Type: Number is not of expected type: bool"),
        (tf.float32, f"[{'9' * 400}]", "JSON Parse error: Number too big to be stored in double."),
    ],
)
def test_a_value_of_another_type_is_refused(dtype: tf.DType, text: str, message: str) -> None:
    with pytest.raises(ServingError) as raised:
        read(dtype, text)
    assert (raised.value.code, raised.value.message) == ("INVALID_ARGUMENT", message)


def test_some_types_have_no_json() -> None:
    with pytest.raises(ServingError) as raised:
        read(tf.float16, "[1]")
    assert (raised.value.code, raised.value.message) == ("UNIMPLEMENTED", "Conversion of JSON Value: 1 to type: half")
    for dtype, name in ((np.uint16, "uint16"), (np.float16, "half"), (np.complex128, "complex128")):
        with pytest.raises(ServingError, match=f"Failed to write JSON value for tensor type: {name}"):
            write_outputs({"x": np.zeros(1, dtype)}, as_rows=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        (" aGV\\nsbG8 = ", b"hello"),
        ("aA..", b"h"),
        ("", b""),
        ("aGVsbG8==", None),
        ("aA=", None),
        ("a", None),
        ("aGVs!G8=", None),
        ("aGVs\\u00a0bG8=", None),
        ("-_8=", None),
    ],
)
def test_base64_is_read_as_absl_reads_it(text: str, value: bytes | None) -> None:
    # Base64UnescapeInternal of abseil-cpp's absl/strings/escaping.cc.
    if value is not None:
        assert read(tf.string, f'{{"b64": "{text}"}}') == value
        return
    with pytest.raises(ServingError, match=r"^Unable to base64 decode$"):
        read(tf.string, f'{{"b64": "{text}"}}')


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (np.array([[1, 2], [3, 4]], np.uint64), "[[1,2],[3,4]]"),
        (np.array([-1], np.int8), "[-1]"),
        (np.array([True, False]), "[true,false]"),
        (np.array([b'a"\n', b"\xff"], object), '["a\\"\\n","\udcff"]'),
        (np.zeros((2, 0, 3), np.float32), "[[],[]]"),
        (np.array(12, np.float64), "12.0"),
    ],
)
def test_a_tensor_is_written_by_its_type_and_shape(tensor: Any, text: str) -> None:
    assert write_outputs({"x": tensor}, as_rows=False).decode("utf-8", "surrogateescape") == f'{{"outputs":{text}}}'


def test_many_rows_are_written_as_few_are() -> None:
    outputs = {"label": np.array([b"bom"] * 9_000, object), "pair": np.full((9_000, 2), 0.5, np.float32)}
    row = '{"label":"bom","pair":[0.5,0.5]}'
    assert write_outputs(outputs, as_rows=True).decode() == f'{{"predictions":[{",".join([row] * 9_000)}]}}'
    columns = '{"label":[' + ",".join(['"bom"'] * 9_000) + '],"pair":[' + ",".join(["[0.5,0.5]"] * 9_000) + "]}"
    assert write_outputs(outputs, as_rows=False).decode() == f'{{"outputs":{columns}}}'
