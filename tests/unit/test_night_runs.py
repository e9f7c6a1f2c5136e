"""Nights and their runs: when a night is, in what order its nodes are, and how a run is shown."""

import io
import re
from collections.abc import Callable, Iterator
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
from typer.testing import CliRunner

import lineage
from headlines.drops.drops_folder import DropError
from headlines.errors import HeadlinesError
from headlines.schedule import NightError, find_cut_off, find_logical_date
from lineage import Check, NightReport, find_finished
from retraining.cli import night_commands
from retraining.cli.console import Terminal
from retraining.cli.progress import show_run
from retraining.cli.summary import render_nights
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


def use_airflow(monkeypatch: pytest.MonkeyPatch, state: str | None, sensor: str | None, finished: bool) -> Any:
    """An Airflow that knows a run of the night or none, with its sensor or no task; and whether lineage has a verdict.

    Whatever it is asked, in a service that has read the DAG.
    """
    api = create_autospec(Api, instance=True)
    api.find_run.return_value = answer_run(state) if state else None
    api.get_tasks.return_value = [] if sensor == "gone" else [answer_task("wait_for_drop", sensor)]
    api.create_run.return_value = answer_run("queued", "run-2")
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    verdict = NightReport("2022-02-02", "run-0", "refused") if finished else None
    monkeypatch.setattr(lineage, "find_finished", create_autospec(find_finished, return_value=verdict))
    return api


