"""The contestants of `make quality`: each learns from some nights and answers the titles of the next."""

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from google.protobuf import text_format
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import TFTransformOutput
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx_bsl.coders.example_coder import RecordBatchToExamples
from tfx_bsl.public import tfxio

from benchmarks.drops import read_headlines
from headlines.bar.tally import Floats, Integers
from headlines.drops.drops_folder import DropsFolder
from modules.features import LABEL, LABELS, NIGHT, PROBABILITIES, TEXT_SIGNATURE, TITLE, WEIGHT
from modules.model import run_fn
from modules.preprocessing import normalise_text, preprocessing_fn
from modules.text import TextSettings
from retraining.settings import CHECKOUT, Settings

_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_HALF_LIFE_NIGHTS = float(Settings.model_fields["half_life_nights"].default)


@dataclass(frozen=True)
class Headlines:
    """Titles with their label ids and their nights, numbered from 1."""

    titles: list[str]
    label_ids: Integers
    nights: Integers

    def choose(self, mask: NDArray[np.bool_]) -> "Headlines":
        """The headlines where `mask`, bool [n], is true."""
        titles = [title for title, keep in zip(self.titles, mask, strict=True) if keep]
        return Headlines(titles, self.label_ids[mask], self.nights[mask])

    def weights(self) -> Floats:
        """1 for the newest night, halved by every half-life of age, as HeadlineExampleGen weighs them."""
        weights: Floats = 0.5 ** ((self.nights.max() - self.nights) / _HALF_LIFE_NIGHTS)
        return weights


def read_drops(drops_dir: Path) -> Headlines:
    """The headlines of all nights as delivered; bad rows are left out."""
    headlines = read_headlines(drops_dir, Settings.from_env())
    number_of = {night: number for number, night in enumerate(DropsFolder(drops_dir).nights, start=1)}
    return Headlines(
        [headline.title for headline in headlines],
        np.array([LABELS.index(headline.label) for headline in headlines], int),
        np.array([number_of[headline.night] for headline in headlines], int),
    )


def answer_majority(past: Headlines, titles: list[str]) -> Floats:
    """The shares of the classes in the past, for every title: float [titles, classes]."""
    shares = np.bincount(past.label_ids, minlength=len(LABELS)) + 1.0
    return np.tile(shares / shares.sum(), (len(titles), 1))


def answer_regression(past: Headlines, titles: list[str]) -> Floats:
    """The answers of logistic regression on TF-IDF of words and of characters, the best plain model on nights 2-5."""
    vectorizer = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, strip_accents="unicode"),
    )
    weights = past.weights()
    regression = LogisticRegression(C=3.0, max_iter=500)
    regression.fit(vectorizer.fit_transform(past.titles), past.label_ids, sample_weight=weights / weights.mean())
    probabilities: Floats = regression.predict_proba(vectorizer.transform(titles))
    return probabilities


