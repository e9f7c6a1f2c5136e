"""What RapidJSON says of a document that is not JSON, where Python's parser says it in other words.

After RapidJSON 1.1.0's reader.h and error/en.h, which TensorFlow Serving has. Offsets count bytes.
"""

import bisect
import json
import re

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
# One that does not end goes to the end of the document: looking for others in it would take for ever.
_STRING = r'"(?:[^"\\]++|\\.)*+"?+'
_LOOSE = re.compile(rf"{_STRING}|-NaN|Inf(?!i)", re.DOTALL)
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_WHOLE_PAIRS = re.compile(
    r"(?:[^\\]++|\\(?:[^u]|u(?![dD][89a-fA-F])|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+", re.DOTALL
)
_MISSING_DIGITS = re.compile(r"\.(?![0-9])|[eE][+-]?(?![0-9])")


def explain(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong with a document, and at which character.

    Args:
      text: the document.
      error: Python's.
    """
    if (position := find_half_pair(text[: error.pos])) is not None:
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
    return message, position


def find_half_pair(text: str) -> int | None:
    """Where a document has half of a surrogate pair, if it does.

    RapidJSON takes a lone second half, and later versions of it do not.
    """
    # Most documents have no escape at all, which is found out fast.
    if "\\" not in text or not _HALF_PAIR.search(text):
        return None
    whole = _WHOLE_PAIRS.match(text)
    return whole.end() if whole and whole.end() < len(text) else None


def find_number(text: str, number: str) -> int:
    """Where a document first has a number, outside of strings.

    Args:
      text: the document.
      number: an expression for the number.
    """
    token = rf"-?(?:{number})(?![0-9.eE+-])"
    before = re.compile(rf'(?:[^"0-9-]++|{_STRING}|(?!{token})-?[0-9.eE+-]++)*+', re.DOTALL).match(text)
    return before.end() if before else 0


def spell_strictly(text: str) -> tuple[str, list[int]]:
    """A document with `NaN` for `-NaN` and `Infinity` for `Inf`, which RapidJSON takes and Python does not.

    Returns:
      The document, and where in it `Inf` has become longer.
    """
    longer: list[int] = []

    def spell(match: re.Match[str]) -> str:
        if match[0] == "-NaN":
            return " NaN"
        if match[0] != "Inf":
            return match[0]
        longer.append(match.start() + len(longer) * len("inity"))
        return "Infinity"

    return _LOOSE.sub(spell, text), longer


def position_before_spelling(position: int, longer: list[int]) -> int:
    """The place in the document as it came."""
    return position - len("inity") * bisect.bisect_left(longer, position)


def _common(text: str, literal: str) -> int:
    """How many characters the two begin with alike."""
    count = 0
    while count < min(len(text), len(literal)) and text[count] == literal[count]:
        count += 1
    return count


def _missing_comma(before: str) -> str:
    # What may follow a comma says whether it is in an object or in an array.
    try:
        json.loads(before + ",")
    except json.JSONDecodeError as error:
        if "property name" in error.msg:
            return "Missing a comma or '}' after an object member."
    return "Missing a comma or ']' after an array element."
