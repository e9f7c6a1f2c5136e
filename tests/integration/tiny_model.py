"""A SavedModel with the contract's signatures, made in a second, and its broken variants.

Fixtures only: it knows three words and learns nothing; the real model lives in `modules/`.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import tensorflow as tf

from modules.features import LABEL, LABELS, NIGHT, REFERENCE_FILE, TITLE, WEIGHT, transformed_name

FLAWS = (
    "none",
    "nan",
    "unnormalised",
    "two_classes",
    "unknown_label",
    "label_not_argmax",
    "signatures_disagree",
    "scores_disagree",
    "batch_dependent",
    "refuses_long",
    "aborts",
    "hangs",
    "no_predict_text",
    "label_shifted",
    "trained_otherwise",
)


class TinyModel(tf.Module):
    """Says negative on `ruim`, positive on `bom`, else neutral; each flaw breaks one promise of the contract."""

    def __init__(self, flaw: str, sure: float, always: str, shift: float) -> None:
        super().__init__()
        assert flaw in FLAWS, flaw
        self._flaw = flaw
        self._always = always
        self.sure = tf.Variable(sure, dtype=tf.float32)
        # Saved as a constant beside the functions that use it.
        self._shift = tf.constant(shift)

    def _answer(self, title: tf.Tensor) -> dict[str, tf.Tensor]:
        def says(word: str) -> tf.Tensor:
            return tf.cast(tf.strings.regex_full_match(title, f"(?s).*{word}.*"), tf.float32)

        if self._always:
            hits = tf.tile(tf.constant([[float(label == self._always) for label in LABELS]]), [tf.size(title), 1])
        else:
            negative, positive = says("ruim"), says("bom")
            hits = tf.stack([negative, 1.0 - tf.maximum(negative, positive), positive], axis=1)
        if self._flaw == "batch_dependent":
            hits = hits / tf.cast(tf.size(title), tf.float32)
        elif self._flaw == "refuses_long":
            tf.debugging.assert_less(tf.strings.length(title), 5000, "this title is too long")
        elif self._flaw == "aborts":
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the runtime fell over")]):
                hits = tf.identity(hits)
        elif self._flaw == "hangs":
            hits = tf.while_loop(lambda x: tf.constant(True), lambda x: x + 1e-9, [hits])[0]
        probabilities = tf.nn.softmax((hits - self._shift) * self.sure)
        if self._flaw == "nan":
            probabilities = probabilities * float("nan")
        elif self._flaw == "unnormalised":
            probabilities = probabilities * 0.9
        elif self._flaw == "two_classes":
            probabilities = probabilities[:, :2]
        best = tf.argmax(probabilities, axis=1)
        names = tf.constant(("bad", "so-so", "good") if self._flaw == "unknown_label" else LABELS)
        if self._flaw == "label_not_argmax":
            best = tf.zeros_like(best)
        return {
            "probabilities": probabilities,
            "label": tf.gather(names, best),
            "confidence": tf.reduce_max(probabilities, axis=1),
        }

    def _parse(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {key: tf.io.FixedLenFeature([], tf.string, default_value="") for key in (TITLE, LABEL)}
        return tf.io.parse_example(examples, spec)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(self._parse(examples)[TITLE])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def score_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self._answer(self._parse(examples)[TITLE])["probabilities"]
        return {"probabilities": probabilities[:, ::-1] if self._flaw == "scores_disagree" else probabilities}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="title")])
    def predict_text(self, title: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(tf.strings.join([title, " ruim"]) if self._flaw == "signatures_disagree" else title)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = self._parse(examples)
        known = tf.cast(parsed[LABEL][:, None] == tf.constant(LABELS)[None, :], tf.int64)
        label = tf.reduce_sum(known * tf.range(1, len(LABELS) + 1, dtype=tf.int64), axis=1, keepdims=True) - 1
        if self._flaw == "label_shifted":
            label = tf.maximum(label - 1, -1)
        return {transformed_name(LABEL): label, transformed_name(TITLE): parsed[TITLE][:, None]}


def save_tiny_model(
    model_uri: Path, flaw: str = "none", sure: float = 3.0, always: str = "", shift: float = 0.0, told: bool = True
) -> Path:
    """Saves a tiny model as the Trainer does, in `<model_uri>/Format-Serving`, and returns that folder.

    What it says in training lies beside it if it is to be `told`, which takes TensorFlow's operations: they hang in the
    fork of a process that has run some (tensorflow/tensorflow#8220). With the flaw `trained_otherwise` it said
    something else.
    """
    model = TinyModel(flaw, sure, always, shift)
    names = ("serving_default", "predict_text", "score_examples", "transform_features")
    signatures: dict[str, Callable[..., dict[str, tf.Tensor]]] = {name: getattr(model, name) for name in names}
    if flaw == "no_predict_text":
        del signatures["predict_text"]
    path = model_uri / "Format-Serving"
    tf.saved_model.save(model, str(path), signatures=signatures)
    if not told:
        return path
    titles = ["bom", "ruim"]
    in_training = TinyModel("none", sure + 0.001 * (flaw == "trained_otherwise"), always, shift)
    said = in_training.predict_text(tf.constant(titles))
    answers = [
        {"title": title, "probabilities": [float(value) for value in row]}
        for title, row in zip(titles, said["probabilities"].numpy(), strict=True)
    ]
    (model_uri / REFERENCE_FILE).write_text(json.dumps(answers), encoding="utf-8")
    return path


def write_examples(
    examples_uri: Path, rows: Iterable[tuple[str, str, str]], splits: Iterable[str] = ("train", "eval")
) -> Path:
    """Writes `(title, label, night)` rows as each of the splits of an Examples artifact and returns its folder."""

    def feature(text: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))

    records = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    TITLE: feature(title),
                    LABEL: feature(label),
                    NIGHT: feature(night),
                    WEIGHT: tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])),
                }
            )
        ).SerializeToString()
        for title, label, night in rows
    ]
    for split in splits:
        path = examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for record in records:
                writer.write(record)
    return examples_uri
