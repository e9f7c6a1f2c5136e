"""Which figures of a night's drop stop a run, and what is said then: to DropGate and to `retraining drop` alike."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from headlines.display import count
from headlines.drops import measures
from headlines.drops.figures import Figures
from headlines.drops.quarantine import Reason
from headlines.drops.rulings import Codes, tell_codes
from headlines.names import NIGHT_ROWS_IN, NIGHT_ROWS_QUARANTINED, ROWS_USED
from headlines.recorded import Recorded

_CHANGES_SHOWN = 6
# A night that has a smaller part of the repeated titles is no explanation.
_TOLD_SHARE = 0.1
# What to do about rows that are quarantined, for the foremost of their reasons.
_REASONS_MENDED = 3
_MENDS: dict[str, str] = {
    Reason.UNDECODABLE: "export the file again as UTF-8",
    Reason.UNBALANCED_QUOTES: 'close every quoted title and write a quote inside one twice ("")',
    Reason.WRONG_FIELDS: "quote every title that has a delimiter in it",
    Reason.BLANK_TITLE: "give every row its title",
    Reason.BROKEN_TEXT: "export the file again as UTF-8",
    Reason.LONG_TITLE: "shorten the titles, or raise MAX_TITLE_CHARACTERS",
    Reason.UNKNOWN_LABEL: "correct the labels, or declare what is a code",
    Reason.CONFLICT: "give every title one label",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Recorded):
    """See the settings of the same names."""

    max_relabelled_share: float
    max_swap_evidence: float
    max_class_mix_shift: float
    max_not_portuguese_share: float
    max_unseen_word_excess: float
    max_lost_share: float
    max_surprisal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """The rows of a night's own drop that cannot be used.

    Attributes:
      bad: how many.
      delivered: of how many.
      max_share: how many of them may be, in [0, 1].
      reasons: how many for which reason.
      shown: text that follows where they are too many, such as where they are.
    """

    bad: int
    delivered: int
    max_share: float
    reasons: Counter[str]
    shown: str = ""


def find_alarms(
    figures: Figures, limits: Limits, quarantined: Quarantined | None = None, label_codes: Codes | None = None
) -> Iterator[str]:
    """Everything that is wrong with a night's own drop: rows, labels, words and language, each with what to do.

    It is said to whoever delivers the drop and to whoever runs its night, so that no advice fits one of them only.

    Args:
      figures: of the night.
      limits: that they are held to.
      quarantined: its bad rows.
      label_codes: that its labels were read with.
    """
    missed = measures.find_missed(figures.to_properties(), asdict(limits))
    # Labels that are none explain each of several alarms; the first of them says so.
    unknown = iter([f" {_tell_unknown(figures.unknown_labels, label_codes or {})}."] if figures.unknown_labels else [])
    yield from _tell_quarantined(quarantined, unknown) if quarantined else ()
    yield from _tell_window(figures, missed)
    # What names the cause comes first: of a long message a ruling keeps the beginning.
    yield from _tell_labels(figures, limits, missed)
    yield from _tell_rows(figures, limits, missed, unknown)
    yield from _tell_text(figures, limits, missed)


def _tell_window(figures: Figures, missed: set[str]) -> Iterator[str]:
    """That a good night is beyond its limits for the nights that it is compared with, if it is."""
    by_window = {measures.SWAP_EVIDENCE, measures.CLASS_MIX_SHIFT, measures.CLASS_SURPRISAL}
    if by_window & missed and measures.EXPECTED_CLASS_SURPRISAL not in missed and figures.misfit_nights:
        mixes = "; ".join(f"{night} {_tell_mix(counts)}" for night, counts in figures.misfit_nights.items())
        yield (
            "it is the window that disagrees with EXPECTED_CLASS_MIX, and the night agrees with it far better. In the "
            f"window are {mixes}. Correct the drops of those nights, not this one, and then deliver or run this night "
            "again"
        )


def _tell_rows(figures: Figures, limits: Limits, missed: set[str], unknown: Iterator[str]) -> Iterator[str]:
    def tell_odds(surprisal: float | None) -> str:
        odds, limit = map(measures.write_odds, (surprisal or 0.0, limits.max_surprisal))
        return f"a chance of {odds}, and below {limit} the run stops"

    if measures.ROW_COUNT_SURPRISAL in missed:
        yield (
            f"the night has {count(figures.readable_rows, 'row')} with a title and a label, those of the window have "
            f"{figures.expected_rows:.0f} in the mean: {tell_odds(figures.row_count_surprisal)}. "
            f"{_advise(measures.ROW_COUNT_SURPRISAL)}"
        )
    if measures.REPEATED_SURPRISAL in missed:
        rows_of = {f"night {night}": rows for night, rows in figures.repeated_nights.items()}
        rows_of["this drop itself"] = figures.repeated_within
        told = _TOLD_SHARE * figures.repeated_rows
        places = [f"{rows} of {place}" for place, rows in rows_of.items() if rows >= told]
        yield (
            f"{figures.repeated_rows} of the night's {count(figures.readable_rows, 'row')} repeat a title"
            f"{' (' + ', '.join(places) + ')' if places else ''}: {tell_odds(figures.repeated_surprisal)}. "
            f"{_advise(measures.REPEATED_SURPRISAL)}"
        )
    if measures.LOST_SHARE in missed:
        yield (
            f"{figures.lost_titles} of the {figures.earlier_titles} titles of the version that this one corrects are "
            f"gone with no others in their place, {figures.lost_share:.1%}, at most {limits.max_lost_share:.1%} may "
            f"be. {_advise(measures.LOST_SHARE)}"
        )
    if measures.UNKNOWN_LABEL_SURPRISAL in missed:
        label, rows = next(iter(figures.unknown_labels.items()))
        yield (
            f"the label {label!r}, which is none, is on {count(rows, 'row')}: so many slips of the pen have "
            f"{tell_odds(figures.unknown_label_surprisal)}.{next(unknown, '')} "
            f"{_advise(measures.UNKNOWN_LABEL_SURPRISAL)}"
        )
    for name, label, expected, what in (
        (measures.CLASS_SURPRISAL, figures.misfit_class, figures.misfit_class_expected, "the window"),
        (
            measures.EXPECTED_CLASS_SURPRISAL,
            figures.misfit_class_of_mix,
            figures.misfit_class_of_mix_expected,
            "EXPECTED_CLASS_MIX",
        ),
    ):
        if name in missed:
            # A class that is missing may be there, in other words.
            yield (
                f"{figures.classes[label]} of the night's {figures.titles} titles are {label}, where {what} leads to "
                f"expect about {expected:.0f}: {tell_odds(getattr(figures, name))}.{next(unknown, '')} {_advise(name)}"
            )


def _tell_labels(figures: Figures, limits: Limits, missed: set[str]) -> Iterator[str]:
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
        yield (
            f"the class mix of the night ({_tell_mix(figures.classes)}) is {figures.class_mix_shift:.1%} away from "
            f"that of the window, at most {limits.max_class_mix_shift:.1%} may be. {_advise(measures.CLASS_MIX_SHIFT)}"
        )


def _tell_text(figures: Figures, limits: Limits, missed: set[str]) -> Iterator[str]:
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


def _tell_quarantined(quarantined: Quarantined, unknown: Iterator[str]) -> Iterator[str]:
    """That too many of a night's rows are quarantined, if they are, for what reasons, and what to do about those."""
    bad, delivered, max_share = quarantined.bad, quarantined.delivered, quarantined.max_share
    counts = {NIGHT_ROWS_QUARANTINED: bad, NIGHT_ROWS_IN: delivered}
    if measures.find_missed(counts, {"max_quarantined_share": max_share}):
        foremost = quarantined.reasons.most_common()
        causes = ", ".join(f"{reason} {rows}" for reason, rows in foremost)
        # Two reasons may be mended alike.
        mends = dict.fromkeys(_MENDS[reason] for reason, _ in foremost[:_REASONS_MENDED])
        advice = "; ".join(mends)
        told = next(unknown, "") if Reason.UNKNOWN_LABEL in quarantined.reasons else ""
        yield (
            f"{bad} of the {count(delivered, 'row')} of the night's drop are quarantined, {bad / delivered:.1%}, at "
            f"most {max_share:.1%} may be: {causes}.{told} {advice[0].upper()}{advice[1:]}. Then deliver the file "
            f"again, or raise MAX_QUARANTINED_SHARE{quarantined.shown}"
        )


