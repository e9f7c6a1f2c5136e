"""From raw headlines to what the network reads: the one place where text is touched, all of it TensorFlow.

No training code may live here: this graph is what training and serving share, so it must not know which of them runs.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from modules.features import (
    LABEL,
    LABELS,
    NGRAMS,
    TITLE,
    TITLE_BUCKET,
    TITLE_BUCKETS,
    TOKEN_COUNT,
    TOKENS,
    UNKNOWN_LABEL_ID,
    WEIGHT,
    WORDS,
    transformed_name,
)
from modules.text import CODE_POINTS, MAX_CHARACTERS, NUMBER, SEPARATORS, STOP_WORDS, TextSettings, list_readings
from modules.word_vectors import read_words

# A headline has 11 words at the median and 18 at the 99th percentile.
MAX_TOKENS = 32
VOCABULARY_NAME = "tokens"
MAX_VOCABULARY = 20_000
# A word seen once teaches its embedding nothing but its own headline; it is better read as an unknown word.
MIN_WORD_COUNT = 2
NGRAM_BUCKETS = 65_536
WORD_NGRAMS = (1, 2)
CHARACTER_NGRAMS = (2, 3, 4, 5)


def normalise_text(titles: tf.Tensor, settings: TextSettings) -> tf.Tensor:
    """Normalised titles, as `modules.text.normalise` reads them; any bytes are accepted.

    Args:
      titles: string [n]; invalid UTF-8 and control characters are read as spaces.
      settings: which steps to take.

    Returns:
      string [n], valid UTF-8, words separated by single spaces, at most MAX_CHARACTERS long.
    """
    code_points = tf.strings.unicode_decode(titles, "UTF-8", errors="replace", replacement_char=ord(" "))
    code_points = code_points[:, :MAX_CHARACTERS]
    # A table, since TensorFlow has no Unicode normalisation of its own (no issue known), and since its lower case and
    # its classes of characters are those of other versions of Unicode than Python's.
    readings = tf.gather(
        tf.constant(list_readings(settings), tf.int32), tf.minimum(code_points.flat_values, CODE_POINTS)
    )
    code_points = tf.ragged.boolean_mask(
        code_points.with_flat_values(readings), code_points.with_flat_values(readings > 0)
    )
    text = tf.strings.unicode_encode(code_points, "UTF-8")
    if settings.replace_digits:
        text = tf.strings.regex_replace(text, NUMBER, "0")
    if settings.strip_special_characters:
        text = tf.strings.regex_replace(text, f"[{SEPARATORS}]", " ")
    words = tf.strings.split(text)
    if settings.remove_stop_words:
        stop_words = normalise_text(tf.strings.split(STOP_WORDS), settings.plain)
        plain = normalise_text(words.flat_values, settings.plain)
        is_stop_word = tf.reduce_any(plain[:, tf.newaxis] == stop_words[tf.newaxis, :], axis=1)
        words = tf.ragged.boolean_mask(words, words.with_flat_values(~is_stop_word))
    return tf.strings.reduce_join(words, axis=-1, separator=" ")


def count_ngrams(text: tf.Tensor) -> tf.SparseTensor:
    """How often each hashed n-gram of words and of characters is in each text.

    Args:
      text: string [n], normalised.

    Returns:
      float32 sparse [n, NGRAM_BUCKETS], indices in order.
    """
    words = tf.strings.ngrams(tf.strings.split(text), WORD_NGRAMS, separator=" ")
    # The spaces at both ends let an n-gram tell the start or the end of a word from its middle.
    characters = tf.strings.unicode_split(tf.strings.join([" ", text, " "]), "UTF-8")
    characters = tf.strings.ngrams(characters, CHARACTER_NGRAMS, separator="")
    # The prefix keeps the word `se` and the letters `se` apart.
    words = words.with_flat_values(tf.strings.join(["w:", words.flat_values]))
    characters = characters.with_flat_values(tf.strings.join(["c:", characters.flat_values]))
    ngrams = tf.concat([words, characters], axis=1)
    buckets = tf.strings.to_hash_bucket_fast(ngrams.flat_values, NGRAM_BUCKETS)
    cells = tf.sort(tf.cast(ngrams.value_rowids(), tf.int64) * NGRAM_BUCKETS + buckets)
    cells, _, counts = tf.unique_with_counts(cells)
    return tf.SparseTensor(
        indices=tf.stack([cells // NGRAM_BUCKETS, cells % NGRAM_BUCKETS], axis=1),
        values=tf.cast(counts, tf.float32),
        dense_shape=tf.stack([tf.shape(text, tf.int64)[0], NGRAM_BUCKETS]),
    )


def _weigh_ngrams(counts: tf.SparseTensor) -> tf.SparseTensor:
    """Sublinear TF-IDF with rows of L2 norm 1; the document frequencies come from Transform's analysis."""
    rows, buckets = counts.indices[:, 0], counts.indices[:, 1]
    batch_size = counts.dense_shape[0]
    in_document = tf.math.unsorted_segment_sum(tf.ones_like(counts.values), buckets, NGRAM_BUCKETS)
    document_frequency = tft.sum(in_document[tf.newaxis, :], reduce_instance_dims=False)
    documents = tft.sum(tf.ones([batch_size]))
    idf = tf.math.log((1.0 + documents) / (1.0 + document_frequency)) + 1.0
    values = (1.0 + tf.math.log(counts.values)) * tf.gather(idf, buckets)
    norms = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(values), rows, batch_size))
    return tf.SparseTensor(counts.indices, values / tf.gather(norms, rows), counts.dense_shape)


