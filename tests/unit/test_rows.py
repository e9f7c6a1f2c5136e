"""Rows whose quotes are not balanced, and files that are not what their names say."""

import csv
import gzip
import logging
import random
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headlines.drops import file_checks
from headlines.drops.drops_folder import DropError, DropsFolder
from headlines.drops.parsing import Row
from headlines.drops.quarantine import Reason
from headlines.drops.rows import DropFile, read_file, read_files, stream_titles
from headlines.drops.rules import QUARANTINE_UNBALANCED, Rules
from headlines.drops.window import check_nothing_lost, read_window

NIGHT = "2022-02-01"
LINE_ENDS = str.maketrans("", "", "\r\n")
Deliver = Callable[..., Path]
# Rows behind which the next one begins on the next line, whatever a quote does to them.
DAMAGED = (
    "Ouro,positive\n"  # line 2
    '"Chove muito,negative\n'
    "Sol,neutral\n"
    '"Diz "não" a todos",neutral\n'
    '"Vai, ou fica",neutral\n'
    "Lua,neutral\n"
    '"Vento\n'  # line 8
    'e "chuva" ",negative\n'
    "Mar,neutral\n"
    '"Frio,neutral\n'  # line 11
)


def titles(file: DropFile) -> list[tuple[int, str]]:
    return [(row.line, row.title) for row in file.rows if not row.fault]


def faults(file: DropFile) -> dict[int, str]:
    return {row.line: row.raw for row in file.rows if row.fault}


def test_every_row_whose_quotes_are_not_balanced_is_named_at_once(deliver: Deliver) -> None:
    path = deliver(NIGHT, DAMAGED)
    with pytest.raises(DropError) as caught:
        read_file(path)
    told = str(caught.value)
    assert told.startswith(f"{path} line 3: the quotes of the row that begins here are not balanced (")
    assert "; nor are those of lines 5, 8, 9, 11. Close every quoted title" in told
    assert "UNBALANCED_QUOTES=quarantine" in told


def test_many_unbalanced_rows_are_named_up_to_a_number(deliver: Deliver) -> None:
    path = deliver(NIGHT, '"Chove,negative\nSol,neutral\n' * 80)
    with pytest.raises(DropError, match=r"lines 4, 6, 8, .*, 102 and 29 more\. Close"):
        read_file(path)


def test_where_they_go_into_quarantine_each_line_is_a_row_and_all_others_are_read(deliver: Deliver) -> None:
    file = read_file(deliver(NIGHT, DAMAGED), QUARANTINE_UNBALANCED)
    assert titles(file) == [(2, "Ouro"), (4, "Sol"), (6, "Vai, ou fica"), (7, "Lua"), (10, "Mar")]
    assert faults(file) == {
        3: '"Chove muito,negative',
        5: '"Diz "não" a todos",neutral',
        8: '"Vento',
        9: 'e "chuva" ",negative',
        11: '"Frio,neutral',
    }


def test_no_row_is_lost_when_they_go_into_quarantine(
    drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any]
) -> None:
    deliver(NIGHT, DAMAGED + "Ouro,positive\n")
    with pytest.raises(DropError, match="are not balanced"):
        read_window(DropsFolder(drops_dir), date(2022, 2, 1), Rules(**drop_rules))
    rules = Rules(**drop_rules | {"unbalanced_quotes": "quarantine"})
    window = read_window(DropsFolder(drops_dir), date(2022, 2, 1), rules)
    check_nothing_lost(window.drops)
    [drop] = window.drops
    assert (drop.rows_in, drop.rows_used, drop.rows_quarantined, drop.duplicates_folded) == (11, 5, 5, 1)
    assert {entry.reason for entry in window.quarantined} == {Reason.UNBALANCED_QUOTES}
    assert window.quarantined[0].detail == window.quarantined[0].row.fault != ""


@pytest.mark.parametrize("codes", [False, True])
def test_rows_that_a_stray_pair_of_quotes_merged_are_told_and_those_between_them_are_read(
    deliver: Deliver, codes: bool
) -> None:
    between = "".join(f"Linha {number},neutral\n" for number in range(300))
    content = f'"Chove muito,negative\n{between}Sol forte",neutral\nLua,negative\nMar,neutral\n'
    if codes:
        content = content.replace("negative", "0").replace("neutral", "1")
    file = read_file(deliver(NIGHT, content))
    assert faults(file) == {2: f'"Chove muito,{"0" if codes else "negative"}'}
    assert "rows run together: a line break inside the title" in file.rows[0].fault
    assert len(titles(file)) == 303 and titles(file)[:2] == [(3, "Linha 0"), (4, "Linha 1")]


