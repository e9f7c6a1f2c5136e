"""The Transformer, and the wide path's answer as a graph."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from modules.features import LABELS, TOKEN_COUNT, TOKENS, WORDS
from modules.hyperparameters import Hyperparameters
from modules.preprocessing import MAX_TOKENS
from modules.word_vectors import WordVectors


class PretrainedVectors(keras.layers.Layer):
    """Looks words up in the table of word vectors; nothing in it is trained."""

    def __init__(self, table: WordVectors, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        # As int8: a quarter of what the vectors would take.
        for name, value in table._asdict().items():
            weight = self.add_weight(shape=value.shape, dtype=value.dtype.name, trainable=False, name=name)
            weight.assign(value)
            setattr(self, name, weight)

    def call(self, rows: Any) -> Any:
        """Vectors float [n, length, size] of rows of the table, int [n, length]."""
        return keras.ops.cast(keras.ops.take(self.codes, rows, axis=0), "float32") * self.scales

    def mean(self, rows: Any) -> Any:
        """The direction, float [n, size] of length 1, of the sum of the words' vectors, rare words counting more."""
        rarities = keras.ops.take(self.rarities, rows, axis=0)[:, :, None]
        total = keras.ops.sum(self(rows) * rarities, axis=1)
        return total / keras.ops.maximum(keras.ops.norm(total, axis=1, keepdims=True), 1e-6)


class PositionedEmbedding(keras.layers.Layer):
    """The sum of a token's embedding and of its position's, both learnt."""

    def __init__(self, token_ids: int, length: int, size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.tokens = keras.layers.Embedding(token_ids, size)
        self.positions = keras.layers.Embedding(length, size)
        self.length = length

    def call(self, token_ids: Any) -> Any:
        """Embeds int [n, length] as float [n, length, size]."""
        return self.tokens(token_ids) + self.positions(keras.ops.arange(self.length))


def build_transformer(
    token_ids: int, vectors: PretrainedVectors, hyperparameters: Hyperparameters, class_shares: NDArray[np.float64]
) -> keras.Model:
    """The Transformer: what a word means at large (its vector) and here (its embedding), attention, masked mean.

    Args:
      token_ids: number of token ids, padding and unknown included.
      vectors: the table that words are looked up in.
      hyperparameters: sizes, depth and dropout.
      class_shares: float [len(LABELS)], positive: what the untrained network answers to an empty title.

    Returns:
      A model of {tokens int [n, MAX_TOKENS], token_count int [n, 1], words int [n, MAX_TOKENS]} to logits float
      [n, len(LABELS)].
    """
    size = hyperparameters.embedding_size
    tokens = keras.Input((MAX_TOKENS,), dtype="int64", name=TOKENS)
    token_count = keras.Input((1,), dtype="int64", name=TOKEN_COUNT)
    words = keras.Input((MAX_TOKENS,), dtype="int64", name=WORDS)

    is_token = keras.ops.less(keras.ops.arange(MAX_TOKENS, dtype="int64"), token_count)
    x = PositionedEmbedding(token_ids, MAX_TOKENS, size)(tokens) + keras.layers.Dense(size)(vectors(words))
    x = keras.layers.Dropout(hyperparameters.embedding_dropout)(x)
    for _ in range(hyperparameters.blocks):
        attended = keras.layers.LayerNormalization()(x)
        attended = keras.layers.MultiHeadAttention(
            hyperparameters.attention_heads, size // hyperparameters.attention_heads
        )(attended, attended, attention_mask=is_token[:, None, :])
        x = x + keras.layers.Dropout(hyperparameters.dropout)(attended)
        fed = keras.layers.LayerNormalization()(x)
        fed = keras.layers.Dense(hyperparameters.feed_forward_size, activation="gelu")(fed)
        fed = keras.layers.Dense(size)(fed)
        x = x + keras.layers.Dropout(hyperparameters.dropout)(fed)
    x = keras.layers.LayerNormalization()(x)
    # Mean over the words alone; an empty title pools to zeros.
    mask = keras.ops.cast(is_token, x.dtype)[:, :, None]
    pooled = keras.ops.sum(x * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)
    pooled = keras.layers.Dropout(hyperparameters.dropout)(pooled)
    logits = keras.layers.Dense(len(LABELS), bias_initializer=keras.initializers.Constant(np.log(class_shares)))(pooled)
    return keras.Model({TOKENS: tokens, TOKEN_COUNT: token_count, WORDS: words}, logits, name="transformer")


class WidePath(tf.Module):
    """A fitted regression on n-grams and on the mean word vector, as a graph."""

    def __init__(
        self, kernel: NDArray[np.float32], bias: NDArray[np.float32], vectors: PretrainedVectors, vector_scale: float
    ):
        """Makes variables of the fitted numbers.

        Args:
          kernel: float [n-gram buckets + vector size, classes].
          bias: float [classes].
          vectors: the table that words are looked up in.
          vector_scale: length of a title's mean vector.
        """
        super().__init__()
        vector_size = vectors.scales.shape[0]
        self.of_ngrams = tf.Variable(kernel[:-vector_size], trainable=False)
        self.of_vector = tf.Variable(kernel[-vector_size:], trainable=False)
        self.bias = tf.Variable(bias, trainable=False)
        self._vectors = vectors
        self._vector_scale = vector_scale

    def __call__(self, ngrams: tf.SparseTensor, words: tf.Tensor) -> tf.Tensor:
        """Logits float [n, classes] of n-grams float [n, buckets] and rows of the table int [n, MAX_TOKENS]."""
        of_ngrams = tf.sparse.sparse_dense_matmul(ngrams, self.of_ngrams)
        mean = self._vector_scale * self._vectors.mean(words)
        return of_ngrams + tf.matmul(mean, self.of_vector) + self.bias


def blend(transformer: Any, wide: Any, transformer_share: float) -> Any:
    """The log of the weighted mean probability of the two paths: float [n, len(LABELS)].

    Args:
      transformer: the Transformer's logits, float [n, len(LABELS)].
      wide: the wide path's logits, likewise.
      transformer_share: what the Transformer counts, from 0 to 1.
    """
    mean = transformer_share * keras.ops.softmax(transformer) + (1.0 - transformer_share) * keras.ops.softmax(wide)
    return keras.ops.log(keras.ops.maximum(mean, keras.config.epsilon()))
