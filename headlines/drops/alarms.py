"""Which figures of a night's drop stop a run, and what is said then: to DropGate and to `retraining drop` alike."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from headlines.drops import measures
from headlines.drops.figures import Figures
from headlines.names import NIGHT_ROWS_IN, NIGHT_ROWS_QUARANTINED, ROWS_USED
from headlines.recorded import Recorded

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
    missed = measures.find_missed(figures.to_properties(), asdict(limits))
    if measures.RELABELLED_SHARE in missed:
        named = f" {_tell_exchange(figures.relabelled_swap)}." if figures.relabelled_swap else ""
        yield (
            f"{sum(figures.relabelled.values())} of {figures.seen_titles} titles seen before (in the window, or in the "
            f"earlier version of this drop) have another label now, {figures.relabelled_share:.1%}, at most "
            f"{limits.max_relabelled_share:.1%} may: old->new {_tell(figures.relabelled)}.{named} "
            f"{_advise(measures.RELABELLED_SHARE)}"
        )
    if measures.SWAP_EVIDENCE in missed:
        yield (
            f"{_tell_exchange(figures.swap)}: the titles and the class mix read better that way by "
            f"{figures.swap_evidence:.2f} nats a title, at most {limits.max_swap_evidence:.2f} may. How titles read -> "
            f"how they are labelled: {_tell(figures.misread)}. {_advise(measures.SWAP_EVIDENCE)}"
        )
    if measures.CLASS_MIX_SHIFT in missed:
        mix = ", ".join(f"{label} {count / figures.titles:.1%}" for label, count in figures.classes.items())
        yield (
            f"the class mix of the night ({mix}) is {figures.class_mix_shift:.1%} away from that of the window, at "
            f"most {limits.max_class_mix_shift:.1%} may be. {_advise(measures.CLASS_MIX_SHIFT)}"
        )
    if measures.NOT_PORTUGUESE_SHARE in missed:
        yield (
            f"{figures.not_portuguese_share:.1%} of the night's titles are not Portuguese, at most "
            f"{limits.max_not_portuguese_share:.1%} may be. {_advise(measures.NOT_PORTUGUESE_SHARE)}"
        )
    if measures.UNSEEN_WORD_EXCESS in missed:
        yield (
            f"{figures.unseen_word_share:.1%} of the night's words were never seen in the window, "
            f"{figures.unseen_word_excess:.1%} more than it leads to expect, at most "
            f"{limits.max_unseen_word_excess:.1%} may be. {_advise(measures.UNSEEN_WORD_EXCESS)}"
        )


def tell_quarantined(bad: int, delivered: int, max_share: float, reasons: Counter[str]) -> Iterator[str]:
    """That too many of a night's rows are quarantined, if they are, and for what reasons."""
    counts = {NIGHT_ROWS_QUARANTINED: bad, NIGHT_ROWS_IN: delivered}
    if measures.find_missed(counts, {"max_quarantined_share": max_share}):
        causes = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        yield (
            f"{bad} of the {delivered} rows of the night's drop are quarantined, {bad / delivered:.1%}, at most "
            f"{max_share:.1%} may be: {causes}"
        )


def tell_too_few(headlines: int, nights: int, min_headlines: int) -> Iterator[str]:
    """That a window has too few usable headlines, if it has."""
    if measures.find_missed({ROWS_USED: headlines}, {"min_headlines": min_headlines}):
        yield (
            f"only {headlines} usable headlines in the window of {nights} nights, at least {min_headlines} are needed. "
            f"{_advise(ROWS_USED)}"
        )


def _advise(name: str) -> str:
    [advice] = (kind.advice for kind in measures.KINDS if kind.name == name)
    return advice


def _tell_exchange(exchange: str) -> str:
    pairs = dict(pair.split("=") for pair in exchange.split(","))
    if len(pairs) == 2:
        return f"the labels {' and '.join(pairs)} look swapped"
    return "the labels look rotated (" + ", ".join(f"{a} should be {b}" for a, b in pairs.items()) + ")"


def _tell(changes: dict[str, int]) -> str:
    return ", ".join(f"{change} {count}" for change, count in list(changes.items())[:_CHANGES_SHOWN]) or "none"
