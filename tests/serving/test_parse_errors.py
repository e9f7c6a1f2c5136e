"""What is said of a document that is no JSON: RapidJSON's words and offsets, after reader.h and error/en.h of 1.1.0."""

import pytest

from serving.document import parse_json
from serving.errors import ServingError


@pytest.mark.parametrize(
    ("body", "message", "offset"),
    [
        (b" \n", "The document is empty.", 2),
        (b"nul", "Invalid value.", 3),
        (b"trux", "Invalid value.", 3),
        (b'{"a": -}', "Invalid value.", 7),
        (b"[-Infinitx]", "Invalid value.", 9),
        (b"[1,]", "Invalid value.", 3),
        (b"[", "Invalid value.", 1),
        (b"{} {}", "The document root must not be followed by other values.", 3),
        (b"01", "The document root must not be followed by other values.", 1),
        (b"{1: 2}", "Missing a name for object member.", 1),
        (b'{"a": 1,}', "Missing a name for object member.", 8),
        (b'{"a" 1}', "Missing a colon after a name of object member.", 5),
        (b'{"a": 1 "b": 2}', "Missing a comma or '}' after an object member.", 8),
        (b'{"a": [1, {}}', "Missing a comma or ']' after an array element.", 12),
        (b'{"a": "],", "b": [{"c": "}"} 2]}', "Missing a comma or ']' after an array element.", 29),
        (b"[1.]", "Miss fraction part in number.", 3),
        (b"[1.e5]", "Miss fraction part in number.", 3),
        (b"[1.5e]", "Miss exponent in number.", 5),
        (b"1e+", "Miss exponent in number.", 3),
        (b'{"1e999": [0, "1e999", 1e999]}', "Number too big to be stored in double.", 23),
        (b'["-1e309", -1e309]', "Number too big to be stored in double.", 11),
        (b'"abc', "Missing a closing quotation mark in string.", 4),
        (b'"a\x00', "Missing a closing quotation mark in string.", 2),
        (b'"abc\\', "Invalid escape character in string.", 4),
        (b'["a\\q"]', "Invalid escape character in string.", 3),
        (b'["a\tb"]', "Invalid escape character in string.", 3),
        (b'["a\\u12x4"]', "Incorrect hex digit after \\u escape in string.", 3),
        (b'["\\ud83d\\ude00", "a\\ud800b"]', "The surrogate pair in string is invalid.", 19),
        (b'["\\ud800\\u0041"]', "The surrogate pair in string is invalid.", 2),
        (b'["\\\\\\ud800"]', "The surrogate pair in string is invalid.", 4),
        (b'["\\ud800", 01]', "The surrogate pair in string is invalid.", 2),
        # Bytes are counted, of which a letter may have several, and those of a byte order mark.
        ('["São Paulo" 1]'.encode(), "Missing a comma or ']' after an array element.", 14),
        (b"\xef\xbb\xbf[1 2]", "Missing a comma or ']' after an array element.", 6),
        (b'["\xff" 1]', "Missing a comma or ']' after an array element.", 5),
        # What is spelt as Python does not know it moves nothing.
        (b"[Inf, -NaN, Inf 1]", "Missing a comma or ']' after an array element.", 16),
        (b"[Inf, Infinitx]", "Invalid value.", 13),
        # What is read in pieces is read as one: strings longer than a piece, pairs and spellings across its end.
        (b'["' + b"\\ud83d\\ude00" * 9_000 + b'", 1 2]', "Missing a comma or ']' after an array element.", 108_007),
        (b'["' + b"\\ud83d\\ude00" * 9_000 + b'\\ud83d"]', "The surrogate pair in string is invalid.", 108_002),
        (b'["' + b"a" * 9_000 + b'", Inf, "Inf", Inf 1]', "Missing a comma or ']' after an array element.", 9_021),
        (
            b'{"a": [' + b'{"b": "]"}, ' * 9_000 + b'[1]], "c": 1 2}',
            "Missing a comma or '}' after an object member.",
            108_020,
        ),
        (b'["' + b"1e999" * 9_000 + b'", 1e999]', "Number too big to be stored in double.", 45_005),
        (b'["\\ud83d\\ude00', "Missing a closing quotation mark in string.", 14),
        (b'["\\u00e', "Incorrect hex digit after \\u escape in string.", 2),
        (b'[Inf, "' + b'\\"' * 200_000, "Missing a closing quotation mark in string.", 400_007),
    ],
)
def test_a_broken_document_is_explained_where_the_parser_stops(body: bytes, message: str, offset: int) -> None:
    with pytest.raises(ServingError) as raised:
        parse_json(body)
    assert raised.value.message == f"JSON Parse error: {message} at offset: {offset}"
    assert raised.value.code == "INVALID_ARGUMENT"


def test_half_of_a_pair_that_is_written_out_is_none() -> None:
    assert parse_json(b'{"a": "\\\\ud800", "b": "\\ud83d\\ude00"}') == {"a": "\\ud800", "b": "😀"}


def test_infinity_has_two_spellings_outside_of_strings() -> None:
    inf = float("inf")
    assert parse_json(b'{"Inf": [Inf, -Inf, Infinity, "-NaN"]}') == {"Inf": [inf, -inf, inf, "-NaN"]}
