"""JSON to tf.Examples, and classes and scores to JSON, for classify and regress requests.

After tensorflow_serving/util/json_tensor.cc and servables/tensorflow/classifier.cc. No model is run here.
"""

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.decimals import write_decimals
from serving.document import decode_base64, encode, is_base64, is_integer, quote, to_double, type_name
from serving.errors import ServingError, invalid
from serving.model import DEFAULT_SIGNATURE, Model, Signature, check_type
from serving.tensors import Array
from serving.turns import check

# So many are read at a time, before it is asked whether anybody still waits for them.
_CHECKED_EXAMPLES = 128
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def read_examples(document: Mapping[str, Any]) -> Array:
    """The serialised tf.Examples of a request, the common `context` merged into each: bytes [n].

    Raises:
      ServingError: there are none, or a value fits no feature.
    """
    context = tf.train.Example()
    if "context" in document:
        context = _example(document["context"])
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {quote(document)} When method is classify, key 'examples' is expected and was not found"
        )
    rows = document["examples"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {quote(document)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {quote(document)} 'examples' value is an empty array")
    serialised = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        if number % _CHECKED_EXAMPLES == _CHECKED_EXAMPLES - 1:
            check()
        example = tf.train.Example()
        example.CopyFrom(context)
        example.MergeFrom(_example(row))
        serialised[number] = example.SerializeToString()
    return serialised


def find_signature(model: Model, name: str, method: str) -> Signature:
    """The signature that a classify or regress request asks for.

    TensorFlow Serving 2.16 does not look at the method that the signature names, unless told to by
    `--enable_signature_method_name_check` (tensorflow_serving/servables/tensorflow/classifier.cc, regressor.cc).

    Args:
      model: whose it is.
      name: the one that the request names; the default one if it is empty.
      method: `CLASSIFY` or `REGRESS`.

    Raises:
      ServingError: there is none, or it has other inputs or outputs than the method needs.
    """
    name = name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    definition = model.signature_defs.signature_def[name]
    kind = "classification" if method == CLASSIFY else "regression"
    outputs = signature.outputs
    if len(definition.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if method == CLASSIFY and not 1 <= len(outputs) <= 2:
        raise invalid(f"Expected one or two output Tensors, found {len(outputs)}")
    if method == REGRESS and len(outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {definition}")
    if method == CLASSIFY and not {"classes", "scores"} & set(outputs):
        raise invalid(
            "Expected classification signature outputs to contain at least one of "
            f'"classes" or "scores". Signature was: {definition}'
        )
    if method == REGRESS and "outputs" not in outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {definition}")
    check_type(signature, "inputs", tf.string)
    return signature


def check_classes(outputs: Mapping[str, Array], rows: int) -> tuple[Array | None, Array | None]:
    """The `classes` (strings [rows, k]) and `scores` (floats [rows, k]) among a model's outputs; one may be missing.

    Raises:
      ServingError: they have another shape or type.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, tensor, kind, type_text in (
        ("classes", classes, np.dtype(object), "DT_STRING"),
        ("scores", scores, np.dtype(np.float32), "DT_FLOAT"),
    ):
        if tensor is None:
            continue
        if tensor.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
        if tensor.dtype != kind:
            raise invalid(f"Expected {name} Tensor of {type_text}. Got: {_type_constant(tensor)}")
        if len(tensor) != rows:
            raise invalid(f"Expected {name} output batch size of {rows}. Got: {len(tensor)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    return classes, scores


def check_regressions(outputs: Mapping[str, Array], rows: int) -> Array:
    """The numbers among a model's outputs, one per row: floats [rows].

    Raises:
      ServingError: they have another shape or type.
    """
    tensor = outputs["outputs"]
    if tensor.ndim != 1 and (tensor.ndim != 2 or tensor.shape[1] != 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(tensor)
        )
    if len(tensor) != rows:
        raise invalid(f"Input batch size did not match output batch size: {rows} vs. {len(tensor)}")
    if tensor.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type_constant(tensor)}")
    return tensor.ravel()


def write_classes(outputs: Mapping[str, Array], rows: int) -> bytes:
    """The body that answers a classify request of so many rows: per row, pairs of label and score.

    Raises:
      ServingError: the model's outputs are no classes.
    """
    classes, scores = check_classes(outputs, rows)
    if not rows:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    count = next(tensor.shape[1] for tensor in (classes, scores) if tensor is not None)
    labels = ['""'] * (rows * count) if classes is None else [_write_label(label) for label in classes.ravel()]
    numbers = ["0.0"] * (rows * count) if scores is None else write_decimals(scores)
    pairs = [f"[{label},{number}]" for label, number in zip(labels, numbers, strict=True)]
    return _to_body(f"[{','.join(pairs[row * count : (row + 1) * count])}]" for row in range(rows))


def write_regressions(outputs: Mapping[str, Array], rows: int) -> bytes:
    """The body that answers a regress request of so many rows: one number per row.

    Raises:
      ServingError: the model's outputs are no numbers.
    """
    numbers = check_regressions(outputs, rows)
    if not rows:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return _to_body(write_decimals(numbers))


def _write_label(label: bytes) -> str:
    return encode_basestring(label.decode("utf-8", "surrogateescape"))


def _type_constant(tensor: Array) -> str:
    """The name of a tensor's type, such as `DT_FLOAT`."""
    dtype = tf.string if tensor.dtype == object else tf.as_dtype(tensor.dtype)
    return str(types_pb2.DataType.Name(dtype.as_datatype_enum))


def _to_body(results: Iterable[str]) -> bytes:
    return f'{{"results":[{",".join(results)}]}}'.encode("utf-8", "surrogateescape")


def _shape(tensor: Array) -> str:
    return f"[{','.join(map(str, tensor.shape))}]"


def _example(value: Any) -> tf.train.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = tf.train.Example()
    for name, content in value.items():
        if not _is_text(name):
            raise invalid("JSON Parse error: Invalid encoding in string.")
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add_value(element, name, feature)
    return example


def _is_text(name: str) -> bool:
    # A feature's name, unlike its values, must be UTF-8.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _add_value(value: Any, name: str, feature: tf.train.Feature) -> None:
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    element: bytes | float
    if isinstance(value, str | dict):
        kind, element = "bytes", encode(value) if isinstance(value, str) else decode_base64(value)
    elif isinstance(value, float) or not is_integer(value):
        with np.errstate(over="ignore"):
            kind, element = "float", float(np.float32(to_double(value)))
    else:
        kind, element = "int64", int(value)
    is_kind = feature.WhichOneof("kind")
    if is_kind not in (None, f"{kind}_list"):
        raise _mixed(name, is_kind.removesuffix("_list"))
    if kind == "int64" and value >= 2**63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    getattr(feature, f"{kind}_list").value.append(element)


def _mixed(name: str, kind: str) -> ServingError:
    return invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