def test_two_rows_that_were_merged_are_both_told(deliver: Deliver) -> None:
    file = read_file(deliver(NIGHT, 'Lua,neutral\n"Chove muito,negative\nSol forte",neutral\nMar,neutral\n'))
    assert titles(file) == [(2, "Lua"), (5, "Mar")]
    assert faults(file) == {3: '"Chove muito,negative', 4: 'Sol forte",neutral'}


def test_merged_rows_are_told_where_delimiters_in_their_titles_are_taken_for_more_cells(deliver: Deliver) -> None:
    file = read_file(deliver(NIGHT, '"Chove, e muito, ou não,negative\nSol forte",neutral\nMar,neutral\n'))
    assert titles(file) == [(4, "Mar")] and sorted(faults(file)) == [2, 3]


def test_merged_rows_are_told_where_the_label_comes_first_and_other_columns_follow(deliver: Deliver) -> None:
    text = 'sentiment;title;id\nnegative;"Chove; e muito;1\nneutral;Sol forte";2\npositive;Ouro;3\n'
    file = read_file(deliver(NIGHT, text.encode()))
    assert sorted(faults(file)) == [2, 3] and titles(file) == [(4, "Ouro")]


@pytest.mark.parametrize("title", ["Vai, ou fica,\ndiz ele", "Linha\nNeutral", "Um\r\ndois, três", "a\u2028b,neutral"])
def test_a_line_break_inside_a_title_is_no_fault_by_itself(deliver: Deliver, title: str) -> None:
    file = read_file(deliver(NIGHT, f'"{title}",neutral\nOuro,positive\n'))
    assert titles(file)[0] == (2, title) and len(file.rows) == 2


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_row_of_more_than_131072_characters_is_told_as_too_long_whether_it_is_quoted_or_not(
    deliver: Deliver, quote: str
) -> None:
    path = deliver(NIGHT, f"Ouro,positive\n{quote}{'a' * 131_073}{quote},neutral\nSol,neutral\n")
    with pytest.raises(DropError) as caught:
        read_file(path)
    assert str(caught.value) == (
        f"{path} line 3: the row that begins here is longer than 131,072 characters. Shorten it, or close a quote that "
        "is left open in it, and deliver the file again; or set UNBALANCED_QUOTES=quarantine to read it without such "
        "rows"
    )
    file = read_file(path, QUARANTINE_UNBALANCED)
    assert titles(file) == [(2, "Ouro"), (4, "Sol")] and list(faults(file)) == [3]


def test_beside_a_row_that_is_too_long_others_that_cannot_be_read_are_named(deliver: Deliver) -> None:
    with pytest.raises(DropError, match=r"131,072 characters; nor can a row be read at line 3\. Shorten"):
        read_file(deliver(NIGHT, f'{"a" * 131_073},neutral\n"Diz "não" a todos",neutral\nSol,neutral\n'))


def test_the_limit_of_a_row_does_not_hang_on_that_of_the_process(deliver: Deliver) -> None:
    before = csv.field_size_limit(2**40)
    try:
        with pytest.raises(DropError, match="line 2: the row that begins here is longer"):
            read_file(deliver(NIGHT, '"Chove,negative\n' + "Sol muito forte,neutral\n" * 10_000))
    finally:
        csv.field_size_limit(before)


def test_a_header_of_more_than_131072_characters_is_shown_in_part(deliver: Deliver) -> None:
    with pytest.raises(DropError, match="line 1: the header must name") as caught:
        read_file(deliver(NIGHT, b"a" * 300_000))
    assert len(str(caught.value)) < 1000


def test_a_streamed_file_names_its_unbalanced_rows_at_its_end_or_leaves_them_to_who_judges(deliver: Deliver) -> None:
    path = deliver(NIGHT, b'title\nOuro\n"Chove\nSol\n"Diz "sim"\nLua\n')
    read: list[Row] = []
    with pytest.raises(DropError, match=r"line 3: .*; nor are those of line 5"):
        read.extend(stream_titles(path))
    assert [row.line for row in stream_titles(path, QUARANTINE_UNBALANCED) if row.fault] == [3, 5]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ", "a.tsv", "a.tsv.gz", "a.csv"])
