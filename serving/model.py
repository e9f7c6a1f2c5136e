"""One loaded SavedModel: its signatures, ready to run, and what travels beside it in `assets.extra`."""

import errno
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.document import dtype_name
from serving.errors import ServingError, invalid
from serving.graphs import takes_any_shape
from serving.related import RelatedIndex, RelatedIndexError
from serving.tensors import Array, Tensors

log = logging.getLogger(__name__)

DEFAULT_SIGNATURE = "serving_default"
EXTRAS = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"
ABOUT_FILE = "model.json"
RELATED_FOLDER = "related"

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_MAX_WARMUP_RECORDS = 1000
_PREFIX = re.compile(r"^(Graph execution error:\s+|\{\{function_node [^}]*\}\}\s*)+")
# Versions that the nightly pipeline pushes are YYYYMMDDRR: the night and a revision.
_REVISIONS = 100


class LoadError(Exception):
    """A version that cannot be served; `code` is TensorFlow's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What an error of Python's means, with the code that TensorFlow has for it."""
        code = "INTERNAL"
        if isinstance(error, MemoryError):
            code = "RESOURCE_EXHAUSTED"
        elif isinstance(error, OSError):
            # TensorFlow's own for a file that it cannot parse has no number.
            code = _ERRNO_CODES.get(error.errno, "UNAVAILABLE") if error.errno else code
        return cls(code, f"{type(error).__name__}: {error}")


_ERRNO_CODES = {
    errno.EACCES: "PERMISSION_DENIED",
    errno.EPERM: "PERMISSION_DENIED",
    errno.ENOMEM: "RESOURCE_EXHAUSTED",
    errno.EMFILE: "RESOURCE_EXHAUSTED",
    errno.ENFILE: "RESOURCE_EXHAUSTED",
}


@dataclass(frozen=True)
class Signature:
    """What one signature of a model takes and gives.

    Attributes:
      name: what requests call it.
      method: `tensorflow/serving/predict`, `.../classify` or `.../regress`.
      inputs: types by name; empty if there are none, or they are no plain tensors.
      outputs: names, sorted.
      by_rows: whether every input and output has a first dimension of any size, so that requests may be run together.
    """

    name: str
    method: str
    inputs: Mapping[str, tf.DType]
    outputs: tuple[str, ...]
    by_rows: bool
    _shapes: Mapping[str, tuple[int, ...] | None]
    _call: Callable[..., list[Array]]

    def run(self, inputs: Tensors) -> Tensors:
        """Runs the model.

        Raises:
          ServingError: TensorFlow's own error.
        """
        for name, tensor in inputs.items():
            # Fed as it is, a wrong shape is the first operation's to mind; some end the process over it, such as
            # tensorflow/tensorflow#125505.
            if not _fits(tensor.shape, self._shapes[name]):
                raise invalid(
                    f"Cannot feed value of shape {tensor.shape} for {name}, which has shape {self._shapes[name]}"
                )
        try:
            values = self._call(*(inputs[name] for name in self.inputs))
        except tf.errors.OpError as error:
            raise ServingError(*_explain(error)) from None
        return {name: _as_array(value) for name, value in zip(self.outputs, values, strict=True)}


