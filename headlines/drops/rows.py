"""Reads the CSV files of a drop into rows, each with its line and raw text, or says why they cannot be read."""

import codecs
import csv
import gzip
import hashlib
import io
import logging
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from headlines.drops.drops_folder import DropError, unreadable
from headlines.drops.rules import REFUSE_UNBALANCED
from headlines.drops.version_folder import find_name_problem
from modules.features import LABEL, LABELS, TITLE

log = logging.getLogger(__name__)

_DELIMITERS = (",", ";", "\t")
# A few damaged rows are quarantined. A file is taken to be in another encoding when the damage is the rule in it:
# more than this share of all its lines and of those lines that are not plain ASCII.
_MAX_UNDECODABLE_SHARE = 0.1
_MAX_UNDECODABLE_SHARE_OF_NON_ASCII = 0.5
MAX_ROW_CHARACTERS = 131_072
"""A row longer than this is no row: a quote in it was never closed."""
MAX_UNPACKED_BYTES = 2**28
"""Of one file that is packed with gzip: some three million headlines."""
_GZIP = b"\x1f\x8b"
# What people save under the name of a CSV file, by how it begins.
_OTHER_FORMATS = {
    b"PK\x03\x04": "is a workbook (.xlsx) or a zip archive; save or unpack it as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "is a workbook (.xls); save it as CSV in UTF-8",
    b"PAR1": "is a Parquet file; export it as CSV in UTF-8",
}
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
_BYTES_JUDGED = 64
_DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile)
_TOO_LONG = f"it is longer than {MAX_ROW_CHARACTERS:,} characters"
_LINES_NAMED = 50


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
class DropFile:
    """One CSV file: its name, its rows in their order, and the hash of its bytes as they were delivered."""

    name: str
    rows: tuple[Row, ...]
    sha256: str


class EmptyFileError(DropError):
    """A file of a drop has no rows; `file` is what it is beside files that have some."""

    def __init__(self, message: str, file: DropFile) -> None:
        super().__init__(message)
        self.file = file


def read_files(paths: Sequence[Path], unbalanced_quotes: str = REFUSE_UNBALANCED) -> tuple[DropFile, ...]:
    """Reads the files of one version of a drop; one without rows beside others that have some is no fault.

    Raises:
      DropError: a file cannot be read as a whole, as `read_file` says, or none has rows.
    """
    files: list[DropFile] = []
    empty: list[EmptyFileError] = []
    for path in paths:
        try:
            files.append(read_file(path, unbalanced_quotes))
        except EmptyFileError as error:
            files.append(error.file)
            empty.append(error)
    if empty and len(empty) == len(files):
        raise empty[0]
    for one in empty:
        log.warning("Of a drop of %d files one has no rows: %s.", len(files), one)
    return tuple(files)


def read_file(path: Path, unbalanced_quotes: str = REFUSE_UNBALANCED) -> DropFile:
    """Reads a CSV file with a header that names `title` and `sentiment`, in any order and beside others.

    Comma, semicolon or tab; quoted newlines; a byte order mark; any line ends; packed with gzip if its name ends in
    `.gz`. Blank lines are not rows.

    Args:
      path: of the file.
      unbalanced_quotes: `refuse` the file for a row whose quotes are not balanced, or `quarantine` that row: then each
        of its lines is a row with a fault.

    Raises:
      EmptyFileError: the file has no rows.
      DropError: the file cannot be read as a whole: another format or encoding, a wrong header, unbalanced quotes.
    """
    _refuse_name(path)
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    sha256 = hashlib.sha256(packed).hexdigest()
    data = _unpack(path, packed)
    if not data:
        message = f"{path} is empty ({len(packed)} bytes); deliver the file again"
        raise EmptyFileError(message, DropFile(path.name, (), sha256))
    _refuse_format(path, data)
    _check_encoding(path, data)
    lines = _Lines(_to_text(io.BytesIO(data)))
    table = _read_header(path, lines, (TITLE, LABEL))
    rows = list(_parse(lines, table))
    if unbalanced_quotes == REFUSE_UNBALANCED:
        _refuse_unbalanced(path, [row for row in rows if row.fault])
    if not rows:
        message = f"{path} has a header and no rows; deliver the file again with its headlines"
        raise EmptyFileError(message, DropFile(path.name, (), sha256))
    return DropFile(path.name, tuple(_part_merged(rows, table)), sha256)


def stream_titles(path: Path, unbalanced_quotes: str = REFUSE_UNBALANCED) -> Iterator[Row]:
    """The rows of a CSV file whose header names `title`, one after the other, so that its size does not matter.

    As `read_file` otherwise, but that no row's `label` is read and that bytes which are not UTF-8 are never the file's
    fault: they are left to whoever judges the row.

    Raises:
      DropError: the file cannot be read as a whole, or not to its end; unbalanced quotes are known at its end.
    """
    _refuse_name(path)
    faulty: list[Row] = []
    try:
        with path.open("rb") as file:
            content = gzip.GzipFile(fileobj=file) if _is_packed(path, file.peek(_BYTES_JUDGED)) else file
            _refuse_format(path, content.peek(_BYTES_JUDGED))
            lines = _Lines(_to_text(content))
            for row in _parse(lines, _read_header(path, lines, (TITLE,))):
                if row.fault and unbalanced_quotes == REFUSE_UNBALANCED:
                    faulty.append(row)
                else:
                    yield row
    except _DAMAGES as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    _refuse_unbalanced(path, faulty)


@dataclass(frozen=True, slots=True)
class _Table:
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


class _Lines:
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
            raise csv.Error(_TOO_LONG)
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

    def _read(self) -> str:
        line = self._text.readline(MAX_ROW_CHARACTERS + 1)
        if len(line) > MAX_ROW_CHARACTERS:
            end = line
            # What nobody will read is not kept.
            while end and not end.endswith(("\n", "\r")):
                end = self._text.readline(MAX_ROW_CHARACTERS)
        return line


def _parse(lines: _Lines, table: _Table) -> Iterator[Row]:
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


def _give_up(lines: _Lines, table: _Table, number: int, fault: str) -> Iterator[Row]:
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


def _make_faulty(table: _Table, number: int, line: str, fault: str) -> Row:
    return Row(table.file, number, line.rstrip("\r\n"), "", "", 0, table.columns, fault)


def _part_merged(rows: Sequence[Row], table: _Table) -> Iterator[Row]:
    """The rows of a file, but for one that a stray pair of quotes made of several: its lines are rows once more.

    A line break inside a title is no fault. That a line above it ends as a row does, with a label of this file, is one.
    """
    labels = {row.label.strip().casefold() for row in rows if not _breaks(row.raw)}.union(LABELS) - {""}
    for row in rows:
        yield from _part(row, table, labels) if _breaks(row.raw) else (row,)


def _part(row: Row, table: _Table, labels: set[str]) -> Iterator[Row]:
    first, *rest = io.StringIO(row.raw, newline="")
    found = (table.find_label(line) for line in (first, *rest[:-1]))
    label = next((label for label in found if label.casefold() in labels), "")
    if not label:
        yield row
        return
    lines = _Lines(io.StringIO("".join(rest), newline=""))
    lines.number, lines.taken = row.line + 1, [first]
    yield from _give_up(
        lines, table, row.line, f"rows run together: a line break inside the title, after the label {label!r}"
    )
    for other in _parse(lines, table):
        yield from _part(other, table, labels) if _breaks(other.raw) else (other,)


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _refuse_unbalanced(path: Path, faulty: Sequence[Row]) -> None:
    if not faulty:
        return
    first, *others = faulty
    named = ", ".join(str(row.line) for row in others[:_LINES_NAMED])
    more = f" and {len(others) - _LINES_NAMED} more" if len(others) > _LINES_NAMED else ""
    lines = f"{'lines' if len(others) > 1 else 'line'} {named}{more}"
    if first.fault == _TOO_LONG:
        what = f"the row that begins here is longer than {MAX_ROW_CHARACTERS:,} characters"
        also, advice = "; nor can a row be read at ", "Shorten it, or close a quote that is left open in it"
    else:
        what = f"the quotes of the row that begins here are not balanced ({first.fault})"
        also, advice = "; nor are those of ", 'Close every quoted title, write a quote inside one twice ("")'
    raise DropError(
        f"{path} line {first.line}: {what}{also + lines if others else ''}. {advice}, and deliver the file again; or "
        "set UNBALANCED_QUOTES=quarantine to read it without such rows"
    )