def answer_article(past: Headlines, titles: list[str], seed: int) -> Floats:
    """The answers of the article's model: the Transformer of Keras's text classification example, trained 4 epochs."""
    keras.utils.set_random_seed(seed)
    length, size, heads, feed_forward = 32, 32, 2, 32
    texts = [
        [text.decode().split() for text in normalise_text(tf.constant(part), TextSettings()).numpy()]
        for part in (past.titles, titles)
    ]
    counts = Counter(word for text in texts[0] for word in text)
    vocabulary = {word: number for number, (word, _) in enumerate(counts.most_common(20_000), 2)}
    ids = [np.array([([vocabulary.get(w, 1) for w in t] + [0] * length)[:length] for t in part]) for part in texts]

    inputs = keras.Input((length,), dtype="int64")
    embedded = keras.layers.Embedding(len(vocabulary) + 2, size)(inputs)
    x = embedded + keras.layers.Embedding(length, size)(keras.ops.arange(length))
    attended = keras.layers.Dropout(0.1)(keras.layers.MultiHeadAttention(heads, size)(x, x))
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x + attended)
    fed = keras.layers.Dense(size)(keras.layers.Dense(feed_forward, activation="relu")(x))
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x + keras.layers.Dropout(0.1)(fed))
    x = keras.layers.Dropout(0.1)(keras.layers.GlobalAveragePooling1D()(x))
    x = keras.layers.Dropout(0.1)(keras.layers.Dense(20, activation="relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(len(LABELS), activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(ids[0], past.label_ids, batch_size=32, epochs=4, verbose=0)
    return np.asarray(model(ids[1], training=False), np.float64)


def answer_ours(past: Headlines, titles: list[str], seeds: range, hyperparameters: dict[str, Any]) -> Floats:
    """The answers of the exported model's `predict_text`, after Transform and Trainer."""
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        _transform(past, Path(folder))
        for seed in seeds:
            model = tf.saved_model.load(_train(Path(folder), seed, hyperparameters))
            answers.append(model.signatures[TEXT_SIGNATURE](title=tf.constant(titles))[PROBABILITIES].numpy())
            keras.backend.clear_session()
    sums_near_one = np.array(answers, np.float64)
    probabilities: Floats = sums_near_one / sums_near_one.sum(axis=2, keepdims=True)
    return probabilities


def time_training(headlines: Headlines, hyperparameters: dict[str, Any]) -> float:
    """The seconds that one training takes, from transformed headlines on disk to the exported model."""
    with tempfile.TemporaryDirectory() as folder:
        _transform(headlines, Path(folder))
        started = time.monotonic()
        _train(Path(folder), 0, hyperparameters)
        return time.monotonic() - started


def _train(folder: Path, seed: int, hyperparameters: dict[str, Any]) -> str:
    """Trains on what `_transform` left in `folder`; returns where the exported model is."""
    model_dir = folder / f"seed-{seed}" / "Format-Serving"
    run_fn(
        FnArgs(
            train_files=[f"{folder}/examples*"],
            transform_graph_path=f"{folder}/graph",
            serving_model_dir=str(model_dir),
            model_run_dir=f"{folder}/run-{seed}",
            custom_config={"hyperparameters": hyperparameters, "seed": seed},
        )
    )
    return str(model_dir)


def _transform(past: Headlines, folder: Path) -> None:
    """Analyses and transforms headlines as TFX's Transform does: `folder` gets `examples*` and `graph/`."""
    schema_text = (CHECKOUT / "modules" / "schema.pbtxt").read_text()
    source = tfxio.TFExampleBeamRecord(
        physical_format="memory", schema=text_format.Parse(schema_text, schema_pb2.Schema())
    )
    rows = zip(past.titles, past.label_ids, past.nights, past.weights(), strict=True)
    records = [
        _serialise(title, LABELS[label_id], int(night), float(weight)) for title, label_id, night, weight in rows
    ]
    with beam.Pipeline(runner=_RUNNER) as pipeline, tft_beam.Context(temp_dir=str(folder / "temporary")):
        raw = pipeline | beam.Create(records, reshuffle=False) | source.BeamSource()
        (transformed, _), transform_fn = (raw, source.TensorAdapterConfig()) | tft_beam.AnalyzeAndTransformDataset(
            preprocessing_fn, output_record_batches=True
        )
        examples = transformed | beam.FlatMapTuple(lambda batch, _: RecordBatchToExamples(batch))
        examples | beam.io.WriteToTFRecord(str(folder / "examples"), file_name_suffix=".gz", num_shards=1)
        transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    raw_metadata = folder / "graph" / TFTransformOutput.RAW_METADATA_DIR
    raw_metadata.mkdir()
    (raw_metadata / "schema.pbtxt").write_text(schema_text)


def _serialise(title: str, label: str, night: int, weight: float) -> bytes:
    texts = {TITLE: title, LABEL: label, NIGHT: str(night)}
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])) for name, text in texts.items()
    }
    features[WEIGHT] = tf.train.Feature(float_list=tf.train.FloatList(value=[weight]))
    serialised: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialised
