"""JSON to tf.Examples, and classes and scores to JSON, for classify and regress requests.

After tensorflow_serving/util/json_tensor.cc and servables/tensorflow/classifier.cc. No model is run here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.document import check_decimal, decode_base64, encode, is_base64, quote, shorten_float, to_body, type_name
from serving.errors import ServingError, invalid
from serving.tensors import Array
from serving.turns import check

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
# So many are read at a time, before it is asked whether anybody still waits for them.
_CHECKED_EXAMPLES = 128


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


def write_classes(outputs: Mapping[str, Array], rows: int) -> bytes:
    """The body that answers a classify request: per row, pairs of label and score.

    Args:
      outputs: `classes` (strings [n, k]), `scores` (floats [n, k]) or both.
      rows: n.

    Raises:
      ServingError: the model's outputs have another shape or type.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, tensor, kind, type_text in (
        ("classes", classes, np.dtype(object), "DT_STRING"),
        ("scores", scores, np.dtype(np.float32), "DT_FLOAT"),
    ):
        if tensor is None:
            continue
        if tensor.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got [{','.join(map(str, tensor.shape))}]"
            )
        if tensor.dtype != kind:
            raise invalid(f"Expected {name} Tensor of {type_text}. Got: {tf.as_dtype(tensor.dtype).name}")
        if len(tensor) != rows:
            raise invalid(f"Expected {name} output batch size of {rows}. Got: {len(tensor)}")
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    columns = next(tensor.shape[1] for tensor in (classes, scores) if tensor is not None)
    results = [
        [
            [
                "" if classes is None else classes[row, column].decode("utf-8", "surrogateescape"),
                0.0 if scores is None else shorten_float(float(scores[row, column])),
            ]
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return to_body({"results": results})


def write_regressions(outputs: Mapping[str, Array], rows: int) -> bytes:
    """The body that answers a regress request: one number per row.

    Args:
      outputs: `outputs` (floats [n] or [n, 1]).
      rows: n.

    Raises:
      ServingError: the model's output has another shape or type.
    """
    tensor = outputs["outputs"]
    if tensor.dtype != np.float32 or tensor.shape not in ((rows,), (rows, 1)):
        raise invalid(
            f"Expected output Tensor of DT_FLOAT and shape [{rows}] or [{rows},1]. "
            f"Got: {tf.as_dtype(tensor.dtype).name} [{','.join(map(str, tensor.shape))}]"
        )
    return to_body({"results": [shorten_float(value) for value in tensor.ravel().tolist()]})


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
    elif isinstance(value, float) or abs(value) >= 2**64:
        check_decimal(value, tf.float32)
        kind, element = "float", value
    else:
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        if value < -(2**63):
            raise invalid(f"Feature: {name} has an element below int64's least.")
        kind, element = "int64", int(value)
    is_kind = feature.WhichOneof("kind")
    if is_kind not in (None, f"{kind}_list"):
        raise _mixed(name, is_kind.removesuffix("_list"))
    getattr(feature, f"{kind}_list").value.append(element)


def _mixed(name: str, kind: str) -> ServingError:
    return invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
