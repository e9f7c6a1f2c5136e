"""Two models side by side on the same rows: each metric of both, and how sure the difference is."""

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar

from headlines.bar.intervals import estimate
from headlines.bar.tally import METRICS, Answers, Floats, Integers, count_rows

# Of the rows alone, so the same for both.
_OF_THE_ROWS = ("example_count", "majority_accuracy")


def pair(actual: Integers, a: Answers, b: Answers) -> dict[str, tuple[float, float, float, float]]:
    """Compares two models as the quality bar does: a bootstrap in which each resample holds the same rows of both.

    Args:
      actual: ids of the true labels [n], at least two.
      a, b: answers to these rows.

    Returns:
      By metric its value of `a`, that of `b`, and the ends of the 95 % interval of `b - a`.
    """
    names = [name for name in METRICS if name not in _OF_THE_ROWS]
    counts = [count_rows(actual, answers) for answers in (a, b)]
    width = counts[0].shape[1]

    def statistic(tallies: Floats) -> Floats:
        sides = tallies[:, :width], tallies[:, width:]
        values = [[METRICS[name](side) for name in names] for side in sides]
        return np.stack([*values[0], *values[1], *(b - a for a, b in zip(*values, strict=True))])

    estimates = estimate(np.concatenate(counts, axis=1), statistic)
    columns = (estimates[start : start + len(names)] for start in range(0, 3 * len(names), len(names)))
    return {
        name: (one[0], other[0], difference[1], difference[2])
        for name, one, other, difference in zip(names, *columns, strict=True)
        if one and other and difference
    }


def compare_errors(actual: Integers, a: Answers, b: Answers) -> float:
    """The exact p of McNemar's test that two models err equally often."""
    mine, theirs = (answers.predicted == actual for answers in (a, b))
    table = [[(one & other).sum() for other in (theirs, ~theirs)] for one in (mine, ~mine)]
    return round(float(mcnemar(table, exact=True).pvalue), 9)
