"""How many rows a night has, and of what kinds, beside what the nights of its window lead to expect.

What is expected by chance is in `chance`; which of the figures stop a run is for `alarms` to say.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from headlines.drops.quarantine import Reason, SetAside
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


def judge_row_count(rows: int, nights: Mapping[date, Counter[str]]) -> tuple[float | None, float | None]:
    """How many rows the window leads to expect, and how surprising the night's are."""
    if not nights:
        return None, None
    expected = expect_count([counts.total() for counts in nights.values()], _LEAST_SPREAD_OF_ROWS)
    return expected.mean, surprisal_of_count(rows, expected)


def judge_repeats(repeated: int, rows: int, usual: Sequence[tuple[int, int]]) -> float:
    """How surprising it is that so many rows of a night repeat a title.

    Args:
      repeated: rows that do.
      rows: all of them.
      usual: the same two of each night of the window.
    """
    expected = expect_share(usual, _PRIOR_REPEATS, _PRIOR_TITLES, _LEAST_SPREAD_OF_REPEATS)
    is_more = repeated > expected.mean * rows
    return surprisal_of_share(repeated, rows, expected) if is_more else 0.0


def name_repeated(shared_with: Mapping[date, int]) -> dict[str, int]:
    """With which nights a night shares how many titles; the foremost few."""
    foremost = sorted(shared_with, key=lambda other: (shared_with[other], other), reverse=True)
    return {str(other): shared_with[other] for other in foremost[:_REPEATED_NIGHTS_KEPT]}


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


def count_unknown_labels(quarantined: Iterable[SetAside]) -> Counter[str]:
    """What rows have for a label that is none, as much of it as is kept, and how many rows have it."""
    return Counter(
        entry.row.label.strip()[:_LABEL_CHARACTERS_KEPT]
        for entry in quarantined
        if entry.reason is Reason.UNKNOWN_LABEL
    )


def choose_unknown_labels(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent few of them; of those that are as frequent the first by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_UNKNOWN_LABELS_KEPT])


def judge_unknown_labels(counts: Mapping[str, int], rows: int) -> float | None:
    """How surprising it is that slips of the pen give the most frequent one so often; None without any rows.

    Args:
      counts: the most frequent few, or all.
      rows: of the night, but for those whose labels conflict.
    """
    return surprisal_of_hits(max(counts.values(), default=0), rows, _TYPO_SHARE) if rows else None
