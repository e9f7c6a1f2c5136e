"""What a night's drop is measured by: what each measure is called, which way its limit goes, whether it is kept.

DropGate, `retraining drop`, the pages and `retraining lineage drift` take the rule from here, from what is recorded.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headlines.drops.chance import surprisal_of_hits
from headlines.names import CLASSES, NIGHT_ROWS_IN, NIGHT_ROWS_QUARANTINED, ROWS_USED

# A share of so many titles is taken as it is; one of fewer may be chance.
_MANY_TITLES = 100
_MANY_SEEN_TITLES = 20
# What is less likely than this is no chance.
_LEAST_CHANCE = 0.0001
# From here on nobody counts the zeros, and from there on nothing else is worth counting either.
_LONG_ODDS, _NO_ODDS = 6, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a measure is.

    Attributes:
      name: under which its value is recorded, or of what it is computed.
      label: for a person.
      meaning: what the figure is, in one sentence.
      unit: `share` of 1, `count`, `nats` a title, `characters`, `distance` of two distributions, from 0 to 1, or
        `odds`: minus the decimal logarithm of a chance.
      limit: the setting that it is held to, in small letters; empty for one that stops no run.
      is_floor: whether the limit is the least it may be, not the most.
      many: property that counts the titles it is judged on, and from how many on a value beyond the limit is no chance
        whatever it is; None where it is none of any number.
      advice: what to do about a value beyond the limit, as a sentence without its full stop.
    """

    name: str
    label: str
    meaning: str
    unit: Literal["share", "count", "nats", "characters", "distance", "odds"] = "share"
    limit: str = ""
    is_floor: bool = False
    many: tuple[str, int] | None = None
    advice: str = ""

    def write(self, value: float) -> str:
        """A value in this measure's unit."""
        if self.unit == "share":
            return f"{value:.1%}"
        if self.unit == "count":
            return f"{value:.0f}"
        if self.unit == "distance":
            return f"{value:.3f}"
        if self.unit == "odds":
            return write_odds(value)
        return f"{value:.2f} nats" if self.unit == "nats" else f"{value:.1f} characters"

    def tell_rule(self, limit: float | None) -> str:
        """A limit with its direction, in words."""
        if not self.limit:
            return "no limit"
        if limit is None:
            return "limit not recorded"
        if self.unit == "odds":
            return f"no rarer than {self.write(limit)}"
        return f"at {'least' if self.is_floor else 'most'} {self.write(limit)}"

    def may_be_chance(self, value: float, limit: float, titles: int) -> bool:
        """Whether so few titles as there are may have a value beyond the limit though nothing is wrong."""
        if self.many is None or titles >= self.many[1]:
            return False
        if self.unit == "nats":
            # By this factor, all titles together, the night is likelier with its labels exchanged.
            return value * titles < -math.log(_LEAST_CHANCE)
        return surprisal_of_hits(round(value * titles), titles, max(limit, 0.0)) < -math.log10(_LEAST_CHANCE)


QUARANTINED_SHARE, RELABELLED_SHARE, SWAP_EVIDENCE = "quarantined_share", "relabelled_share", "swap_evidence"
CLASS_MIX_SHIFT, NOT_PORTUGUESE_SHARE = "class_mix_shift", "not_portuguese_share"
UNSEEN_WORD_EXCESS = "unseen_word_excess"
ROW_COUNT_SURPRISAL, REPEATED_SURPRISAL, LOST_SHARE = "row_count_surprisal", "repeated_surprisal", "lost_share"
CLASS_SURPRISAL, EXPECTED_CLASS_SURPRISAL = "class_surprisal", "expected_class_surprisal"
UNKNOWN_LABEL_SURPRISAL = "unknown_label_surprisal"

