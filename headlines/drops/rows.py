"""Reads the CSV files of a drop into rows, each with its line and raw text, or says why they cannot be read."""

import gzip
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar, cast

from headlines.drops.drops_folder import DropError
from headlines.drops.file_checks import (
    BYTES_JUDGED,
    DAMAGES,
    EncodingCheck,
    Unbalanced,
    damaged,
    is_packed,
    refuse_format,
    refuse_large,
    refuse_name,
    to_text,
    unreadable_file,
)
from headlines.drops.parsing import Lines, Row, collect_labels, parse, part_merged, read_header
from headlines.drops.rules import REFUSE_UNBALANCED
from modules.features import LABEL, TITLE

log = logging.getLogger(__name__)


class FileRecord(Protocol):
    """What is known of a CSV file once it was read, wherever its rows are."""

    @property
    def name(self) -> str:
        """Its name, without a folder."""

    @property
    def sha256(self) -> str:
        """Hash of its bytes as they were delivered."""

    @property
    def row_count(self) -> int:
        """How many rows it has."""

    @property
    def labels(self) -> Set[str]:
        """What its rows have for a label, in small letters."""


@dataclass(frozen=True, slots=True)
class DropFile:
    """One CSV file: its name, its rows in their order, and the hash of its bytes as they were delivered."""

    name: str
    rows: tuple[Row, ...]
    sha256: str

    @property
    def row_count(self) -> int:
        """How many rows it has."""
        return len(self.rows)

    @property
    def labels(self) -> Set[str]:
        """What its rows have for a label, in small letters."""
        return {row.label.strip().casefold() for row in self.rows}


File = TypeVar("File", bound=FileRecord)


class EmptyFileError(DropError):
    """A file of a drop has no rows; `file` is what it is beside files that have some."""

    def __init__(self, message: str, file: FileRecord) -> None:
        super().__init__(message)
        self.file = file

    def __reduce__(self) -> tuple[type[Self], tuple[str, FileRecord]]:
        """Lets it be told by another process."""
        return type(self), (str(self), self.file)


def read_files(paths: Sequence[Path], unbalanced_quotes: str = REFUSE_UNBALANCED) -> tuple[DropFile, ...]:
    """Reads the files of one version of a drop; one without rows beside others that have some is no fault.

    Raises:
      DropError: a file cannot be read as a whole, as `read_file` says, or none has rows.
    """
    return read_each(paths, lambda path: read_file(path, unbalanced_quotes))


def read_each(paths: Sequence[Path], read: Callable[[Path], File]) -> tuple[File, ...]:
    """The same, however a file is read.

    Raises:
      DropError: `read` says it of a file, or says of each that it has no rows.
    """
    files: list[File] = []
    empty: list[EmptyFileError] = []
    for path in paths:
        try:
            files.append(read(path))
        except EmptyFileError as error:
            files.append(cast(File, error.file))
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
    refuse_name(path)
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise unreadable_file(path, error) from None
    sha256 = hashlib.sha256(packed).hexdigest()
    data = _unpack(path, packed)
    if not data:
        message = f"{path} is empty ({len(packed)} bytes); deliver the file again"
        raise EmptyFileError(message, DropFile(path.name, (), sha256))
    refuse_format(path, data)
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        encoding = EncodingCheck()
        encoding.look_at(data.splitlines())
        encoding.refuse(path)
    lines = Lines(to_text(io.BytesIO(data)))
    table = read_header(path, lines, (TITLE, LABEL))
    rows = list(parse(lines, table))
    if unbalanced_quotes == REFUSE_UNBALANCED:
        unbalanced = Unbalanced()
        for row in rows:
            if row.fault:
                unbalanced.add(row)
        unbalanced.refuse(path)
    if not rows:
        message = f"{path} has a header and no rows; deliver the file again with its headlines"
        raise EmptyFileError(message, DropFile(path.name, (), sha256))
    return DropFile(path.name, tuple(part_merged(rows, table, collect_labels(rows))), sha256)


def stream_titles(path: Path, unbalanced_quotes: str = REFUSE_UNBALANCED) -> Iterator[Row]:
    """The rows of a CSV file whose header names `title`, one after the other, so that its size does not matter.

    As `read_file` otherwise, but that no row's `label` is read and that bytes which are not UTF-8 are never the file's
    fault: they are left to whoever judges the row.

    Raises:
      DropError: the file cannot be read as a whole, or not to its end; unbalanced quotes are known at its end.
    """
    refuse_name(path)
    unbalanced = Unbalanced()
    try:
        with path.open("rb") as file:
            content = gzip.GzipFile(fileobj=file) if is_packed(path, file.peek(BYTES_JUDGED)) else file
            refuse_format(path, content.peek(BYTES_JUDGED))
            lines = Lines(to_text(content))
            for row in parse(lines, read_header(path, lines, (TITLE,))):
                if row.fault and unbalanced_quotes == REFUSE_UNBALANCED:
                    unbalanced.add(row)
                else:
                    yield row
    except DAMAGES as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise unreadable_file(path, error) from None
    unbalanced.refuse(path)


def _unpack(path: Path, data: bytes) -> bytes:
    """The content of a file, which is packed if its name says so."""
    if not is_packed(path, data):
        return data
    content = bytearray()
    try:
        with gzip.open(io.BytesIO(data)) as file:
            while block := file.read(2**20):
                content += block
                refuse_large(path, len(content))
    except DAMAGES as error:
        raise damaged(path, error) from None
    return bytes(content)
