"""The plain Airflow parts, executed as Airflow does, on a real lineage database."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pendulum
import pytest
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.models import DAG
from airflow.operators.empty import EmptyOperator
from airflow.timetables.base import DataInterval
from airflow_runs import make_context
from launching import launch
from pydantic import SecretStr
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, PushedModel

import lineage
from lineage import nights
from retraining.notices import delivery
from retraining.notices.telling import tell
from retraining.operators import waiting
from retraining.operators.callbacks import (
    CHAMPION,
    AnnouncePush,
    FailureNotifier,
    HousekeepingEndNotifier,
    HousekeepingNotifier,
    TrafficNotifier,
)
from retraining.operators.choosing import ChooseNight
from retraining.operators.waiting import DropSensor, DropTrigger, LateDropWait
from retraining.settings import Settings
from tfx_components.live_traffic import TrafficReport

NIGHT = "2022-02-02"
NIGHT_INTERVAL = DataInterval(pendulum.datetime(2022, 2, 2, 5), pendulum.datetime(2022, 2, 3, 5))
Notices = list[dict[str, Any]]


@component
def HeadlineExampleGen(examples: OutputArtifact[Examples], night: Parameter[str] = NIGHT) -> None:
    examples.set_string_custom_property("night", night)


@component
def Pusher(pushed_model: OutputArtifact[PushedModel], pushed: Parameter[int] = 1) -> None:
    pushed_model.set_int_custom_property("pushed", pushed)
    pushed_model.set_string_custom_property("pushed_version", "2022020201")
    pushed_model.set_string_custom_property("reason", "pushed as 2022020201" if pushed else "refused: too bad")


@component
def LiveTraffic(report: OutputArtifact[TrafficReport], alarm: Parameter[str]) -> None:
    report.set_string_custom_property("alarm", alarm)


@pytest.fixture
def use(settings: Settings, drops_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings that operators read for themselves, and lineage of the tiny pipeline taken for the nightly one."""
    settings = settings.model_copy(update={"drops_dir": drops_dir, "drop_settle_seconds": 0.0, "catchup_mode": "each"})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: settings))
    monkeypatch.setattr("launching.NAME", lineage.OURS.pipeline)
    # Airflow's own database is not part of these tests; tests/integration/test_airflow_runs.py has it.
    monkeypatch.setattr(waiting, "record", create_autospec(waiting.record))
    launch(settings, HeadlineExampleGen(night="2000-01-01"), "another")
    return settings


@pytest.fixture
def notices(use: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notices]:
    """What a real webhook receives."""
    received: Notices = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told = use.model_copy(update={"notify": SecretStr(f"http://127.0.0.1:{server.server_port}/")})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: told))
    yield received
    server.shutdown()
    server.server_close()


def make_dag(schedule: str | None = None) -> DAG:
    return DAG("headlines", start_date=datetime(2022, 1, 1, tzinfo=UTC), schedule=schedule)


def sense(settings: Settings, run_type: str = "manual", ended: timedelta = timedelta(0), **more: str) -> None:
    """Executes the sensor in a run whose night ended that long ago."""
    arguments = {"night": NIGHT, "force": "False"} | more
    sensor = DropSensor(task_id="wait_for_drop", settings=settings, dag=make_dag(), **arguments)
    end = pendulum.now("UTC") - ended
    sensor.execute(make_context(sensor, DataInterval(end.subtract(days=1), end), run_type))


def test_a_complete_drop_lets_the_run_go_on(use: Settings, deliver: Callable[..., Path]) -> None:
    deliver(NIGHT, "Chuva forte,negative\n")
    sense(use)
    sense(use, "scheduled")


def test_a_run_by_hand_without_its_drop_fails_at_once_and_is_not_retried(use: Settings) -> None:
    with pytest.raises(AirflowFailException, match=f"night {NIGHT} has no drop: .*{NIGHT} does not exist; deliver"):
        sense(use)


def test_a_scheduled_run_waits_without_a_worker_until_its_cut_off(use: Settings) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        sense(use, "scheduled", ended=timedelta(minutes=10))
    trigger = deferred.value.trigger
    assert isinstance(trigger, DropTrigger)
    wait = trigger.cut_off - datetime.now(UTC)
    assert timedelta(minutes=349) < wait < timedelta(minutes=351)
    assert DropTrigger(**trigger.serialize()[1]).serialize() == trigger.serialize()


