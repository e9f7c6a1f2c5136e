"""How good answers are: accuracy, macro-F1, log-loss, calibration error, and how sure a difference is."""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, log_loss

from headlines.bar.tally import Floats, Integers
from modules.features import LABELS

# [rows, classes] probabilities and [rows] label ids to a number.
Score = Callable[[Floats, Integers], float]

CALIBRATION_BINS = 10
RESAMPLES = 1_000


def calibration_error(probabilities: Floats, label_ids: Integers) -> float:
    """Expected calibration error of the likeliest class, in bins of confidence of equal width."""
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == label_ids
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - hits, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(label_ids))


SCORES: dict[str, Score] = {
    "accuracy": lambda p, y: float(accuracy_score(y, p.argmax(axis=1))),
    "macro-F1": lambda p, y: float(f1_score(y, p.argmax(axis=1), average="macro", zero_division=0.0)),
    "log-loss": lambda p, y: float(log_loss(y, p, labels=range(len(LABELS)))),
    "ECE": calibration_error,
}


def mean_score(score: Score, by_seed: Floats, label_ids: Integers) -> float:
    """The mean over seeds of the score of probabilities [seeds, rows, classes]."""
    return float(np.mean([score(probabilities, label_ids) for probabilities in by_seed]))


def interval(
    score: Score, ours: Floats, theirs: Floats | None, label_ids: Integers, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % bootstrap interval over rows of our score or, paired, of its difference to theirs.

    Args:
      score: what to take of one seed's probabilities.
      ours: probabilities [seeds, rows, classes].
      theirs: the same, perhaps of another number of seeds, for the same rows; None for our score alone.
      label_ids: int [rows].
      resamples: how often the rows are drawn anew.

    Returns:
      The lower and the upper end.
    """
    random = np.random.default_rng(0)
    values = []
    for _ in range(resamples):
        rows = random.integers(0, len(label_ids), len(label_ids))
        value = mean_score(score, ours[:, rows], label_ids[rows])
        values.append(value - (mean_score(score, theirs[:, rows], label_ids[rows]) if theirs is not None else 0.0))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
