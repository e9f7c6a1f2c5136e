"""Which rows are used, which are quarantined and why, and which are folded; nothing is lost."""

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from headlines.drops.quarantine import Reason, SetAside, Sifted, normalise, sift, write_csv
from headlines.drops.rows import Row, read_file
from headlines.drops.rules import Rules

FIRST, SECOND = date(2022, 2, 1), date(2022, 2, 2)


@pytest.fixture
def rules(drop_rules: dict[str, Any]) -> Rules:
    return Rules(**drop_rules)


def row(title: str, label: str, line: int = 2, raw: str | None = None, cells: int = 2) -> Row:
    return Row("headlines.csv", line, f"{title},{label}" if raw is None else raw, title, label, cells, 2)


def sift_night(rules: Rules, *rows: Row) -> Sifted:
    return sift([(FIRST, 1, rows)], rules)


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (row("", "neutral"), Reason.BLANK_TITLE, ""),
        (row(" \u00a0\t\n", "neutral"), Reason.BLANK_TITLE, ""),
        (row("\u200b", "neutral"), Reason.BLANK_TITLE, ""),
        (row("Ouro", ""), Reason.UNKNOWN_LABEL, "label ''"),
        (row("Ouro", "good"), Reason.UNKNOWN_LABEL, "label 'good'"),
        (row("Ouro", "3"), Reason.UNKNOWN_LABEL, "label '3'"),
        (row("a" * 501, "neutral"), Reason.LONG_TITLE, "501 characters; at most 500"),
        (row("", "", raw="Chove, muito,neutral", cells=3), Reason.WRONG_FIELDS, "3 instead of 2"),
        (row("Elei\udce7ão", "neutral"), Reason.UNDECODABLE, "byte 5 of the row, 0xE7, is not UTF-8"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(rules: Rules, bad: Row, reason: Reason, detail: str) -> None:
    sifted = sift_night(rules, bad)
    assert sifted.quarantined == [SetAside(FIRST, 1, bad, reason, detail)]
    assert not sifted.used and not sifted.folded


@pytest.mark.parametrize(
    ("written", "name"),
    [("negative", "negative"), (" Neutral ", "neutral"), ("0", "negative"), ("1", "neutral"), ("2", "positive")],
)
def test_labels_are_read_by_name_and_by_declared_code(rules: Rules, written: str, name: str) -> None:
    [headline] = sift_night(rules, row("Ouro", written)).used
    assert headline.label == name


def test_a_title_is_used_on_one_line_and_the_longest_still_fits(rules: Rules) -> None:
    [squeezed, longest] = sift_night(rules, row("  Vai,\n ou   fica ", "neutral"), row("a" * 500, "neutral", 4)).used
    assert squeezed.title == "Vai, ou fica"
    assert len(longest.title) == 500


@pytest.mark.parametrize("other", ["ELEIÇÃO  no Pará", "eleic\u0327a\u0303o no pará", "ｅleição\u00a0no pará"])
def test_form_case_and_spacing_do_not_make_another_title(other: str) -> None:
    assert normalise("Eleição no Pará") == normalise(other)


def test_one_of_exact_duplicates_is_kept_and_the_others_say_of_which(rules: Rules) -> None:
    sifted = sift_night(rules, row("Ouro", "positive", 2), row(" Ouro", "2", 3), row("OURO", "positive", 4))
    assert [headline.row.line for headline in sifted.used] == [2, 4]
    [folded] = sifted.folded
    assert (folded.row.line, folded.reason, folded.detail) == (
        3,
        Reason.DUPLICATE,
        "of 2022-02-01 headlines.csv line 2",
    )
    assert not sifted.quarantined


def test_across_nights_the_newest_duplicate_is_kept(rules: Rules) -> None:
    sifted = sift([(FIRST, 1, [row("Ouro", "positive")]), (SECOND, 1, [row("Ouro", "positive")])], rules)
    assert [headline.night for headline in sifted.used] == [SECOND]
    assert [folded.night for folded in sifted.folded] == [FIRST]


def test_all_rows_of_a_title_with_two_labels_are_out(rules: Rules) -> None:
    rows = [
        row("Chove", "negative", 2),
        row("Chove", "negative", 3),
        row("CHOVE ", "neutral", 4),
        row("Sol", "neutral", 5),
    ]
    sifted = sift_night(rules, *rows)
    assert [headline.title for headline in sifted.used] == ["Sol"]
    assert [(bad.row.line, bad.reason) for bad in sifted.quarantined] == [(line, Reason.CONFLICT) for line in (2, 3, 4)]
    assert sifted.quarantined[0].detail == (
        "negative at 2022-02-01 headlines.csv line 2; neutral at 2022-02-01 headlines.csv line 4"
    )
    assert not sifted.folded


def test_labels_conflict_across_nights_too(rules: Rules) -> None:
    sifted = sift([(FIRST, 1, [row("Chove", "negative")]), (SECOND, 2, [row("chove", "neutral")])], rules)
    assert not sifted.used
    assert [(bad.night, bad.version) for bad in sifted.quarantined] == [(SECOND, 2), (FIRST, 1)]


def test_a_bad_row_takes_no_part_in_conflicts(rules: Rules) -> None:
    sifted = sift_night(rules, row("Chove", "good", 2), row("Chove", "neutral", 3))
    assert [headline.row.line for headline in sifted.used] == [3]


def test_a_spreadsheet_takes_no_cell_for_a_formula(rules: Rules, deliver: Callable[..., Path]) -> None:
    text = 'title,sentiment\n=1+1,bad\n+1,bad\n-1,bad\n@x,bad\n"\t=1",bad\n\t=1,bad\nfoo,"=2"\n'
    file = read_file(deliver("2022-02-01", text.encode()))
    written = io.StringIO(newline="")
    write_csv(sift([(FIRST, 1, file.rows)], rules).quarantined, written)
    rows = list(csv.DictReader(io.StringIO(written.getvalue(), newline="")))
    assert [one["raw"][0] for one in rows] == ["'", "'", "'", "'", '"', "'", "f"]
    assert all(not cell.startswith(tuple("=+-@\t\r")) for one in rows for cell in one.values())
    assert [one["line"] for one in rows] == ["2", "3", "4", "5", "6", "7", "8"]


def test_the_quarantine_file_keeps_raw_text_and_shows_bytes_that_are_not_utf_8(rules: Rules) -> None:
    sifted = sift_night(rules, row("", "", raw='"Vai,\nou ""fica""",x,y', cells=3), row("Elei\udce7", "neutral", 4))
    written = io.StringIO(newline="")
    write_csv(sifted.quarantined, written)
    first, second = csv.DictReader(io.StringIO(written.getvalue(), newline=""))
    assert first["raw"] == '"Vai,\nou ""fica""",x,y'
    assert second["raw"] == "Elei\\xe7,neutral"
    assert (second["night"], second["version"], second["file"], second["line"], second["reason"]) == (
        "2022-02-01",
        "1",
        "headlines.csv",
        "4",
        "undecodable row",
    )


def test_rules_name_what_is_missing_unknown_or_no_label(drop_rules: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"missing .* 'eval_percent'"):
        Rules(**{name: value for name, value in drop_rules.items() if name != "eval_percent"})
    with pytest.raises(TypeError, match=r"unexpected .* 'colour'"):
        Rules(**{**drop_rules, "colour": 1})
    with pytest.raises(ValueError, match="good"):
        Rules(**{**drop_rules, "label_codes": {"2": "good"}})
