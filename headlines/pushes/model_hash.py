"""Whether two exports hold the same model: a hash of what a SavedModel computes with, not of how it was written."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from headlines.names import SAVED_MODEL_FILE

_CHECKPOINT = "variables/variables"
# TensorFlow's list of the tracked Python objects, stored among the weights; their names carry counters.
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# Attributes that name a thing for people or for sharing in memory; some hold paths of the machine that made it.
_NAMES = ("shared_name", "container", "debug_name")

EXTRAS = "assets.extra"
# What the push puts into a version beside the model; no answer depends on it.
ABOUT_FILE = "model.json"
RELATED_FOLDER = "related"


def hash_model(path: Path) -> str:
    """SHA-256 of the weights, vocabularies and operations of the SavedModel in a folder.

    The bytes of `saved_model.pb` will not do: training the same model again changes the counters in its names, the
    order of its functions, and the paths of the temporary files its tables were made from. TensorFlow's own
    fingerprint will not do either: it leaves out what functions do (in 2.16, two models that differ in a constant
    share a `singleprint`; no issue known). So operations count as a bag, each with its constants and its other
    attributes. What the push adds to a version is left out.

    Returns:
      64 hex digits, the same for each export of the same model.
    """
    digest = hashlib.sha256()
    for folder in ("assets", EXTRAS):
        for file in sorted((path / folder).rglob("*")):
            added = folder == EXTRAS and file.relative_to(path / folder).parts[0] in (ABOUT_FILE, RELATED_FOLDER)
            if file.is_file() and not added:
                digest.update(f"{file.relative_to(path).as_posix()}\0".encode() + file.read_bytes())
    weights = tf.train.load_checkpoint(str(path / _CHECKPOINT))
    for name in sorted(set(weights.get_variable_to_shape_map()) - {_OBJECT_GRAPH}):
        value = np.asarray(weights.get_tensor(name))
        digest.update(f"{name}\0{value.dtype}\0{value.shape}\0".encode() + value.tobytes())
    saved = saved_model_pb2.SavedModel.FromString((path / SAVED_MODEL_FILE).read_bytes())
    for meta_graph in saved.meta_graphs:
        digest.update(repr(sorted(meta_graph.signature_def)).encode())
        graph = meta_graph.graph_def
        saver = meta_graph.saver_def.save_tensor_name.partition(":")[0]
        # What writes checkpoints is given the object graph as a constant; no answer depends on it.
        saver_inputs = {name for node in graph.node if node.name == saver for name in node.input}
        nodes = [node for node in graph.node if node.name not in saver_inputs]
        for function in graph.library.function:
            nodes.extend(function.node_def)
        digest.update(b"".join(sorted(map(_describe, nodes))))
    return digest.hexdigest()


def _describe(node: tf.compat.v1.NodeDef) -> bytes:
    """An operation with its attributes, but for its name and for the names of functions it calls."""
    attributes = [
        name.encode() + value.SerializeToString(deterministic=True)
        for name, value in sorted(node.attr.items())
        if not (name.startswith("_") or name in _NAMES or value.HasField("func") or value.list.func)
    ]
    return b"\0".join([node.op.encode(), *attributes, b"\n"])
