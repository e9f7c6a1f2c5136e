"""Titles that are certainly broken, what they should be, and that no right title is taken for one."""

from pathlib import Path

import pytest
from pandas._libs.parsers import STR_NA_VALUES

from headlines.drops.broken_text import find_damage, find_lost_letters, find_nothing, has_lost_letters
from headlines.drops.rows import read_file

TITLE = "Eleição no Pará: três ‘fatos’ que você não viu…"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac_roman", "cp437"])
def test_utf_8_read_as_another_encoding_is_broken_and_said_to_be_what_it_should(encoding: str) -> None:
    garbled = TITLE.encode().decode(encoding)
    assert find_damage(garbled) == f"its UTF-8 was read as another encoding; it should be {TITLE!r}"


def test_twice_garbled_and_garbled_with_its_no_break_space_lost_are_told_too() -> None:
    twice = TITLE.encode().decode("latin-1").encode().decode("latin-1")
    assert find_damage(twice).endswith(f"it should be {TITLE!r}")
    assert find_damage("Vacina volta Ã s ruas do ParÃ¡").endswith("it should be 'Vacina volta às ruas do Pará'")


def test_windows_quotes_read_as_latin_1_are_mended_and_other_control_characters_named() -> None:
    assert find_damage("Mercado \x93reage\x94 ao dólar\x85").endswith("it should be 'Mercado “reage” ao dólar…'")
    assert find_damage("Chuva\x00 forte") == "character 6 is the control character U+0000"
    assert find_damage("Chuva\x1b[31m forte") == "character 6 is the control character U+001B"
    assert find_damage("Chuva \x7fforte") == "character 7 is the control character U+007F"


def test_a_lost_character_is_told_and_nothing_is_made_up_for_it() -> None:
    assert find_damage("Elei\ufffd\ufffdo no Par\ufffd") == "character 5 is U+FFFD, which stands for one that was lost"
    assert "U+FFFD" in find_damage("Elei\ufffdão") and "should be" not in find_damage("Elei\ufffdão")
    assert "should be" not in find_damage("ElÃ£o \ufffd")


@pytest.mark.parametrize(
    "right",
    [
        TITLE,
        TITLE.upper(),
        "A\tquoted\r\nline break\x0b",
        "Nº 1 da ATP: 30°C, 2ª vez, R$ 5,00 — “não é bem assim”",
        "Müller, Gençay, Łódź, Ångström, Αθήνα, Москва, 東京",
        "go\u200bverno, so\u00adfá, \ufeffsol ☀️ 🔥",
        "Quem vai ganhar? Por quê? ‘Não sei’, diz ministro",
        "É à toa? Ã!",
    ],
)
def test_a_right_title_is_not_broken(right: str) -> None:
    assert not find_damage(right)
    assert not find_nothing(right)


@pytest.mark.parametrize(
    "nothing",
    [*sorted(filter(None, STR_NA_VALUES)), "None", "NaT", "#REF!", "#NAME?", "#NOME?", "#VALOR!", "#N/D", "\\N", "NIL"],
)
def test_what_programs_write_for_nothing_is_no_title(nothing: str) -> None:
    assert find_nothing(nothing) == f"{nothing!r} is what programs write for nothing"


@pytest.mark.parametrize("marks", ["-", "--", "...", "?", "“”", "\u200b", "🔥 !"])
def test_what_has_no_letter_and_no_digit_is_no_title(marks: str) -> None:
    assert find_nothing(marks) == f"{marks!r} has no letter and no digit"


@pytest.mark.parametrize("short", ["Nando", "Nada", "2022", "Nulo", "Fim"])
def test_a_short_title_is_a_title(short: str) -> None:
    assert not find_nothing(short)


def test_question_marks_inside_words_are_lost_letters_in_numbers_that_chance_does_not_give() -> None:
    fine, broken = ["Quem vence? Veja", "Vale a pena?"] * 170, "Elei??o no Par? ? hoje"
    assert not find_lost_letters([*fine, *[broken] * 4])
    told = find_lost_letters([*fine, *[broken] * 8])
    assert told == "`?` stands for letters in titles of this drop, between two letters in 8 of 348"
    assert find_lost_letters([broken] * 340)
    # Few rows are judged by the same chance, so that a small drop is no way round.
    assert find_lost_letters([broken] * 2)
    assert not find_lost_letters([broken])
    assert not find_lost_letters([])


@pytest.mark.parametrize(
    ("title", "lost"),
    [
        ("Elei??o na capital", True),
        ("Amanh? vai chover", True),
        ("? hora de votar", True),
        ("Onde est?, afinal", True),
        ("Sol no Par?", False),
        ("Quem vence? Veja a tabela", False),
        ("'Vale a pena?', pergunta leitor", False),
    ],
)
def test_of_a_drop_with_lost_letters_the_titles_with_a_question_mark_where_no_question_ends_are_broken(
    title: str, lost: bool
) -> None:
    assert has_lost_letters(title) is lost


def test_no_title_of_twelve_nights_is_taken_for_broken_that_is_not(twelve_nights: Path) -> None:
    for path in sorted(twelve_nights.glob("*/*.csv")):
        titles = [row.title for row in read_file(path).rows if row.title]
        assert not find_lost_letters(titles)
        for title in titles:
            assert not find_nothing(title), title
            if find_damage(title):
                # The samples have such rows; what is right never passes this.
                assert title.encode("latin-1").decode() != title
