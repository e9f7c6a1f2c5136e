"""What makes a file none that can be read as a whole: its name, format, packing, encoding, or unbalanced quotes."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from headlines.drops.drops_folder import DropError, unreadable
from headlines.drops.parsing import MAX_ROW_CHARACTERS, TOO_LONG, Row
from headlines.drops.version_folder import find_name_problem

# A few damaged rows are quarantined. A file is taken to be in another encoding when the damage is the rule in it:
# more than this share of all its lines and of those lines that are not plain ASCII.
_MAX_UNDECODABLE_SHARE = 0.1
_MAX_UNDECODABLE_SHARE_OF_NON_ASCII = 0.5
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
BYTES_JUDGED = 64
DAMAGES = (EOFError, zlib.error, gzip.BadGzipFile)
_LINES_NAMED = 50


class Unbalanced:
    """The rows of a file whose quotes are not balanced: how many, and the first of them."""

    def __init__(self) -> None:
        self._first: list[Row] = []
        self._rows = 0

    def add(self, row: Row) -> None:
        """Takes the next one."""
        self._rows += 1
        if len(self._first) <= _LINES_NAMED:
            self._first.append(row)

    def refuse(self, path: Path) -> None:
        """Refuses the file if it has any.

        Raises:
          DropError: it has.
        """
        if self._first:
            _refuse_unbalanced(path, self._first, self._rows)


def _refuse_unbalanced(path: Path, foremost: Sequence[Row], rows: int) -> None:
    first, *others = foremost
    named = ", ".join(str(row.line) for row in others)
    more = f" and {rows - len(foremost)} more" if rows > len(foremost) else ""
    lines = f"{'lines' if rows > 2 else 'line'} {named}{more}"
    if first.fault == TOO_LONG:
        what = f"the row that begins here is longer than {MAX_ROW_CHARACTERS:,} characters"
        also, advice = "; nor can a row be read at ", "Shorten it, or close a quote that is left open in it"
    else:
        what = f"the quotes of the row that begins here are not balanced ({first.fault})"
        also, advice = "; nor are those of ", 'Close every quoted title, write a quote inside one twice ("")'
    raise DropError(
        f"{path} line {first.line}: {what}{also + lines if others else ''}. {advice}, and deliver the file again; or "
        "set UNBALANCED_QUOTES=quarantine to read it without such rows"
    )


def refuse_name(path: Path) -> None:
    """Refuses a file whose name nothing can record.

    Raises:
      DropError: the name is not UTF-8.
    """
    if problem := find_name_problem(path):
        raise DropError(f"{problem} and deliver it again")


def to_text(file: Any) -> TextIO:
    """The text of a file from its beginning; bytes that are not UTF-8 are surrogate escapes."""
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def refuse_large(path: Path, unpacked: int) -> None:
    """Refuses a packed file that unpacks to too much.

    Raises:
      DropError: it does.
    """
    if unpacked > MAX_UNPACKED_BYTES:
        raise DropError(
            f"{path} unpacks to more than {MAX_UNPACKED_BYTES / 2**20:.0f} MB; deliver it unpacked, or as several files"
        )


def is_packed(path: Path, data: bytes) -> bool:
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
        refuse_format(path, data)
        raise DropError(f"{path} is named as packed with gzip and is not; pack it or rename it, and deliver it again")
    return False


def refuse_format(path: Path, data: bytes) -> None:
    """Refuses what is no text in CSV, by how it begins once it is unpacked.

    Raises:
      DropError: it is packed once more, or a file of another format.
    """
    if data.startswith(_GZIP):
        raise DropError(f"{path} is packed twice; pack it once, and deliver it again")
    for magic, what in _OTHER_FORMATS.items():
        if data.startswith(magic):
            raise DropError(f"{path} {what}, and deliver it again")
    start = data[:BYTES_JUDGED].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if start.startswith(_WEB_PAGE):
        raise DropError(f"{path} is a web page or another file in XML; export it as CSV in UTF-8, and deliver it again")


def damaged(path: Path, error: Exception) -> DropError:
    """The error of a packed file that cannot be unpacked."""
    return DropError(f"{path} cannot be unpacked: {error}; deliver the file again")


def unreadable_file(path: Path, error: OSError) -> DropError:
    """The error of a file that cannot be read."""
    return unreadable(error, f"{path} cannot be read: {error.strerror}; let this user read it")


class EncodingCheck:
    """Looks at the lines of a file whether they are UTF-8."""

    def __init__(self) -> None:
        self._lines = 0
        self._damaged = 0
        self._non_ascii = 0
        self._has_nul = False
        self._first: tuple[int, UnicodeDecodeError] | None = None

    def look_at(self, lines: Iterable[bytes]) -> None:
        """Counts the next lines of the file."""
        for line in lines:
            self._lines += 1
            self._has_nul = self._has_nul or b"\0" in line
            if line.isascii():
                continue
            self._non_ascii += 1
            if problem := _find_damage(line):
                self._damaged += 1
                self._first = self._first or (self._lines, problem)

    def refuse(self, path: Path) -> None:
        """Refuses the file when damage is the rule in it, or in its first line.

        Raises:
          DropError: it is in another encoding.
        """
        if not self._first:
            return
        line, problem = self._first
        if line == 1 or (
            self._damaged > _MAX_UNDECODABLE_SHARE * self._lines
            and self._damaged > _MAX_UNDECODABLE_SHARE_OF_NON_ASCII * self._non_ascii
        ):
            guess = "UTF-16" if self._has_nul else "Latin-1"
            raise DropError(
                f"{path} is not UTF-8 but perhaps {guess}: line {line}, byte {problem.start + 1} is "
                f"0x{problem.object[problem.start]:02X}, and {self._damaged} of {self._lines} lines cannot be decoded; "
                "save the file as UTF-8 and deliver it again"
            )


def _find_damage(line: bytes) -> UnicodeDecodeError | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error
    return None
