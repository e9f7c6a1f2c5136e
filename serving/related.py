"""The headlines a model was trained on that are nearest to a title, read from the index pushed beside the model.

The index is only read here; the nightly pipeline makes it. Its files hold numbers and text and are never unpickled: who
may write them may not thereby run code.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline

FORMAT = 1
INDEX_FILE = "index.json"
ROWS_FILE = "rows.json"
MATRIX_FILE = "matrix.npz"


class RelatedIndexError(Exception):
    """An index cannot be used; the message says which and why."""


@dataclass(frozen=True)
class RelatedHeadline:
    """A headline of the training window.

    Attributes:
      title: as the drop had it.
      label: its label there.
      night: the drop it came from, `YYYY-MM-DD`.
      similarity: cosine of the two titles' TF-IDF vectors, in (0, 1].
    """

    title: str
    label: str
    night: str
    similarity: float


class RelatedIndex:
    """A TF-IDF vectorizer and its nearest neighbours by cosine, with the headlines they stand for."""

    def __init__(self, pipeline: Pipeline, titles: list[str], labels: list[str], nights: list[str]) -> None:
        self._pipeline = pipeline
        self._titles = titles
        self._labels = labels
        self._nights = nights

    def __len__(self) -> int:
        return len(self._titles)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The index in a folder.

        Args:
          folder: holds `index.json` (format, the vectorizer's parameters, its terms and their IDF), `rows.json` (title,
            label and night, a list each) and `matrix.npz` (sparse float32 [headlines, terms]).

        Raises:
          RelatedIndexError: a file is missing, damaged, of another format, or does not fit the others.
        """
        try:
            index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
            if index["format"] != FORMAT:
                raise RelatedIndexError(f"{folder} has format {index['format']!r}; this server reads format {FORMAT}")
            rows = json.loads((folder / ROWS_FILE).read_text(encoding="utf-8"))
            columns = [list(map(str, rows[name])) for name in ("title", "label", "night")]
            # By itself SciPy leaves a file open that is none of its own.
            with (folder / MATRIX_FILE).open("rb") as file:
                matrix = sparse.load_npz(file)
            parameters = {**index["vectorizer"], "ngram_range": tuple(index["vectorizer"]["ngram_range"])}
            vectorizer = TfidfVectorizer(**parameters, vocabulary=index["terms"], dtype=np.float32)
            vectorizer.idf_ = np.array(index["idf"], np.float32)
            if matrix.shape != (len(columns[0]), len(index["terms"])) or len({len(column) for column in columns}) != 1:
                raise RelatedIndexError(f"{folder} is damaged: its files do not fit each other")
            neighbours = NearestNeighbors(metric="cosine").fit(matrix)
        except RelatedIndexError:
            raise
        except Exception as error:
            # Damage shows as whatever zipfile, zlib, NumPy, SciPy or scikit-learn makes of it.
            raise RelatedIndexError(f"{folder} cannot be read: {type(error).__name__}: {error}") from error
        return cls(Pipeline([("tfidf", vectorizer), ("neighbours", neighbours)]), *columns)

    def find(self, title: str, count: int) -> list[RelatedHeadline]:
        """The headlines nearest to a title, the nearest first; fewer than `count` if fewer share anything with it."""
        vector = self._pipeline[:-1].transform([title])
        distances, places = self._pipeline[-1].kneighbors(vector, min(count, len(self)))
        return [
            RelatedHeadline(self._titles[place], self._labels[place], self._nights[place], round(1 - distance, 4))
            for distance, place in zip(distances[0].tolist(), places[0].tolist(), strict=True)
            if 1 - distance > 1e-6
        ]
