"""How surprising a count is by chance alone: of rows, or of a kind of rows among others.

Counts vary more from night to night than coins would. So a count of rows is held to a negative binomial distribution,
and a count among others to a beta-binomial one, whose spread is what earlier nights show, and never less than a floor.

A *surprisal* is minus the decimal logarithm of the chance of a count that is as far out, or farther, on the same side
of what is expected: 0 is no surprise, 4 is one night in 10,000.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Of no label and of no kind of row is it certain that it never comes, or always does.
_RAREST_SHARE = 0.001
# A term of a tail that is this small beside the sum adds nothing to it.
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Expected:
    """What earlier nights lead to expect of a night.

    Attributes:
      mean: rows, or a share of them.
      spread: of the nights about it. For rows the relative variance beyond that of a Poisson distribution; for a share
        the correlation between two rows of a night.
    """

    mean: float
    spread: float


def expect_count(counts: Sequence[int], least_spread: float) -> Expected:
    """What the counts of earlier nights, of which there is one at least, lead to expect of the next."""
    nights, mean = len(counts), sum(counts) / len(counts)
    if nights == 1:
        # One night does not tell how nights vary: a Sunday may be half a Monday.
        return Expected(mean, _widen(2 * least_spread, nights))
    variance = sum((count - mean) ** 2 for count in counts) / (nights - 1)
    return Expected(mean, _widen(max(least_spread, (variance - mean) / mean**2), nights))


def expect_share(counts: Sequence[tuple[int, int]], prior: float, prior_rows: float, least_spread: float) -> Expected:
    """What the shares of earlier nights, if any, lead to expect of the next.

    Args:
      counts: of each night, how many rows are of the kind, of how many.
      prior: the share to expect without any night.
      prior_rows: how many rows that is worth.
      least_spread: correlation between two rows of a night, at least.
    """
    nights, rows = len(counts), sum(total for _, total in counts)
    share = (sum(count for count, _ in counts) + prior * prior_rows) / (rows + prior_rows)
    share = min(max(share, _RAREST_SHARE), 1 - _RAREST_SHARE)
    spread = least_spread
    if nights > 1:
        excess = sum((count / total - share) ** 2 / (share * (1 - share)) - 1 / total for count, total in counts)
        spread = max(spread, excess / (nights - 1))
    return Expected(share, _widen(spread, nights))


def surprisal_of_count(count: int, expected: Expected) -> float:
    """How surprising so many rows are, or so few; see the module."""
    mean, size = expected.mean, 1 / expected.spread
    log_first = (
        math.lgamma(count + size)
        - math.lgamma(size)
        - math.lgamma(count + 1)
        + size * math.log(size / (size + mean))
        + count * math.log(mean / (size + mean))
    )
    if count < mean:
        return _sum_tail(log_first, count, 0, -1, lambda x: x * (size + mean) / ((x - 1 + size) * mean))
    return _sum_tail(log_first, count, None, 1, lambda x: (x + size) * mean / ((x + 1) * (size + mean)))


def surprisal_of_share(count: int, total: int, expected: Expected) -> float:
    """How surprising so many of the rows are, or so few; see the module."""
    share, rows = expected.mean, 1 / min(expected.spread, 0.5) - 1
    of_kind, of_others = share * rows, (1 - share) * rows
    log_first = (
        _log_choose(total, count)
        + _log_beta(count + of_kind, total - count + of_others)
        - _log_beta(of_kind, of_others)
    )
    if count < share * total:
        return _sum_tail(
            log_first, count, 0, -1,
            lambda x: x * (total - x + of_others) / ((total - x + 1) * (x - 1 + of_kind)),
        )  # fmt: skip
    return _sum_tail(
        log_first, count, total, 1,
        lambda x: (total - x) * (x + of_kind) / ((x + 1) * (total - x - 1 + of_others)),
    )  # fmt: skip


def surprisal_of_hits(count: int, total: int, share: float) -> float:
    """How surprising it is that `count` or more of the rows are of a kind which each is with the chance `share`.

    Without any spread between nights: a binomial distribution.
    """
    if count <= share * total:
        return 0.0
    if share <= 0:
        return math.inf
    log_first = _log_choose(total, count) + count * math.log(share) + (total - count) * math.log1p(-share)
    return _sum_tail(log_first, count, total, 1, lambda x: (total - x) * share / ((x + 1) * (1 - share)))


def _widen(spread: float, nights: int) -> float:
    """The spread about a mean that is itself known from so many nights only."""
    return spread * (1 + 1 / nights) if nights else spread


def _sum_tail(log_first: float, first: int, last: int | None, step: int, ratio: Callable[[int], float]) -> float:
    """The surprisal of a tail of a distribution.

    Args:
      log_first: natural logarithm of the chance of its first count.
      first: that count.
      last: the last count there is; None for no last.
      step: 1 for the upper tail, -1 for the lower.
      ratio: of the chance of the count after this one to the chance of this one.
    """
    term, total, count = 1.0, 1.0, first
    while count != last and term > _NEGLIGIBLE * total:
        term *= ratio(count)
        total += term
        count += step
    return max(0.0, -(log_first + math.log(total)) / math.log(10))


def _log_choose(total: int, count: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