def _tell_unknown(unknown_labels: Mapping[str, int], label_codes: Codes) -> str:
    """What stands for a label and is none, each with how many rows have it, and how it is declared to be a code."""
    values = ", ".join(f"{label!r} ({count(rows, 'row')})" for label, rows in unknown_labels.items())
    codes = f"one of the codes {', '.join(sorted(label_codes))}" if label_codes else "a code"
    new = next((f"{label}=LABEL" for label in unknown_labels if label), "CODE=LABEL")
    return (
        f"{values} {'is' if len(unknown_labels) == 1 else 'are'} neither a label nor {codes}; a code is declared "
        f"by --label-codes {tell_codes(label_codes) + ',' if label_codes else ''}{new} with the delivery, or in "
        "LABEL_CODES"
    )


def tell_too_few(headlines: int, nights: int, min_headlines: int) -> Iterator[str]:
    """That a window has too few usable headlines, if it has."""
    if measures.find_missed({ROWS_USED: headlines}, {"min_headlines": min_headlines}):
        yield (
            f"only {headlines} usable headlines in the window of {count(nights, 'night')}, at least "
            f"{min_headlines} are needed. {_advise(ROWS_USED)}"
        )


def _advise(name: str) -> str:
    [advice] = (kind.advice for kind in measures.KINDS if kind.name == name)
    return advice


def _tell_mix(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{label} {count / total:.1%}" for label, count in counts.items())


def _tell_exchange(exchange: str) -> str:
    pairs = dict(pair.split("=") for pair in exchange.split(","))
    if len(pairs) == 2:
        return f"the labels {' and '.join(pairs)} look swapped"
    return "the labels look rotated (" + ", ".join(f"{a} should be {b}" for a, b in pairs.items()) + ")"


def _tell(changes: dict[str, int]) -> str:
    return ", ".join(f"{change} {count}" for change, count in list(changes.items())[:_CHANGES_SHOWN]) or "none"
