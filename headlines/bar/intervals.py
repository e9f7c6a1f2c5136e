"""The 95 % interval of a metric: the one place where one is made.

A share of rows (accuracy, precision, recall) has Wilson's, which knows a chance beyond the rows there are; whatever is
no share of rows, and every difference of two models, has that of a bootstrap over the rows.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import bootstrap
from statsmodels.stats.proportion import proportion_confint

from headlines.bar.tally import METRICS, SHARES, Floats, Integers

CONFIDENCE = 0.95
RESAMPLES = 1000
# The same rows give the same intervals.
_SEED = 0

Estimate = tuple[float, float, float]
"""A value, and the lower and the upper end of its interval."""


def estimate(rows: Floats, statistic: Callable[[Floats], Floats]) -> list[Estimate | None]:
    """Values of a set of rows, and their intervals by a percentile bootstrap; None for one that is no number.

    A resample is a number of times for each row, so that all tallies of all resamples are one product of matrices.

    Args:
      rows: what is counted of each row [n, width]; the columns of several models make what is resampled paired.
      statistic: from tallies [m, width] to k values of each [k, m].
    """
    size = len(rows)

    def measure_resamples(chosen: Integers, axis: int = -1) -> Floats:
        resamples = np.atleast_2d(chosen)
        offsets = np.arange(len(resamples))[:, None] * size
        times = np.bincount((resamples + offsets).ravel(), minlength=len(resamples) * size)
        values = statistic(times.reshape(len(resamples), size) @ rows)
        return values if chosen.ndim > 1 else values[:, 0]

    everything = np.arange(size)
    interval = bootstrap(
        (everything,),
        measure_resamples,
        n_resamples=RESAMPLES,
        vectorized=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    triples = np.stack([measure_resamples(everything), interval.low, interval.high], axis=1)
    return [
        (round(value, 9), round(low, 9), round(high, 9)) if np.isfinite([value, low, high]).all() else None
        for value, low, high in triples.tolist()
    ]


def find_intervals(tally: Floats, estimates: Mapping[str, Estimate]) -> dict[str, tuple[float, float]]:
    """The interval of each metric of one model.

    Args:
      tally: of all its rows [WIDTH].
      estimates: of its metrics, as far as there are any, from `estimate`.

    Returns:
      By metric, without those of which rows that all agree tell nothing.
    """
    intervals = {}
    for name in METRICS:
        if name in SHARES:
            part, whole = (float(count) for count in SHARES[name](tally))
            if whole:
                low, high = proportion_confint(round(part), round(whole), 1 - CONFIDENCE, "wilson")
                intervals[name] = (round(float(low), 9), round(float(high), 9))
        elif name in estimates and estimates[name][1] < estimates[name][2]:
            intervals[name] = estimates[name][1:]
    return intervals