def test_after_its_cut_off_a_scheduled_run_is_skipped_with_a_notice_that_says_what_serves(
    use: Settings, notices: Notices
) -> None:
    with pytest.raises(AirflowSkipException, match=r"; nothing serves yet\. .*retraining run --night 2022-02-02"):
        sense(use, "scheduled", ended=timedelta(hours=7))
    assert [notice["event"] for notice in notices] == ["late drop"]
    launch(use, HeadlineExampleGen(night="2022-02-01"), "earlier")
    launch(use, Pusher(pushed=1), "earlier")
    with pytest.raises(AirflowSkipException, match=r"; version 2022020201 keeps serving\. "):
        sense(use, "scheduled", ended=timedelta(hours=7))


def test_a_night_before_the_first_start_is_not_waited_for(use: Settings) -> None:
    started = use.model_copy(update={"scheduled_from": "2022-02-03"})
    with pytest.raises(AirflowSkipException, match="ended before this service was first started"):
        sense(started, "scheduled")


def test_a_late_drop_is_waited_for_as_long_as_it_would_be_in_a_window(use: Settings) -> None:
    wait = LateDropWait(task_id="wait_for_late_drop", night=NIGHT, settings=use, dag=make_dag())
    logical_date = pendulum.datetime(2022, 2, 2, 5)
    context = make_context(wait, DataInterval.exact(logical_date))
    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(context)
    assert deferred.value.trigger.cut_off == logical_date + timedelta(days=use.window_nights)  # type: ignore[attr-defined]
    with pytest.raises(AirflowSkipException, match="never came"):
        wait.resume(context, {"complete": False})
    later = LateDropWait(
        task_id="too_late", night=NIGHT, settings=use.model_copy(update={"start_date": "2022-02-03"}), dag=make_dag()
    )
    with pytest.raises(AirflowFailException, match="night 2022-02-02 is before START_DATE=2022-02-03"):
        later.execute(make_context(later, DataInterval.exact(logical_date)))


