"""Nights and their runs: when a night is, in what order its nodes are, and how a run is shown."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from retraining.cli.progress import show_run
from retraining.cli.summary import WIDTH, render_nights
from retraining.lineage import Check, NightReport
from retraining.local.runs import Run, Task, explain_failure, follow, sort_nodes
from retraining.schedule import find_cut_off, find_logical_date
from retraining.settings import Settings


def settings_of(tmp_path: Path, **overrides: object) -> Settings:
    return Settings.from_env(state_dir=tmp_path, drops_dir=tmp_path / "drops", **overrides)


@pytest.mark.parametrize(
    ("schedule", "timezone", "expected"),
    [
        ("0 2 * * *", "America/Sao_Paulo", "2022-02-01T02:00:00-03:00"),
        ("30 23 * * *", "Asia/Tokyo", "2022-02-01T23:30:00+09:00"),
        # 2022-02-01 is a Tuesday, the schedule is for Sundays.
        ("0 2 * * 0", "UTC", "2022-02-01T00:00:00+00:00"),
        ("none", "America/Sao_Paulo", "2022-02-01T00:00:00-03:00"),
    ],
)
def test_a_run_by_hand_has_the_logical_date_of_the_scheduled_one(
    tmp_path: Path, schedule: str, timezone: str, expected: str
) -> None:
    settings = settings_of(tmp_path, schedule=schedule, timezone=timezone)
    assert find_logical_date(settings, "2022-02-01").isoformat() == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 2 * * *", "2022-02-02T03:30:00-03:00"),
        # 2022-02-01 is a Tuesday, the schedule is for Sundays.
        ("0 2 * * 0", "2022-02-06T03:30:00-03:00"),
        ("none", "None"),
    ],
)
def test_a_night_waits_for_its_drop_when_it_is_over(tmp_path: Path, schedule: str, expected: str) -> None:
    settings = settings_of(tmp_path, schedule=schedule, drop_wait_minutes=90, scheduled_from="2022-02-01")
    cut_off = find_cut_off(settings, "2022-02-01")
    assert (cut_off.isoformat() if cut_off else "None") == expected
    assert find_cut_off(settings, "2022-01-31") is None


def test_the_last_look_at_a_run_shows_every_task_as_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [{"Trainer": "running"}, {"Trainer": "success"}, {"Trainer": "success", "Pusher": "success"}]

    class Airflow:
        """Between a look at the tasks and one at the run, the Pusher begins and ends."""

        def __init__(self, *_: object) -> None:
            pass

        def edges(self) -> dict[str, list[str]]:
            return {"Trainer": ["Pusher"], "Pusher": []}

        def get_tasks(self, run_id: str) -> list[dict[str, object]]:
            states = looks.pop(0)
            return [
                {"task_id": name, "state": states.get(name), "try_number": 1, "start_date": None}
                for name in self.edges()
            ]

        def get_run(self, run_id: str) -> dict[str, str]:
            return {"state": "success"}

        def close(self) -> None:
            pass

    monkeypatch.setattr("retraining.local.runs.Api", Airflow)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    seen = [(run.state, [task.state for task in run.tasks]) for run in follow(settings_of(tmp_path), "run-1")]
    assert seen == [("running", ["running", ""]), ("success", ["success", "success"])]


def test_nodes_are_in_the_order_in_which_data_flows() -> None:
    edges = {"Trainer": ["Pusher"], "Gate": ["Trainer"], "Pusher": [], "Schema": ["Gate"], "Drop": ["Gate"]}
    assert sort_nodes(edges) == ["Drop", "Schema", "Gate", "Trainer", "Pusher"]


def looks() -> Iterator[Run]:
    yield Run("r", "queued", (), behind=("other",))
    yield Run("r", "running", (Task("Trainer", "running", 1, 1.0), Task("Pusher", "", 0, 0.0)))
    yield Run("r", "running", (Task("Trainer", "running", 1, 1.5), Task("Pusher", "", 0, 0.0)))
    yield Run("r", "running", (Task("Trainer", "up_for_retry", 1, 2.0), Task("Pusher", "", 0, 0.0)))
    yield Run("r", "success", (Task("Trainer", "success", 2, 9.5), Task("Pusher", "skipped", 1, 0.0)))


def test_away_from_a_terminal_each_change_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=WIDTH)
    last = show_run(console, "2022-02-01", looks())
    assert last.state == "success"
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split("s  ", 1)[1].split(maxsplit=1) for line in lines] == [
        ["night", "2022-02-01       queued behind other"],
        ["night", "2022-02-01       running"],
        ["Trainer", "running"],
        ["Trainer", "failed, will be tried again"],
        ["night", "2022-02-01       done"],
        ["Trainer", "done (attempt 2) in 9.5 s"],
        ["Pusher", "skipped in 0.0 s"],
    ]


def test_on_a_terminal_every_node_has_its_line_its_clock_and_its_state() -> None:
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    show_run(console, "2022-02-01", looks())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    final = shown[shown.rindex("night 2022-02-01") :]
    assert "0:09.5 done (attempt 2)" in final
    assert "skipped" in final


def test_a_failure_is_explained_by_the_end_of_the_log_without_airflows_closing_remarks(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    log = settings.airflow_home / "logs/dag_id=headline_retraining/run_id=r/task_id=Gate/attempt=2.log"
    log.parent.mkdir(parents=True)
    log.write_text("begun\nDropError: half of the rows are bad\n[2022-02-01] {local_task_job.py:1} INFO - bye\n")
    run = Run("r", "failed", (Task("Gate", "failed", 2, 1.0), Task("Trainer", "upstream_failed", 0, 0.0)))
    [explanation] = explain_failure(settings, run)
    assert explanation.splitlines()[-1] == "DropError: half of the rows are bad"
    assert str(log) in explanation


REPORTS = [
    NightReport(
        night="2022-02-01",
        run_id="manual__1",
        state="pushed",
        drop_version=1,
        rows_in=347,
        rows_used=340,
        rows_quarantined=5,
        duplicates_folded=2,
        window_nights=1,
        checks=(Check("accuracy", 0.81, 0.6, True), Check("macro_f1", 0.58, 0.4, True)),
        metrics={"accuracy": 0.81, "macro_f1": 0.58},
        blessed=True,
        reason="better than every limit",
        pushed_version="2022020101",
    ),
    NightReport(
        night="2022-02-02",
        run_id="manual__2",
        state="refused",
        drop_version=2,
        rows_in=350,
        rows_used=349,
        rows_quarantined=0,
        checks=(Check("accuracy", 0.52, 0.6, False), Check("macro_f1", 0.41, 0.4, True)),
        metrics={"accuracy": 0.52, "macro_f1": 0.41},
        champion_metrics={"accuracy": 0.8, "macro_f1": 0.58},
        blessed=False,
        reason="accuracy is below the bar",
    ),
    NightReport(night="2022-02-03", run_id="manual__3", state="failed", error="the drop holds no CSV file " * 8),
]


def show(reports: list[NightReport]) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    console.print(render_nights(reports))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_summary_tells_of_each_night_what_became_of_it_and_why() -> None:
    shown = show(REPORTS)
    first, second, third = (
        next(line for line in shown.splitlines() if report.night in line).split() for report in REPORTS
    )
    assert first == ["2022-02-01", "v1", "340", "of", "347", "5", "0.810/0.60", "0.580/0.40", "blessed", "2022020101"]
    assert second[-2:] == ["refused", "-"]
    assert third[-2:] == ["failed", "-"]
    words = " ".join(shown.split())
    assert "accuracy is below the bar (accuracy 0.520, limit 0.600)" in words
    assert "the drop holds no CSV file" in words


def test_the_summary_fits_its_width() -> None:
    assert max(map(len, show(REPORTS).splitlines())) <= WIDTH
