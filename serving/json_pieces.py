"""A large JSON document, read piece by piece.

Python's parser holds the interpreter until a document is done, which for 8 MB may be half a second. Between
pieces of some kilobytes the event loop gets its turns, and work that nobody waits for any more ends.
"""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from serving.turns import check

_PIECE_CHARACTERS = 32 << 10
# As deep as Python's own parser goes at the usual limit of recursion.
_MAX_DEPTH = 900
# So many values at a time are dropped.
_DROPPED_VALUES = 16
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_NOT_SPACE = re.compile(r"[^ \t\n\r]")
_OPENERS = {"[": "]", "{": "}"}


class LargeDocument(dict[str, Any]):
    """A document that was read piece by piece, and is to be dropped so: freeing it may take as long as a run."""

    parts: list[list[Any] | dict[str, Any]]

    def drop(self) -> None:
        """Empties it: whoever refers to anything in it has it no more."""
        _drop([self, *self.parts])


class _Opened:
    """A list or an object that is being read, for it does not fit in a piece."""

    def __init__(self, opener: str, value: list[Any] | dict[str, Any]) -> None:
        self.opener, self.closer = opener, _OPENERS[opener]
        self.value = value
        # Under which name the value that is being read belongs into an object.
        self.name = ""

    def add(self, value: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(value)
        else:
            self.value.setdefault(self.name, value)

    def add_all(self, values: Any) -> None:
        if isinstance(self.value, list):
            self.value.extend(values)
        else:
            # Of what is repeated the first counts, as in TensorFlow Serving.
            for name, value in values.items():
                self.value.setdefault(name, value)


def decode_text(body: bytes) -> str:
    """The text of a large body; bytes that are not UTF-8 become halves of surrogate pairs."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        body = body.removeprefix(codecs.BOM_UTF8)
        starts = range(0, len(body), _PIECE_CHARACTERS)
        return "".join(decoder.decode(body[at : at + _PIECE_CHARACTERS], at == starts[-1]) for at in starts)


def read_large(text: str, decoder: json.JSONDecoder, piece: int = _PIECE_CHARACTERS) -> Any:
    """What `decoder.decode` makes of a text.

    Args:
      text: JSON.
      decoder: knows how numbers are read.
      piece: characters that are read at a time.

    Returns:
      Its value; a `LargeDocument` if that is an object.

    Raises:
      json.JSONDecodeError: as the decoder's own, at the same place.
      RecursionError: it is nested too deeply.
      ValueError: the decoder's, for a number.
    """
    return _Reader(text, decoder, piece).read()


class _Reader:
    def __init__(self, text: str, decoder: json.JSONDecoder, piece: int) -> None:
        self._text, self._decoder, self._piece = text, decoder, piece
        # The part of the decoder that reads one value, and says where it ends.
        self._scan_once: Callable[[str, int], tuple[Any, int]] = decoder.scan_once  # type: ignore[attr-defined]
        self._at = 0
        self._opened: list[_Opened] = []
        self._large: list[list[Any] | dict[str, Any]] = []

    def read(self) -> Any:
        self._skip_space()
        if self._peek() not in _OPENERS:
            return self._decoder.decode(self._text)
        try:
            self._open()
            while True:
                check()
                if (root := self._read_piece()) is not None:
                    break
            self._skip_space()
            if self._at < len(self._text):
                raise json.JSONDecodeError("Extra data", self._text, self._at)
        except BaseException:
            _drop(self._large)
            raise
        if isinstance(root, LargeDocument):
            root.parts = self._large[1:]
        return root

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        found = _NOT_SPACE.search(self._text, self._at)
        self._at = found.start() if found else len(self._text)

    def _open(self) -> None:
        if len(self._opened) >= _MAX_DEPTH:
            raise RecursionError
        value: list[Any] | dict[str, Any] = [] if self._peek() == "[" else {} if self._opened else LargeDocument()
        self._opened.append(_Opened(self._peek(), value))
        self._large.append(value)
        self._at += 1

    def _read_piece(self) -> Any:
        """Reads some of what is open; returns the root when it is closed, else None."""
        opened = self._opened[-1]
        end, closes = self._find_end()
        if end < 0:
            self._skip_space()
            if not opened.value and self._peek() == opened.closer:
                self._at += 1
                return self._close()
            return self._read_one(opened)
        # All that lies between two commas of this level, or before its end, is whole, and so can be read by itself.
        last = self._text[end] if closes else opened.closer
        try:
            values = self._scan(opened.opener + self._text[self._at : end] + last, self._at - 1)
        except StopIteration as stop:
            raise json.JSONDecodeError("Expecting value", self._text, stop.value + self._at - 1) from None
        if not values and (not closes or opened.value):
            self._skip_space()
            raise self._missing(opened)
        opened.add_all(values)
        self._at = end + 1
        return self._close() if closes else None

    def _scan(self, piece: str, offset: int) -> Any:
        try:
            return self._scan_once(piece, 0)[0]
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, self._text, error.pos + offset) from None

    def _missing(self, opened: _Opened) -> json.JSONDecodeError:
        what = "Expecting value" if opened.opener == "[" else "Expecting property name enclosed in double quotes"
        return json.JSONDecodeError(what, self._text, self._at)

    def _find_end(self) -> tuple[int, bool]:
        """Where the piece ends: at the end of what is open (True), else at its last comma, or -1."""
        window = self._text[self._at : self._at + self._piece]
        if "\\" in window:
            window = _ESCAPE.sub("__", window)
        signs = np.frombuffer(window.encode("ascii", "replace"), np.uint8)
        outside = np.cumsum(signs == ord('"')) % 2 == 0
        opening, closing = (
            ((signs == ord(square)) | (signs == ord(curly))) & outside for square, curly in ("[{", "]}")
        )
        depth = np.cumsum(opening.astype(np.int32) - closing)
        (ends,) = np.nonzero(depth < 0)
        if len(ends):
            return self._at + int(ends[0]), True
        (commas,) = np.nonzero((signs == ord(",")) & outside & (depth == 0))
        return (self._at + int(commas[-1]), False) if len(commas) else (-1, False)

    def _read_one(self, opened: _Opened) -> Any:
        """Reads a value that does not fit in a piece, or opens it; returns the root when it is closed, else None."""
        if opened.opener == "{":
            if self._peek() != '"':
                raise self._missing(opened)
            opened.name = self._read_scalar()
            self._skip_space()
            if self._peek() != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", self._text, self._at)
            self._at += 1
            self._skip_space()
        if self._peek() in _OPENERS:
            self._open()
            return None
        opened.add(self._read_scalar())
        return self._go_on()

    def _read_scalar(self) -> Any:
        try:
            value, self._at = self._scan_once(self._text, self._at)
        except StopIteration as stop:
            raise json.JSONDecodeError("Expecting value", self._text, stop.value) from None
        return value

    def _close(self) -> Any:
        """Closes what is open, and whatever ends with it; returns the root when that is closed, else None."""
        value = self._opened.pop().value
        if not self._opened:
            return value
        self._opened[-1].add(value)
        return self._go_on()

    def _go_on(self) -> Any:
        """Passes what must follow a value: a comma, or the end of what it is in."""
        self._skip_space()
        opened = self._opened[-1]
        if self._peek() == opened.closer:
            self._at += 1
            return self._close()
        if self._peek() != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, self._at)
        self._at += 1
        return None


def _drop(parts: list[list[Any] | dict[str, Any]]) -> None:
    """Empties lists and objects, the inner ones first."""
    for part in reversed(parts):
        while part:
            if isinstance(part, dict):
                part.popitem()
            else:
                del part[-_DROPPED_VALUES:]
