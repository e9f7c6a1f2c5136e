"""What a run by schedule does after an outage, and what a run that was cleared or begun by hand does."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pendulum
import pytest
from airflow.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.models import DAG
from airflow.timetables.base import DataInterval
from airflow_runs import make_context

import lineage
from lineage import NightReport
from retraining.operators import waiting
from retraining.operators.waiting import DropSensor, DropTrigger
from retraining.settings import Settings

ZONE = "America/Sao_Paulo"
NOW = pendulum.now


@pytest.fixture(autouse=True)
def reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is kept in Airflow's database, which these tests do without; of every skip its own words."""
    kept: list[str] = []
    record = create_autospec(waiting.record, side_effect=lambda context, reason: kept.append(reason))
    monkeypatch.setattr(waiting, "record", record)
    return kept


@pytest.fixture(autouse=True)
def serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lineage knows what serves, which these tests do without."""
    told = create_autospec(waiting.tell_what_serves, return_value="version 2022020101 keeps serving")
    monkeypatch.setattr(waiting, "tell_what_serves", told)


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    told = create_autospec(waiting.tell, side_effect=lambda settings, event, text, **more: sent.append(text))
    monkeypatch.setattr(waiting, "tell", told)
    return sent


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[NightReport]:
    reports: list[NightReport] = []
    nights = create_autospec(lineage.nights, side_effect=lambda settings: reports)
    monkeypatch.setattr(lineage, "nights", nights)
    runs_of = create_autospec(
        lineage.runs_of_night, side_effect=lambda _, night: [r for r in reports if r.night == night]
    )
    monkeypatch.setattr(lineage, "runs_of_night", runs_of)
    return reports


def report(night: str, state: str = "pushed") -> NightReport:
    return NightReport(night=night, run_id=f"scheduled__{night}", state=state, reason="better")


def run(
    drops_dir: Path, night: str, *, attempt: int = 1, cleared: bool = False, run_type: str = "scheduled", **changes: Any
) -> None:
    """Executes the sensor of a night's run, with the schedule at 02:00 and two retries."""
    settings = Settings.from_env(drops_dir=drops_dir, state_dir=drops_dir.parent, **changes)
    dag = DAG("d", schedule="0 2 * * *", start_date=pendulum.datetime(2022, 1, 1, tz=ZONE), catchup=False)
    begin = pendulum.parse(f"{night}T02:00:00", tz=ZONE)
    interval = DataInterval(begin, begin.add(days=1))
    sensor = DropSensor(task_id="wait", night=night, force="False", settings=settings, retries=2, dag=dag)
    try:
        sensor.execute(make_context(sensor, interval, run_type, f"{run_type}__{night}", attempt, cleared))
    except AirflowSkipException as skip:
        assert waiting.record.call_args.args[1] == str(skip)  # type: ignore[attr-defined]
        raise


def at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setattr(pendulum, "now", create_autospec(NOW, return_value=pendulum.parse(moment, tz=ZONE)))


@pytest.fixture
def delivered(deliver: Any, drops_dir: Path) -> Path:
    for day in range(1, 8):
        deliver(f"2022-02-0{day}", "bom,positive\n")
        # Of a drop that is marked as whole nobody asks whether it is still growing.
        deliver(f"2022-02-0{day}", b"", "_SUCCESS")
    return drops_dir


