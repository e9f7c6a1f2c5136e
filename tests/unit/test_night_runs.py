"""Nights and their runs: when a night is, in what order its nodes are, and how a run is shown."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pendulum
import pytest
from airflow.api_connexion.schemas.dag_run_schema import dagrun_schema
from airflow.api_connexion.schemas.task_instance_schema import task_instance_schema
from airflow.models import DAG, TaskInstance
from airflow.operators.empty import EmptyOperator
from airflow.timetables.base import DataInterval
from airflow_runs import make_context
from rich.console import Console

from headlines.schedule import find_cut_off, find_logical_date
from lineage import Check, NightReport
from retraining.cli.progress import show_run
from retraining.cli.summary import WIDTH, render_nights
from retraining.local.api import Api
from retraining.local.night_runs import Run, Task, begin, explain_failure, follow, sort_nodes
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


def make_instance(task: str, run_id: str) -> TaskInstance:
    dag = DAG("headline_retraining", start_date=datetime(2022, 1, 1, tzinfo=UTC), schedule=None)
    interval = DataInterval.exact(pendulum.datetime(2022, 2, 2, 5))
    instance = make_context(EmptyOperator(task_id=task, dag=dag), interval, run_id=run_id)["ti"]
    assert isinstance(instance, TaskInstance)
    return instance


def answer_task(
    task: str, state: str | None, attempt: int = 1, begun: datetime | None = None, ended: datetime | None = None
) -> dict[str, Any]:
    """What Airflow's REST API says of a task of a run, by its own schema."""
    instance = make_instance(task, "run-1")
    instance.state, instance.try_number = state, attempt
    instance.start_date, instance.end_date = begun, ended
    answer: dict[str, Any] = task_instance_schema.dump((instance, None))
    return answer


def answer_run(state: str, run_id: str = "run-1") -> dict[str, Any]:
    """What Airflow's REST API says of a run, by its own schema."""
    run = make_instance("any", run_id).dag_run
    run.state = state
    answer: dict[str, Any] = dagrun_schema.dump(run)
    return answer


def test_the_last_look_at_a_run_shows_every_task_as_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = create_autospec(Api, instance=True)
    api.edges.return_value = {"Trainer": ["Pusher"], "Pusher": []}
    # Between a look at the tasks and one at the run, the Pusher begins and ends.
    api.get_tasks.side_effect = [
        [answer_task("Trainer", "running"), answer_task("Pusher", None)],
        [answer_task("Trainer", "success"), answer_task("Pusher", None)],
        [answer_task("Trainer", "success"), answer_task("Pusher", "success")],
    ]
    api.get_run.return_value = answer_run("success")
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    seen = [(run.state, [task.state for task in run.tasks]) for run in follow(settings_of(tmp_path), "run-1")]
    assert seen == [("running", ["running", ""]), ("success", ["success", "success"])]
    assert {call.args for call in (*api.get_tasks.mock_calls, *api.get_run.mock_calls)} == {("run-1",)}


def test_a_task_is_shown_with_its_attempt_and_its_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = datetime(2022, 2, 2, 5, tzinfo=UTC)
    api = create_autospec(Api, instance=True)
    api.edges.return_value = {"Trainer": []}
    api.get_tasks.return_value = [answer_task("Trainer", "failed", 2, begun, begun + timedelta(seconds=12.5))]
    api.get_run.return_value = answer_run("failed")
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    [run] = follow(settings_of(tmp_path), "run-1")
    assert run.tasks == run.failed_tasks == (Task("Trainer", "failed", 2, 12.5),)


def test_a_queued_run_names_the_runs_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = create_autospec(Api, instance=True)
    api.edges.return_value = {"Trainer": []}
    api.get_tasks.return_value = [answer_task("Trainer", None, 0)]
    api.get_run.side_effect = [answer_run("queued"), answer_run("failed")]
    api.find_active_runs.return_value = [answer_run("running", "run-0")]
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert [(run.state, run.behind) for run in follow(settings_of(tmp_path), "run-1")] == [
        ("queued", ("run-0",)),
        ("failed", ()),
    ]


@pytest.mark.parametrize(
    ("state", "sensor", "force", "how"),
    [
        ("queued", None, False, "following"),
        ("running", "deferred", False, "following"),
        ("success", "success", False, "done"),
        ("success", "success", True, "again"),
        ("failed", "failed", False, "again"),
        ("success", "skipped", False, "new"),
        (None, None, False, "new"),
    ],
)
def test_asking_for_a_night_makes_or_follows_or_repeats_its_run(
    state: str | None, sensor: str | None, force: bool, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = create_autospec(Api, instance=True)
    api.find_run.return_value = answer_run(state) if state else None
    api.get_tasks.return_value = [answer_task("wait_for_drop", sensor)]
    api.create_run.return_value = answer_run("queued", "run-2")
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    start = begin(settings_of(tmp_path), "2022-02-02", force)
    assert (start.run_id, start.how) == ("run-2" if how == "new" else "run-1", how)
    assert [call.args for call in api.clear_run.mock_calls] == ([("run-1",)] if how == "again" else [])
    assert [call.args for call in api.delete_run.mock_calls] == ([("run-1",)] if sensor == "skipped" else [])


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
    assert "accuracy is below the bar (accuracy 0.520, must be at least 0.600)" in words
    assert "the drop holds no CSV file" in words


def test_the_summary_fits_its_width() -> None:
    assert max(map(len, show(REPORTS).splitlines())) <= WIDTH
