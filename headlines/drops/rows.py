"""Reads one CSV file of a drop into rows, each with its line and raw text, or says why it cannot be read."""

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headlines.drops.drops_folder import DropError, unreadable
from modules.features import LABEL, TITLE

_DELIMITERS = (",", ";", "\t")
# A few damaged rows are quarantined. A file is taken to be in another encoding when the damage is the rule in it:
# more than this share of all its lines and of those lines that are not plain ASCII.
_MAX_UNDECODABLE_SHARE = 0.1
_MAX_UNDECODABLE_SHARE_OF_NON_ASCII = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """A row as delivered.

    `raw` is its text without the line end; bytes that are not UTF-8 are in it as surrogate escapes. `title` and `label`
    are empty when the number of `cells` is not that of the header's `columns`.
    """

    file: str
    line: int
    raw: str
    title: str
    label: str
    cells: int
    columns: int


@dataclass(frozen=True, slots=True)
class DropFile:
    """One CSV file: its name, its rows in their order, and the hash of its bytes."""

    name: str
    rows: tuple[Row, ...]
    sha256: str


def read_file(path: Path) -> DropFile:
    """Reads a CSV file with a header that names `title` and `sentiment`, in any order and beside others.

    Comma, semicolon or tab; quoted newlines; a byte order mark; any line ends. Blank lines are not rows.

    Raises:
      DropError: the file cannot be read as a whole: empty, not UTF-8, a wrong header, no rows, unbalanced quotes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(error, f"{path} cannot be read: {error.strerror}; let this user read it") from None
    if not data:
        raise DropError(f"{path} is empty (0 bytes); deliver the file again")
    rows = tuple(_parse(path, io.StringIO(_decode(path, data), newline=""), (TITLE, LABEL)))
    if not rows:
        raise DropError(f"{path} has a header and no rows; deliver the file again with its headlines")
    return DropFile(path.name, rows, hashlib.sha256(data).hexdigest())


def stream_titles(path: Path) -> Iterator[Row]:
    """The rows of a CSV file whose header names `title`, one after the other, so that its size does not matter.

    As `read_file` otherwise, but that no row's `label` is read and that bytes which are not UTF-8 are never the file's
    fault: they are left to whoever judges the row.

    Raises:
      DropError: the file cannot be read as a whole, or not to its end.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _parse(path, file, (TITLE,))
    except OSError as error:
        raise unreadable(error, f"{path} cannot be read: {error.strerror}; let this user read it") from None


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
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
    return data.decode("utf-8-sig", "surrogateescape")


def _find_damage(line: bytes) -> UnicodeDecodeError | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _parse(path: Path, text: Iterable[str], wanted: tuple[str, ...]) -> Iterator[Row]:
    row_lines: list[str] = []

    def take_lines() -> Iterator[str]:
        for line in text:
            row_lines.append(line)
            yield line

    lines = take_lines()
    delimiter, columns = _read_header(path, next(lines, ""), wanted)
    title_column = columns.index(TITLE)
    label_column = columns.index(LABEL) if LABEL in wanted else None
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    while True:
        line += len(row_lines)
        row_lines.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DropError(
                f"{path} line {line}: the quotes of the row that begins here are not balanced ({error}); close every "
                'quoted title, write a quote inside one twice (""), and deliver the file again'
            ) from None
        if cells is None:
            return
        if not cells:
            continue
        whole = len(cells) == len(columns)
        yield Row(
            file=path.name,
            line=line,
            raw="".join(row_lines).rstrip("\r\n"),
            title=cells[title_column] if whole else "",
            label=cells[label_column] if whole and label_column is not None else "",
            cells=len(cells),
            columns=len(columns),
        )


def _read_header(path: Path, line: str, wanted: tuple[str, ...]) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns in lower case."""
    for delimiter in _DELIMITERS:
        names = next(csv.reader([line], delimiter=delimiter), [])
        columns = [name.strip().casefold() for name in names]
        if all(columns.count(name) == 1 for name in wanted):
            return delimiter, columns
    named = f"columns {' and '.join(wanted)}, once each," if len(wanted) > 1 else f"column {wanted[0]}, once,"
    raise DropError(
        f"{path} line 1: the header must name the {named} separated by a comma, a semicolon or a tab; it reads "
        f"{line.strip()[:120]!r}. Correct the first line and deliver the file again"
    )