def _refuse_name(path: Path) -> None:
    if problem := find_name_problem(path):
        raise DropError(f"{problem} and deliver it again")


def _to_text(file: Any) -> TextIO:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _unpack(path: Path, data: bytes) -> bytes:
    """The content of a file, which is packed if its name says so."""
    if not _is_packed(path, data):
        return data
    content = bytearray()
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while block := file.read(2**20):
                content += block
                if len(content) > MAX_UNPACKED_BYTES:
                    raise DropError(
                        f"{path} unpacks to more than {MAX_UNPACKED_BYTES / 2**20:.0f} MB; deliver it unpacked, or as "
                        "several files"
                    )
    except _DAMAGES as error:
        raise _damaged(path, error) from None
    return bytes(content)


def _is_packed(path: Path, data: bytes) -> bool:
    """Whether a file is packed with gzip, as its name says.

    Raises:
      DropError: by how its content begins it is something else than its name says.
    """
    is_named_so = path.suffix.casefold() == ".gz"
    if is_named_so and data.startswith(_GZIP):
        return True
    if data.startswith(_GZIP):
        raise DropError(f"{path} is packed with gzip; name it so (.csv.gz), or unpack it, and deliver it again")
    if is_named_so and data:
        _refuse_format(path, data)
        raise DropError(f"{path} is named as packed with gzip and is not; pack it or rename it, and deliver it again")
    return False


def _refuse_format(path: Path, data: bytes) -> None:
    """Refuses what is no text in CSV, by how it begins once it is unpacked.

    Raises:
      DropError: it is packed once more, or a file of another format.
    """
    if data.startswith(_GZIP):
        raise DropError(f"{path} is packed twice; pack it once, and deliver it again")
    for magic, what in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise DropError(f"{path} {what}, and deliver it again")
    start = data[:_BYTES_JUDGED].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if start.startswith(_WEB_PAGE):
        raise DropError(f"{path} is a web page or another file in XML; export it as CSV in UTF-8, and deliver it again")


def _damaged(path: Path, error: Exception) -> DropError:
    return DropError(f"{path} cannot be unpacked: {error}; deliver the file again")


def _unreadable(path: Path, error: OSError) -> DropError:
    return unreadable(error, f"{path} cannot be read: {error.strerror}; let this user read it")


def _check_encoding(path: Path, data: bytes) -> None:
    try:
        data.decode("utf-8-sig")
        return
    except UnicodeDecodeError:
        pass
    lines = data.splitlines()
    damaged = [(number, problem) for number, line in enumerate(lines, 1) if (problem := _find_damage(line))]
    non_ascii = sum(not line.isascii() for line in lines)
    line, problem = damaged[0]
    if line == 1 or (
        len(damaged) > _MAX_UNDECODABLE_SHARE * len(lines)
        and len(damaged) > _MAX_UNDECODABLE_SHARE_OF_NON_ASCII * non_ascii
    ):
        guess = "UTF-16" if b"\0" in data else "Latin-1"
        raise DropError(
            f"{path} is not UTF-8 but perhaps {guess}: line {line}, byte {problem.start + 1} is "
            f"0x{problem.object[problem.start]:02X}, and {len(damaged)} of {len(lines)} lines cannot be decoded; "
            "save the file as UTF-8 and deliver it again"
        )


def _find_damage(line: bytes) -> UnicodeDecodeError | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _read_header(path: Path, lines: _Lines, wanted: tuple[str, ...]) -> _Table:
    """What the first line says."""
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
            return _Table(path.name, delimiter, len(columns), columns.index(TITLE), label)
    named = f"columns {' and '.join(wanted)}, once each," if len(wanted) > 1 else f"column {wanted[0]}, once,"
    raise DropError(
        f"{path} line 1: the header must name the {named} separated by a comma, a semicolon or a tab; it reads "
        f"{line.strip()[:120]!r}. Correct the first line and deliver the file again"
    )
