"""Twelve nights as they come, with a correction, a backfill, a broken drop and a replay.

The tests of this file build on one another, in order. Training is small here: what is tested is time.
"""

import csv
from pathlib import Path

import pytest
from driving import Service

import lineage

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

NIGHTS = [f"2022-02-{day:02}" for day in range(1, 13)]


def count_revisions(service: Service) -> dict[str, int]:
    """How many versions each night has in the serving directory."""
    nights = [f"{version[:4]}-{version[4:6]}-{version[6:8]}" for version in service.versions()]
    return {night: nights.count(night) for night in sorted(set(nights))}


def find_champion(service: Service, run_id: str) -> str:
    """The version that the candidate of a run was compared with; empty for none."""
    push = lineage.artifacts_of_run(service.settings, run_id).inputs.get(("Evaluator", "baseline_push"))
    return push.properties["pushed_version"] if push else ""


def rewrite(source: Path, target: Path, labels: dict[str, str], keep: int | None = None) -> Path:
    """Copies a drop's file with its labels renamed, and at most `keep` of its rows."""
    with source.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        rows = list(csv.reader(stream))
    label = rows[0].index("sentiment")
    for row in rows[1:]:
        # A bad row may have no such cell.
        row[label : label + 1] = [labels.get(cell, cell) for cell in row[label : label + 1]]
    with target.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        csv.writer(stream).writerows(rows[: None if keep is None else keep + 1])
    return target


def find_file(service: Service, night: str) -> Path:
    [file] = (service.settings.drops_dir / night).glob("*.csv")
    return file


def find_swap(file: Path) -> dict[str, str]:
    """Negative and neutral for one another, in whatever words or codes the drop has."""
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        found = {row["sentiment"] for row in csv.DictReader(stream)}
    negative, neutral = ("negative", "neutral") if "neutral" in found else ("0", "1")
    return {negative: neutral, neutral: negative}


def test_the_first_six_nights_are_each_compared_with_the_one_before(quick_service: Service) -> None:
    for night in NIGHTS[:6]:
        quick_service("run", "--night", night)
    reports = lineage.nights(quick_service.settings)
    assert [(report.night, report.state) for report in reports] == [(night, "pushed") for night in NIGHTS[:6]]
    assert [find_champion(quick_service, report.run_id) for report in reports] == ["", *quick_service.versions()[:-1]]
    assert [report.window_nights for report in reports] == [1, 2, 3, 4, 5, 6]


def test_a_corrected_night_and_those_after_it_get_new_revisions_and_the_newest_night_serves(
    quick_service: Service, tmp_path: Path
) -> None:
    before = quick_service.versions()
    corrected = rewrite(find_file(quick_service, NIGHTS[2]), tmp_path / "corrected.csv", {}, keep=330)
    quick_service("drop", str(corrected), "--night", NIGHTS[2], "--correct")
    # Nobody says which nights: those before the correction are left alone.
    done = quick_service("backfill", NIGHTS[0], NIGHTS[5])
    assert done.stdout.count("was run before, on the same drops and champion") == 2
    assert f"the drop of night {NIGHTS[2]} was version 1 then and is version 2 now" in done.stdout
    assert set(before) < set(quick_service.versions())
    assert count_revisions(quick_service) == dict(zip(NIGHTS[:6], [1, 1, 2, 2, 2, 2], strict=True))
    assert quick_service.versions()[-1] == "2022020602"
    reports = lineage.nights(quick_service.settings)
    assert reports[2].drop_version == 2
    assert [find_champion(quick_service, report.run_id) for report in reports[2:]] == [
        "2022020201", "2022020302", "2022020402", "2022020502",
    ]  # fmt: skip
    versions = quick_service.versions()
    done = quick_service("backfill", NIGHTS[2], NIGHTS[5])
    assert done.stdout.count("was run before, on the same drops and champion") == 4
    assert quick_service.versions() == versions


def test_swapped_label_codes_stop_the_night_until_they_are_corrected(quick_service: Service, tmp_path: Path) -> None:
    good = find_file(quick_service, NIGHTS[6])
    kept = rewrite(good, tmp_path / "good.csv", {})
    rewrite(kept, good, find_swap(kept))
    versions = quick_service.versions()
    done = quick_service("run", "--night", NIGHTS[6], check=False)
    assert done.returncode == 1
    assert "DropGate" in done.stdout
    assert "swap" in done.stdout
    assert quick_service.versions() == versions
    assert lineage.nights(quick_service.settings)[-1].state == "failed"

    quick_service("drop", str(kept), "--night", NIGHTS[6], "--correct")
    quick_service("backfill", NIGHTS[6], NIGHTS[11])
    reports = lineage.nights(quick_service.settings)
    assert [(report.night, report.state) for report in reports] == [(night, "pushed") for night in NIGHTS]
    assert quick_service.versions()[-1] == "2022021201"


def test_night_five_replayed_after_twelve_is_identical(quick_service: Service) -> None:
    versions = quick_service.versions()
    done = quick_service("replay", "--night", NIGHTS[4])
    assert done.stdout.count("identical") == 4
    assert "differs" not in done.stdout
    assert quick_service.versions() == versions


def test_airflows_own_backfill_in_reverse_and_its_dags_test_change_nothing(quick_service: Service) -> None:
    versions = quick_service.versions()
    # The schedule's ticks are at 02:00 in America/Sao_Paulo.
    # Paused, or the scheduler takes the runs that are cleared as well, and the two lock each other out
    # (no issue known).
    quick_service.airflow("dags", "pause", "headline_retraining")
    quick_service.airflow(
        "dags", "backfill", "headline_retraining", "--start-date", f"{NIGHTS[10]}T05:00:00+00:00",
        "--end-date", f"{NIGHTS[11]}T05:00:00+00:00", "--reset-dagruns", "--yes", "--run-backwards",
    )  # fmt: skip
    quick_service.airflow("dags", "unpause", "headline_retraining")
    assert quick_service.versions() == versions
    quick_service.airflow("dags", "test", "headline_retraining", f"{NIGHTS[11]}T05:00:00+00:00")
    # A night by its name, which was run before: skipped.
    quick_service.airflow(
        "dags", "test", "headline_retraining", "2022-03-01T05:00:00+00:00", "--conf", f'{{"night": "{NIGHTS[4]}"}}'
    )
    assert quick_service.versions() == versions
    reports = lineage.nights(quick_service.settings)
    assert [(report.night, report.state) for report in reports] == [(night, "pushed") for night in NIGHTS]
