"""Judges rows: which are used, which are quarantined and why, which are duplicates folded into another."""

import csv
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TextIO

from headlines.display import neutralise, show_bytes
from headlines.drops.broken_text import find_damage, find_lost_letters, find_nothing, has_lost_letters
from headlines.drops.parsing import Row
from headlines.drops.rules import Rules
from modules.features import LABELS
from modules.text import normalise

COLUMNS = ("night", "version", "file", "line", "reason", "detail", "raw")
_UNDECODED = re.compile("[\udc80-\udcff]")


class Reason(StrEnum):
    """Why a row is not used."""

    UNDECODABLE = "undecodable row"
    UNBALANCED_QUOTES = "unbalanced quotes"
    WRONG_FIELDS = "wrong number of fields"
    BLANK_TITLE = "missing or blank title"
    BROKEN_TEXT = "broken text"
    LONG_TITLE = "over-long title"
    UNKNOWN_LABEL = "unknown label"
    CONFLICT = "conflicting labels"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Headline:
    """A row that can be used: `title` on one line, `label` by name, `key` the title as the model sees it.

    Titles of one key are one headline, whatever their form: for label conflicts, duplicates, the split, and what is
    fresh or was seen before.
    """

    night: date
    version: int
    row: Row
    title: str
    label: str
    key: str

    @property
    def text(self) -> str:
        """The title whatever its case and spacing, but with its accents and numbers: what its language shows in."""
        return " ".join(unicodedata.normalize("NFKC", self.title).casefold().split())


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that is not used, why, and what a person needs to mend it."""

    night: date
    version: int
    row: Row
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Sifted:
    """Every row that went in, in exactly one of three places; newest night first, then as delivered.

    `readable` is another view of them: all that have a title and a label, whatever becomes of them beside the others.
    """

    used: list[Headline]
    quarantined: list[SetAside]
    folded: list[SetAside]
    readable: list[Headline]


def sift(
    drops: Iterable[tuple[date, int, Sequence[Row]]],
    rules: Rules,
    codes_of: Mapping[tuple[date, int], Mapping[str, str]] | None = None,
) -> Sifted:
    """Judges the rows of a window together.

    Of rows of one headline with one label the newest is kept, of the same night the first. Where one headline has two
    labels, in one drop or in several, all its rows are out: nobody can tell which label is right.

    Args:
      drops: night, version and rows of each drop, in any order.
      rules: label codes, the longest title, and how the model sees a title.
      codes_of: by night and version, the label codes of drops that have codes of their own.
    """
    headlines: list[Headline] = []
    refused: list[SetAside] = []
    for night, version, rows in sorted(drops, key=lambda drop: drop[0], reverse=True):
        label_of = spell((codes_of or {}).get((night, version), rules.label_codes))
        for judged in _judge_drop(night, version, rows, rules, label_of):
            if isinstance(judged, Headline):
                headlines.append(judged)
            else:
                refused.append(judged)
    sifted = settle(headlines)
    sifted.quarantined.extend(refused)
    for rows_aside in (sifted.quarantined, sifted.folded):
        rows_aside.sort(key=place)
    return sifted


def place(entry: Headline | SetAside) -> tuple[int, str, int]:
    """By what the rows of a window are sorted: newest night first, then as delivered; no two have the same."""
    return -entry.night.toordinal(), entry.row.file, entry.row.line


def settle(headlines: list[Headline]) -> Sifted:
    """Judges readable rows beside one another: conflicts of labels, and duplicates.

    Args:
      headlines: by `place`; either all of a window, or all that are of one headline, of however many headlines.
    """
    sifted = Sifted([], [], [], headlines)
    conflicts = _find_conflicts(headlines)
    first_of: dict[str, Headline] = {}
    for headline in headlines:
        if headline.key in conflicts:
            sifted.quarantined.append(_set_aside(headline, Reason.CONFLICT, conflicts[headline.key]))
        elif (first := first_of.setdefault(headline.key, headline)) is not headline:
            sifted.folded.append(_set_aside(headline, Reason.DUPLICATE, f"of {_locate(first)}"))
        else:
            sifted.used.append(headline)
    return sifted


def write_csv(entries: Iterable[SetAside], file: TextIO) -> None:
    """Writes rows set aside as CSV, one per line, so that no spreadsheet takes a cell for a formula.

    Args:
      entries: what to write.
      file: open for text with `newline=""`; encode it as `utf-8-sig`, which spreadsheets recognise.
    """
    csv.writer(file).writerow(COLUMNS)
    write_rows(entries, file)


def write_rows(entries: Iterable[SetAside], file: TextIO) -> None:
    """The same without a header, for a part of a file."""
    writer = csv.writer(file)
    for entry in entries:
        row = entry.row
        cells = (entry.night, entry.version, row.file, row.line, entry.reason, entry.detail, show_bytes(row.raw))
        writer.writerow(neutralise(str(cell)) for cell in cells)


def read_csv(file: TextIO) -> list[dict[str, str]]:
    """The rows of a file that `write_csv` wrote, however long they are.

    Args:
      file: open for text with `newline=""`, as `utf-8-sig`.
    """
    # csv has one limit for the whole process. A drop that is read has a limit of its own, on the row.
    csv.field_size_limit(sys.maxsize)
    return list(csv.DictReader(file))


def judge_title(night: date, version: int, row: Row, rules: Rules) -> str | SetAside:
    """The title of a row on one line, or the row set aside because it has none that can be used."""

    def refuse(reason: Reason, detail: str) -> SetAside:
        return SetAside(night, version, row, reason, detail)

    if byte := _UNDECODED.search(row.raw):
        position = len(row.raw[: byte.start()].encode("utf-8", "surrogateescape")) + 1
        return refuse(Reason.UNDECODABLE, f"byte {position} of the row, 0x{ord(byte[0]) - 0xDC00:02X}, is not UTF-8")
    if row.fault:
        return refuse(Reason.UNBALANCED_QUOTES, row.fault)
    if row.cells != row.columns:
        return refuse(Reason.WRONG_FIELDS, f"{row.cells} instead of {row.columns}")
    title = " ".join(row.title.split())
    if not title:
        return refuse(Reason.BLANK_TITLE, "")
    if nothing := find_nothing(title):
        return refuse(Reason.BLANK_TITLE, nothing)
    if len(title) > rules.max_title_characters:
        return refuse(Reason.LONG_TITLE, f"{len(title)} characters; at most {rules.max_title_characters}")
    if damage := find_damage(row.title):
        return refuse(Reason.BROKEN_TEXT, damage)
    # Most titles are on one line as they were delivered: one string then, and not two.
    return row.title if title == row.title else title


def spell(label_codes: Mapping[str, str]) -> dict[str, str]:
    """What may stand for a label, in small letters, and the label that it stands for."""
    return {code.casefold(): label for code, label in label_codes.items()} | {label: label for label in LABELS}


def _judge_drop(
    night: date, version: int, rows: Sequence[Row], rules: Rules, label_of: Mapping[str, str]
) -> Iterator[Headline | SetAside]:
    """The rows of a drop as they are judged one by one, but for titles that only the others show to be broken."""
    judged = [judge(night, version, row, rules, label_of) for row in rows]
    lost = find_lost_letters(entry.title for entry in judged if isinstance(entry, Headline))
    return (set_lost_aside(entry, lost) if isinstance(entry, Headline) else entry for entry in judged)


def set_lost_aside(headline: Headline, lost: str) -> Headline | SetAside:
    """A row that is readable by itself, set aside if its drop has lost letters and so has the row.

    Args:
      headline: the row.
      lost: what `LostLetters` tell of its drop.
    """
    if lost and has_lost_letters(headline.title):
        return _set_aside(headline, Reason.BROKEN_TEXT, lost)
    return headline


def judge(night: date, version: int, row: Row, rules: Rules, label_of: Mapping[str, str]) -> Headline | SetAside:
    """Judges a row by itself: one that is readable, or set aside.

    Args:
      night: of the drop.
      version: of the drop.
      row: what is judged.
      rules: the longest title, and how the model sees a title.
      label_of: as `spell` gives it.
    """
    title = judge_title(night, version, row, rules)
    if isinstance(title, SetAside):
        return title
    label = label_of.get(row.label.strip().casefold())
    if not label:
        return SetAside(night, version, row, Reason.UNKNOWN_LABEL, f"label {row.label!r}")
    key = normalise(title, rules.text_settings)
    if not key:
        return SetAside(night, version, row, Reason.BLANK_TITLE, "by the text settings the model reads nothing of it")
    return Headline(night, version, row, title, label, title if key == title else key)


def _set_aside(headline: Headline, reason: Reason, detail: str) -> SetAside:
    return SetAside(headline.night, headline.version, headline.row, reason, detail)


def _find_conflicts(headlines: Sequence[Headline]) -> dict[str, str]:
    """The keys that have two labels or more, each with where the first of each label is."""
    label_of: dict[str, str] = {}
    keys = {
        headline.key for headline in headlines if label_of.setdefault(headline.key, headline.label) != headline.label
    }
    places: dict[str, dict[str, str]] = {key: {} for key in keys}
    for headline in headlines:
        if headline.key in places:
            places[headline.key].setdefault(headline.label, _locate(headline))
    return {
        key: "; ".join(f"{label} at {place}" for label, place in sorted(labelled.items()))
        for key, labelled in places.items()
    }


def _locate(headline: Headline) -> str:
    return f"{headline.night} {headline.row.file} line {headline.row.line}"
