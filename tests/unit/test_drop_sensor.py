"""What a run by schedule does after an outage, and what a run that was cleared or begun by hand does."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.exceptions import AirflowSkipException, TaskDeferred
from airflow.models import DAG
from airflow.timetables.base import DataInterval
from airflow_runs import make_context

from retraining.lineage import NightReport
from retraining.operators import waiting
from retraining.operators.waiting import DropSensor
from retraining.settings import Settings

ZONE = "America/Sao_Paulo"


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(waiting, "notify", lambda event, message, **more: sent.append(message))
    return sent


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[NightReport]:
    reports: list[NightReport] = []
    monkeypatch.setattr(waiting.lineage, "nights", lambda settings: reports)
    monkeypatch.setattr(
        waiting.lineage, "runs_of_night", lambda settings, night: [r for r in reports if r.night == night]
    )
    return reports


def report(night: str, state: str = "pushed") -> NightReport:
    return NightReport(night=night, run_id=f"scheduled__{night}", state=state, reason="better")


def run(
    drops_dir: Path,
    night: str,
    *,
    attempt: int = 1,
    cleared: bool = False,
    run_type: str = "scheduled",
    **changes: Any,
) -> None:
    """Executes the sensor of a night's run, with the schedule at 02:00 and two retries."""
    settings = Settings.from_env(drops_dir=drops_dir, state_dir=drops_dir.parent, **changes)
    dag = DAG("d", schedule="0 2 * * *", start_date=pendulum.datetime(2022, 1, 1, tz=ZONE), catchup=False)
    begin = pendulum.parse(f"{night}T02:00:00", tz=ZONE)
    interval = DataInterval(begin, begin.add(days=1))
    sensor = DropSensor(task_id="wait", night=night, force="False", settings=settings, retries=2, dag=dag)
    sensor.execute(make_context(sensor, interval, run_type, f"{run_type}__{night}", attempt, cleared))


def at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    now = pendulum.parse(moment, tz=ZONE)
    monkeypatch.setattr(waiting.pendulum, "now", lambda zone: now)


@pytest.fixture
def delivered(deliver: Any, drops_dir: Path) -> Path:
    for day in range(1, 8):
        deliver(f"2022-02-0{day}", "bom,positive\n")
    # What was delivered long ago is not growing any more.
    for path in drops_dir.rglob("*.csv"):
        os.utime(path, (0, 0))
    return drops_dir


def test_a_missed_night_is_left_to_the_newest_that_is_due_which_the_notice_names(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T09:00:00")
    with pytest.raises(AirflowSkipException, match="night 2022-02-03 is left to night 2022-02-06, the newest"):
        run(delivered, "2022-02-03")
    assert notices == [
        "night 2022-02-03 is left to night 2022-02-06, the newest that is due, whose window holds its drop "
        "(CATCHUP_MODE=newest); to run it all the same: retraining run --night 2022-02-03"
    ]


def test_the_newest_night_runs_and_names_those_that_were_missed(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known.append(report("2022-02-02"))
    at(monkeypatch, "2022-02-07T09:00:00")
    run(delivered, "2022-02-06")
    [notice] = notices
    assert notice.startswith("3 nights were missed (2022-02-03 to 2022-02-05)")
    assert notice.endswith("retraining backfill 2022-02-03 2022-02-05")


def test_an_ordinary_night_gives_no_notice(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:01")
    run(delivered, "2022-02-06")
    known.append(report("2022-02-05"))
    run(delivered, "2022-02-06")
    assert notices == []


@pytest.mark.parametrize(
    "how",
    [{"attempt": 2, "cleared": True}, {"run_type": "manual"}, {"run_type": "backfill"}, {"catchup_mode": "each"}],
    ids=repr,
)
def test_a_night_that_was_asked_for_runs_however_old_it_is(
    how: dict[str, Any],
    delivered: Path,
    known: list[NightReport],
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at(monkeypatch, "2022-02-07T09:00:00")
    run(delivered, "2022-02-03", **how)
    assert notices == []


def test_a_night_that_another_run_finished_is_not_run_again_but_one_that_failed_is(
    delivered: Path, known: list[NightReport], notices: list[str]
) -> None:
    known.append(NightReport(night="2022-02-03", run_id="backfill__1", state="failed"))
    run(delivered, "2022-02-03", run_type="manual")
    known.append(NightReport(night="2022-02-03", run_id="backfill__2", state="refused", reason="too weak"))
    with pytest.raises(AirflowSkipException, match="night 2022-02-03 was run before, as backfill__2: too weak"):
        run(delivered, "2022-02-03", run_type="manual")
    # Who clears a run asks for it.
    run(delivered, "2022-02-03", run_type="manual", attempt=2, cleared=True)


def test_a_retry_after_a_failed_question_to_lineage_asks_for_nothing(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T09:00:00")
    with pytest.raises(AirflowSkipException, match="night 2022-02-03 is left to night 2022-02-06"):
        run(delivered, "2022-02-03", attempt=2)
    known.append(report("2022-02-03"))
    with pytest.raises(AirflowSkipException, match="night 2022-02-03 was run before"):
        run(delivered, "2022-02-03", run_type="manual", attempt=3)


def test_a_late_drop_is_waited_for_until_the_cut_off_and_then_skipped_with_a_notice(
    drops_dir: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:01")
    with pytest.raises(TaskDeferred):
        run(drops_dir, "2022-02-06")
    at(monkeypatch, (pendulum.parse("2022-02-07T02:00:00") + timedelta(minutes=360)).isoformat())
    with pytest.raises(AirflowSkipException, match="no complete drop for night 2022-02-06"):
        run(drops_dir, "2022-02-06", timezone=ZONE, drop_wait_minutes=0)
    assert "retraining run --night 2022-02-06" in notices[-1]


def test_half_a_drop_is_waited_for_and_the_notice_at_the_cut_off_names_what_is_under_way(
    delivered: Path,
    deliver: Any,
    known: list[NightReport],
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    os.utime(deliver("2022-02-06", "bom,positive\n", "more.csv.part"), (0, 0))
    at(monkeypatch, "2022-02-07T02:00:01")
    with pytest.raises(TaskDeferred):
        run(delivered, "2022-02-06")
    with pytest.raises(AirflowSkipException, match=r"under way \(more\.csv\.part\)"):
        run(delivered, "2022-02-06", timezone=ZONE, drop_wait_minutes=0)
    assert "more.csv.part" in notices[-1] and "delete them" in notices[-1]
