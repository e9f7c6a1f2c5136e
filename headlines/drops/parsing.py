"""Parses the text of a CSV file: lines, header, rows, and what becomes of rows whose quotes are not balanced."""

import csv
import io
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from headlines.drops.drops_folder import DropError
from modules.features import LABEL, LABELS, TITLE

_DELIMITERS = (",", ";", "\t")
MAX_ROW_CHARACTERS = 131_072
"""A row longer than this is no row: a quote in it was never closed."""
TOO_LONG = f"it is longer than {MAX_ROW_CHARACTERS:,} characters"


@dataclass(frozen=True, slots=True)
class Row:
    """A row as delivered.

    `raw` is its text without the line end; bytes that are not UTF-8 are in it as surrogate escapes. `title` and `label`
    are empty when the number of `cells` is not that of the header's `columns`, and when the row has a `fault`: what is
    wrong with its quotes, so that nobody can tell its cells.
    """

    file: str
    line: int
    raw: str
    title: str
    label: str
    cells: int
    columns: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """What the header of a file says of its rows."""

    file: str
    delimiter: str
    columns: int
    title: int
    label: int | None

    def split(self, line: str) -> list[str]:
        """The cells of one line that is a row by itself.

        Raises:
          csv.Error: its quotes are not balanced.
        """
        return next(csv.reader([line], delimiter=self.delimiter, strict=True), [])

    def stands_alone(self, line: str) -> bool:
        """Whether a line can be read as a row, whatever is above it."""
        try:
            return line.count('"') % 2 == 0 and len(self.split(line)) == self.columns
        except csv.Error:
            return False

    def find_label(self, line: str) -> str:
        """What a line that quotes do not protect has where the label stands; delimiters in the title do not matter."""
        cells = line.rstrip("\r\n").split(self.delimiter)
        if self.label is None or len(cells) < self.columns:
            return ""
        return cells[self.label if self.label < self.title else self.label - self.columns].strip(' "')


class Lines:
    """The lines of a file, with their line ends; those of the row that is being read can be given back.

    Attributes:
      number: of the line that comes next.
      taken: the lines since the last row began.
    """

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._given_back: deque[str] = deque()
        self.number = 1
        self.taken: list[str] = []
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else self._read()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self.number += 1
        self._characters += len(line)
        if self._characters > MAX_ROW_CHARACTERS:
            raise csv.Error(TOO_LONG)
        return line

    def begin_row(self) -> int:
        """Forgets the lines of the last row, and returns the number of the next one's first line."""
        self.taken.clear()
        self._characters = 0
        return self.number

    def give_back(self, lines: Sequence[str]) -> None:
        """Puts lines that were taken before those that come next."""
        self._given_back.extendleft(reversed(lines))
        self.number -= len(lines)

    @property
    def is_fresh(self) -> bool:
        """Whether no line that was given back is still to come."""
        return not self._given_back

    def _read(self) -> str:
        line = self._text.readline(MAX_ROW_CHARACTERS + 1)
        if len(line) > MAX_ROW_CHARACTERS:
            end = line
            # What nobody will read is not kept.
            while end and not end.endswith(("\n", "\r")):
                end = self._text.readline(MAX_ROW_CHARACTERS)
        return line


def parse(lines: Lines, table: Table) -> Iterator[Row]:
    """The rows below the header. Of a row whose quotes are not balanced each line is one, up to one that is sound."""
    reader = csv.reader(lines, delimiter=table.delimiter, strict=True)
    # One string for each label of the file, and not one for each row.
    labels: dict[str, str] = {}
    while True:
        line = lines.begin_row()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield from _give_up(lines, table, line, str(error))
            continue
        if cells is None:
            return
        if not cells:
            continue
        whole = len(cells) == table.columns
        label = cells[table.label] if whole and table.label is not None else ""
        yield Row(
            file=table.file,
            line=line,
            raw="".join(lines.taken).rstrip("\r\n"),
            title=cells[table.title] if whole else "",
            label=labels.setdefault(label, label),
            cells=len(cells),
            columns=table.columns,
        )


def _give_up(lines: Lines, table: Table, number: int, fault: str) -> Iterator[Row]:
    """The first of the lines taken as a row with a fault, and each below it up to one that stands alone."""
    first, *rest = lines.taken
    lines.give_back(rest)
    yield _make_faulty(table, number, first, fault)
    while True:
        number = lines.begin_row()
        try:
            line = next(lines, None)
        except csv.Error as error:
            yield _make_faulty(table, number, lines.taken[0], str(error))
            continue
        if line is None:
            return
        if table.stands_alone(line):
            lines.give_back([line])
            return
        if line.strip("\r\n"):
            yield _make_faulty(table, number, line, "it follows a row whose quotes are not balanced")


def _make_faulty(table: Table, number: int, line: str, fault: str) -> Row:
    return Row(table.file, number, line.rstrip("\r\n"), "", "", 0, table.columns, fault)


def collect_labels(rows: Iterable[Row]) -> set[str]:
    """What the rows of a file have for a label, in small letters, but for rows that may be several run together."""
    return {row.label.strip().casefold() for row in rows if not breaks(row.raw)}


def part_merged(rows: Iterable[Row], table: Table, labels: Collection[str]) -> Iterator[Row]:
    """Rows of a file, but for one that a stray pair of quotes made of several: its lines are rows once more.

    A line break inside a title is no fault. That a line above it ends as a row does, with a label of this file, is one.

    Args:
      rows: some of the file.
      table: of the file.
      labels: of the whole file, as `collect_labels` gives them.
    """
    known = {*labels, *LABELS} - {""}
    for row in rows:
        yield from _part(row, table, known) if breaks(row.raw) else (row,)


def _part(row: Row, table: Table, labels: set[str]) -> Iterator[Row]:
    first, *rest = io.StringIO(row.raw, newline="")
    found = (table.find_label(line) for line in (first, *rest[:-1]))
    label = next((label for label in found if label.casefold() in labels), "")
    if not label:
        yield row
        return
    lines = Lines(io.StringIO("".join(rest), newline=""))
    lines.number, lines.taken = row.line + 1, [first]
    yield from _give_up(
        lines, table, row.line, f"rows run together: a line break inside the title, after the label {label!r}"
    )
    for other in parse(lines, table):
        yield from _part(other, table, labels) if breaks(other.raw) else (other,)


def breaks(text: str) -> bool:
    """Whether a text has a line break in it."""
    return "\n" in text or "\r" in text


def read_header(path: Path, lines: Lines, wanted: tuple[str, ...]) -> Table:
    """What the first line of a file says.

    Raises:
      DropError: it does not name the wanted columns.
    """
    try:
        line = next(lines, "")
    except csv.Error:
        line = lines.taken[0]
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:  # longer than csv takes
            continue
        columns = [name.strip().casefold() for name in names]
        if all(columns.count(name) == 1 for name in wanted):
            label = columns.index(LABEL) if LABEL in wanted else None
            return Table(path.name, delimiter, len(columns), columns.index(TITLE), label)
    named = f"columns {' and '.join(wanted)}, once each," if len(wanted) > 1 else f"column {wanted[0]}, once,"
    raise DropError(
        f"{path} line 1: the header must name the {named} separated by a comma, a semicolon or a tab; it reads "
        f"{line.strip()[:120]!r}. Correct the first line and deliver the file again"
    )
