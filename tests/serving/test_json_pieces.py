"""A document that is read in pieces: as Python's own parser reads it whole, faults and all."""

import contextvars
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from serving import json_pieces
from serving.document import _keep_first, drop, parse_json
from serving.errors import ServingError
from serving.json_pieces import LargeDocument, decode_text, read_large
from serving.turns import Turns

DECODER = json.JSONDecoder(object_pairs_hook=_keep_first)
SCALARS = (1, -2.5, 1e300, True, None, "", "a,b]", "\\", '"},{"', "é\n", "😀", 12345678901234567890)


def make_value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth < 4 and kind < 0.3:
        return [make_value(chance, depth + 1) for _ in range(chance.randrange(5))]
    if depth < 4 and kind < 0.5:
        return {chance.choice(("a", '"', "é\\", "x,y")): make_value(chance, depth + 1) for _ in range(3)}
    return chance.choice(SCALARS)


def spoil(text: str, chance: random.Random) -> str:
    at, kind = chance.randrange(len(text) + 1), chance.random()
    if kind < 0.4:
        return text[:at] + text[at + 1 :]
    return text[:at] + (chance.choice('[]{},:"\\ 1a\n\t') + text[at:] if kind < 0.8 else "")


def outcome(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return "value", read(*arguments)
    except json.JSONDecodeError as error:
        return "error", error.msg, error.pos


@pytest.mark.parametrize("seed", range(5))
def test_a_document_sound_or_spoilt_is_read_in_pieces_as_python_reads_it_whole(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2000):
        text = json.dumps(make_value(chance), ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 2)))
        for _ in range(chance.randrange(4)):
            text = spoil(text, chance)
        whole = outcome(DECODER.decode, text)
        assert outcome(read_large, text, DECODER, chance.choice((1, 2, 3, 5, 8, 20))) == whole, text


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbfa\xff", b"\xef", b"\xc3\xa9\xff\xf0\x9f\x98\x80\xed\xa0\x80", b"\xff\xf0\x9f"]
)
def test_bytes_that_are_no_utf_8_are_kept_wherever_a_piece_ends(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for piece in (1, 2, 3):
        monkeypatch.setattr(json_pieces, "_PIECE_CHARACTERS", piece)
        assert decode_text(body) == body.decode("utf-8-sig", "surrogateescape")


def test_a_large_body_is_read_in_pieces_and_can_be_dropped() -> None:
    rows = [[{"title": "é"}] * 5_000, ["x"] * 30_000]
    document = parse_json(json.dumps({"instances": rows}).encode())
    assert isinstance(document, LargeDocument)
    assert document == {"instances": rows}
    instances = document["instances"]
    drop(document)
    assert (document, instances) == ({}, [])


def test_a_large_body_that_is_nested_too_deeply_or_no_json_gets_the_usual_error() -> None:
    for body, message in (
        (b'{"instances": ' + b"[" * 100_000, "Nested too deeply."),
        (b'{"instances": [' + b"1," * 50_000 + b"]}", "Invalid value. at offset: 100015"),
        (b'{"instances": [' + b"1," * 50_000 + b"1e999]}", "Number too big to be stored in double. at offset: 100015"),
    ):
        with pytest.raises(ServingError) as caught:
            parse_json(body)
        assert caught.value.message == f"JSON Parse error: {message}"


def test_parsing_ends_when_the_time_is_up() -> None:
    def parse() -> None:
        visit = Turns(1, 1, timeout_seconds=-1).begin()
        try:
            with pytest.raises(ServingError, match="Timed out waiting for notification"):
                parse_json(b'{"instances": [' + b"1," * 50_000 + b"1]}")
        finally:
            visit.end()

    contextvars.copy_context().run(parse)