def test_a_late_drop_of_a_night_whose_skipped_run_airflow_has_forgotten_is_run_unless_lineage_has_its_verdict(
    use: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = LateDropWait(task_id="wait_for_late_drop", night=NIGHT, settings=use, dag=make_dag())
    context = make_context(wait, NIGHT_INTERVAL)
    monkeypatch.setattr(waiting.DagRun, "find", create_autospec(waiting.DagRun.find, return_value=[]))
    wait.resume(context, {"complete": True})
    launch(use, HeadlineExampleGen(night=NIGHT), "earlier")
    launch(use, Pusher(pushed=1), "earlier")
    with pytest.raises(AirflowSkipException, match="was run before, as earlier: pushed as 2022020201"):
        wait.resume(context, {"complete": True})


def test_the_trigger_fires_when_the_drop_comes_and_when_it_is_too_late(
    use: Settings, deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)

    async def first_event(seconds: float) -> dict[str, Any]:
        trigger = DropTrigger(str(use.drops_dir), NIGHT, False, 0.0, datetime.now(UTC) + timedelta(seconds=seconds))
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("the trigger ended without an event")

    event = asyncio.run(first_event(0.2))
    assert event["complete"] is False and f"night {NIGHT} has no drop" in event["problem"]
    threading.Timer(0.2, deliver, [NIGHT, "Chuva forte,negative\n"]).start()
    assert asyncio.run(first_event(30))["complete"] is True


def test_after_the_wait_the_run_goes_on_or_is_skipped(use: Settings) -> None:
    sensor = DropSensor(task_id="wait_for_drop", night=NIGHT, force="False", settings=use, dag=make_dag())
    context = make_context(sensor, NIGHT_INTERVAL, "scheduled")
    sensor.resume(context, {"complete": True, "problem": None, "cut_off": "later"})
    with pytest.raises(AirflowSkipException, match=r"no complete drop .* by its cut-off now: it is half there; "):
        sensor.resume(context, {"complete": False, "problem": "it is half there", "cut_off": "now"})


def test_a_night_that_another_run_finished_is_repeated_only_by_force(
    use: Settings, deliver: Callable[..., Path]
) -> None:
    deliver(NIGHT, "Chuva forte,negative\n")
    launch(use, HeadlineExampleGen(night=NIGHT), "earlier")
    sense(use)  # That run has not ended: nothing is known of its night yet.
    launch(use, Pusher(pushed=1), "earlier")
    with pytest.raises(AirflowSkipException, match=r"was run before, as earlier: pushed as 2022020201\. .*`force`"):
        sense(use)
    sense(use, force="True")


def test_a_push_is_announced_with_its_version(use: Settings, notices: Notices) -> None:
    launch(use, HeadlineExampleGen(night=NIGHT), "run-1")
    launch(use, Pusher(pushed=1), "run-1")
    operator = AnnouncePush(task_id="announce_push", dag=make_dag())
    context = make_context(operator, NIGHT_INTERVAL)
    assert operator.execute(context) == "2022020201"
    assert context["outlet_events"][CHAMPION].extra == {"version": "2022020201", "night": NIGHT}
    text = "night 2022-02-02: pushed as 2022020201"
    [notice] = notices
    assert (notice["event"], notice["severity"], notice["text"]) == ("pushed", "info", text)
    assert (notice["night"], notice["version"]) == ("2022-02-02", "2022020201")
    assert notice["link"] == "http://127.0.0.1:8080/headlines/model/2022020201"
    operator.execute(context)
    assert len(notices) == 1, "a task that is cleared tells nothing again"


def test_a_refusal_is_not_announced_and_says_why(use: Settings) -> None:
    launch(use, HeadlineExampleGen(night=NIGHT), "run-1")
    launch(use, Pusher(pushed=0), "run-1")
    operator = AnnouncePush(task_id="announce_push", dag=make_dag())
    context = make_context(operator, NIGHT_INTERVAL)
    with pytest.raises(AirflowSkipException, match="night 2022-02-02: nothing pushed; refused: too bad"):
        operator.execute(context)
    assert list(context["outlet_events"]) == []
    [report] = [report for report in nights(use) if report.night == NIGHT]
    assert (report.state, report.pushed_version) == ("refused", None)


def test_a_failed_task_is_told_of(use: Settings, notices: Notices) -> None:
    context = make_context(EmptyOperator(task_id="Trainer", dag=make_dag()), NIGHT_INTERVAL)
    context["exception"] = ValueError("no headlines")
    FailureNotifier().notify(context)
    [notice] = notices
    assert (notice["event"], notice["text"]) == ("task failed", "headlines run-1 Trainer: no headlines")
    assert "/dags/headlines/grid?dag_run_id=run-1&task_id=Trainer&" in notice["log_url"]


def test_of_a_night_s_failed_task_it_is_told_what_serves_as_far_as_that_is_known(
    use: Settings, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    dag = DAG(lineage.OURS.pipeline, start_date=datetime(2022, 1, 1, tzinfo=UTC), schedule=None)
    context = make_context(EmptyOperator(task_id="DropGate", dag=dag), NIGHT_INTERVAL)
    context["exception"] = AirflowFailException("too few headlines")
    FailureNotifier().notify(context)
    FailureNotifier().notify(context)
    launch(use, HeadlineExampleGen(night="2022-02-01"), "earlier")
    launch(use, Pusher(pushed=1), "earlier")
    # It was cleared, and failed for another reason: that is news.
    context["exception"] = AirflowFailException("still too few")
    FailureNotifier().notify(context)
    context["exception"] = AirflowFailException("none at all")
    lost = Settings.from_env().model_copy(update={"mlmd_port": 1})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: lost))
    FailureNotifier().notify(context)
    nothing, version, unknown = [notice["text"].removeprefix(f"{dag.dag_id} run-1 DropGate: ") for notice in notices]
    assert (nothing, version) == (
        "too few headlines; nothing serves yet",
        "still too few; version 2022020201 keeps serving",
    )
    assert unknown.startswith("none at all; what serves is not known (MLMD's database at ")


def test_of_housekeeping_that_fails_it_is_told_once_until_it_works_again(use: Settings, notices: Notices) -> None:
    for task in ("remove_files", "clean_records"):
        context = make_context(EmptyOperator(task_id=task, dag=make_dag()), NIGHT_INTERVAL)
        HousekeepingEndNotifier().notify(context)
        for reason in ("a file is held", "two files are held"):
            context["exception"] = AirflowException(reason)
            HousekeepingNotifier().notify(context)
    HousekeepingEndNotifier().notify(context)
    assert [(one["event"], one["severity"], one["task"]) for one in notices] == [
        ("housekeeping failed", "warning", "headlines, remove_files"),
        ("housekeeping failed", "warning", "headlines, clean_records"),
        ("housekeeping works again", "recovered", "headlines, clean_records"),
    ]
    assert notices[0]["text"].startswith("remove_files: a file is held; ")


