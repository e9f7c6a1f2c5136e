"""How many rows a night has, and of what kinds, beside what the nights of its window lead to expect.

What is expected by chance is in `chance`; which of the figures stop a run is for `alarms` to say.
"""

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from headlines.drops.chance import (
    Expected,
    expect_count,
    expect_share,
    surprisal_of_count,
    surprisal_of_hits,
    surprisal_of_share,
)
from headlines.drops.quarantine import Headline, Reason, SetAside
from modules.features import LABELS

# How much nights vary at least, whatever few of them show: docs/decisions/0007-drop-alarms.md tells from what.
_LEAST_SPREAD_OF_ROWS = 0.012
_LEAST_SPREAD_OF_CLASSES = 0.007
_LEAST_SPREAD_OF_REPEATS = 0.05
# What is expected before any night was seen counts as so many titles: of the class mix, and of repeated titles.
_PRIOR_TITLES = 50
_PRIOR_REPEATS = 0.02
# Of the rows of a night, those that one and the same slip of the pen spoils.
_TYPO_SHARE = 0.005
# As surprising is a night of the window that is named as the one that is wrong.
_MISFIT = 4
# MLMD takes no long texts, and JSON in ASCII writes an emoji in 12 bytes.
_UNKNOWN_LABELS_KEPT, _LABEL_CHARACTERS_KEPT, _NIGHTS_KEPT = 8, 18, 5
_REPEATED_NIGHTS_KEPT = 3


def count_classes(window: Iterable[Headline]) -> dict[date, Counter[str]]:
    """How many rows of each night have each label, oldest night first."""
    counts: dict[date, Counter[str]] = {}
    for headline in window:
        counts.setdefault(headline.night, Counter())[headline.label] += 1
    return counts


def judge_row_count(rows: int, nights: Mapping[date, Counter[str]]) -> tuple[float | None, float | None]:
    """How many rows the window leads to expect, and how surprising the night's are."""
    if not nights:
        return None, None
    expected = expect_count([counts.total() for counts in nights.values()], _LEAST_SPREAD_OF_ROWS)
    return expected.mean, surprisal_of_count(rows, expected)


def judge_repeats(
    night: Sequence[Headline], window: Sequence[Headline], left_out: Iterable[Headline] = ()
) -> tuple[int, float]:
    """How many rows of a night repeat a title, also of a drop that was left out, and how surprising more are.

    What is usual is told by the window alone.
    """
    night_of: dict[str, date] = {}
    of_several = {
        headline.key for headline in window if night_of.setdefault(headline.key, headline.night) != headline.night
    }
    usual = [
        (_count_repeated(rows, of_several), len(rows))
        for rows in (list(group) for _, group in itertools.groupby(window, key=lambda headline: headline.night))
    ]
    repeated = _count_repeated(night, night_of.keys() | {headline.key for headline in left_out})
    expected = expect_share(usual, _PRIOR_REPEATS, _PRIOR_TITLES, _LEAST_SPREAD_OF_REPEATS)
    is_more = repeated > expected.mean * len(night)
    return repeated, surprisal_of_share(repeated, len(night), expected) if is_more else 0.0


def locate_repeats(night: Sequence[Headline], window: Iterable[Headline]) -> tuple[int, dict[str, int]]:
    """How many rows repeat a title of the drop itself, and with which nights it shares how many; the foremost few."""
    own = {headline.key for headline in night}
    of_others = {(headline.night, headline.key) for headline in window if headline.key in own}
    shared = Counter(other for other, _ in of_others)
    foremost = sorted(shared, key=lambda other: (shared[other], other), reverse=True)[:_REPEATED_NIGHTS_KEPT]
    return len(night) - len(own), {str(other): shared[other] for other in foremost}


def _count_repeated(rows: Sequence[Headline], elsewhere: Container[str]) -> int:
    """How many rows have a title that is elsewhere too, or that an earlier one of them has."""
    own = {headline.key for headline in rows}
    return len(rows) - len(own) + sum(key in elsewhere for key in own)


def expect_classes(nights: Sequence[Counter[str]], expected_class_mix: Mapping[str, float]) -> dict[str, Expected]:
    """What share of each label to expect of a night after others, or without any others."""
    return {
        label: expect_share(
            [(counts[label], counts.total()) for counts in nights],
            expected_class_mix.get(label, 0.0) if expected_class_mix else 1 / len(LABELS),
            _PRIOR_TITLES if expected_class_mix or not nights else 1,
            _LEAST_SPREAD_OF_CLASSES,
        )
        for label in LABELS
    }


@dataclass(frozen=True, slots=True)
class Misfit:
    """The label of a night whose count is the most surprising, how many were expected, and how surprising that is."""

    label: str
    expected: float
    surprisal: float


def judge_classes(classes: Counter[str], expected: Mapping[str, Expected]) -> Misfit | None:
    """What fits least among a night's counts of labels; None where nothing is expected of them."""
    titles = classes.total()
    misfits = [
        Misfit(label, share.mean * titles, surprisal_of_share(classes[label], titles, share))
        for label, share in expected.items()
    ]
    return max(misfits, key=lambda misfit: misfit.surprisal, default=None)


def find_misfit_nights(
    nights: Mapping[date, Counter[str]], expected: Mapping[str, Expected]
) -> dict[str, dict[str, int]]:
    """The newest of the nights whose class mix chance does not give where this one is expected."""
    misfits = [
        night
        for night, counts in nights.items()
        if (misfit := judge_classes(counts, expected)) and misfit.surprisal > _MISFIT
    ]
    return {str(night): {label: nights[night][label] for label in LABELS} for night in misfits[-_NIGHTS_KEPT:]}


def find_unknown_labels(readable: int, quarantined: Sequence[SetAside]) -> tuple[dict[str, int], float | None]:
    """What rows have for a label that is none, the most frequent first, and how surprising the first is by chance."""
    rows = readable + sum(entry.reason is not Reason.CONFLICT for entry in quarantined)
    counts = Counter(
        entry.row.label.strip()[:_LABEL_CHARACTERS_KEPT]
        for entry in quarantined
        if entry.reason is Reason.UNKNOWN_LABEL
    ).most_common(_UNKNOWN_LABELS_KEPT)
    return dict(counts), surprisal_of_hits(counts[0][1] if counts else 0, rows, _TYPO_SHARE) if rows else None
