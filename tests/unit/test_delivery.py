"""`retraining drop`: what it says of a file, and that what it delivers is whole, marked, and replaces nothing."""

import csv
import errno
import gzip
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from headlines.drops import delivery
from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion, find_problem
from headlines.drops.figures import Figures
from headlines.drops.version_folder import VersionFolder
from headlines.drops.window import read_window
from retraining.cli.console import Terminal
from retraining.cli.inspection import render_inspection
from retraining.cli.main import app, main
from retraining.settings import CHECKOUT, Settings

NIGHT = date(2022, 2, 1)
KINDS = ["negative"] * 4 + ["neutral"] * 15 + ["positive"]
# Words, since titles that differ in their numbers alone are one headline.
NAMES = [first + second for first in "bcdfghjklmnpqrstvxz" for second in "aeiou"]
GOOD = "".join(f"Prefeitura anuncia obra no bairro {name},{KINDS[number % 20]}\n" for number, name in enumerate(NAMES))
BAD = "Título ruim,bom\n,neutral\nVai, ou fica,neutral\n"


@pytest.fixture
def settings(drops_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("DROPS_DIR", str(drops_dir))
    monkeypatch.setenv("MIN_HEADLINES", "10")
    monkeypatch.setenv("DROP_SETTLE_SECONDS", "0")
    return Settings.from_env()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str, name: str = "export.csv") -> Path:
        path = tmp_path / name
        path.write_text(f"title,sentiment\n{content}", encoding="utf-8")
        return path

    return write


def drop(*arguments: object) -> tuple[int, str]:
    """Exit code and what is shown, errors included."""
    result = CliRunner().invoke(app, ["drop", *map(str, arguments)])
    told = result.output
    if result.exception and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, DropError), result.exception
        told += str(result.exception)
    return result.exit_code, told