KINDS = (
    Kind(
        name=QUARANTINED_SHARE,
        label="rows quarantined",
        meaning="Of the rows of the night's own drop, those that cannot be used.",
        limit="max_quarantined_share",
        advice="Correct the quarantined rows and deliver the file again, or raise MAX_QUARANTINED_SHARE",
    ),
    Kind(
        name=UNKNOWN_LABEL_SURPRISAL,
        label="rows with one and the same unknown label",
        meaning="How often slips of the pen would spoil so many rows of a night in the same way: one row in 200 each.",
        unit="odds",
        limit="max_surprisal",
        advice="Correct the labels, or declare what is a code, and deliver the file again; or raise MAX_SURPRISAL",
    ),
    Kind(
        name=ROWS_USED,
        label="usable headlines in the window",
        meaning="Headlines of all drops of the window that can be trained on.",
        unit="count",
        limit="min_headlines",
        is_floor=True,
        advice="Deliver more, widen WINDOW_NIGHTS or lower MIN_HEADLINES",
    ),
    Kind(
        name=ROW_COUNT_SURPRISAL,
        label="so many rows, or so few",
        meaning="How often a night has a row count as far from what the window's nights lead to expect.",
        unit="odds",
        limit="max_surprisal",
        advice="Look whether the file is whole, and all in it this night's, and deliver the right one; or raise "
        "MAX_SURPRISAL",
    ),
    Kind(
        name=REPEATED_SURPRISAL,
        label="so many repeated titles",
        meaning="How often a night has so many rows whose title is in the drop twice or on another night of the "
        "window, beside what the window's nights have.",
        unit="odds",
        limit="max_surprisal",
        advice="Look whether this is the file of another night, or has its rows twice, and deliver the right one; or "
        "raise MAX_SURPRISAL",
    ),
    Kind(
        name=LOST_SHARE,
        label="titles lost by a correction",
        meaning="Of the titles of the version that is corrected, those that are gone without another in their place.",
        limit="max_lost_share",
        many=("earlier_titles", _MANY_TITLES),
        advice="A correction replaces the version before it as a whole: deliver all rows, or raise MAX_LOST_SHARE",
    ),
    Kind(
        name=CLASS_SURPRISAL,
        label="a label so rare, or so frequent",
        meaning="How often a night has a count of a label as far from what the window's nights lead to expect; of the "
        "three labels the oddest.",
        unit="odds",
        limit="max_surprisal",
        advice="Look whether a label is written in a new way, or read as another, and deliver the file again; or "
        "raise MAX_SURPRISAL",
    ),
    Kind(
        name=EXPECTED_CLASS_SURPRISAL,
        label="the same beside EXPECTED_CLASS_MIX",
        meaning="How often a night has a count of a label as far from what EXPECTED_CLASS_MIX leads to expect, "
        "whatever the window has.",
        unit="odds",
        limit="max_surprisal",
        advice="Correct the labels or their codes and deliver the file again; where the mix is another for good, set "
        "EXPECTED_CLASS_MIX; or raise MAX_SURPRISAL",
    ),
    Kind(
        name=RELABELLED_SHARE,
        label="titles with another label than before",
        meaning="Of the titles seen before, in the window or in an earlier version of the drop, those whose label "
        "changed.",
        limit="max_relabelled_share",
        many=("seen_titles", _MANY_SEEN_TITLES),
        advice="Correct the labels or their codes and deliver the file again, or raise MAX_RELABELLED_SHARE",
    ),
    Kind(
        name=SWAP_EVIDENCE,
        label="evidence of exchanged labels",
        meaning="How much better the titles would read with the labels exchanged.",
        unit="nats",
        limit="max_swap_evidence",
        many=("titles", _MANY_TITLES),
        advice="Correct the labels or their codes and deliver the file again; if they are right, raise "
        "MAX_SWAP_EVIDENCE or set EXPECTED_CLASS_MIX",
    ),
    Kind(
        name=CLASS_MIX_SHIFT,
        label="shift of the class mix",
        meaning="Half the sum of the differences between the shares of the labels in the night and in the window.",
        limit="max_class_mix_shift",
        many=("titles", _MANY_TITLES),
        advice="Correct the labels, or raise MAX_CLASS_MIX_SHIFT",
    ),
    Kind(
        name=NOT_PORTUGUESE_SHARE,
        label="titles that are not Portuguese",
        meaning="Of the night's titles, judged together.",
        limit="max_not_portuguese_share",
        many=("titles", _MANY_TITLES),
        advice="Correct the drop, or raise MAX_NOT_PORTUGUESE_SHARE",
    ),
    Kind(
        name=UNSEEN_WORD_EXCESS,
        label="unseen words beyond expectation",
        meaning="The share of words that the window has never seen, above what the window itself leads to expect.",
        limit="max_unseen_word_excess",
        many=("titles", _MANY_TITLES),
        advice="Look for new topics, or for a broken encoding (`Ã§` or `?` in the titles); correct the drop, or raise "
        "MAX_UNSEEN_WORD_EXCESS",
    ),
    Kind(
        name="unseen_word_share",
        label="unseen words",
        meaning="Of the words of the night's titles, those that the window has never seen.",
    ),
    Kind(
        name="mean_title_characters",
        label="length of a title",
        meaning="Characters of the night's titles, in the mean.",
        unit="characters",
    ),
    Kind(name=NIGHT_ROWS_IN, label="rows delivered", meaning="Rows of the night's own drop.", unit="count"),
)
"""Every measure, those that stop a run first."""