def look_up_words(words: tf.RaggedTensor, settings: TextSettings) -> tf.RaggedTensor:
    """The row of each word in the table of word vectors, from 1; 0 for a word that it does not hold.

    Args:
      words: string [n, ragged], normalised by `settings`.
      settings: those of `words`; the table's own words are spelt as the default settings spell them.

    Returns:
      int64 [n, ragged].
    """

    def make_table() -> tf.lookup.StaticHashTable:
        keys = read_words()
        rows = tf.range(1, len(keys) + 1, dtype=tf.int64)
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(keys), rows), 0)

    # Transform copies this graph; only a table made in this way is copied with it (tensorflow/transform#240).
    table = tft.make_and_track_object(make_table, name="word_vector_rows")
    keys = words.flat_values
    if settings != TextSettings():
        keys = normalise_text(keys, TextSettings())
    return words.with_flat_values(table.lookup(keys))


def _first_value(feature: tf.Tensor | tf.SparseTensor, default: Any) -> tf.Tensor:
    """The first value of each example, or `default` where it has none: shape [n], from [n, 0 or more]."""
    if isinstance(feature, tf.SparseTensor):
        first = tf.sparse.slice(feature, [0, 0], [feature.dense_shape[0], 1])
        shape = tf.stack([feature.dense_shape[0], 1])
        feature = tf.sparse.to_dense(tf.SparseTensor(first.indices, first.values, shape), default)
    return tf.reshape(feature, [-1])


def preprocessing_fn(
    inputs: dict[str, tf.Tensor | tf.SparseTensor], custom_config: Mapping[str, Any] | None = None
) -> dict[str, tf.Tensor | tf.SparseTensor]:
    """Transform's entry point; the label and the weight may be missing, as they are in serving.

    Args:
      inputs: raw features by name; `title` and `sentiment` string, `weight` float32, each dense [n, 1] or sparse.
      custom_config: {"text": {setting of TextSettings: bool}}.

    Returns:
      The transformed features, their names ending in `_xf`:
      title string [n, 1], as it came, which no path reads;
      tokens int64 [n, MAX_TOKENS], 0 after the last word, the largest id for unknown words;
      token_count int64 [n, 1]; words int64 [n, MAX_TOKENS], rows of the table of word vectors, 0 for none;
      ngrams float32 sparse [n, NGRAM_BUCKETS];
      title_bucket int64 [n, 1], a stable hash of the normalised title in [0, TITLE_BUCKETS);
      sentiment int64 [n, 1], an index into LABELS or UNKNOWN_LABEL_ID; weight float32 [n, 1], 1 if missing.

    Raises:
      ModellingError: a text setting is unknown.
    """
    settings = TextSettings.from_config(custom_config)
    title = _first_value(inputs[TITLE], "")
    text = normalise_text(title, settings)
    words = tf.strings.split(text)[:, :MAX_TOKENS]
    word_ids = tft.compute_and_apply_vocabulary(
        words,
        top_k=MAX_VOCABULARY,
        frequency_threshold=MIN_WORD_COUNT,
        num_oov_buckets=1,
        vocab_filename=VOCABULARY_NAME,
    )
    ngrams = _weigh_ngrams(count_ngrams(text))
    tft.experimental.annotate_sparse_output_shape(ngrams, tf.constant([NGRAM_BUCKETS], tf.int64))

    is_label = _first_value(inputs[LABEL], "")[:, tf.newaxis] == tf.constant(LABELS)[tf.newaxis, :]
    label_id = tf.where(tf.reduce_any(is_label, axis=1), tf.argmax(is_label, axis=1), UNKNOWN_LABEL_ID)
    outputs = {
        TITLE: title[:, tf.newaxis],
        TOKENS: (word_ids + 1).to_tensor(default_value=0, shape=[None, MAX_TOKENS]),
        TOKEN_COUNT: words.row_lengths()[:, tf.newaxis],
        WORDS: look_up_words(words, settings).to_tensor(default_value=0, shape=[None, MAX_TOKENS]),
        NGRAMS: ngrams,
        TITLE_BUCKET: tf.strings.to_hash_bucket_fast(text, TITLE_BUCKETS)[:, tf.newaxis],
        LABEL: label_id[:, tf.newaxis],
        WEIGHT: _first_value(inputs[WEIGHT], 1.0)[:, tf.newaxis],
    }
    return {transformed_name(key): value for key, value in outputs.items()}