def test_a_good_file_is_delivered_marked_and_dated(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    file = write(GOOD)
    code, told = drop(file, "--night", NIGHT)
    assert code == 0
    assert "export.csv as version 1 of night 2022-02-01: 95 rows, 95 used, 0 quarantined" in told
    delivered = drops_dir / "2022-02-01" / "export.csv"
    assert str(delivered) in told
    assert delivered.read_bytes() == file.read_bytes()
    assert sorted(path.name for path in delivered.parent.iterdir()) == ["_SUCCESS", "export.csv"]
    assert find_problem(str(drops_dir), "2022-02-01", require_success_marker=True, settle_seconds=3600) is None
    moment = VersionFolder.look_into(delivered.parent).delivered
    assert moment and abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_the_drops_folder_is_made_by_the_first_delivery(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    drops_dir.rmdir()
    assert drop(write(GOOD), "--night", NIGHT)[0] == 0
    assert (drops_dir / "2022-02-01" / "export.csv").is_file()


def test_bad_rows_are_shown_with_their_reason_and_stop_the_delivery(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    file = write(GOOD + BAD * 2)
    code, told = drop(file, "--night", NIGHT)
    assert code == 1
    assert re.search(r"97 +unknown label +label 'bom' +Título ruim,bom", told)
    assert "6 of the 101 rows of the night's drop are quarantined, 5.9%, at most 5.0% may be" in told
    assert "wrong number of fields 2" in told and "3 instead of 2" in told
    assert list(drops_dir.iterdir()) == []
    assert drop(file, "--night", NIGHT, "--anyway")[0] == 0
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (drops_dir / "2022-02-01" / "export.csv",)


def test_for_a_script_it_is_one_json_document_with_the_same_content_and_exit_codes(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    def ask(*arguments: object) -> tuple[int, dict[str, Any]]:
        result = CliRunner().invoke(app, ["drop", *map(str, arguments), "--json"])
        document = json.loads(result.stdout)
        assert (document["version"], document["question"]) == (1, "drop")
        return result.exit_code, document["answer"]

    file = write(GOOD + BAD * 2)
    code, told = ask(file, "--night", NIGHT)
    assert code == 1
    assert (told["night"], told["drop_version"], told["file"]) == ("2022-02-01", 1, str(file))
    assert (told["rows"], told["used"], told["folded"], told["compared_with"]) == (101, 95, 0, 0)
    assert told["reasons"]["unknown label"] == told["reasons"]["wrong number of fields"] == 2
    assert told["quarantined"][0] == {
        "line": 97,
        "reason": "unknown label",
        "detail": "label 'bom'",
        "row": "Título ruim,bom",
    }
    assert len(told["quarantined"]) == 6
    assert told["figures"]["classes"] == {"negative": 20, "neutral": 71, "positive": 4}
    assert told["problems"][0].startswith("6 of the 101 rows of the night's drop are quarantined")
    assert told["delivered"] is None
    code, told = ask(file, "--night", NIGHT, "--anyway")
    assert code == 0
    assert told["delivered"] == str(drops_dir / "2022-02-01" / "export.csv")


def test_a_file_that_cannot_be_read_as_a_whole_is_refused(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    file = write("")
    assert f"{file} has a header and no rows" in drop(file, "--night", NIGHT, "--anyway")[1]
    assert "cannot be read" in drop(file.with_name("absent.csv"), "--night", NIGHT)[1]
    assert list(drops_dir.iterdir()) == []


def test_a_drop_is_never_overwritten_and_a_correction_is_a_version_of_its_own(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    code, told = drop(write(GOOD), "--night", NIGHT, "--correct")
    assert code == 1 and "no drop to correct" in told
    assert drop(write(GOOD), "--night", NIGHT)[0] == 0
    code, told = drop(write(GOOD + "Mais um,neutral\n"), "--night", NIGHT)
    assert code == 1 and "has version 1 of its drop already" in told and "--correct" in told
    for number in (2, 3):
        code, told = drop(write(GOOD + f"Correção {number},neutral\n"), "--night", NIGHT, "--correct")
        assert code == 0 and f"as version {number} of night" in told
        assert DropsFolder(drops_dir).find_version(NIGHT).number == number
    assert (drops_dir / "2022-02-01" / "export.csv").read_text().endswith(GOOD)


def test_swapped_codes_are_named_and_the_right_file_still_corrects_them(
    settings: Settings, drops_dir: Path, twelve_nights: Path, tmp_path: Path
) -> None:
    right = twelve_nights / "2022-02-01" / "headlines.csv"
    with right.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    swap = {"negative": "neutral", "neutral": "negative"}
    wrong = tmp_path / "wrong.csv"
    with wrong.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([row[0], swap.get(row[1], row[1]), *row[2:]] for row in rows)
    code, told = drop(wrong, "--night", NIGHT)
    assert code == 1 and "the labels negative and neutral look swapped" in told
    assert drop(wrong, "--night", NIGHT, "--anyway")[0] == 0
    code, told = drop(right, "--night", NIGHT, "--correct")
    assert code == 0, told


def test_a_window_that_cannot_be_read_is_no_fault_of_the_file(
    settings: Settings, deliver: Callable[..., Path], write: Callable[..., Path]
) -> None:
    deliver("2022-01-31", b"")
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0 and "Not compared with the window" in told and "(0 bytes)" in told
    # Nor are nights that are still to come.
    assert drop(write(GOOD), "--night", "2022-03-01")[0] == 0


def test_what_was_delivered_meanwhile_is_not_replaced(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], deliver: Callable[..., Path]
) -> None:
    first = delivery.inspect(settings, write(GOOD), NIGHT, correct=False)
    there = deliver("2022-02-01", "Outro,neutral\n", "export.csv")
    before = there.read_bytes()
    with pytest.raises(DropError, match=r"has version 1 of its drop already, and a drop never changes in place"):
        delivery.deliver(settings, first.version)
    assert there.read_bytes() == before
    correction = delivery.inspect(settings, write(GOOD), NIGHT, correct=True)
    deliver("2022-02-01", "Outro,neutral\n", "v2/other.csv")
    with pytest.raises(DropError, match="v2 or a newer version was delivered meanwhile"):
        delivery.deliver(settings, correction.version)
    # Below a newer version it would never be read.
    hidden = delivery.inspect(settings, write(GOOD), NIGHT, correct=True)
    deliver("2022-02-01", "Outro,neutral\n", "v7/other.csv")
    with pytest.raises(DropError, match="v3 or a newer version was delivered meanwhile"):
        delivery.deliver(settings, hidden.version)
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 7
    assert not list(drops_dir.rglob("*.tmp"))


def inspect_two(settings: Settings, write: Callable[..., Path], correct: bool) -> list[DropVersion]:
    """Two deliveries of one night, both inspected before either is made."""
    return [delivery.inspect(settings, write(GOOD, name), NIGHT, correct).version for name in ("one.csv", "two.csv")]


@pytest.mark.parametrize("correct", [False, True])
def test_of_two_deliveries_inspected_together_one_is_the_drop_and_the_other_is_told(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], deliver: Callable[..., Path], correct: bool
) -> None:
    if correct:
        deliver("2022-02-01", "Outro,neutral\n")
    one, two = inspect_two(settings, write, correct)
    delivered = delivery.deliver(settings, one)
    with pytest.raises(
        DropError, match="v2 or a newer version was delivered meanwhile" if correct else "has version 1 of its drop"
    ):
        delivery.deliver(settings, two)
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (delivered,)
    assert not list(drops_dir.rglob("two.csv"))


@pytest.mark.parametrize("correct", [False, True])
def test_a_delivery_waits_for_the_end_of_another_to_the_same_night(
    settings: Settings,
    drops_dir: Path,
    write: Callable[..., Path],
    deliver: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    correct: bool,
) -> None:
    if correct:
        deliver("2022-02-01", "Outro,neutral\n")
    one, two = inspect_two(settings, write, correct)
    stage, ends = delivery.stage, []

    def deliver_two() -> None:
        with pytest.raises(DropError):
            delivery.deliver(settings, two)
        ends.append("refused")

    other = threading.Thread(target=deliver_two)

    def stage_beside_another(path: Path) -> Any:
        if path.name == "one.csv":
            other.start()
            other.join(0.5)
            assert other.is_alive()
        return stage(path)

    monkeypatch.setattr(delivery, "stage", stage_beside_another)
    delivered = delivery.deliver(settings, one)
    other.join()
    assert ends == ["refused"]
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (delivered,)


def test_where_a_folder_cannot_be_locked_a_drop_is_delivered_all_the_same(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert drop(write(GOOD), "--night", NIGHT)[0] == 0


@pytest.mark.parametrize("name", ["export.txt", ".export.csv", "unlabelled.csv"])
def test_a_file_whose_name_no_reader_takes_for_a_drop_is_delivered_under_another(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], name: str
) -> None:
    assert drop(write(GOOD, name), "--night", NIGHT)[0] == 0
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (drops_dir / "2022-02-01" / "headlines.csv",)


def test_a_packed_file_is_delivered_packed_whatever_its_name(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    file = write(GOOD)
    packed = file.with_name("export.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    code, told = drop(packed, "--night", NIGHT)
    assert code == 0 and "95 rows, 95 used" in told
    [delivered] = DropsFolder(drops_dir).find_version(NIGHT).files
    assert (delivered.name, delivered.read_bytes()) == ("headlines.csv.gz", packed.read_bytes())


def test_a_file_whose_name_is_not_utf_8_is_refused_and_its_bytes_are_shown(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    file = write(GOOD, os.fsdecode("eleição.csv".encode("latin-1")))
    code, told = drop(file, "--night", NIGHT, "--anyway")
    assert code == 1 and r"elei\xe7\xe3o.csv is not UTF-8; rename it and deliver it again" in told
    assert list(drops_dir.iterdir()) == []


def test_what_lies_in_the_folder_of_the_night_and_is_not_read_is_told(
    settings: Settings, write: Callable[..., Path], deliver: Callable[..., Path]
) -> None:
    for name in ("headlines.txt", "V2/headlines.csv"):
        deliver("2022-02-01", GOOD, name)
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0 and "Passed over in the folder of the night: V2/, headlines.txt." in told
    result = CliRunner().invoke(app, ["drop", str(write(GOOD, "b.csv")), "--night", str(NIGHT), "--correct", "--json"])
    assert json.loads(result.stdout)["answer"]["passed_over"] == ["V2/"]


def test_unbalanced_quotes_are_told_at_delivery_or_shown_in_the_quarantine(
    settings: Settings, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(f'{GOOD}"Chove muito,negative\nSol,neutral\n')
    code, told = drop(file, "--night", NIGHT)
    assert code == 1 and "line 97: the quotes of the row that begins here are not balanced" in told
    monkeypatch.setenv("UNBALANCED_QUOTES", "quarantine")
    code, told = drop(file, "--night", NIGHT)
    assert code == 0 and "97 rows, 96 used, 1 quarantined" in told
    assert re.search(r"97 +unbalanced quotes", told)


def test_a_marker_that_marked_no_labelled_file_is_replaced(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], deliver: Callable[..., Path]
) -> None:
    deliver("2022-02-01", b"title\nChuva\n", "unlabelled.csv")
    deliver("2022-02-01", b'{"delivered": "2022-02-01T00:00:00+00:00"}', "_SUCCESS")
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0, told
    folder = drops_dir / "2022-02-01"
    assert DropsFolder(drops_dir).find_version(NIGHT, require_success_marker=True).files == (folder / "export.csv",)
    moment = VersionFolder.look_into(folder).delivered
    assert moment and abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_a_delivery_that_fails_leaves_nothing_to_be_read_and_marks_nothing(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    taken = drops_dir / "2022-02-01" / "export.csv"
    taken.mkdir(parents=True)
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 1 and f"{taken} was delivered meanwhile; nothing was overwritten" in told
    assert list(taken.parent.iterdir()) == [taken]


@pytest.mark.parametrize("correct", [False, True])
def test_a_delivery_that_is_killed_halfway_leaves_nothing_to_be_read_and_can_be_repeated(
    settings: Settings,
    drops_dir: Path,
    write: Callable[..., Path],
    deliver: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    correct: bool,
) -> None:
    before = (deliver("2022-02-01", "Outro,neutral\n"),) if correct else None
    version = delivery.inspect(settings, write(GOOD), NIGHT, correct).version
    for step in ("replace", "hardlink_to"):
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(Path, step, lambda *arguments: os._exit(9))
            try:
                delivery.deliver(settings, version)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        if before:
            assert DropsFolder(drops_dir).find_version(NIGHT).files == before
        else:
            assert find_problem(str(drops_dir), "2022-02-01") is not None
        version = delivery.inspect(settings, write(GOOD), NIGHT, correct).version
    delivered = delivery.deliver(settings, version)
    assert DropsFolder(drops_dir).find_version(NIGHT, require_success_marker=True).files == (delivered,)


def test_nothing_heavy_is_loaded_to_check_a_file(settings: Settings, write: Callable[..., Path]) -> None:
    code = (
        "import json, sys; from retraining.cli.main import app; "
        "app(sys.argv[1:], standalone_mode=False); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "drop", str(write(GOOD)), "--night", "2022-02-01"],
        check=True, capture_output=True, text=True, cwd=CHECKOUT,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & {"tfx", "tensorflow", "airflow", "apache_beam", "ml_metadata"}


def test_the_command_tells_of_a_wrong_file_in_one_line(
    settings: Settings, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["retraining", "drop", str(write("")), "--night", "2022-02-01"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "has a header and no rows" in capsys.readouterr().err


def test_the_codes_that_a_file_was_read_with_are_delivered_with_it(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(GOOD.replace("neutral", "7"))
    assert drop(file, "--night", NIGHT)[0] == 1
    code, told = drop(file, "--night", NIGHT, "--label-codes", "7=neutral,8=negative")
    assert code == 0, told
    version = DropsFolder(drops_dir).find_version(NIGHT)
    assert version.label_codes == {"7": "neutral", "8": "negative"}
    # What the setting says later is for new deliveries.
    monkeypatch.setenv("LABEL_CODES", "7=positive")
    window = read_window(DropsFolder(drops_dir), NIGHT, Settings.from_env().drop_rules)
    assert Counter(headline.label for headline in window.headlines) == Counter(KINDS[n % 20] for n in range(95))
    code, told = drop(write(GOOD.replace("neutral", "7"), "next.csv"), "--night", "2022-02-02", "--anyway")
    assert (
        "The drop of night 2022-02-01 is read with the label codes 7=neutral,8=negative, as when delivered or first "
        "used; LABEL_CODES=7=positive is for new deliveries."
    ) in " ".join(told.split())
    assert DropsFolder(drops_dir).find_version(date(2022, 2, 2)).label_codes == {"7": "positive"}
    code, told = drop(file, "--night", "2022-02-03", "--label-codes", "7=bom")
    assert code == 2 and "'7=bom' are no label codes" in told


def test_a_label_that_is_none_is_told_beside_the_codes_that_were_given_and_not_those_of_the_setting(
    settings: Settings, write: Callable[..., Path]
) -> None:
    file = write(GOOD.replace("negative", "0"))
    code, told = drop(file, "--night", NIGHT, "--label-codes", "1=negative,2=neutral,3=positive")
    assert code == 1
    assert (
        "'0' (20 rows) is neither a label nor one of the codes 1, 2, 3; a code is declared by --label-codes "
        "1=negative,2=neutral,3=positive,0=LABEL with the delivery, or in LABEL_CODES."
    ) in told
    assert told.count("a code is declared by") == 1 and "corrected drop" not in told


def test_another_night_s_file_is_told_with_the_night_that_it_is_of(
    settings: Settings, deliver: Callable[..., Path], write: Callable[..., Path]
) -> None:
    deliver("2022-01-31", GOOD)
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 1 and "95 of the night's 95 rows repeat a title (95 of night 2022-01-31): a chance of" in told


def test_of_many_bad_rows_the_first_are_shown_and_json_has_all(settings: Settings, write: Callable[..., Path]) -> None:
    file = write(GOOD + BAD * 7)
    assert "And 1 more: --json shows all. In all: " in drop(file, "--night", NIGHT)[1]
    result = CliRunner().invoke(app, ["drop", str(file), "--night", str(NIGHT), "--json"])
    assert len(json.loads(result.stdout)["answer"]["quarantined"]) == 21
    assert "more: --json" not in drop(write(GOOD + BAD * 6), "--night", NIGHT)[1]


def test_a_file_that_is_refused_as_a_whole_is_no_answer_in_json_either(
    settings: Settings, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["retraining", "drop", str(write("")), "--night", "2022-02-01", "--json"])
    with pytest.raises(SystemExit, match="1"):
        main()
    shown = capsys.readouterr()
    assert shown.out == "" and "has a header and no rows" in shown.err


def test_a_figure_is_shown_as_its_limit_is_and_one_of_too_few_titles_says_that_it_was_not_judged(
    settings: Settings, write: Callable[..., Path]
) -> None:
    inspection = delivery.inspect(settings, write("Prefeitura anuncia obra,neutral\n"), NIGHT, correct=False)

    def show_figures(figures: Figures, compared_with: int = 12) -> str:
        terminal = Terminal(file=io.StringIO(), width=10_000)
        changed = replace(inspection, figures=figures, compared_with=compared_with)
        terminal.print(render_inspection(changed, settings.alarm_limits))
        return str(terminal.file.getvalue())  # type: ignore[attr-defined]

    figures = Figures(
        titles=300, classes={"neutral": 300}, readable_rows=300, unseen_word_share=0.15, unseen_word_excess=0.037
    )
    shown = show_figures(figures)
    assert "as version 1 of night 2022-02-01: 1 row, 1 used, 0 quarantined, 0 duplicates folded." in shown
    assert (
        "Beside 12 earlier nights: neutral 100.0%, 0.0% of the rows with a title that came before, words unseen"
        in shown
    )
    assert "words unseen 3.7 points above expected (at most 12.0)." in shown and "15.0%" not in shown
    assert "1.0 points below expected (at most 12.0)." in show_figures(replace(figures, unseen_word_excess=-0.01))
    few = replace(figures, titles=5, classes={"neutral": 5}, seen_titles=5, relabelled={"positive->neutral": 4})
    few = replace(few, not_portuguese_share=0.4, class_mix_shift=0.2, unseen_word_excess=0.2)
    shown = show_figures(few, 1)
    assert "Beside 1 earlier night: " in shown
    assert (
        "80.0% of the titles seen before with another label (not judged: 5 titles), 40.0% not Portuguese (not " in shown
    )
    assert "20.0% away from the window's class mix, " in shown
    assert "20.0 points above expected (at most 12.0) (not judged: 5 titles)." in shown
    # Of as many titles no such share comes by chance: an alarm says so.
    assert "40.0% not Portuguese, " in show_figures(replace(few, titles=100, classes={"neutral": 100}))


@pytest.mark.parametrize("codes", ['{"0": "bom"}', '"0=negative"', "[1]"])
def test_codes_in_a_marker_that_are_none_are_told(deliver: Callable[..., Path], drops_dir: Path, codes: str) -> None:
    deliver("2022-02-01", GOOD)
    deliver("2022-02-01", f'{{"label_codes": {codes}}}'.encode(), "_SUCCESS")
    with pytest.raises(DropError, match=r"_SUCCESS says label_codes .*; it must be an object such as"):
        DropsFolder(drops_dir).find_version(NIGHT)


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ({'"0"': "negative"}, "a quote, a backslash"),
        ({"a\\b": "negative"}, "a quote, a backslash"),
        ({"\u00e7" * 500: "negative"}, "longer than 1000 bytes"),
    ],
)
def test_codes_that_lineage_cannot_keep_are_refused_before_a_run_reads_them(
    deliver: Callable[..., Path], drops_dir: Path, codes: dict[str, str], problem: str
) -> None:
    deliver("2022-02-01", GOOD)
    deliver("2022-02-01", json.dumps({"label_codes": codes}).encode(), "_SUCCESS")
    with pytest.raises(DropError, match=f"_SUCCESS says label_codes that cannot be kept: .*{problem}"):
        DropsFolder(drops_dir).find_version(NIGHT)


def test_without_lineage_a_file_is_compared_with_every_drop_and_that_is_said(
    settings: Settings, deliver: Callable[..., Path], write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("2022-01-31", GOOD.replace("Prefeitura", "Governo"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLMD_PORT", str(unused.getsockname()[1]))
        monkeypatch.setenv("MLMD_PASSWORD", "secret")
        code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0, told
    assert "Compared with every drop of the window, since which were refused is not known: " in told
    assert "Beside 1 earlier night: " in told