@pytest.mark.parametrize(
    ("state", "sensor", "finished", "force", "how"),
    [
        ("queued", None, False, False, "following"),
        ("running", "deferred", True, False, "following"),
        ("success", "success", True, False, "done"),
        ("success", "success", True, True, "again"),
        ("failed", "failed", False, False, "again"),
        # What failed behind its verdict is mended.
        ("failed", "success", True, False, "again"),
        ("success", "skipped", False, False, "new"),
        # It was skipped because another run had finished the night.
        ("success", "skipped", True, False, "done"),
        (None, None, False, False, "new"),
        # `airflow db clean` has removed the run, or its tasks.
        (None, None, True, False, "done"),
        (None, None, True, True, "new"),
        ("success", "gone", True, False, "done"),
        ("success", "gone", True, True, "new"),
        ("failed", "gone", False, False, "new"),
        # Airflow called it a success when it gave it no task, or lineage was lost.
        ("success", "gone", False, False, "new"),
        ("success", "success", False, False, "again"),
    ],
)
def test_asking_for_a_night_makes_or_follows_or_repeats_its_run(
    state: str | None,
    sensor: str | None,
    finished: bool,
    force: bool,
    how: str,
    tmp_path: Path,
    deliver: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver("2022-02-02", "bom,positive\n")
    api = use_airflow(monkeypatch, state, sensor, finished)
    start = begin(settings_of(tmp_path), "2022-02-02", force)
    assert start.how == how
    assert start.run_id == {"new": "run-2", "done": "run-0"}.get(how, "run-1")
    assert [call.args for call in api.clear_run.mock_calls] == ([("run-1",)] if how == "again" else [])
    removed = how == "new" and state is not None
    assert [call.args for call in api.delete_run.mock_calls] == ([("run-1",)] if removed else [])
    assert [call.args[1] for call in api.create_run.mock_calls] == ([force] if how == "new" else [])


def test_a_night_without_a_drop_is_refused_at_once_unless_a_run_of_it_waits(
    tmp_path: Path, deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("2022-02-01", "bom,positive\n")
    settings = settings_of(tmp_path)
    for state in (None, "success", "failed"):
        api = use_airflow(monkeypatch, state, "success", finished=False)
        with pytest.raises(DropError, match=r"night 2022-02-02 has no drop: .*; deliver .*headlines\.csv"):
            begin(settings, "2022-02-02", force=True)
        assert not {"create_run", "clear_run", "delete_run", "unpause"} & {name for name, *_ in api.method_calls}
    use_airflow(monkeypatch, "running", "deferred", finished=False)
    assert begin(settings, "2022-02-02").how == "following"


def test_a_night_before_the_first_that_may_be_run_is_refused_before_anybody_is_asked(
    tmp_path: Path, deliver: Callable[..., Path]
) -> None:
    deliver("2021-01-01", "bom,positive\n")
    with pytest.raises(NightError, match="night 2021-01-01 is before START_DATE=2022-01-01"):
        begin(settings_of(tmp_path), "2021-01-01")


def say(*arguments: str) -> tuple[int, str]:
    """What a command answers, and its exit code, as `main` ends it."""
    result = CliRunner().invoke(night_commands.app, arguments)
    error = result.exception if isinstance(result.exception, HeadlinesError) else ""
    return result.exit_code, " ".join(f"{result.output} {error}".split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--night", "2021-01-01"], "night 2021-01-01 is before START_DATE=2022-01-01"),
        (["run", "--night", "2021-01-01", "--local"], "night 2021-01-01 is before START_DATE=2022-01-01"),
        (["run", "--night", "2023-01-01", "--local"], "night 2023-01-01 has no drop"),
        (["backfill", "2021-01-01", "2022-02-01"], "night 2021-01-01 is before START_DATE=2022-01-01"),
        (["backfill", "2023-01-01", "2023-01-05"], "no drop from 2023-01-01 to 2023-01-05"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_what_cannot_be_run(
    arguments: list[str], message: str, tmp_path: Path, deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for night in ("2021-01-01", "2022-02-01"):
        deliver(night, "bom,positive\n")
    settings = settings_of(tmp_path)
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: settings))
    monkeypatch.setattr(night_commands, "find_changes", create_autospec(night_commands.find_changes, return_value=[]))
    monkeypatch.setattr("retraining.cli.console.errors", Console())
    code, said = say(*arguments)
    assert (code, message in said) == (1, True), said


def test_one_night_that_cannot_be_run_does_not_stop_the_others_of_a_backfill(
    tmp_path: Path, deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver("2022-02-01", "bom,positive\n")
    deliver("2022-02-02", "bom,positive\n", "headlines.csv.part")
    deliver("2022-02-03", "bom,positive\n")
    settings = settings_of(tmp_path)
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: settings))
    for name, answer in {"find_changes": [], "latest": []}.items():
        original = getattr(night_commands, name)
        monkeypatch.setattr(night_commands, name, create_autospec(original, return_value=answer))
    use_airflow(monkeypatch, None, None, finished=True)
    monkeypatch.setattr("retraining.cli.console.errors", Console())
    code, said = say("backfill", "2022-02-01", "2022-02-03")
    assert code == 1
    assert "Night 2022-02-01 was run before" in said and "Night 2022-02-03 was run before" in said
    assert said.endswith("failed: 2022-02-02; see why above, then run it again")


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
    console = Console(file=io.StringIO(), width=100)
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
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    show_run(console, "2022-02-01", looks())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    final = shown[shown.rindex("night 2022-02-01") :]
    assert "0:09.5 done (attempt 2)" in final
    assert "skipped" in final


@pytest.mark.parametrize(
    ("logged", "reason", "shown"),
    [
        # What a person can act on is all there is to say.
        ("begun\nERROR - half of the rows\nare bad", "half of the rows\nare bad", "half of the rows\nare bad"),
        # What nobody foresaw is looked for in the log.
        (
            "Traceback (most recent call last):\nKeyError: 'x'",
            "'x'",
            "Traceback (most recent call last):\nKeyError: 'x'\n'x'",
        ),
        ("killed", "", "killed"),
    ],
)
def test_a_failure_is_explained_by_its_reason_at_the_end_behind_where_its_log_is(
    logged: str, reason: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    api = create_autospec(Api, instance=True)
    api.find_reason.return_value = reason
    monkeypatch.setattr("retraining.local.night_runs.Api", create_autospec(Api, return_value=api))
    log = settings.airflow_home / "logs/dag_id=headline_retraining/run_id=r/task_id=Gate/attempt=2.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{logged}\n[2022-02-01] {{local_task_job.py:1}} INFO - bye\n")
    run = Run("r", "failed", (Task("Gate", "failed", 2, 1.0), Task("Trainer", "upstream_failed", 0, 0.0)))
    [explanation] = explain_failure(settings, run)
    first, _, rest = explanation.partition("\n")
    assert first.startswith("Gate failed at attempt 2; ") and str(log) in first
    assert rest == shown


def test_a_run_that_did_nothing_is_no_success(tmp_path: Path) -> None:
    [explanation] = explain_failure(settings_of(tmp_path), Run("r", "success", ()))
    assert explanation.startswith("run r ended without a task")
    assert explain_failure(settings_of(tmp_path), Run("r", "success", (Task("Gate", "success", 1, 1.0),))) == []


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


def show(reports: list[NightReport], width: int = 100) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    console.print(render_nights(reports))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_summary_tells_of_each_night_what_became_of_it_and_why() -> None:
    shown = show(REPORTS)
    first, second, third = (
        next(line for line in shown.splitlines() if report.night in line).split() for report in REPORTS
    )
    assert first == ["2022-02-01", "pushed", "2022020101", "0.810/0.60", "0.580/0.40"]
    assert second == ["2022-02-02", "refused", "-", "0.520/0.60", "0.410/0.40"]
    assert third == ["2022-02-03", "failed", "-", "-", "-"]
    words = " ".join(shown.split())
    assert "2022-02-01 drop v1, 340 of 347 rows used, 5 quarantined: better than every limit" in words
    assert "accuracy is below the bar (accuracy 0.520, must be at least 0.600)" in words
    assert "the drop holds no CSV file" in words


@pytest.mark.parametrize("width", [60, 80, 120, 10_000])
def test_the_summary_fits_every_width_and_loses_no_word(width: int) -> None:
    shown = show(REPORTS, width)
    assert max(map(len, shown.splitlines())) <= width
    for report in REPORTS:
        assert " ".join((report.error or report.reason).split()) in " ".join(shown.split())
        row = next(line for line in shown.splitlines() if line.startswith(report.night)).split()
        assert row[1] == report.state
        assert row[2] == (report.pushed_version or "-")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_progress_says_of_a_night_and_its_nodes_the_same_words_at_every_width(width: int) -> None:
    behind = tuple(f"scheduled__2022-01-{day}T05:00:00+00:00" for day in range(10, 15))
    waiting = Run("r", "queued", (Task("HeadlineExampleGen", "up_for_retry", 2, 1.0),), behind=behind)
    console = Terminal(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    show_run(console, "2022-02-01", [waiting])
    shown = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    final = shown[shown.rindex("night 2022-02-01") :]
    letters = re.sub(r"[\s━]", "", final)
    assert all(run in letters for run in behind)
    for word in ("HeadlineExampleGen", "failed,", "will", "be", "tried", "again", "(attempt", "2)"):
        assert word in final.split()