def test_a_missed_night_is_left_to_the_newest_that_is_due_which_the_notice_names(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T09:00:00")
    with pytest.raises(AirflowSkipException, match="night 2022-02-03 is left to night 2022-02-06, the newest"):
        run(delivered, "2022-02-03")
    assert notices == [
        "night 2022-02-03 is left to night 2022-02-06, the newest that is due, whose window holds its drop "
        "(CATCHUP_MODE=newest); to run it all the same: `retraining run --night 2022-02-03`"
    ]


def test_a_night_is_due_at_the_moment_of_the_schedule_and_then_the_newest(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:00")
    run(delivered, "2022-02-06")
    with pytest.raises(AirflowSkipException, match="night 2022-02-05 is left to night 2022-02-06"):
        run(delivered, "2022-02-05")
    at(monkeypatch, "2022-02-07T01:59:59")
    run(delivered, "2022-02-05")


def test_what_is_known_of_the_night_itself_and_of_later_ones_is_no_reason_not_to_name_those_that_were_missed(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known += [report("2022-02-04"), report("2022-02-06", "failed"), report("2022-02-07")]
    at(monkeypatch, "2022-02-07T09:00:00")
    run(delivered, "2022-02-06")
    [notice] = notices
    assert notice.startswith("1 night was missed (2022-02-05 to 2022-02-05)")


def test_the_newest_night_runs_and_names_those_that_were_missed(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known.append(report("2022-02-02"))
    at(monkeypatch, "2022-02-07T09:00:00")
    run(delivered, "2022-02-06")
    [notice] = notices
    assert notice.startswith("3 nights were missed (2022-02-03 to 2022-02-05)")
    assert notice.endswith("`retraining backfill 2022-02-03 2022-02-05`")


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
    how: dict[str, Any], delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T09:00:00")
    run(delivered, "2022-02-03", **how)
    assert notices == []


def test_only_a_run_by_schedule_is_left_out_for_being_before_the_first_start(
    delivered: Path, known: list[NightReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-04T02:00:01")
    with pytest.raises(AirflowSkipException, match=r"night 2022-02-03 ended before .* \(2022-02-04\)"):
        run(delivered, "2022-02-03", scheduled_from="2022-02-04")
    run(delivered, "2022-02-03", scheduled_from="2022-02-03")
    run(delivered, "2022-02-03", run_type="manual", scheduled_from="2022-02-04")


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


def test_what_a_run_has_recorded_itself_is_no_other_run(
    delivered: Path, known: list[NightReport], notices: list[str]
) -> None:
    known.append(report("2022-02-03"))
    run(delivered, "2022-02-03", catchup_mode="each")


def test_a_run_by_hand_without_its_drop_fails_at_once(drops_dir: Path, known: list[NightReport]) -> None:
    with pytest.raises(AirflowFailException, match="night 2022-02-03 has no drop"):
        run(drops_dir, "2022-02-03", run_type="manual")


@pytest.mark.parametrize("run_type", ["manual", "backfill", "scheduled"])
def test_a_run_of_a_night_before_the_first_that_may_be_run_fails_at_once(
    run_type: str, delivered: Path, known: list[NightReport]
) -> None:
    with pytest.raises(AirflowFailException, match="night 2022-02-03 is before START_DATE=2022-02-04, the first night"):
        run(delivered, "2022-02-03", run_type=run_type, start_date="2022-02-04")


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
    drops_dir: Path, known: list[NightReport], notices: list[str], reasons: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:01")
    with pytest.raises(TaskDeferred):
        run(drops_dir, "2022-02-06")
    [reason] = reasons
    assert reason.startswith("night 2022-02-06 has no drop: ")
    assert reason.endswith("; it is waited for until 2022-02-07 08:00:00-03:00")
    at(monkeypatch, (pendulum.parse("2022-02-07T02:00:00") + timedelta(minutes=360)).isoformat())
    with pytest.raises(AirflowSkipException, match="no complete drop for night 2022-02-06"):
        run(drops_dir, "2022-02-06", timezone=ZONE, drop_wait_minutes=0)
    assert notices[-1].endswith(
        "; version 2022020101 keeps serving. When the drop has come: `retraining run --night 2022-02-06`"
    )


def ask(trigger: DropTrigger) -> dict[str, Any]:
    """The one thing that a trigger says which Airflow has stored and made anew."""

    async def listen() -> list[dict[str, Any]]:
        return [event.payload async for event in DropTrigger(**trigger.serialize()[1]).run()]

    [said] = asyncio.run(asyncio.wait_for(listen(), 30))
    return said


def wait(drops_dir: Path, night: str, **changes: Any) -> DropTrigger:
    """The trigger that the sensor of a night's run leaves behind."""
    with pytest.raises(TaskDeferred) as deferred:
        run(drops_dir, night, timezone=ZONE, **changes)
    trigger = deferred.value.trigger
    assert isinstance(trigger, DropTrigger)
    # The triggerer fills these in, in every trigger of Airflow's.
    assert (trigger.trigger_id, trigger.task_instance) == (None, None)
    return trigger


def test_the_cut_off_is_the_moment_from_which_a_drop_is_late(
    drops_dir: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T07:59:59")
    trigger = wait(drops_dir, "2022-02-06")
    assert trigger.cut_off == pendulum.datetime(2022, 2, 7, 8, tz=ZONE)
    at(monkeypatch, "2022-02-07T08:00:00")
    event = ask(trigger)
    assert (event["complete"], event["cut_off"]) == (False, str(trigger.cut_off))
    with pytest.raises(AirflowSkipException, match="no complete drop for night 2022-02-06"):
        run(drops_dir, "2022-02-06")


@pytest.mark.parametrize(
    "rules", [{"require_success_marker": True, "drop_settle_seconds": 0}, {"drop_settle_seconds": 3600}], ids=repr
)
def test_a_drop_is_complete_by_the_rules_for_the_sensor_and_for_its_trigger(
    rules: dict[str, Any],
    deliver: Any,
    drops_dir: Path,
    known: list[NightReport],
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = deliver("2022-02-06", "bom,positive\n")
    at(monkeypatch, "2022-02-07T02:00:01")
    trigger = wait(drops_dir, "2022-02-06", **rules)
    at(monkeypatch, "2022-02-07T08:00:00")
    assert ask(trigger)["complete"] is False
    (file.parent / "_SUCCESS").touch()
    assert ask(trigger) == {"complete": True, "problem": None, "cut_off": str(trigger.cut_off)}


def test_the_trigger_looks_again_every_half_minute(
    deliver: Any, drops_dir: Path, known: list[NightReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:01")
    trigger = wait(drops_dir, "2022-02-06", drop_settle_seconds=0)
    looks = iter([None, lambda: deliver("2022-02-06", "bom,positive\n")])

    def pass_time(seconds: float) -> None:
        if happens := next(looks):
            happens()

    slept = create_autospec(asyncio.sleep, side_effect=pass_time)
    monkeypatch.setattr(asyncio, "sleep", slept)
    assert ask(trigger)["complete"] is True
    assert [call.args for call in slept.await_args_list] == [(30,), (30,)]


def test_a_file_that_changed_a_moment_ago_is_waited_for_by_hand_and_left_to_the_trigger_by_schedule(
    deliver: Any, drops_dir: Path, known: list[NightReport], monkeypatch: pytest.MonkeyPatch, pass_time: Any
) -> None:
    at(monkeypatch, "2022-02-07T02:00:01")
    slept = create_autospec(time.sleep, side_effect=pass_time)
    monkeypatch.setattr(time, "sleep", slept)
    deliver("2022-02-06", "bom,positive\n")
    wait(drops_dir, "2022-02-06", drop_settle_seconds=3600)
    slept.assert_not_called()
    run(drops_dir, "2022-02-06", run_type="manual", drop_settle_seconds=3600)
    slept.assert_called_once_with(3600)


def test_half_a_drop_is_waited_for_and_the_notice_at_the_cut_off_names_what_is_under_way(
    delivered: Path, deliver: Any, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (delivered / "2022-02-06" / "_SUCCESS").unlink()
    deliver("2022-02-06", "bom,positive\n", "more.csv.part")
    at(monkeypatch, "2022-02-07T02:00:01")
    with pytest.raises(TaskDeferred):
        run(delivered, "2022-02-06")
    with pytest.raises(AirflowSkipException, match=r"under way \(more\.csv\.part\)"):
        run(delivered, "2022-02-06", timezone=ZONE, drop_wait_minutes=0)
    assert "more.csv.part" in notices[-1] and "delete them" in notices[-1]


def test_a_night_fails_before_it_begins_where_a_disk_has_no_room_for_it(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:30")
    with pytest.raises(
        AirflowFailException, match=r"free on the disk at /.*MIN_FREE_GB=.*then clear this task, or `retr"
    ):
        run(delivered, "2022-02-06", min_free_gb=2.0**30)
    run(delivered, "2022-02-06", min_free_gb=0)
    assert notices == []


def test_the_first_task_of_a_night_tells_of_a_watch_that_has_fallen_silent(
    delivered: Path, known: list[NightReport], notices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "2022-02-07T02:00:30")
    (delivered.parent / "watch.json").write_text('{"looked_at": "2022-02-01T00:00:00+00:00"}')
    run(delivered, "2022-02-06")
    [notice] = notices
    assert notice.startswith(
        "the watch last looked at 2022-02-01T00:00:00+00:00: nobody will see a night that is overdue"
    )