RECORDED = frozenset(
    {kind.name for kind in KINDS} - {QUARANTINED_SHARE}
    | {kind.many[0] for kind in KINDS if kind.many}
    | {NIGHT_ROWS_IN, NIGHT_ROWS_QUARANTINED, CLASSES}
)
"""The properties of examples that `measure` and `share_classes` read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measure of a night beside its limit.

    Attributes:
      kind: what is measured.
      value: None where it was not recorded or cannot be told, of a night without a window for example.
      limit: in force for the night; None where the measure has none, or it was not recorded.
      judged_on: how many titles the value is of, where few may have it by chance.
    """

    kind: Kind
    value: float | None
    limit: float | None
    judged_on: int | None = None

    @property
    def passed(self) -> bool | None:
        """Whether it is within its limit; None where nothing is held against it."""
        if self.value is None or self.limit is None:
            return None
        if self.value >= self.limit if self.kind.is_floor else self.value <= self.limit:
            return True
        return None if self.may_be_chance else False

    @property
    def may_be_chance(self) -> bool:
        """Whether it is beyond its limit, and so may be that of as few titles though nothing is wrong."""
        return (
            self.value is not None
            and self.limit is not None
            and self.kind.may_be_chance(self.value, self.limit, self.judged_on or 0)
        )

    @property
    def shown(self) -> str:
        """The value as a person reads it."""
        return "not recorded" if self.value is None else self.kind.write(self.value)

    @property
    def rule(self) -> str:
        """The limit with its direction, in words."""
        return self.kind.tell_rule(self.limit)

    @property
    def verdict(self) -> str:
        """What came of it: `passed`, `missed`, or why it was not judged."""
        if self.passed is not None:
            return "passed" if self.passed else "missed"
        return f"not judged: of {self.judged_on or 0} titles, it may be chance" if self.may_be_chance else "not judged"


def write_odds(surprisal: float) -> str:
    """A chance, of which `surprisal` is minus the decimal logarithm, as a person says it."""
    if surprisal >= _NO_ODDS:
        return "practically none"
    return f"1 in {10**surprisal:,.0f}" if surprisal < _LONG_ODDS else f"1 in 10^{surprisal:.0f}"


def measure(properties: Mapping[str, Any], limits: Mapping[str, float]) -> tuple[Measure, ...]:
    """Every measure of a night, in the order of `KINDS`.

    Args:
      properties: what is recorded on the examples of the night's run, as numbers or as text.
      limits: by setting, in small letters; those that are not known are left out.
    """
    return tuple(
        Measure(
            kind=kind,
            value=_value(kind, properties),
            limit=limits.get(kind.limit),
            judged_on=_count(properties, kind.many[0]) if kind.many else None,
        )
        for kind in KINDS
    )


def find_missed(properties: Mapping[str, Any], limits: Mapping[str, float]) -> set[str]:
    """The names of the measures that are beyond their limits."""
    return {one.kind.name for one in measure(properties, limits) if one.passed is False}


def share_classes(properties: Mapping[str, Any]) -> dict[str, float]:
    """The share of each label in the night's own drop; empty where it was not recorded."""
    counts: dict[str, int] = json.loads(str(properties.get(CLASSES) or "{}"))
    total = sum(counts.values())
    return {label: count / total for label, count in counts.items()} if total else {}


def _value(kind: Kind, properties: Mapping[str, Any]) -> float | None:
    if kind.name == QUARANTINED_SHARE:
        bad, delivered = (_count(properties, name) for name in (NIGHT_ROWS_QUARANTINED, NIGHT_ROWS_IN))
        return bad / delivered if bad is not None and delivered else None
    value = properties.get(kind.name)
    return None if value is None else float(value)


def _count(properties: Mapping[str, Any], name: str) -> int | None:
    value = properties.get(name)
    return None if value is None else int(value)
