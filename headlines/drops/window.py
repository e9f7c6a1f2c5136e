"""The window of a night: what becomes of the rows of its drops, and the split and weight of every headline in it.

Which versions it reads is in `sources`.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion
from headlines.drops.figures import Figures, compare
from headlines.drops.quarantine import Headline, SetAside, Sifted, sift
from headlines.drops.rows import DropFile, FileRecord, read_files
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents, tell_codes
from headlines.drops.sources import Content, LeftOut, find_sources, hash_contents
from headlines.names import LABEL_CODES
from modules.features import LABELS

log = logging.getLogger(__name__)

SPLITS = ("train", "eval")
# A part of `eval` once more, so that no model was ever trained on it: what no earlier night of the window had.
FRESH_SPLIT = "fresh"
# Weights stay positive whatever the age: the schema refuses a weight of nothing, and this is as good as nothing.
_MIN_WEIGHT = 1e-6
_NIGHTS_LISTED = 6


@dataclass(frozen=True, slots=True)
class Drop:
    """A drop that was read, and where its rows went; `label_codes` is empty where its labels are names alone."""

    version: DropVersion
    files: tuple[FileRecord, ...]
    rows_used: int
    rows_quarantined: int
    duplicates_folded: int
    label_codes: Codes = field(default_factory=dict)

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What lay beside its files and was not read, and those of its files that have no rows."""
        empty = (f"{file.name} (no rows)" for file in self.files if not file.row_count)
        return (*self.version.passed_over, *empty)

    @property
    def rows_in(self) -> int:
        """Rows delivered."""
        return sum(file.row_count for file in self.files)

    @property
    def sha256(self) -> str:
        """Hash of the names and contents of its files."""
        return hash_contents(self.files)


@dataclass(frozen=True, slots=True)
class Account:
    """What a run for `night` has read, without its rows: `missing`, `left_out` and `drops` oldest first.

    `left_out` are drops of earlier nights that stand refused; the night's own is never one. `figures` compare the
    night's own drop with the rest. `not_compared` are the versions, by number, that the night's own corrects and that
    cannot be read, with why: nothing tells what is lost of those.
    """

    night: date
    missing: tuple[date, ...]
    left_out: tuple[LeftOut[Any], ...]
    drops: tuple[Drop, ...]
    figures: Figures
    not_compared: Mapping[int, str]

    @property
    def rows_in(self) -> int:
        """Rows delivered."""
        return sum(drop.rows_in for drop in self.drops)

    @property
    def rows_used(self) -> int:
        """Rows that are used."""
        return sum(drop.rows_used for drop in self.drops)


@dataclass(frozen=True, slots=True)
class Window(Account):
    """The same with its rows: `headlines` oldest first, bad rows newest first.

    `fresh` are the headlines for evaluation that the night has and no earlier night of the window, in no version of its
    drop; nights before the window are not looked into, nor is a version that was refused.
    """

    headlines: list[Headline]
    fresh: list[Headline]
    quarantined: list[SetAside]
    folded: list[SetAside]


def read_window(
    drops: DropsFolder,
    night: date,
    rules: Rules,
    newest: DropVersion | None = None,
    precedents: Precedents = NO_PRECEDENTS,
    unread: dict[date, DropError] | None = None,
) -> Window:
    """Reads the newest complete version of every drop in the window of `night` and judges all rows together.

    Args:
      drops: where they are.
      night: whose window.
      rules: how long it is, and what a row is held to.
      newest: see `find_sources`, as for the two that follow.
      precedents: which drops of earlier nights are left out, and with which label codes versions were read.
      unread: earlier nights whose drop cannot be read, for a look beside a window that is not whole yet.

    Raises:
      DropError: a night of the window has a folder whose drop cannot be read, or too many nights have none.
    """
    earlier_keys: set[str] = set()

    def read(paths: Sequence[Path]) -> tuple[DropFile, ...]:
        return read_files(paths, rules.unbalanced_quotes)

    def see_replaced(content: Content[DropFile]) -> None:
        # One at a time: of its rows nothing else is needed.
        earlier_keys.update(headline.key for headline in _sift([content], rules).readable)

    sources = find_sources(drops, night, rules, read, see_replaced, newest, precedents, unread)
    sifted = _sift(sources.drops, rules)
    rows_used, rows_quarantined, rows_folded = (
        Counter(entry.night for entry in entries) for entries in (sifted.used, sifted.quarantined, sifted.folded)
    )
    read_drops = tuple(
        describe_drop(
            content,
            rows_used[content.version.night],
            rows_quarantined[content.version.night],
            rows_folded[content.version.night],
        )
        for content in sources.drops
    )
    parts = divide(sifted.readable, night)
    earlier_keys.update(headline.key for headline in parts.before)
    if sources.left_out and not parts.before:
        warn_of_nothing_to_compare(night)
    figures = compare(
        parts.own,
        parts.before,
        _sift([sources.corrected], rules).readable if sources.corrected else [],
        rules.expected_class_mix,
        [entry for entry in sifted.quarantined if entry.night == night],
        _sift(sources.left_out, rules).readable,
    )
    return Window(
        night,
        sources.missing,
        sources.left_out,
        read_drops,
        figures,
        sources.not_compared,
        sorted(sifted.used, key=lambda headline: headline.night),
        [headline for headline in sifted.used if is_fresh(headline, night, earlier_keys, rules)],
        sifted.quarantined,
        sifted.folded,
    )


class Parts(NamedTuple):
    """Readable rows of a window: those of its own night as delivered, the others in the opposite order."""

    own: list[Headline]
    before: list[Headline]