class Model:
    """A version of the model, in memory and warm.

    Its session ends when nothing refers to it any more: the last request that uses it is then answered.

    Attributes:
      version: its number.
      signatures: by name.
      signature_defs: the same, as the SavedModel has them.
      about: what the push wrote down about it; empty if nothing.
      related: the headlines it was trained on, or None.
      loaded_at: UTC.
    """

    def __init__(self, path: Path, version: int) -> None:
        """Loads a SavedModel and sends its warm-up requests through it.

        Args:
          path: the folder of the SavedModel.
          version: its number.

        Raises:
          LoadError: it cannot be served.
        """
        self.version = version
        try:
            is_there = is_saved_model(path)
        except OSError as error:
            raise LoadError.of(error) from None
        if not is_there:
            raise LoadError(
                "NOT_FOUND", f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
            )
        # As many threads as one request needs: it runs on the thread that asks, and the others stay free.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        # It saves nothing on a CPU, and its cost model logs a warning per operation that it cannot price
        # (tensorflow/tensorflow#50575).
        config.graph_options.rewrite_options.memory_optimization = rewriter_config_pb2.RewriterConfig.NO_MEM_OPT
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            with session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(path))
            definitions = meta_graph.signature_def
            self.signatures = {name: _signature(session, name, definitions[name]) for name in sorted(definitions)}
            self.signature_defs = SignatureDefMap(signature_def=definitions)
            self._definitions = {name: _describe(definitions[name]) for name in sorted(definitions)}
            _warm_up(self.signatures, path / EXTRAS / WARMUP_FILE)
        except tf.errors.OpError as error:
            session.close()
            raise LoadError(*_explain(error)) from None
        except ServingError as error:
            session.close()
            raise LoadError(error.code, f"a warm-up request failed: {error.message}") from None
        except Exception as error:
            session.close()
            raise LoadError.of(error) from error
        self.about = _read_about(path / EXTRAS / ABOUT_FILE)
        self.related, self.related_problem = _read_related(path / EXTRAS / RELATED_FOLDER)
        self.loaded_at = datetime.now(UTC)

    @property
    def night(self) -> str | None:
        """The night the model was trained for, `YYYY-MM-DD`; None if neither the push nor the version says it."""
        try:
            return str(self.about.get("night") or datetime.strptime(str(self.version // _REVISIONS), "%Y%m%d").date())
        except ValueError:
            return None

    @property
    def metadata(self) -> dict[str, Any]:
        """The signature definitions, as TensorFlow Serving's metadata shows them."""
        return {"signature_def": {"signature_def": self._definitions}}

    def find_signature(self, name: str) -> Signature:
        """The signature of this name, the default one if it is empty.

        Raises:
          ServingError: there is none.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]


def check_type(signature: Signature, name: str, dtype: tf.DType) -> None:
    """Refuses a tensor of another type than the signature takes, in TensorFlow's words.

    Here, so that it is run with no others: joined, `float16` and `float32` would become what the model takes.

    Raises:
      ServingError: it is of another type.
    """
    expected = signature.inputs[name]
    if dtype != expected:
        number = list(signature.inputs).index(name)
        raise invalid(f"Expects arg[{number}] to be {dtype_name(expected)} but {dtype_name(dtype)} is provided")


# What was run for a request: the model that answered, its signature, the inputs and the outputs.
Run = tuple[Model, Signature, Tensors, Tensors]


def is_saved_model(path: Path) -> bool:
    """Whether a folder looks like a SavedModel."""
    return any((path / name).is_file() for name in _SAVED_MODEL_FILES)


_CODES = {
    getattr(tf.errors, name): name
    for name in (
        "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    )
}  # fmt: skip


def _explain(error: tf.errors.OpError) -> tuple[str, str]:
    # The runtime's message, without Python's words and the names of functions that it puts before it.
    return _CODES.get(error.error_code, "UNKNOWN"), _PREFIX.sub("", error.message)


def _as_array(value: Any) -> Array:
    # TensorFlow gives a string scalar as bytes.
    return np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)


def _signature(session: tf.compat.v1.Session, name: str, definition: Any) -> Signature:
    tensors = [*definition.inputs.values(), *definition.outputs.values()]
    # Beside the model's there is one for its initialisation, whose output is an operation, of no type.
    dense = bool(definition.outputs) and all(tensor.name and tensor.dtype for tensor in tensors)
    inputs = {key: tf.as_dtype(definition.inputs[key].dtype) for key in sorted(definition.inputs)} if dense else {}
    outputs = tuple(sorted(definition.outputs))

    def refuse(*_: object) -> list[Array]:
        raise invalid(f"Failed to get input map for signature: {name}")

    call = refuse
    if dense:
        # The public make_callable looks every name up again on each call, which takes as long as a third of the model
        # (no issue known).
        call = session._make_callable_from_options(
            config_pb2.CallableOptions(
                feed=[definition.inputs[key].name for key in inputs],
                fetch=[definition.outputs[key].name for key in outputs],
            )
        )
    of_any_shape = dense and takes_any_shape(
        session.graph,
        [tensor.name for tensor in definition.inputs.values()],
        [tensor.name for tensor in definition.outputs.values()],
    )
    shapes = {key: None if of_any_shape else _shape(definition.inputs[key].tensor_shape) for key in inputs}
    # Of any shape, requests may not fit each other.
    by_rows = (dense and not of_any_shape) and all(
        tensor.tensor_shape.dim and tensor.tensor_shape.dim[0].size == -1 for tensor in tensors
    )
    return Signature(name, definition.method_name, inputs, outputs, by_rows, shapes, call)


def _shape(proto: Any) -> tuple[int, ...] | None:
    """The sizes of the dimensions, -1 for any; None for any number of them."""
    return None if proto.unknown_rank else tuple(dim.size for dim in proto.dim)


def _fits(shape: tuple[int, ...], expected: tuple[int, ...] | None) -> bool:
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        wanted in (-1, size) for size, wanted in zip(shape, expected, strict=True)
    )


def _describe(definition: Any) -> dict[str, Any]:
    fields = json_format.MessageToDict(
        definition, including_default_value_fields=True, preserving_proto_field_name=True
    )
    return {"defaults": {}, **fields}


def _warm_up(signatures: Mapping[str, Signature], path: Path) -> None:
    """Sends the recorded requests, and a row to every signature they leave cold.

    Raises:
      ServingError: a recorded request fails, or the file is not what it should be.
    """
    cold = {name: signature for name, signature in signatures.items() if signature.inputs and signature.by_rows}
    if path.is_file():
        for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path))):
            if number >= _MAX_WARMUP_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({_MAX_WARMUP_RECORDS}) at {path}")
            request = PredictionLog.FromString(record).predict_log.request
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            if name not in signatures:
                raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
            tensors = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            if tensors.keys() != signatures[name].inputs.keys():
                raise invalid(f"{path} has inputs {sorted(tensors)} for {name}, not {sorted(signatures[name].inputs)}")
            signatures[name].run(tensors)
            cold.pop(name, None)
    for signature in cold.values():
        if set(signature.inputs.values()) == {tf.string}:
            try:
                signature.run({name: np.array([b""], object) for name in signature.inputs})
            except ServingError:
                log.debug("%s takes no empty string; its first request will be a slow one", signature.name)


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return about if isinstance(about, dict) else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read, so /version says less: %s", path, error)
        return {}


def _read_related(folder: Path) -> tuple[RelatedIndex | None, str]:
    """The index, or None and why there is none: a model answers without it."""
    if not folder.is_dir():
        return None, "it was pushed without one"
    try:
        return RelatedIndex.load(folder), ""
    except RelatedIndexError as error:
        log.warning("%s", error)
        return None, str(error)
