"""Files too large for one process to hold: looked through once, cut into pieces, and each piece read by itself.

A piece begins where a row does, as the parser itself finds it, so that the rows of all pieces are those of the file:
line breaks in quotes, unbalanced quotes and rows run together make no difference. A packed file is one piece.
"""

import codecs
import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from headlines.drops.drops_folder import GrowingDropError
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
from headlines.drops.parsing import Lines, Row, Table, breaks, parse, part_merged, read_header
from headlines.drops.rows import EmptyFileError
from headlines.drops.rules import REFUSE_UNBALANCED
from headlines.drops.sources import hash_file
from modules.features import LABEL, TITLE

PIECE_BYTES = 2**22
"""So much text is a piece: some forty thousand headlines."""
_BLOCK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a file that stand together.

    Attributes:
      path: of the file.
      table: what its header says.
      line: of its first row.
      offset: of its first byte.
      size: in bytes; None for a packed file, which is read from its beginning.
      sha256: of its bytes, or of those of the packed file.
      labels: of the whole file where a row of the piece has a line break, and so may be several run together.
    """

    path: Path
    table: Table
    line: int
    offset: int
    size: int | None = None
    sha256: str = ""
    labels: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look through a file tells of it, as `FileRecord` has it; its rows are read by its pieces."""

    name: str
    sha256: str
    row_count: int = 0
    labels: frozenset[str] = frozenset()
    pieces: tuple[Piece, ...] = ()


def survey_file(path: Path, unbalanced_quotes: str = REFUSE_UNBALANCED) -> Survey:
    """Looks through a file of a drop, as `read_file` reads it, without holding its rows.

    Raises:
      EmptyFileError: the file has no rows.
      GrowingDropError: it changed meanwhile.
      DropError: the file cannot be read as a whole, as `read_file` says.
    """
    refuse_name(path)
    with _opened(path):
        sha256 = hash_file(path)
        start, is_utf8 = _look_at_content(path)
        if not start:
            message = f"{path} is empty ({path.stat().st_size} bytes); deliver the file again"
            raise EmptyFileError(message, Survey(path.name, sha256))
        refuse_format(path, start)
        if not is_utf8:
            encoding = EncodingCheck()
            encoding.look_at(_list_lines(path))
            encoding.refuse(path)
        survey = _survey(path, sha256, (TITLE, LABEL), unbalanced_quotes)
    if not survey.row_count:
        message = f"{path} has a header and no rows; deliver the file again with its headlines"
        raise EmptyFileError(message, survey)
    return survey


def survey_titles(path: Path, unbalanced_quotes: str = REFUSE_UNBALANCED) -> Survey:
    """Looks through a file of titles without labels, as `stream_titles` reads it.

    Raises:
      GrowingDropError: it changed meanwhile.
      DropError: the file cannot be read as a whole.
    """
    refuse_name(path)
    with _opened(path):
        with _open(path) as content:
            refuse_format(path, content.peek(BYTES_JUDGED))
        return _survey(path, hash_file(path), (TITLE,), unbalanced_quotes)


def read_piece(piece: Piece) -> Iterator[Row]:
    """The rows of a piece, also those whose quotes are not balanced.

    Raises:
      GrowingDropError: the file is not what it was when it was looked through.
    """
    with _opened(piece.path):
        if piece.size is None:
            if hash_file(piece.path) != piece.sha256:
                raise _grown(piece.path)
            with _open(piece.path) as content:
                lines = Lines(to_text(content))
                read_header(piece.path, lines, (TITLE,) if piece.table.label is None else (TITLE, LABEL))
                yield from _read_rows(lines, piece)
            return
        with piece.path.open("rb") as file:
            file.seek(piece.offset)
            data = file.read(piece.size)
    if hashlib.sha256(data).hexdigest() != piece.sha256:
        raise _grown(piece.path)
    # Not `to_text`: what is a byte order mark at the beginning of a file is text elsewhere.
    lines = Lines(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline=""))
    lines.number = piece.line
    yield from _read_rows(lines, piece)


def _read_rows(lines: Lines, piece: Piece) -> Iterator[Row]:
    rows = parse(lines, piece.table)
    return rows if piece.labels is None else part_merged(rows, piece.table, piece.labels)


class _MeasuredText:
    """A text that knows how many bytes were read of it."""

    def __init__(self, text: Any, bytes_read: int) -> None:
        self._text = text
        self.bytes_read = bytes_read

    def readline(self, size: int) -> str:
        line: str = self._text.readline(size)
        self.bytes_read += len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))
        return line