def divide(readable: Sequence[Headline], night: date) -> Parts:
    """Divides rows that come newest night first."""
    return Parts(
        [headline for headline in readable if headline.night == night],
        [headline for headline in reversed(readable) if headline.night < night],
    )


def is_fresh(headline: Headline, night: date, earlier_keys: Container[str], rules: Rules) -> bool:
    """Whether a headline is one for evaluation that `night` has and no earlier night, in no version of its drop.

    Args:
      headline: one that is used.
      night: whose window it is.
      earlier_keys: of what earlier nights have.
      rules: how much is for evaluation.
    """
    return (
        headline.night == night
        and headline.key not in earlier_keys
        and split_of(headline.key, rules.eval_percent) == "eval"
    )


def describe_drop(content: Content[Any], used: int, quarantined: int, folded: int) -> Drop:
    """A drop that was read, by where its rows went."""
    codes = content.codes if _has_codes(content.files) else {}
    return Drop(content.version, content.files, used, quarantined, folded, codes)


def warn_of_nothing_to_compare(night: date) -> None:
    """Says that there is no earlier night to compare with, though there was one."""
    log.warning("Night %s is compared with no other: every drop of its window was refused.", night)


def _sift(contents: Sequence[Content[DropFile]], rules: Rules) -> Sifted:
    """Judges the rows of versions together."""
    return sift(
        (
            (content.version.night, content.version.number, [row for file in content.files for row in file.rows])
            for content in contents
        ),
        rules,
        {(content.version.night, content.version.number): content.codes for content in contents},
    )


def tell_left_out(left_out: Iterable[LeftOut[Any]]) -> Iterator[str]:
    """Which drops a window leaves out, each with why and what to do."""
    for one in left_out:
        night, number = one.version.night, one.version.number
        yield (
            f"version {number} of the drop of night {night} is left out of the window: {one.refusal.by} refused it on "
            f"{one.refusal.at:%Y-%m-%d %H:%M} UTC ({one.refusal.why}). Deliver a corrected drop with `retraining drop "
            f"FILE --night {night} --correct`, or accept it as it is with `retraining drop --accept {night} --reason "
            "TEXT`"
        )


def tell_other_codes(drops: Iterable[Drop], rules: Rules) -> Iterator[str]:
    """Which drops are read with other label codes than LABEL_CODES says, those of the same codes together."""
    nights_of: dict[str, list[str]] = {}
    for drop in drops:
        if drop.label_codes and drop.label_codes != rules.label_codes:
            nights_of.setdefault(tell_codes(drop.label_codes), []).append(str(drop.version.night))
    for codes, nights in nights_of.items():
        listed = _list_nights(nights)
        which = f"drop of night {listed} is" if len(nights) == 1 else f"drops of the nights {listed} are"
        yield (
            f"the {which} read with the label codes {codes}, as when delivered or first used; "
            f"{LABEL_CODES.upper()}={tell_codes(rules.label_codes)} is for new deliveries"
        )


def tell_unread(unread: Mapping[date, DropError]) -> Iterator[str]:
    """Which nights of a window nothing is compared with, since their drops cannot be read, and what a run does then."""
    for night, error in sorted(unread.items()):
        then = "waits for it" if error.may_pass else "stops at it"
        yield f"night {night} is left out of the comparison, and the run {then}: {error}"


def tell_missing(missing: Sequence[date], most: int) -> Iterator[str]:
    """That more nights of a window have no drop than may, if so: the run will not read that window."""
    if len(missing) > most:
        have = "night of the window has" if len(missing) == 1 else "nights of the window have"
        yield (
            f"{len(missing)} {have} no drop, at most {most} may: the run stops until they are delivered, or "
            f"MAX_MISSING_NIGHTS is raised ({_list_nights(missing)})"
        )


def _list_nights(nights: Sequence[date | str]) -> str:
    if len(nights) <= _NIGHTS_LISTED:
        return ", ".join(map(str, nights))
    return f"{nights[0]} to {nights[-1]} ({len(nights)})"


def _has_codes(files: Iterable[FileRecord]) -> bool:
    """Whether a label is written otherwise than by its name."""
    return any(file.labels - {"", *LABELS} for file in files)


def split_of(key: str, eval_percent: int) -> str:
    """The split of a normalised title: the same on every night and in every version of a drop."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    return "eval" if bucket < eval_percent else "train"


def weigh(age_nights: int, half_life_nights: float) -> float:
    """What a headline counts in training: 1 on its night, halved by every half-life; always 1 when that is 0."""
    return max(_MIN_WEIGHT, 0.5 ** (age_nights / half_life_nights)) if half_life_nights else 1.0


def check_nothing_lost(
    drops: Iterable[Drop], advice: str = "This is a defect in HeadlineExampleGen: keep the drop and report it"
) -> None:
    """Checks that every row delivered was used, quarantined or folded.

    Args:
      drops: that were read.
      advice: what to do otherwise, as a sentence.

    Raises:
      RuntimeError: rows of a drop are unaccounted for.
    """
    for drop in drops:
        accounted = drop.rows_used + drop.rows_quarantined + drop.duplicates_folded
        if drop.rows_in != accounted:
            raise RuntimeError(
                f"rows of night {drop.version.night} were lost or invented: {drop.rows_in} came in, but "
                f"{drop.rows_used} used + {drop.rows_quarantined} quarantined + "
                f"{drop.duplicates_folded} folded = {accounted}. Nothing was trained. {advice}"
            )
