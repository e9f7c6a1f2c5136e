"""What the terminal shows: nothing that steers it, nothing cut off, JSON and nothing else for a script."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree
from typer.testing import CliRunner

import lineage
from headlines.display import STEERING
from retraining.cli import console, lineage_tables
from retraining.cli.console import Terminal
from retraining.cli.fitting import Fitting
from retraining.cli.inspection import render_problems
from retraining.cli.main import app
from retraining.cli.progress import show_steps
from retraining.settings import CHECKOUT

# Colours, the bell, carriage return, backspace, the same by one byte of C1, and the two ways to turn text round.
ATTACK = "Lula\x1b[31;5m\x1b]0;title\x07\r\x08\x7f\x9b31m\x85\u202eolleh\u2066\u2069\udce7 fim [/] [bold] :smile:"
WIDTHS = [60, 80, 120]


def render(thing: RenderableType, width: int = 80) -> str:
    terminal = Terminal(file=io.StringIO(), width=width)
    terminal.print(thing)
    return str(terminal.file.getvalue())  # type: ignore[attr-defined]


def words_of(text: str) -> list[str]:
    return re.findall(r"[\w.:/+-]+", text)


def make_table(*rows: tuple[str, ...]) -> Fitting:
    table = Fitting("night", "verdict", "share", "what explains it", right=["share"])
    for row in rows:
        table.add_row(*row)
    return table


@pytest.mark.parametrize(
    "thing",
    [
        pytest.param(Text(ATTACK), id="text"),
        pytest.param(Group(Text("x"), Text(ATTACK, "red")), id="in a group"),
        pytest.param(make_table((ATTACK, ATTACK, "1", ATTACK)), id="in a table"),
        pytest.param(make_table(("2022-02-01", "blessed", "1", ATTACK)), id="in a column"),
    ],
)
@pytest.mark.parametrize("width", [40, 80, 10_000])
def test_nothing_that_is_shown_steers_the_terminal(thing: RenderableType, width: int) -> None:
    shown = render(thing, width)
    assert not STEERING.search(shown)
    assert "Lula" in shown and "fim" in shown and "[/]" in shown and ":smile:" in shown


def test_also_a_tree_a_string_a_step_and_an_error_do_not_steer_it(capfd: pytest.CaptureFixture[str]) -> None:
    tree = Tree(Text(ATTACK))
    tree.add(Text(ATTACK))
    assert not STEERING.search(render(tree))
    assert not STEERING.search(render(ATTACK.replace("[/]", "")))
    steps = Terminal(file=io.StringIO(), width=80)
    with show_steps(steps) as report:
        report(ATTACK.replace("[/]", ""))
    assert not STEERING.search(steps.file.getvalue())  # type: ignore[attr-defined]
    with pytest.raises(SystemExit):
        console.fail(ATTACK)
    told = capfd.readouterr().err
    assert "Lula␛" in told and "␍" in told and not STEERING.search(told)


def test_json_for_a_script_holds_every_character_and_none_of_them_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json("x", {"reason": ATTACK})
    shown = capsys.readouterr().out
    assert not STEERING.search(shown)
    assert json.loads(shown)["answer"]["reason"] == ATTACK


def test_a_quarantined_row_is_shown_with_its_control_characters_written_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("DROPS_DIR", str(tmp_path / "drops"))
    file = tmp_path / "new\x1b[2J.csv"
    file.write_text("title,sentiment\n\x1b[31mLula\x07\u202e,b\x1b[5mom\nX\x9b1m\rY,\n", encoding="utf-8", newline="")
    for options in ([], ["--json"]):
        told = CliRunner().invoke(app, ["drop", str(file), "--night", "2022-02-01", *options])
        assert told.exit_code == 1
        assert not STEERING.search(told.output)
        assert r"\x1b[31mLula\x07\u202e,b\x1b[5mom" in told.output.replace("\\\\", "\\")


def test_a_log_is_shown_without_its_colours_and_without_what_steers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    log = tmp_path / "logs" / "scheduler.log"
    log.parent.mkdir()
    log.write_bytes(b"\x1b[34mINFO\x1b[0m one\ntwo \x1b]0;x\x07 \xe7 end\n")
    shown = subprocess.run(
        [sys.executable, "-m", "retraining", "logs", "scheduler"], cwd=CHECKOUT, capture_output=True, check=True
    ).stdout.decode()
    assert shown == "INFO one\ntwo ␛]0;x␇ \ufffd end\n"


def test_commands_that_a_text_names_are_shown_as_they_are_typed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    told = Text("It is down; `retraining up` starts it, `make setup` repairs it; retraining status is prose.")
    here = Path(sys.executable).with_name("retraining").relative_to(CHECKOUT)
    assert f"`{here} up` starts it, `make setup` repairs it; retraining status is prose." in render(told, 200)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    assert "`retraining up` starts it" in render(told, 200)
    monkeypatch.chdir("/")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    elsewhere = render(told, 400)
    assert f"`{Path(sys.executable).with_name('retraining')} up` starts it" in elsewhere
    assert f"`make -C {CHECKOUT} setup` repairs it" in elsewhere


ROWS = (
    ("2022-02-01", "blessed", "0.810/0.60", "better than every limit"),
    ("2022-02-02", "refused", "0.520/0.60", "accuracy is below it, see /srv/a/path/that/is/longer/than/most/of/them"),
    ("2022-02-03", "blocked", "-", "x" * 150),
)


@pytest.mark.parametrize("width", [30, *WIDTHS, 10_000])
def test_a_table_fits_every_width_and_loses_no_character(width: int) -> None:
    shown = render(make_table(*ROWS), width)
    assert max(map(len, shown.splitlines())) <= width
    letters = re.sub(r"\s", "", shown)
    for row in ROWS:
        assert all(cell in shown for cell in row[:3])
    if width >= 10_000:
        assert all(cell in shown for row in ROWS for cell in row)
    # A broken cell goes on in the same column of the next line, where other cells may be beside it.
    assert letters.count("x") >= 150
    assert {word for row in ROWS for word in row[3].split() if len(word) < 20} <= set(shown.split())


def test_a_table_stands_in_columns_while_words_have_room_and_else_in_blocks() -> None:
    assert render(make_table(ROWS[0]), 60).splitlines()[1].split()[:3] == ["night", "verdict", "share"]
    blocks = render(make_table(*ROWS), 40).splitlines()
    assert blocks[1] == "night 2022-02-01"
    assert blocks[2].split() == ["verdict", "blessed"]


@pytest.mark.parametrize("width", WIDTHS)
def test_answers_about_lineage_lose_no_word_at_any_width(width: int) -> None:
    reason = "returned since the drop of Tuesday has swapped labels and nobody had looked at it before nine"
    gaps = lineage_tables.render_gaps([lineage.Gap("2022-02-03", "failed", reason)], lineage.Orphans((), ()), True)
    point = lineage.Point(
        night="2022-02-01",
        run_id="r",
        candidate=0.61,
        champion=0.62,
        lr=0.63,
        majority=0.64,
        fresh_champion=0.65,
        fresh_lr=0.66,
        fresh_majority=0.67,
        fresh_rows=100,
        blessed=False,
        is_refused=True,
        pushed_version=None,
        rollbacks=(),
    )
    for answer in (gaps, lineage_tables.render_history(lineage.History("macro_f1", (point,)))):
        shown = render(answer, width)
        assert max(map(len, shown.splitlines())) <= width
        assert set(words_of(shown)) == set(words_of(render(answer, 10_000)))


PROBLEM = (
    "347 of the night's 347 rows repeat a title (347 of night 2022-02-12): a chance of practically none, and below "
    "1 in 10,000 the run stops. Look whether this is the file of another night"
)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_problem_goes_on_below_its_first_word(width: int) -> None:
    first, *others = render(render_problems([PROBLEM, "short"]), width).splitlines()
    assert first.startswith("- 347 of the night's") and others.pop() == "- short"
    assert len(others) > 0 and all(line.startswith("  ") and line[2] != " " for line in others)
    assert max(map(len, [first, *others])) <= width
    assert " ".join(f"{first} {' '.join(others)}".split()) == f"- {PROBLEM}"


def test_what_no_terminal_reads_has_a_problem_in_one_line_and_no_more_than_it() -> None:
    assert render(render_problems([PROBLEM, "short"]), 10_000) == f"- {PROBLEM}\n- short\n"
    # Nor does the command that it names make it longer than its line.
    [line] = render(render_problems(["Run `retraining drop FILE`"]), 10_000).splitlines()
    assert line.startswith("- Run `") and line.endswith("drop FILE`")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_error_is_broken_between_words_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    terminal = Terminal(file=io.StringIO(), width=60, force_terminal=is_terminal, no_color=True)
    monkeypatch.setattr(console, "errors", terminal)
    with pytest.raises(SystemExit):
        console.fail(f"Not delivered: {PROBLEM}")
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert " ".join(line.strip() for line in lines) == f"Not delivered: {PROBLEM}"
    assert (len(lines) > 1) is is_terminal and (max(map(len, lines)) <= 60) is is_terminal


@pytest.mark.parametrize("columns", WIDTHS)
def test_on_a_real_terminal_a_bad_drop_is_told_whole_at_every_width(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("title,sentiment\nChuva forte em São Paulo deixa bairros sem luz,bom\nVai,ou fica,neutral\n")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    process = subprocess.Popen(
        [sys.executable, "-m", "retraining", "drop", str(file), "--night", "2022-02-01"],
        cwd=CHECKOUT,
        stdout=theirs,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"}
        | {"DROPS_DIR": str(tmp_path), "TERM": "xterm"},
    )
    os.close(theirs)
    with os.fdopen(ours, "rb") as terminal, contextlib.suppress(OSError):  # EIO is the end of what was written.
        shown = b""
        while chunk := terminal.read1():
            shown += chunk
    assert process.wait() == 1
    lines = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.decode()).splitlines()
    begin = next(number for number, line in enumerate(lines) if "reason" in line)
    table = [line.strip() for line in lines[begin:]]
    table = table[: table.index("")]
    assert max(map(len, table)) <= columns
    words = " ".join(table).split()
    assert {"unknown", "label", "'bom'", "wrong", "fields", "Chuva", "Paulo", "luz,bom", "Vai,ou"} <= set(words)
