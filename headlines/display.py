"""Text of data as people may be shown it: in a table, on a page, in a spreadsheet, on a terminal."""

import re
import unicodedata

# What steers a terminal: control characters but for tabs and line feeds, also those of eight bits, and what reverses
# the order in which text is read (https://trojansource.codes). Surrogates stand for bytes that no terminal can be sent.
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
STEERING = re.compile(f"[{_CONTROLS}\r\ud800-\udfff]")
_HIDDEN = re.compile(f"[{_CONTROLS}]|\r(?!\n)")
_PICTURES = 0x2400
_DELETE, _PICTURE_OF_DELETE = 0x7F, 0x2421


def show_bytes(text: str) -> str:
    """Text in which bytes that are not UTF-8 are surrogates, with those as `\\xe7`; ESC and its like as `\\x1b`."""
    written = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _HIDDEN.sub(lambda match: f"\\x{ord(match[0]):02x}" if match[0] < "\u0100" else escape(match[0]), written)


def count(number: int, noun: str) -> str:
    """So many of something: `1 row`, `2 rows`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def tell_size(size_bytes: int) -> str:
    """A size for a person: `0 B`, `12.3 kB`, `1.5 GB`."""
    size, units = float(size_bytes), ["B", "kB", "MB", "GB", "TB"]
    # Rounded as it is shown, so that nothing is ever 1000.0 of a unit.
    while round(size, 1) >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def escape(character: str) -> str:
    """A character by its number, as JSON and Python write it."""
    return f"\\u{ord(character):04x}"


def harmless(text: str) -> str:
    """Text that cannot steer a terminal, of the same length: each character that would is seen instead."""
    return STEERING.sub(lambda match: _picture(ord(match[0])), text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(_PICTURES + code)
    return chr(_PICTURE_OF_DELETE) if code == _DELETE else "\ufffd"


def neutralise(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def fold(text: str) -> str:
    """A text as searches compare it: whatever its case, its accents and how Unicode composes them."""
    if text.isascii():
        return text.casefold()
    letters = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(letters).casefold()
