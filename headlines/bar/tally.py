"""What is counted of a model's answers, and every metric as a function of these counts, of one set of rows or many."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modules.features import LABELS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Tallies [..., WIDTH] -> values [...].
Metric = Callable[[Floats], Floats]

CLASSES = len(LABELS)
# Confidences are binned in tenths for the expected calibration error.
BINS = 10
_CELLS = CLASSES * CLASSES
WIDTH = _CELLS + 1 + BINS
# A certain and wrong answer costs this much and not infinitely.
_MIN_PROBABILITY = 1e-7


class Answers(NamedTuple):
    """What a model answers to n titles: probabilities [n, CLASSES], and the ids of the labels it names [n]."""

    probabilities: Floats
    predicted: Integers


def decide(probabilities: npt.ArrayLike, named: Iterable[bytes] | None = None) -> Answers:
    """Which label counts as a model's answer: the one it names, else the most probable.

    Args:
      probabilities: [n, CLASSES].
      named: its `label` output in UTF-8, if it has one.

    Raises:
      ValueError: it names a label that is none.
    """
    probabilities = np.asarray(probabilities, np.float64).reshape(-1, CLASSES)
    if named is None:
        return Answers(probabilities, probabilities.argmax(axis=1))
    return Answers(probabilities, np.array([LABELS.index(label.decode()) for label in named], np.int64))


def count_rows(actual: Integers, answers: Answers) -> Floats:
    """Each row's part of the counts, [n, WIDTH]; the tally of rows is the sum of theirs.

    They are: the cell of the confusion matrix [actual, predicted], the log-loss, and per bin of confidence how much
    more sure of its answer the model was than it was right.

    Args:
      actual: ids of the true labels [n].
      answers: to the same rows.
    """
    rows = np.arange(len(actual))
    probabilities, predicted = answers
    counts = np.zeros((len(actual), WIDTH))
    counts[rows, actual * CLASSES + predicted] = 1.0
    counts[rows, _CELLS] = -np.log(np.clip(probabilities[rows, actual], _MIN_PROBABILITY, 1.0))
    confidence = probabilities[rows, predicted]
    bins = np.clip(np.nan_to_num(confidence) * BINS, 0, BINS - 1).astype(int)
    counts[rows, _CELLS + 1 + bins] = confidence - (predicted == actual)
    return counts


def confusion(tally: Floats) -> Floats:
    """The confusion matrix [..., actual, predicted]."""
    return tally[..., :_CELLS].reshape(*tally.shape[:-1], CLASSES, CLASSES)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _size(tally: Floats) -> Floats:
    return np.asarray(tally[..., :_CELLS].sum(axis=-1))


# Parts [...] and wholes [...] of a share of the rows.
Share = Callable[[Floats], tuple[Floats, Floats]]


def _macro_f1(tally: Floats) -> Floats:
    # As scikit-learn does, a class that neither occurs nor is predicted does not count.
    matrix = confusion(tally)
    whole = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    scores = _ratio(2 * np.diagonal(matrix, axis1=-2, axis2=-1), whole)
    return _ratio(scores.sum(axis=-1), (whole > 0).sum(axis=-1).astype(float))


def _log_loss(tally: Floats) -> Floats:
    return _ratio(tally[..., _CELLS], _size(tally))


def _calibration_error(tally: Floats) -> Floats:
    return _ratio(np.abs(tally[..., _CELLS + 1 :]).sum(axis=-1), _size(tally))


def _accuracy(tally: Floats) -> tuple[Floats, Floats]:
    return np.trace(confusion(tally), axis1=-2, axis2=-1), _size(tally)


def _majority_accuracy(tally: Floats) -> tuple[Floats, Floats]:
    return confusion(tally).sum(axis=-1).max(axis=-1), _size(tally)


def _precision(index: int) -> Share:
    return lambda tally: (confusion(tally)[..., index, index], confusion(tally)[..., index].sum(axis=-1))


def _recall(index: int) -> Share:
    return lambda tally: (confusion(tally)[..., index, index], confusion(tally)[..., index, :].sum(axis=-1))


SHARES: dict[str, Share] = {
    "accuracy": _accuracy,
    "majority_accuracy": _majority_accuracy,
    **{f"precision_{label}": _precision(index) for index, label in enumerate(LABELS)},
    **{f"recall_{label}": _recall(index) for index, label in enumerate(LABELS)},
}
"""The metrics that are shares of some rows, as how many of how many."""


def _divide(share: Share) -> Metric:
    return lambda tally: _ratio(*share(tally))


METRICS: dict[str, Metric] = {
    "example_count": _size,
    "accuracy": _divide(SHARES["accuracy"]),
    "majority_accuracy": _divide(SHARES["majority_accuracy"]),
    "macro_f1": _macro_f1,
    "log_loss": _log_loss,
    "calibration_error": _calibration_error,
    **{name: _divide(share) for name, share in SHARES.items() if name.startswith(("precision_", "recall_"))},
}


def measure(tally: Floats) -> dict[str, Any]:
    """Every metric of one tally as a float, None if it is not a number, and the confusion matrix as `confusion`."""
    values: dict[str, Any] = {}
    for name, metric in METRICS.items():
        # What is lost beyond nine digits is noise of the order of summation.
        value = round(float(metric(tally)), 9)
        values[name] = value if np.isfinite(value) and (name == "example_count" or _size(tally)) else None
    values["confusion"] = confusion(tally).astype(int).tolist()
    return values
