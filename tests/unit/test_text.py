"""A title's identity: what makes no other headline, and that it is what the model sees, whatever the characters."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from headlines.drops.rows import read_file
from modules.preprocessing import normalise_text
from modules.text import CODE_POINTS, MAX_CHARACTERS, TextSettings, normalise

DEFAULT = TextSettings()
AS_IT_IS = TextSettings(
    lowercase=False, strip_accents=False, strip_special_characters=False, replace_digits=False, remove_stop_words=False
)
ALL_SETTINGS = [TextSettings(*steps) for steps in itertools.product((True, False), repeat=5)]


def read_by_the_model(titles: list[str], text_settings: TextSettings) -> list[str]:
    encoded = [title.encode("utf-8", "surrogatepass") for title in titles]
    return [text.decode() for text in normalise_text(tf.constant(encoded, tf.string), text_settings).numpy()]


@pytest.mark.parametrize(
    "other",
    [
        "GOVERNO  promete: “Sol” d’água no Pará",
        "go\u200bverno promete 'sol' d'água no pará",
        "gover\u00adno promete sol d’água no Pará",
        "\ufeffGoverno promete “Sol” d’água no Pará",
        "Governo promete ‘Sol’ d’água no Pará.",
        "Governo\u00a0promete, Sol, d´água no Para\u0301!",
        "Governo\u2060 promete \u2067Sol\u2069 d\ufe0f’água no Pará\u200e",
        "☀️ Governo promete Sol d’água no Pará ☀",
    ],
)
def test_what_nobody_sees_and_what_the_model_does_not_read_make_no_other_headline(other: str) -> None:
    assert normalise(other, DEFAULT) == "governo promete sol d agua no para"


def test_numbers_of_one_text_are_one_headline_and_words_are_not() -> None:
    assert normalise("Chuva deixa 1.234 mortos", DEFAULT) == normalise("Chuva deixa 9 mortos", DEFAULT)
    assert normalise("Chuva deixa mortos", DEFAULT) != normalise("Chuva deixa feridos", DEFAULT)
    kept = dataclasses.replace(DEFAULT, replace_digits=False)
    assert normalise("Chuva deixa 10 mortos", kept) != normalise("Chuva deixa 12 mortos", kept)


def test_a_headline_is_told_by_its_beginning_as_the_model_reads_no_more() -> None:
    assert normalise("a" * MAX_CHARACTERS + "b", DEFAULT) == "a" * MAX_CHARACTERS


@pytest.mark.parametrize(
    "text_settings",
    [DEFAULT, AS_IT_IS, *(dataclasses.replace(AS_IT_IS, **{name: True}) for name in ("strip_accents", "lowercase"))],
    ids=str,
)
def test_every_character_there_is_reads_the_same_to_both(text_settings: TextSettings) -> None:
    code_points = [*range(0xD800), *range(0xE000, CODE_POINTS + 500), 0xE0001, 0xE0100, 0x10FFFF]
    characters = [chr(code_point) for code_point in code_points]
    # A letter, a digit and a separator before each, and a letter after.
    parts = (characters[start : start + 120] for start in range(0, len(characters), 120))
    titles = ["".join(f"Za9.{character}9á " for character in part) for part in parts]
    assert max(map(len, titles)) < MAX_CHARACTERS
    assert read_by_the_model(titles, text_settings) == [normalise(title, text_settings) for title in titles]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ALL_SETTINGS), st.lists(st.text(max_size=40) | st.text("aÀ09.,:'\u200b\u0301 é", max_size=20)))
def test_arbitrary_titles_read_the_same_to_both_by_any_settings(text_settings: TextSettings, titles: list[str]) -> None:
    assert read_by_the_model(titles, text_settings) == [normalise(title, text_settings) for title in titles]


@settings(max_examples=200)
@given(st.sampled_from(ALL_SETTINGS), st.text(max_size=40))
def test_what_was_read_once_is_read_the_same_again(text_settings: TextSettings, title: str) -> None:
    once = normalise(title, text_settings)
    assert normalise(once, text_settings) == once


def test_headlines_read_the_same_to_both(twelve_nights: Path) -> None:
    titles = [
        row.title.encode(errors="replace").decode()
        for path in sorted(twelve_nights.glob("*/*.csv"))
        for row in read_file(path).rows
    ]
    for text_settings in (DEFAULT, AS_IT_IS, dataclasses.replace(DEFAULT, remove_stop_words=True)):
        assert read_by_the_model(titles, text_settings) == [normalise(title, text_settings) for title in titles]


def test_halves_of_surrogate_pairs_and_what_lies_beyond_the_table_are_read_as_spaces() -> None:
    assert normalise("a\ud83db\udc00", AS_IT_IS) == "a b" == read_by_the_model(["a\ud83db\udc00"], AS_IT_IS)[0]
    assert normalise(f"a{chr(CODE_POINTS)}b\U0010ffffc", AS_IT_IS) == "a b c"
    assert normalise("🔥 sol", AS_IT_IS) == "🔥 sol", "who keeps special characters keeps emoji"
