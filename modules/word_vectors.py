"""The table of pre-trained word vectors that ships with the code: which words it holds, and their vectors.

Nothing is trained or computed here; scripts/make_word_vectors.py made the file and says how.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("word_vectors.npz")
# The hash of the file, so that a change of the table is a change of the code, whose hash lineage records.
SHA256 = "1252528a5568090132faa6891c612c1153be576df9bb99dd7057a93d946100ed"


class WordVectors(NamedTuple):
    """Vectors in the order of `read_words`; row 0, before the first word, is zero and stands for every other word.

    Attributes:
      codes: int8 [words + 1, size]; times `scales` they are the vectors.
      scales: float32 [size].
      rarities: float32 [words + 1], what a word counts in the mean of a title: near 1 for rare words, near 0 for `de`.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    rarities: NDArray[np.float32]


@cache
def read_words() -> tuple[str, ...]:
    """The words of the table, normalised as TextSettings do by default; the first is row 1."""
    with np.load(FILE) as file:
        return tuple(bytes(file["words"]).decode().split(" "))


def read_vectors() -> WordVectors:
    """The table, read from its file."""
    with np.load(FILE) as file:
        codes, scales, rarities = file["codes"], file["scales"], file["rarities"]
    return WordVectors(np.pad(codes, ((1, 0), (0, 0))), scales, np.pad(rarities, (1, 0)))
