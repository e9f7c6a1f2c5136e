"""Which figures of a night's drop stop a run, and what is said then: to DropGate and to `retraining drop` alike."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from headlines.drops.figures import Figures
from headlines.recorded import Recorded

# Shares of fewer titles are chance.
FEWEST_TITLES = 100
_FEWEST_SEEN_TITLES = 20
_CHANGES_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Recorded):
    """See the settings of the same names."""

    max_relabelled_share: float
    max_swap_evidence: float
    max_class_mix_shift: float
    max_not_portuguese_share: float
    max_unseen_word_excess: float


def find_alarms(figures: Figures, limits: Limits) -> Iterator[str]:
    """Everything that is wrong with a night's labels, words and language, each with what to do."""
    if figures.seen_titles >= _FEWEST_SEEN_TITLES and figures.relabelled_share > limits.max_relabelled_share:
        named = f" {_tell_exchange(figures.relabelled_swap)}." if figures.relabelled_swap else ""
        yield (
            f"{sum(figures.relabelled.values())} of {figures.seen_titles} titles seen before (in the window, or in the "
            f"earlier version of this drop) have another label now, {figures.relabelled_share:.1%}, at most "
            f"{limits.max_relabelled_share:.1%} may: old->new {_tell(figures.relabelled)}.{named} Correct the labels "
            "or LABEL_CODES and deliver a corrected drop, or raise MAX_RELABELLED_SHARE"
        )
    if figures.titles < FEWEST_TITLES:
        return
    if figures.swap_evidence is not None and figures.swap_evidence > limits.max_swap_evidence:
        yield (
            f"{_tell_exchange(figures.swap)}: the titles and the class mix read better that way by "
            f"{figures.swap_evidence:.2f} nats a title, at most {limits.max_swap_evidence:.2f} may. How titles read -> "
            f"how they are labelled: {_tell(figures.misread)}. Correct the labels or LABEL_CODES and deliver a "
            "corrected drop; if they are right, raise MAX_SWAP_EVIDENCE or set EXPECTED_CLASS_MIX"
        )
    if figures.class_mix_shift is not None and figures.class_mix_shift > limits.max_class_mix_shift:
        mix = ", ".join(f"{label} {count / figures.titles:.1%}" for label, count in figures.classes.items())
        yield (
            f"the class mix of the night ({mix}) is {figures.class_mix_shift:.1%} away from that of the window, at "
            f"most {limits.max_class_mix_shift:.1%} may be; correct the labels, or raise MAX_CLASS_MIX_SHIFT"
        )
    if (figures.not_portuguese_share or 0) > limits.max_not_portuguese_share:
        yield (
            f"{figures.not_portuguese_share:.1%} of the night's titles are not Portuguese, at most "
            f"{limits.max_not_portuguese_share:.1%} may be; correct the drop, or raise MAX_NOT_PORTUGUESE_SHARE"
        )
    if (figures.unseen_word_excess or 0) > limits.max_unseen_word_excess:
        yield (
            f"{figures.unseen_word_share:.1%} of the night's words were never seen in the window, "
            f"{figures.unseen_word_excess:.1%} more than it leads to expect, at most "
            f"{limits.max_unseen_word_excess:.1%} may be: new topics, or a broken encoding (look for `Ã§` or `?` in "
            "the titles); correct the drop, or raise MAX_UNSEEN_WORD_EXCESS"
        )


def tell_quarantined(bad: int, delivered: int, max_share: float, reasons: Counter[str]) -> Iterator[str]:
    """That too many of a night's rows are quarantined, if they are, and for what reasons."""
    if bad > max_share * delivered:
        causes = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        yield (
            f"{bad} of the {delivered} rows of the night's drop are quarantined, {bad / delivered:.1%}, at most "
            f"{max_share:.1%} may be: {causes}"
        )


def tell_too_few(headlines: int, nights: int, min_headlines: int) -> Iterator[str]:
    """That a window has too few usable headlines, if it has."""
    if headlines < min_headlines:
        yield (
            f"only {headlines} usable headlines in the window of {nights} nights, at least {min_headlines} are needed; "
            "deliver more, widen WINDOW_NIGHTS or lower MIN_HEADLINES"
        )


def _tell_exchange(exchange: str) -> str:
    pairs = dict(pair.split("=") for pair in exchange.split(","))
    if len(pairs) == 2:
        return f"the labels {' and '.join(pairs)} look swapped"
    return "the labels look rotated (" + ", ".join(f"{a} should be {b}" for a, b in pairs.items()) + ")"


def _tell(changes: dict[str, int]) -> str:
    return ", ".join(f"{change} {count}" for change, count in list(changes.items())[:_CHANGES_SHOWN]) or "none"
