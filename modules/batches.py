"""Transformed examples on disk, as batches to train and to measure on.

Nothing here may change what an example says; that is for preprocessing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from modules.features import (
    LABEL,
    LABELS,
    NGRAMS,
    TITLE_BUCKET,
    TOKEN_COUNT,
    TOKENS,
    WEIGHT,
    transformed_name,
)


class Rows(NamedTuple):
    """Some transformed examples, as a dataset of serialized records.

    Attributes:
      records: string scalars, cached in memory.
      size: how many.
      mean_weight: mean of their weights.
      class_shares: float [len(LABELS)], weighted shares of the classes.
    """

    records: tf.data.Dataset
    size: int
    mean_weight: float
    class_shares: np.ndarray


def read_rows(patterns: list[str], keep_bucket: Callable[[tf.Tensor], tf.Tensor]) -> Rows:
    """Reads the labelled examples whose title bucket is to be kept.

    Args:
      patterns: globs of gzipped TFRecords of transformed examples.
      keep_bucket: title bucket (int64 scalar) -> bool scalar.
    """
    label, weight, bucket = map(transformed_name, (LABEL, WEIGHT, TITLE_BUCKET))
    spec = {
        label: tf.io.FixedLenFeature([], tf.int64),
        weight: tf.io.FixedLenFeature([], tf.float32),
        bucket: tf.io.FixedLenFeature([], tf.int64),
    }

    def is_wanted(record: tf.Tensor) -> tf.Tensor:
        row = tf.io.parse_single_example(record, spec)
        return keep_bucket(row[bucket]) & (row[label] >= 0)

    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").filter(is_wanted).cache()
    class_weights = np.zeros(len(LABELS))
    size = 0
    for row in records.batch(1024).map(lambda batch: tf.io.parse_example(batch, spec)).as_numpy_iterator():
        size += len(row[label])
        class_weights += np.bincount(row[label], weights=row[weight], minlength=len(LABELS))
    total = class_weights.sum()
    # One imaginary example of weight 1 per class keeps every share above zero.
    return Rows(records, size, total / max(size, 1), (class_weights + 1) / (total + len(LABELS)))


def make_batches(
    rows: Rows, feature_spec: dict[str, Any], batch_size: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Batches of ({tokens, token_count, ngrams}, one-hot labels [n, len(LABELS)] for each head, weights [n] of mean 1).

    Args:
      rows: what to batch.
      feature_spec: of the transformed examples.
      batch_size: rows per batch; the last may be smaller.
      shuffle_seed: shuffle anew in each pass, the same way for the same seed; None keeps the order.
    """

    def parse(batch: tf.Tensor) -> tuple[dict[str, Any], dict[str, tf.Tensor], tf.Tensor]:
        row = tf.io.parse_example(batch, feature_spec)
        inputs = {key: row[transformed_name(key)] for key in (TOKENS, TOKEN_COUNT, NGRAMS)}
        one_hot = tf.one_hot(row[transformed_name(LABEL)][:, 0], len(LABELS))
        return inputs, {"transformer": one_hot, "wide": one_hot}, row[transformed_name(WEIGHT)][:, 0] / rows.mean_weight

    records = rows.records
    if shuffle_seed is not None:
        records = records.shuffle(rows.size, seed=shuffle_seed)
    return records.batch(batch_size).map(parse, num_parallel_calls=1).prefetch(tf.data.AUTOTUNE)