def test_a_notice_is_in_the_log_where_nobody_is_told(use: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert Settings.from_env().notify is None
    with caplog.at_level("INFO"):
        tell(Settings.from_env(), "late drop", "no drop by six", fact="2022-02-02", night="2022-02-02")
    assert "Notice of late drop: no drop by six" in caplog.messages


def test_a_notice_that_cannot_be_sent_is_logged_and_fails_nothing(
    use: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = use.model_copy(update={"notify": SecretStr("http://127.0.0.1:1/")})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: nobody))
    tell(nobody, "late drop", "text", fact="2022-02-02", night="2022-02-02")
    assert "was not accepted by address 1 of NOTIFY (http://): ConnectError" in caplog.text
    assert [backlog.waiting for backlog in delivery.survey(nobody)] == [1]


@pytest.mark.parametrize("alarm", ["", "label of the night's requests is 0.400 from the window, limit 0.250"])
def test_alarms_about_live_traffic_are_told_and_a_quiet_night_is_not(
    alarm: str, use: Settings, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Settings.from_env().model_copy(update={"serving_request_log": Path("requests.jsonl")})
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: told))
    launch(use, LiveTraffic(alarm=alarm))
    TrafficNotifier().notify(make_context(EmptyOperator(task_id="LiveTraffic", dag=make_dag()), NIGHT_INTERVAL))
    assert [(one["event"], one["text"], one["night"]) for one in notices] == (
        [("live traffic", alarm, NIGHT)] if alarm else []
    )


def choose(settings: Settings, asked: datetime, night: str = "None", run_type: str = "manual") -> str:
    """Executes the choice in a run by hand at that moment, or in the one that is due then by schedule."""
    operator = ChooseNight(task_id="choose_night", night=night, settings=settings, dag=make_dag("0 7 1,15 * *"))
    # By hand, Airflow takes the last interval that had ended then.
    interval = operator.dag.timetable.infer_manual_data_interval(run_after=pendulum.instance(asked))
    logical_date = asked if run_type == "manual" else interval.start
    return operator.execute(make_context(operator, interval, run_type, logical_date=logical_date))


@pytest.mark.parametrize(
    ("run_type", "asked", "newest"),
    [
        ("manual", datetime(2022, 2, 21, 7, tzinfo=UTC), "2022-02-20"),
        ("scheduled", datetime(2022, 2, 15, 7, tzinfo=UTC), "2022-02-03"),
    ],
)
def test_a_search_takes_the_newest_night_with_a_complete_drop_when_it_is_due(
    run_type: str, asked: datetime, newest: str, use: Settings, deliver: Callable[..., Path]
) -> None:
    for night in ("2022-02-01", "2022-02-03", "2022-02-20"):
        deliver(night, "Chuva forte,negative\n")
    (use.drops_dir / "2022-02-04").mkdir()
    deliver("2022-02-05", b"title\nChuva\n", "unlabelled.csv")
    assert choose(use, asked, run_type=run_type) == newest
    assert choose(use, asked, "2022-02-01", run_type) == "2022-02-01"
    with pytest.raises(AirflowFailException, match="night 2022-02-02 has no drop"):
        choose(use, asked, "2022-02-02", run_type)
    later = use.model_copy(update={"start_date": "2022-02-02"})
    with pytest.raises(AirflowFailException, match="night 2022-02-01 is before START_DATE=2022-02-02"):
        choose(later, asked, "2022-02-01", run_type)
    too_early = datetime(2022, 1, 15, 7, tzinfo=UTC)
    with pytest.raises((AirflowFailException, AirflowSkipException), match=r"no night from .* up to 2022-01-15"):
        choose(use, too_early, run_type=run_type)


def test_a_search_that_was_due_before_the_first_start_is_not_made_up_for(
    use: Settings, deliver: Callable[..., Path]
) -> None:
    deliver("2022-02-01", "Chuva forte,negative\n")
    started, due = use.model_copy(update={"scheduled_from": "2022-02-20"}), datetime(2022, 2, 15, 7, tzinfo=UTC)
    with pytest.raises(AirflowSkipException, match=r"due on 2022-02-15.*airflow dags trigger headlines"):
        choose(started, due, run_type="scheduled")
    assert choose(started, due) == "2022-02-01"
    assert choose(started, due + timedelta(days=14), run_type="scheduled") == "2022-02-01"
