"""What RapidJSON says of a document that is not JSON, where Python's parser says it in other words.

After RapidJSON 1.1.0's reader.h and error/en.h, which TensorFlow Serving has. Offsets count bytes.
"""

import bisect
import json
import re

from serving.turns import check

# Of a message of Python's parser, the one of RapidJSON.
_MESSAGES = {
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid escape character in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\escape: ": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
_SPACE = " \t\n\r"
_LITERALS = ("null", "true", "false", "NaN", "Infinity", "-NaN", "-Infinity")
# No expression goes over more than some kilobytes at a time: while it does, it holds up every other thread.
_SHORT_STRING = r'"(?:[^"\\]|\\.){0,4096}+"'
_IN_STRING = re.compile(r'(?:[^"\\]{1,4096}+|\\.){0,512}+', re.DOTALL)
_STRICT = re.compile(rf'(?:[^"I-]{{1,4096}}+|{_SHORT_STRING}|-(?!NaN)|I(?!nf(?!i))){{0,512}}+', re.DOTALL)
_FLAT = rf'(?:[^"\[\]{{}}]{{1,4096}}+|{_SHORT_STRING}){{0,64}}+'
_BEFORE_BRACKET = re.compile(
    rf'(?:[^"\[\]{{}}]{{1,4096}}+|{_SHORT_STRING}|\[{_FLAT}\]|\{{{_FLAT}\}}){{0,512}}+', re.DOTALL
)
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_WHOLE_PAIRS = re.compile(
    r"(?:[^\\]{1,4096}+|\\(?:[^u]|u(?![dD][89a-fA-F])|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})){0,512}+",
    re.DOTALL,
)
_WHOLE_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}\Z")
_MISSING_DIGITS = re.compile(r"\.(?![0-9])|[eE][+-]?(?![0-9])")


def explain(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong with a document, and at which character.

    Args:
      text: the document.
      error: Python's.
    """
    if (position := find_half_pair(text, error.pos)) is not None:
        return "The surrogate pair in string is invalid.", position
    position, message = error.pos, _MESSAGES.get(error.msg, error.msg)
    if error.msg == "Expecting value":
        if not text.strip(_SPACE):
            return "The document is empty.", position
        position += max(_common(text[position : position + 9], literal) for literal in _LITERALS)
    elif error.msg in ("Extra data", "Expecting ',' delimiter"):
        digits = _MISSING_DIGITS.match(text, position)
        if digits and text[position - 1].isdecimal():
            return f"Miss {'fraction part' if digits[0] == '.' else 'exponent'} in number.", digits.end()
        if error.msg != "Extra data":
            message = _missing_comma(text[:position])
    elif error.msg.startswith("Unterminated string"):
        if text.endswith("\\") and (len(text) - len(text.rstrip("\\"))) % 2:
            return "Invalid escape character in string.", len(text) - 1
        position = len(text)
    elif error.msg.startswith("Invalid control character") and text[position] == "\0":
        message = "Missing a closing quotation mark in string."
    elif error.msg == "Invalid \\uXXXX escape":
        position = text.rfind("\\u", 0, position + 2)
        if _WHOLE_ESCAPE.match(text, position):
            # Python says so too where the document ends after an escape.
            return "Missing a closing quotation mark in string.", len(text)
    return message, position


def find_half_pair(text: str, end: int | None = None) -> int | None:
    """Where a document has half of a surrogate pair before `end`, if it does.

    RapidJSON takes a lone second half, and later versions of it do not.
    """
    # Most documents have no such escape at all, which is found out fast.
    if "\\ud" not in text and "\\uD" not in text:
        return None
    end, position = len(text) if end is None else end, 0
    while position < end:
        check()
        found = _WHOLE_PAIRS.match(text, position)
        if not found or found.end() == position:
            return position if _HALF_PAIR.match(text, position) else None
        position = found.end()
    return None


def find_number(text: str, number: str) -> int:
    """Where a document first has a number, outside of strings.

    Args:
      text: the document.
      number: an expression for the number.
    """
    token = rf"-?(?:{number})(?![0-9.eE+-])"
    before = rf'(?:[^"0-9-]{{1,4096}}+|{_SHORT_STRING}|(?!{token})-?[0-9.eE+-]++){{0,512}}+'
    return _skip(text, 0, re.compile(before, re.DOTALL))


def spell_strictly(text: str) -> tuple[str, list[int]]:
    """A document with `NaN` for `-NaN` and `Infinity` for `Inf`, which RapidJSON takes and Python does not.

    Returns:
      The document, and where in it `Inf` has become longer.
    """
    longer: list[int] = []
    parts: list[str] = []
    start = 0
    while (position := _skip(text, start, _STRICT)) < len(text):
        parts.append(text[start:position])
        if text[position] == "-":
            parts.append(" NaN")
            start = position + len("-NaN")
        else:
            longer.append(position + len(longer) * len("inity"))
            parts.append("Infinity")
            start = position + len("Inf")
    parts.append(text[start:])
    return "".join(parts), longer


def position_before_spelling(position: int, longer: list[int]) -> int:
    """The place in the document as it came."""
    return position - len("inity") * bisect.bisect_left(longer, position)


def _common(text: str, literal: str) -> int:
    """How many characters the two begin with alike."""
    count = 0
    while count < min(len(text), len(literal)) and text[count] == literal[count]:
        count += 1
    return count


def _skip(text: str, position: int, plain: re.Pattern[str]) -> int:
    """Where something comes that is neither `plain` nor a string; a string that does not end goes to the end."""
    while True:
        check()
        found = plain.match(text, position)
        end = found.end() if found else position
        if end == position:
            if text[position : position + 1] != '"':
                return position
            end = _skip_string(text, position)
        position = end


def _skip_string(text: str, position: int) -> int:
    position += 1
    while (found := _IN_STRING.match(text, position)) and found.end() > position:
        check()
        position = found.end()
    return position + 1


def _missing_comma(before: str) -> str:
    # It says in what the comma is missing: an object or an array.
    opened: list[str] = []
    position = -1
    while (position := _skip(before, position + 1, _BEFORE_BRACKET)) < len(before):
        if before[position] in "[{":
            opened.append(before[position])
        elif opened:
            opened.pop()
    if opened and opened[-1] == "{":
        return "Missing a comma or '}' after an object member."
    return "Missing a comma or ']' after an array element."
