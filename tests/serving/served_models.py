"""SavedModels of a few kilobytes with the signatures that are served, and a way to push them.

Fixtures only: the real model lives in `modules/`.
"""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

LABELS = ("negative", "neutral", "positive")
RELATED = (
    ("Chuva forte em São Paulo", "negative", "2022-02-01"),
    ("Chuva fraca no Rio", "neutral", "2022-02-02"),
    ("Brasil vence o jogo", "positive", "2022-02-02"),
)


class ServedModel(tf.Module):
    """Negative on `ruim`, positive on `bom`, else neutral; every signature that the tests ask for."""

    def __init__(self, sure: float = 3.0) -> None:
        super().__init__()
        self.sure = tf.Variable(sure)

    def _answer(self, title: tf.Tensor) -> dict[str, tf.Tensor]:
        negative, positive = (
            tf.cast(tf.strings.regex_full_match(title, f"(?s).*{word}.*"), tf.float32) for word in ("ruim", "bom")
        )
        hits = tf.stack([negative, 1.0 - tf.maximum(negative, positive), positive], axis=1)
        probabilities = tf.nn.softmax(hits * self.sure)
        return {
            "probabilities": probabilities,
            "label": tf.gather(tf.constant(LABELS), tf.argmax(probabilities, axis=1)),
            "confidence": tf.reduce_max(probabilities, axis=1),
        }

    def _titles(self, examples: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(examples, {"title": tf.io.FixedLenFeature([], tf.string, default_value="")})["title"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self._titles(examples))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="title")])
    def predict_text(self, title: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(title)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = self._answer(self._titles(inputs))
        return {"classes": tf.tile(tf.constant([LABELS]), [tf.size(inputs), 1]), "scores": answer["probabilities"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress_examples(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self._answer(self._titles(inputs))["confidence"]}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="pair"),
            tf.TensorSpec([None], tf.int64, name="whole"),
        ]
    )
    def two_inputs(self, pair: tf.Tensor, whole: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(pair, axis=1) + tf.cast(whole, tf.float32), "whole": whole}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="left"), tf.TensorSpec([None], tf.string, name="right")]
    )
    def two_texts(self, left: tf.Tensor, right: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": tf.strings.join([left, right])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def halve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": tf.identity(text), "raw_bytes": tf.identity(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def refuse_bad(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        good = tf.reduce_all(tf.not_equal(text, "bad"))
        with tf.control_dependencies([tf.debugging.Assert(good, ["this row is bad"])]):
            return {"text": tf.identity(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def mean(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(x)}


class PictureModel(tf.Module):
    """As the models that tf-serving's client asks: `preds` and `logprobs` of pictures, here of their base64 text."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="pictures")])
    def serving_default(self, pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        letters = tf.strings.bytes_split(pictures)
        backwards = tf.strings.reduce_join(tf.reverse(letters.to_tensor(), [1]), axis=1)
        return {
            "preds": tf.stack([pictures, backwards], axis=1),
            "logprobs": tf.tile(tf.constant([[-0.5, -2.0]]), [tf.size(pictures), 1]),
        }


def save_picture_model(path: Path) -> Path:
    """Saves a `PictureModel` at `path`."""
    model = PictureModel()
    tf.saved_model.save(model, str(path), signatures={"serving_default": model.serving_default})
    return path


SIGNATURES = (
    "serving_default", "predict_text", "classify_examples", "regress_examples", "two_inputs", "two_texts",
    "halve", "echo", "refuse_bad", "mean",
)  # fmt: skip
METHODS = {"classify_examples": "classify", "regress_examples": "regress"}


def save_model(path: Path, sure: float = 3.0) -> Path:
    """Saves a model at `path`, whole or not at all, as a push does."""
    incoming = path.with_name(f".incoming-{path.name}")
    model = ServedModel(sure)
    tf.saved_model.save(model, str(incoming), signatures={name: getattr(model, name) for name in SIGNATURES})
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(incoming))
    for name, method in METHODS.items():
        updater.replace_method_name(
            signature_key=name, method_name=f"tensorflow/serving/{method}", tags=[tf.saved_model.SERVING]
        )
    updater.save(str(incoming))
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming.rename(path)
    return path


def write_warmup(path: Path, requests: Sequence[tuple[str, str, Sequence[str]]]) -> None:
    """Writes warm-up requests `(signature, input, values)` by hand: the server's own reader must not be trusted."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(content)) + content

    extra = path / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(extra / "tf_serving_warmup_requests")) as writer:
        for signature, name, values in requests:
            tensor = tf.make_tensor_proto(list(values), tf.string).SerializeToString()
            request = field(1, field(1, b"headlines") + field(3, signature.encode()))
            request += field(2, field(1, name.encode()) + field(2, tensor))
            writer.write(field(6, field(1, request)))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += struct.pack("B", value & 127 | 128)
        value >>= 7
    return out + struct.pack("B", value)


def write_about(path: Path, **about: object) -> None:
    """Writes what a push says about a model."""
    extra = path / "assets.extra"
    extra.mkdir(exist_ok=True)
    (extra / "model.json").write_text(json.dumps(about), encoding="utf-8")


def write_related(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """Writes an index over `(title, label, night)` rows, in the format that the server documents."""
    import numpy as np
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    parameters = {"analyzer": "word", "ngram_range": (1, 1), "lowercase": True, "strip_accents": "unicode"}
    vectorizer = TfidfVectorizer(**parameters, dtype=np.float32)
    matrix = vectorizer.fit_transform([title for title, _, _ in rows])
    folder = path / "assets.extra" / "related"
    folder.mkdir(parents=True)
    index = {
        "format": 1,
        "vectorizer": parameters,
        "idf": vectorizer.idf_.tolist(),
        "terms": vectorizer.get_feature_names_out().tolist(),
    }
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("title", "label", "night"))}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "rows.json").write_text(json.dumps(columns), encoding="utf-8")
    sparse.save_npz(folder / "matrix.npz", matrix)
