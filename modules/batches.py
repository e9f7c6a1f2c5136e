"""Transformed examples on disk, as batches to train the Transformer on and as arrays to fit and to measure on."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import tensorflow as tf
from numpy.typing import NDArray

from modules.errors import ModellingError
from modules.features import (
    LABEL,
    LABELS,
    NGRAMS,
    TITLE,
    TITLE_BUCKET,
    TOKEN_COUNT,
    TOKENS,
    WEIGHT,
    WORDS,
    transformed_name,
)

# What the Transformer reads of a title.
SEQUENCES = (TOKENS, TOKEN_COUNT, WORDS)


class Rows(NamedTuple):
    """Labelled, transformed examples, in memory; a headline takes about 3 kB.

    Attributes:
      titles: bytes [n], as they came.
      sequences: int64 [n, MAX_TOKENS], [n, 1] and [n, MAX_TOKENS] by name.
      ngrams: float32 [n, NGRAM_BUCKETS].
      label_ids: int64 [n], indices into LABELS.
      weights: float32 [n], of mean 1.
      buckets: int64 [n], the titles' buckets.
    """

    titles: NDArray[np.object_]
    sequences: dict[str, NDArray[np.int64]]
    ngrams: scipy.sparse.csr_matrix
    label_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    buckets: NDArray[np.int64]

    def choose(self, mask: NDArray[np.bool_]) -> "Rows":
        """The rows where `mask`, bool [n], is true; their weights have mean 1 again."""
        weights = self.weights[mask]
        return Rows(
            self.titles[mask],
            {name: value[mask] for name, value in self.sequences.items()},
            self.ngrams[mask],
            self.label_ids[mask],
            weights / max(weights.mean(), 1e-9) if len(weights) else weights,
            self.buckets[mask],
        )

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Weighted shares of the classes, float [len(LABELS)], none of them zero."""
        counts = np.bincount(self.label_ids, weights=self.weights, minlength=len(LABELS))
        # One imaginary example per class keeps every share above zero.
        shares: NDArray[np.float64] = (counts + 1) / (counts.sum() + len(LABELS))
        return shares


def read_rows(patterns: list[str], feature_spec: dict[str, Any]) -> Rows:
    """The labelled ones of the transformed examples on disk.

    Args:
      patterns: globs of gzipped TFRecords of transformed examples.
      feature_spec: how TensorFlow parses them, by feature.

    Raises:
      ModellingError: none is labelled.
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(1024)
    parsed = records.map(lambda batch: tf.io.parse_example(batch, feature_spec)).prefetch(tf.data.AUTOTUNE)
    parts = [{name.removesuffix(transformed_name("")): value for name, value in batch.items()} for batch in parsed]
    if not sum(np.count_nonzero(part[LABEL].numpy() >= 0) for part in parts):
        raise ModellingError(f"no labelled headlines to train on in {patterns}; give a few hundred at least")

    def join(name: str) -> NDArray[Any]:
        return np.concatenate([part[name].numpy() for part in parts])

    ngrams = scipy.sparse.vstack(
        [
            scipy.sparse.csr_matrix((cells.values.numpy(), cells.indices.numpy().T), shape=cells.dense_shape.numpy())
            for cells in (part[NGRAMS] for part in parts)
        ],
        format="csr",
    )
    label_ids = join(LABEL)[:, 0]
    sequences = {name: join(name) for name in SEQUENCES}
    titles, weights, buckets = (join(name)[:, 0] for name in (TITLE, WEIGHT, TITLE_BUCKET))
    every = Rows(titles, sequences, ngrams, label_ids, weights, buckets)
    return every.choose(label_ids >= 0)


def make_batches(rows: Rows, batch_size: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Batches of ({tokens, token_count, words}, one-hot labels [n, len(LABELS)], weights [n]).

    Args:
      rows: the examples to batch, in their order.
      batch_size: rows per batch; the last may be smaller.
      shuffle_seed: shuffle anew in each pass, the same way for the same seed; None keeps the order.
    """
    one_hot = np.eye(len(LABELS), dtype=np.float32)[rows.label_ids]
    # In memory from here on.
    dataset = tf.data.Dataset.from_tensor_slices((rows.sequences, one_hot, rows.weights)).cache()
    if shuffle_seed is not None:
        dataset = dataset.shuffle(len(rows.label_ids), seed=shuffle_seed)
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