def _survey(path: Path, sha256: str, wanted: tuple[str, ...], unbalanced_quotes: str) -> Survey:
    """Parses a file to find where its pieces begin, how many rows they have, and what is told of it as a whole."""
    unbalanced, labels, row_count = Unbalanced(), set[str](), 0
    begun: list[Piece] = []
    # Of the pieces, how many rows each has, and which have rows with a line break.
    rows_of, with_breaks = [0], set[int]()
    with _open(path) as content:
        is_packed_file = isinstance(content, gzip.GzipFile)
        has_mark = content.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8)
        text = _MeasuredText(to_text(content), len(codecs.BOM_UTF8) if has_mark else 0)
        lines = Lines(text)  # type: ignore[arg-type]
        table = read_header(path, lines, wanted)
        begun.append(Piece(path, table, lines.number, text.bytes_read))
        for row in parse(lines, table):
            rows_of[-1] += 1
            if row.fault:
                unbalanced.add(row)
            if table.label is not None:
                if breaks(row.raw):
                    with_breaks.add(len(begun) - 1)
                else:
                    labels.add(row.label.strip().casefold())
            # After a row with a fault the parser is not where a row begins, nor while lines are given back to it.
            is_long = text.bytes_read - begun[-1].offset >= PIECE_BYTES
            if is_long and not row.fault and lines.is_fresh and not is_packed_file:
                begun.append(Piece(path, table, lines.number, text.bytes_read))
                rows_of.append(0)
        end = text.bytes_read
    if unbalanced_quotes == REFUSE_UNBALANCED:
        unbalanced.refuse(path)
    ends = [*(piece.offset for piece in begun[1:]), end]
    known = frozenset(labels)
    pieces = [
        replace(
            piece, size=None if is_packed_file else stop - piece.offset, labels=known if number in with_breaks else None
        )
        for number, (piece, stop) in enumerate(zip(begun, ends, strict=True))
        if rows_of[number]
    ]
    pieces = _hash_pieces(path, sha256, pieces)
    row_count = sum(count for number, count in enumerate(rows_of) if number not in with_breaks)
    for piece in pieces:
        if piece.labels is not None:
            for row in read_piece(piece):
                row_count += 1
                labels.add(row.label.strip().casefold())
    return Survey(path.name, sha256, row_count, frozenset(labels), tuple(pieces))


def _hash_pieces(path: Path, sha256: str, pieces: list[Piece]) -> list[Piece]:
    """The pieces, each with the hash of its bytes.

    Raises:
      GrowingDropError: the file as a whole is not any more what it was.
    """
    hashed, whole = list[Piece](), hashlib.sha256()
    with path.open("rb") as file:
        for piece in pieces:
            if piece.size is None:
                hashed.append(replace(piece, sha256=sha256))
            else:
                for block in _read_blocks(file, piece.offset):
                    whole.update(block)
                data = file.read(piece.size)
                whole.update(data)
                hashed.append(replace(piece, sha256=hashlib.sha256(data).hexdigest()))
        for block in _read_blocks(file):
            whole.update(block)
    if whole.hexdigest() != sha256:
        raise _grown(path)
    return hashed


def _read_blocks(file: BinaryIO, end: int | None = None) -> Iterator[bytes]:
    """What a file has from where it stands to an offset, or to its end."""
    while block := file.read(_BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - file.tell())):
        yield block


def _look_at_content(path: Path) -> tuple[bytes, bool]:
    """How the content of a file begins, and whether all of it is UTF-8."""
    start, unpacked, is_utf8 = b"", 0, True
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with _open(path) as content:
        while block := content.read(_BLOCK_BYTES):
            start = start or block[:BYTES_JUDGED]
            unpacked += len(block)
            if isinstance(content, gzip.GzipFile):
                refuse_large(path, unpacked)
            try:
                is_utf8 and decoder.decode(block)
            except UnicodeDecodeError:
                is_utf8 = False
    try:
        is_utf8 and decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        is_utf8 = False
    return start, is_utf8


def _list_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as bytes, with any line ends."""
    # A byte is a character of Latin-1, and what ends a line is the same byte there.
    with _open(path) as content, io.TextIOWrapper(content, encoding="latin-1", newline="") as text:
        for line in text:
            yield line.encode("latin-1")


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The content of a file, unpacked if its name says that it is packed."""
    with path.open("rb") as file:
        if is_packed(path, file.peek(BYTES_JUDGED)):
            with gzip.GzipFile(fileobj=file) as content:
                yield content
        else:
            yield file


@contextmanager
def _opened(path: Path) -> Iterator[None]:
    """Says in the words of a drop why a file cannot be read."""
    try:
        yield
    except DAMAGES as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise unreadable_file(path, error) from None


def _grown(path: Path) -> GrowingDropError:
    return GrowingDropError(f"{path} changed while it was read; run the night again")
