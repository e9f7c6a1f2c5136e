"""RelatedIndex: the headlines a model is taught, as an index that finds those nearest to a title.

It is only made here. The model server reads it, from `assets.extra/related` of the pushed model it belongs to.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from modules.features import LABEL, NIGHT, TITLE

SPLIT = "train"
# The file names and their content are what the model server reads; a change of theirs is a new format.
FORMAT = 1
INDEX_FILE = "index.json"
ROWS_FILE = "rows.json"
MATRIX_FILE = "matrix.npz"

# Pieces of words rather than words: Portuguese inflects, and a title has few words.
VECTORIZER = {
    "analyzer": "char_wb",
    "ngram_range": (3, 4),
    "lowercase": True,
    "strip_accents": "unicode",
    "sublinear_tf": True,
}


class RelatedHeadlines(types.Artifact):
    """An index over the training headlines of one run."""

    TYPE_NAME = "RelatedHeadlines"


class Headline(NamedTuple):
    """One training row."""

    title: str
    label: str
    night: str


@component  # type: ignore[untyped-decorator]
def RelatedIndex(examples: InputArtifact[standard_artifacts.Examples], index: OutputArtifact[RelatedHeadlines]) -> None:
    """Indexes the rows that the Trainer learns from, and no other.

    Args:
      examples: raw examples; of the split `train` the title, label and night are read.
      index: receives the files, and the custom properties `headlines` and `terms` (how many) and `scikit_learn`
        (its version).
    """
    import sklearn

    terms, rows = write_index(list(read_headlines(artifact_utils.get_split_uri([examples], SPLIT))), Path(index.uri))
    index.set_int_custom_property("headlines", rows)
    index.set_int_custom_property("terms", terms)
    index.set_string_custom_property("scikit_learn", sklearn.__version__)


def read_headlines(split_uri: str) -> Iterator[Headline]:
    """The rows of a split, a folder of gzipped TFRecords of tf.Examples, in its order."""
    files = sorted(tf.io.gfile.glob(f"{split_uri}/*.gz"))
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        yield Headline(*(features[key].bytes_list.value[0].decode() for key in (TITLE, LABEL, NIGHT)))


def write_index(headlines: list[Headline], folder: Path) -> tuple[int, int]:
    """Fits TF-IDF and nearest neighbours by cosine on the titles and writes what they learnt.

    What is written is numbers and text, never a pickle: whoever reads a pickle runs whatever its writer put there.

    Args:
      headlines: at least one.
      folder: made if missing; receives `index.json` (format, the vectorizer's parameters, its terms and their IDF),
        `rows.json` (title, label and night, a list each) and `matrix.npz` (sparse float32 [headlines, terms]).

    Returns:
      The number of terms and of headlines.

    Raises:
      ValueError: there is no headline with a letter in it.
    """
    # Here, since every task of the DAG imports this module and only one of them computes.
    import sklearn
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors
    from sklearn.pipeline import Pipeline

    titles = [headline.title for headline in headlines]
    vectorizer = TfidfVectorizer(**VECTORIZER, dtype=np.float32)
    pipeline = Pipeline([("tfidf", vectorizer), ("neighbours", NearestNeighbors(metric="cosine"))])
    try:
        pipeline.fit(titles)
    except ValueError as error:
        raise ValueError(f"no index can be made of {len(titles)} titles: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    terms = vectorizer.get_feature_names_out().tolist()
    index = {
        "format": FORMAT,
        "scikit_learn": sklearn.__version__,
        "vectorizer": VECTORIZER,
        "idf": [round(float(value), 6) for value in vectorizer.idf_],
        "terms": terms,
    }
    columns = {
        "title": titles,
        "label": [headline.label for headline in headlines],
        "night": [headline.night for headline in headlines],
    }
    for name, content in ((INDEX_FILE, index), (ROWS_FILE, columns)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    sparse.save_npz(folder / MATRIX_FILE, sparse.csr_matrix(vectorizer.transform(titles)))
    return len(terms), len(titles)