def test_packed_and_tab_separated_files_are_read(deliver: Deliver, name: str) -> None:
    text = "title\tsentiment\nVai, ou fica\tneutral\n" if "tsv" in name else 'title,sentiment\n"Vai, ou fica",neutral\n'
    data = gzip.compress(text.encode()) if name.casefold().endswith("gz") else text.encode()
    path = deliver(NIGHT, data, name)
    assert titles(read_file(path)) == [(2, "Vai, ou fica")]
    assert [row.title for row in stream_titles(path)] == ["Vai, ou fica"]


TEXT = b"title,sentiment\nOuro,positive\n"


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv", gzip.compress(TEXT), "is packed with gzip; name it so"),
        ("a.csv", b"PK\x03\x04\x14\x00\x06\x00" + bytes(99), "is a workbook (.xlsx) or a zip archive; save or unpack"),
        ("a.csv.gz", b"PK\x03\x04\x14\x00\x06\x00" + bytes(99), "is a workbook (.xlsx) or a zip archive"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is a workbook (.xls); save it as CSV"),
        ("a.csv", b"PAR1" + bytes(99), "is a Parquet file"),
        ("a.csv.gz", gzip.compress(gzip.compress(TEXT)), "is packed twice; pack it once, and deliver it again"),
        ("a.csv.gz", gzip.compress(b"PK\x03\x04\x14\x00\x06\x00" + bytes(99)), "is a workbook (.xlsx) or a zip"),
        ("a.csv", b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><p>Elei\xe7\xe3o", "is a web page"),
        ("a.csv", b"<html>\n<body>title,sentiment", "is a web page"),
        ("a.csv.gz", gzip.compress(b'<?xml version="1.0"?>'), "is a web page or another file in XML; export it"),
        ("a.csv.gz", TEXT, "is named as packed with gzip and is not"),
        ("a.csv.gz", gzip.compress(TEXT * 99)[:-12], "cannot be unpacked"),
        ("a.csv.gz", gzip.compress(TEXT) + b"rest", "cannot be unpacked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_what_its_name_says_is_told_by_how_it_begins(
    deliver: Deliver, name: str, data: bytes, told: str
) -> None:
    path = deliver(NIGHT, data, name)
    for read in (read_file, lambda path: list(stream_titles(path))):
        with pytest.raises(DropError) as caught:
            read(path)
        assert f"{path} {told}" in str(caught.value) and "UTF-16" not in str(caught.value)


def test_a_packed_file_that_unpacks_without_end_is_refused_before_it_fills_the_memory(
    deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_checks, "MAX_UNPACKED_BYTES", 3 * 2**20)
    path = deliver(NIGHT, gzip.compress(TEXT + bytes(5 * 2**20)), "a.csv.gz")
    with pytest.raises(DropError, match="unpacks to more than 3 MB; deliver it unpacked, or as several files"):
        read_file(path)


@pytest.mark.parametrize("empty", [b"", b"title,sentiment\n", gzip.compress(b"")], ids=["nothing", "header", "packed"])
def test_an_empty_part_beside_full_ones_is_no_fault_and_is_named(
    deliver: Deliver, empty: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    full = deliver(NIGHT, "Ouro,positive\n", "a.csv")
    part = deliver(NIGHT, empty, "b.csv.gz" if empty.startswith(b"\x1f") else "b.csv")
    with caplog.at_level(logging.WARNING):
        first, second = read_files([full, part])
    assert (len(first.rows), second.name, second.rows) == (1, part.name, ())
    assert len(second.sha256) == 64
    assert str(part) in caplog.text
    with pytest.raises(DropError, match=r"is empty|has a header and no rows"):
        read_files([part])


def test_whatever_quotes_do_each_character_below_the_header_is_in_one_row(deliver: Deliver) -> None:
    chance = random.Random(0)
    pieces = ["Sol", ",", '"', '""', "\n", "\r\n", "\r", "\t", "é", "\u2028", ",neutral\n", '"a, b",negative\n']
    for _ in range(1500):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 40)))
        path = deliver(NIGHT, f"{text}Fim,neutral\n")
        read = read_file(path, QUARANTINE_UNBALANCED).rows
        assert "".join(row.raw for row in read).translate(LINE_ENDS) == f"{text}Fim,neutral".translate(LINE_ENDS)
        assert [row.line for row in read] == sorted({row.line for row in read})
        try:
            assert read_file(path).rows == read
        except DropError:
            assert any(row.fault for row in read)
