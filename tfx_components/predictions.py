"""The rows of a split, and what a model answers to their titles, asked as it is served."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from headlines.bar.tally import Answers, Floats, Integers, decide
from modules.features import LABEL, LABELS, NIGHT, PROBABILITIES, TEXT_SIGNATURE, TITLE, WEIGHT


class Rows(NamedTuple):
    """Labelled titles, in the order of their split; `actual` holds label ids."""

    titles: list[str]
    actual: Integers
    nights: list[str]
    weights: Floats


def read_rows(examples: types.Artifact, split: str) -> Rows:
    """Reads a split of raw, gzipped tf.Examples."""
    folder = Path(artifact_utils.get_split_uri([examples], split))
    files = [str(file) for file in sorted(folder.glob("*.gz"))]
    titles, actual, nights, weights = [], [], [], []
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        title, label, night = (features[key].bytes_list.value[0].decode() for key in (TITLE, LABEL, NIGHT))
        titles.append(title)
        actual.append(LABELS.index(label))
        nights.append(night)
        weights.append(features[WEIGHT].float_list.value[0])
    return Rows(titles, np.array(actual, np.int64), nights, np.array(weights))


def ask(model: types.Artifact, titles: list[str]) -> Answers:
    """Answers of a Model artifact to titles, none of them if there are none."""
    if not titles:
        return decide(np.zeros((0, len(LABELS))))
    loaded = tf.saved_model.load(path_utils.serving_model_path(model.uri))
    outputs = loaded.signatures[TEXT_SIGNATURE](title=tf.constant(titles))
    return decide(outputs[PROBABILITIES].numpy(), outputs["label"].numpy())
