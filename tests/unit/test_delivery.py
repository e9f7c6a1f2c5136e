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
from headlines.drops.destination import tell_ahead
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


def unfold(told: str) -> str:
    """What is shown, as in a terminal that is wide enough for each of its lines."""
    return " ".join(told.split())


def drop(*arguments: object) -> tuple[int, str]:
    """Exit code and what is shown, errors included."""
    result = CliRunner().invoke(app, ["drop", *map(str, arguments)])
    told = result.output
    if result.exception and not isinstance(result.exception, SystemExit):
        assert isinstance(result.exception, DropError), result.exception
        told += str(result.exception)
    return result.exit_code, told


def ask(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of the command with --json, without the notice that lineage is not asked here."""
    result = CliRunner().invoke(app, ["drop", *map(str, arguments), "--json"])
    # Behind what Airflow, where a test of the same process brought it, prints of the log.
    document = json.loads(result.stdout[result.stdout.index("{\n") :])
    assert (document["version"], document["question"]) == (1, "drop")
    answer: dict[str, Any] = document["answer"]
    answer["notices"] = [notice for notice in answer["notices"] if "MLMD_PASSWORD" not in notice]
    return result.exit_code, answer


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
    assert "6 of the 101 rows of the night's drop are quarantined, 5.9%, at most 5.0% may be" in unfold(told)
    assert "wrong number of fields 2" in told and "3 instead of 2" in told
    assert list(drops_dir.iterdir()) == []
    assert drop(file, "--night", NIGHT, "--anyway")[0] == 0
    assert DropsFolder(drops_dir).find_version(NIGHT).files == (drops_dir / "2022-02-01" / "export.csv",)


def test_for_a_script_it_is_one_json_document_with_the_same_content_and_exit_codes(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
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
    assert list(drops_dir.iterdir()) == []


@pytest.mark.parametrize("is_delivered", [False, True])
def test_a_file_that_is_none_is_told_before_anything_else(
    settings: Settings, drops_dir: Path, tmp_path: Path, deliver: Callable[..., Path], is_delivered: bool
) -> None:
    if is_delivered:
        deliver("2022-02-01", GOOD)
    else:
        drops_dir.rmdir()
    link, pipe = tmp_path / "link.csv", tmp_path / "pipe.csv"
    link.symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(pipe)
    for file, problem in (
        (tmp_path / "absent.csv", f"{tmp_path / 'absent.csv'} does not exist; check the name"),
        ("-", "- does not exist; check the name"),
        (tmp_path, f"{tmp_path} is a folder; give one file"),
        ("", ". is a folder; give one file"),
        (link, f"{link} is a link that leads to no file; give the file itself"),
        (pipe, f"{pipe} is no plain file, and it is read more than once; save it as one, and give that"),
    ):
        code, told = drop("--night", NIGHT, "--", file)
        assert (code, told) == (1, problem)
    assert drops_dir.exists() is is_delivered


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


def deliver_window(deliver: Callable[..., Path]) -> None:
    """Three nights before NIGHT, each marked as whole."""
    for night, who in (("2022-01-29", "Governo"), ("2022-01-30", "Estado"), ("2022-01-31", "Ministério")):
        deliver(night, GOOD.replace("Prefeitura", who))
        deliver(night, b"{}", "_SUCCESS")


def leave_under_way(folder: Path) -> None:
    (folder / "_SUCCESS").unlink()
    (folder / "old.csv.part").write_bytes(b"title,sentim")


def touch(folder: Path) -> None:
    (folder / "_SUCCESS").unlink()


def link_to_nowhere(folder: Path) -> None:
    (folder / "dead.csv").symlink_to(folder / "nowhere.csv")


def name_otherwise(folder: Path) -> None:
    (folder / "headlines.csv").rename(folder / os.fsdecode("eleição.csv".encode("latin-1")))


def write_other_columns(folder: Path) -> None:
    (folder / "headlines.csv").write_bytes(b"titulo\nx\n")


def say_codes_that_are_none(folder: Path) -> None:
    (folder / "_SUCCESS").write_text('{"label_codes": {"0": "bom"}}')


@pytest.mark.parametrize(
    ("damage", "then", "why"),
    [
        (leave_under_way, "stops at it", "files still under way (old.csv.part)"),
        (touch, "waits for it", "may still be growing"),
        (link_to_nowhere, "stops at it", "links that lead to no file (dead.csv)"),
        (name_otherwise, "stops at it", "is not UTF-8; rename it"),
        (write_other_columns, "stops at it", "the header must name the columns"),
        (say_codes_that_are_none, "stops at it", "says label_codes"),
    ],
)
def test_a_night_that_cannot_be_read_is_left_out_of_the_comparison_alone_and_named(
    settings: Settings,
    drops_dir: Path,
    write: Callable[..., Path],
    deliver: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    then: str,
    why: str,
) -> None:
    monkeypatch.setenv("DROP_SETTLE_SECONDS", "3600")
    deliver_window(deliver)
    damage(drops_dir / "2022-01-30")
    yesterday = GOOD.replace("Prefeitura", "Ministério")
    code, told = ask(write(yesterday), "--night", NIGHT)
    assert (code, told["compared_with"], told["delivered"]) == (1, 2, None)
    assert "95 of the night's 95 rows repeat a title" in told["problems"][0]
    [notice] = told["notices"]
    assert notice.startswith(f"night 2022-01-30 is left out of the comparison, and the run {then}: ")
    assert why in notice
    # It is no fault of a good file.
    code, shown = drop(write(GOOD), "--night", NIGHT)
    assert code == 0 and "Beside 2 earlier nights" in shown
    assert "Night 2022-01-30 is left out of the comparison" in shown


def test_an_older_version_in_a_folder_that_cannot_be_read_leaves_its_night_out_too(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], deliver: Callable[..., Path]
) -> None:
    deliver_window(deliver)
    (drops_dir / "2022-01-30" / "v2").write_text("no folder")
    deliver("2022-01-30", GOOD.replace("Prefeitura", "Estado"), "v3/headlines.csv")
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0 and "Beside 2 earlier nights" in told
    assert "Night 2022-01-30 is left out of the comparison, and the run stops at it: " in told


def test_how_many_headlines_a_window_has_is_judged_of_the_window_that_the_run_would_read_alone(
    settings: Settings,
    drops_dir: Path,
    write: Callable[..., Path],
    deliver: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MIN_HEADLINES", "381")
    deliver_window(deliver)
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 1 and "only 380 usable headlines in the window of 4 nights" in " ".join(told.split())
    link_to_nowhere(drops_dir / "2022-01-30")
    code, told = drop(write(GOOD), "--night", NIGHT)
    assert code == 0 and "usable headlines" not in told
    (drops_dir / "2022-01-30" / "dead.csv").unlink()
    code, told = drop(write(GOOD.replace("Prefeitura", "Câmara")), "--night", "2022-02-10")
    assert code == 0 and "usable headlines" not in told


def test_more_missing_nights_than_a_run_allows_are_told_and_no_fault_of_the_file(
    settings: Settings, write: Callable[..., Path], deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_window(deliver)
    monkeypatch.setenv("MAX_MISSING_NIGHTS", "2")
    code, told = ask(write(GOOD), "--night", "2022-02-04")
    assert (code, told["compared_with"]) == (0, 3)
    assert told["notices"] == [
        "3 nights of the window have no drop, at most 2 may: the run stops until they are delivered, or "
        "MAX_MISSING_NIGHTS is raised (2022-02-01, 2022-02-02, 2022-02-03)"
    ]
    code, told = ask(write(GOOD.replace("Prefeitura", "Câmara")), "--night", "2022-02-09")
    assert code == 0 and told["notices"][0].endswith("(2022-02-01 to 2022-02-08 (7))")
    monkeypatch.setenv("MAX_MISSING_NIGHTS", "0")
    code, told = ask(write(GOOD.replace("Prefeitura", "Câmara")), "--night", "2022-02-02")
    assert told["notices"][0].startswith("1 night of the window has no drop, at most 0 may")
    monkeypatch.setenv("MAX_MISSING_NIGHTS", "1")
    assert ask(write(GOOD.replace("Prefeitura", "Senado")), "--night", "2022-02-03")[1]["notices"] == []


def test_a_night_that_no_run_will_ever_read_is_refused_and_one_for_windows_alone_is_told(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("START_DATE", "2022-02-12")
    monkeypatch.setenv("WINDOW_NIGHTS", "12")
    code, told = drop(write(GOOD), "--night", "2022-01-31", "--anyway")
    assert code == 1 and "night 2022-01-31 is before START_DATE=2022-02-12 and before the window of every run" in told
    assert drop(write(GOOD), "--night", "0001-01-01")[0] == 1
    assert list(drops_dir.iterdir()) == []
    code, told = drop(write(GOOD), "--night", "2022-02-01")
    assert code == 0
    told = unfold(told)
    assert "No run is made for night 2022-02-01, which is before START_DATE=2022-02-12; later nights read it" in told
    monkeypatch.setenv("WINDOW_NIGHTS", "0")
    assert "No run is made for night 2022-01-31" in drop(write(GOOD), "--night", "2022-01-31")[1]
    assert "No run is made" not in drop(write(GOOD), "--night", "2022-02-12")[1]


def test_a_night_that_has_not_begun_where_the_service_is_takes_no_drop_by_mistake(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    code, told = drop(write(GOOD), "--night", "2999-01-01")
    assert code == 1 and list(drops_dir.iterdir()) == []
    assert "night 2999-01-01 has not begun: in America/Sao_Paulo it is 20" in told
    assert "Not delivered, for the reasons above. --anyway delivers it." in told
    assert drop(write(GOOD), "--night", "2999-01-01", "--anyway")[0] == 0
    evening = datetime(2022, 2, 2, 2, 59, tzinfo=UTC)
    assert not [*tell_ahead(date(2022, 2, 1), "America/Sao_Paulo", evening)]
    assert [*tell_ahead(date(2022, 2, 2), "America/Sao_Paulo", evening)] == [
        "night 2022-02-02 has not begun: in America/Sao_Paulo it is 2022-02-01; correct --night"
    ]
    assert not [*tell_ahead(date(2022, 2, 2), "UTC", evening)]


def test_a_file_beside_which_no_drop_would_be_complete_is_refused(
    settings: Settings, drops_dir: Path, write: Callable[..., Path]
) -> None:
    folder = drops_dir / "2022-02-01"
    folder.mkdir()
    link_to_nowhere(folder)
    code, told = drop(write(GOOD), "--night", NIGHT, "--anyway")
    assert code == 1 and [path.name for path in folder.iterdir()] == ["dead.csv"]
    assert told == (
        f"the drop of night 2022-02-01 would not be complete: {folder} holds links that lead to no file (dead.csv); "
        "put the files there, or delete the links"
    )
    # A correction has a folder of its own.
    (folder / "dead.csv").unlink()
    assert drop(write(GOOD), "--night", NIGHT)[0] == 0
    link_to_nowhere(folder)
    assert drop(write(f"{GOOD}Mais um,neutral\n"), "--night", NIGHT, "--correct")[0] == 0
    assert DropsFolder(drops_dir).find_version(NIGHT).number == 2


def test_a_drops_folder_that_was_not_there_may_be_a_slip_and_is_told(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = drops_dir.with_name("dropz")
    monkeypatch.setenv("DROPS_DIR", str(other))
    told = f"The drops folder {other} was not there and has been made, so there are no other nights in it."
    assert told in " ".join(drop(write(GOOD), "--night", NIGHT)[1].split())
    assert "has been made" not in drop(write(GOOD), "--night", "2022-02-02")[1]
    file = write(GOOD)
    monkeypatch.setenv("DROPS_DIR", str(file / "drops"))
    code, shown = drop(file, "--night", NIGHT)
    assert (
        code == 1 and f"the drops folder {file / 'drops'} cannot be made (Not a directory); correct DROPS_DIR" in shown
    )


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (name_otherwise, "is not UTF-8"),
        (write_other_columns, "the header must name the columns"),
        (say_codes_that_are_none, "says label_codes"),
    ],
)
def test_a_version_that_a_correction_cannot_be_compared_with_is_told(
    settings: Settings,
    drops_dir: Path,
    write: Callable[..., Path],
    deliver: Callable[..., Path],
    damage: Callable[[Path], None],
    why: str,
) -> None:
    deliver("2022-02-01", GOOD)
    damage(drops_dir / "2022-02-01")
    code, told = ask(write(GOOD), "--night", NIGHT, "--correct")
    assert (code, told["drop_version"], told["figures"]["earlier_titles"]) == (0, 2, 0)
    [notice] = told["notices"]
    assert notice.startswith("not compared with version 1, which it corrects: ") and why in notice
    code, shown = drop(write(f"{GOOD}Mais um,neutral\n"), "--night", NIGHT, "--correct")
    assert code == 0 and "ot compared with version" not in shown


def test_a_correction_that_would_correct_nothing_is_not_delivered(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], deliver: Callable[..., Path]
) -> None:
    assert drop(write(GOOD), "--night", NIGHT)[0] == 0
    corrected = f"{GOOD}Mais um,neutral\n"
    assert drop(write(corrected), "--night", NIGHT, "--correct")[0] == 0
    code, told = drop(write(corrected, "other name.csv"), "--night", NIGHT, "--correct")
    assert code == 1 and "Not delivered" in told
    assert "version 2 of the drop of night 2022-02-01 has the same bytes and label codes; this would" in unfold(told)
    assert not (drops_dir / "2022-02-01" / "v3").exists()
    # Other codes are a correction, and so is going back to an earlier version.
    codes = ("--label-codes", "7=neutral")
    assert drop(write(corrected), "--night", NIGHT, "--correct", *codes)[0] == 0
    assert drop(write(corrected), "--night", NIGHT, "--correct", *codes)[0] == 1
    assert drop(write(GOOD), "--night", NIGHT, "--correct")[0] == 0
    assert drop(write(GOOD), "--night", NIGHT, "--correct", "--anyway")[0] == 0
    # So is the same again in place of one that is not complete.
    link_to_nowhere(drops_dir / "2022-02-01" / "v5")
    assert drop(write(GOOD), "--night", NIGHT, "--correct")[0] == 0


def test_an_acceptance_takes_nothing_that_is_for_a_delivery(settings: Settings) -> None:
    for words in (["--json"], ["--correct"], ["--anyway"], ["--label-codes", "x"], ["--night", NIGHT], ["a.csv"]):
        code, told = drop("--accept", NIGHT, "--reason", "why", *words)
        assert code == 2, words
        assert "give neither FILE nor --night, nor --correct, --anyway, --label-codes or --json" in " ".join(
            told.replace("│", " ").split()
        )


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
    assert "Labels are codes, read as 7=positive." in told
    assert (
        "The drop of night 2022-02-01 is read with the label codes 7=neutral,8=negative, as when delivered or first "
        "used; LABEL_CODES=7=positive is for new deliveries."
    ) in " ".join(told.split())
    assert DropsFolder(drops_dir).find_version(date(2022, 2, 2)).label_codes == {"7": "positive"}
    code, told = drop(file, "--night", "2022-02-03", "--label-codes", "7=bom")
    assert code == 2 and "'7=bom' are no label codes: bom is no label" in " ".join(told.replace("│", " ").split())


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        ("1=negative,1=neutral,2=positive", "1 is given twice, as negative and as neutral"),
        ("Negative=neutral,neutral=negative", "Negative is a label, not a code"),
        ("", "or none for none"),
        (" , ", "or none for none"),
    ],
)
def test_label_codes_that_would_be_read_otherwise_than_they_are_written_are_refused(
    settings: Settings, drops_dir: Path, write: Callable[..., Path], codes: str, why: str
) -> None:
    code, told = drop(write(GOOD), "--night", NIGHT, "--label-codes", codes)
    assert code == 2 and why in " ".join(told.replace("│", " ").split())
    assert list(drops_dir.iterdir()) == []


def test_how_codes_were_read_is_told_where_labels_are_codes(settings: Settings, write: Callable[..., Path]) -> None:
    codes = {"0": "negative", "1": "neutral", "2": "positive"}
    _, told = ask(write(GOOD.replace("neutral", "1")), "--night", "2022-02-01")
    assert told["label_codes"] == codes
    assert told["notices"] == ["labels are codes, read as 0=negative,1=neutral,2=positive"]
    for night, content, words in (
        ("2022-02-02", GOOD, []),
        ("2022-02-03", f"{GOOD}Título,bom\n", []),  # No code, but a label that is none.
        ("2022-02-04", GOOD.replace("neutral", "1"), ["--label-codes", "none"]),
    ):
        _, told = ask(write(content), "--night", night, "--anyway", *words)
        assert told["label_codes"] == {}
        assert not [notice for notice in told["notices"] if "labels are codes" in notice]


def test_a_label_that_is_none_is_told_beside_the_codes_that_were_given_and_not_those_of_the_setting(
    settings: Settings, write: Callable[..., Path]
) -> None:
    file = write(GOOD.replace("negative", "0"))
    code, told = drop(file, "--night", NIGHT, "--label-codes", "1=negative,2=neutral,3=positive")
    assert code == 1
    assert (
        "'0' (20 rows) is neither a label nor one of the codes 1, 2, 3; a code is declared by --label-codes "
        "1=negative,2=neutral,3=positive,0=LABEL with the delivery, or in LABEL_CODES."
    ) in unfold(told)
    assert unfold(told).count("a code is declared by") == 1 and "corrected drop" not in unfold(told)


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
