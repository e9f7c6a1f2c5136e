"""Nights as Airflow and MLMD together say they are: failed, waiting, held up, skipped or never begun, each with why."""

import dataclasses
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from launching import launch
from lineage_story import nodes as story_nodes
from obedient_airflow import ObedientAirflow
from postgres_server import Server
from tfx.orchestration.data_types import PipelineInfo

import lineage
from benchmarks.metrics import counted
from headlines.names import NIGHTLY_DAG
from lineage import LineageError, Names, NightSummary, UnknownError
from retraining.local import postgres as embedded
from retraining.metrics.catalogue import Readings
from retraining.metrics.nights import read_nights
from retraining.settings import Settings
from retraining.watching import deadlines
from retraining.web import pages

# Of one look at both databases for Prometheus.
MOST_STATEMENTS = 60
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
# The schedule's two o'clock of today may be yet to come.
NEWEST = (datetime.now(SAO_PAULO) - timedelta(hours=2, minutes=3)).date() - timedelta(days=1)


def night(ago: int) -> str:
    """The night so many nights before the newest that is due."""
    return str(NEWEST - timedelta(days=ago))


@pytest.fixture(scope="module")
def service(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a service that was first started three nights ago, with empty databases of its own."""
    name = f"mlmd_{secrets.token_hex(4)}"
    settings = Settings.from_env(
        state_dir=tmp_path_factory.mktemp("watched"),
        postgres_port=postgres.settings.postgres_port,
        postgres_password=postgres.settings.postgres_password,
        mlmd_port=postgres.settings.postgres_port,
        mlmd_database=name,
        mlmd_user=name,
        mlmd_password="right",
        airflow_db_port=postgres.settings.postgres_port,
        airflow_db_database=f"airflow_{name}",
        airflow_db_user=f"airflow_{name}",
        airflow_db_password="right",
        scheduled_from=night(2),
    )
    embedded.make_databases(settings)
    launch(
        settings,
        story_nodes("2000-01-01", {"2000-01-01": 1})[0],
        pipeline_info=PipelineInfo("another", str(settings.pipeline_root), "r"),
    )
    yield settings
    with closing(embedded.connect_superuser(settings)) as connection, connection.cursor() as cursor:
        for database in (name, f"airflow_{name}"):
            cursor.execute(f"DROP DATABASE {database} WITH (FORCE)")
            cursor.execute(f"DROP ROLE {database}")


@pytest.fixture(scope="module")
def airflow(service: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObedientAirflow]:
    obedient = ObedientAirflow(service, tmp_path_factory.mktemp("airflow"))
    yield obedient
    obedient.stop()


class Dag:
    """A DAG of the test's own, unpaused, in an Airflow whose scheduler and triggerer run."""

    def __init__(self, settings: Settings, airflow: ObedientAirflow, name: str) -> None:
        self.names = Names(pipeline=name)
        self._settings = settings
        self._airflow = airflow
        for job in ("SchedulerJob", "TriggererJob"):
            airflow.do("hear", job, 1)
        airflow.do("read_dag", name)

    def do(self, what: str, *arguments: Any, **named: Any) -> Any:
        """Has Airflow do something with this DAG."""
        return self._airflow.do(what, self.names.pipeline, *arguments, **named)

    def record(self, night: str, count: int | None = None, run: str = "", **how: Any) -> None:
        """Records a night's first nodes in MLMD, or all of them, as the launcher does."""
        # Without a drop, which other tests' nights would be said to have used.
        for node in story_nodes(night, {}, **how)[:count]:
            info = PipelineInfo(self.names.pipeline, str(self._settings.pipeline_root), run or f"scheduled__{night}")
            launch(self._settings, node, pipeline_info=info)

    def calendar(self, first: str | None = None) -> dict[str, NightSummary]:
        with lineage.open_lineage(self._settings, self.names) as reader:
            return {one.night: one for one in lineage.calendar(reader, first)}

    def obstacle(self) -> str | None:
        with lineage.open_lineage(self._settings, self.names) as reader:
            return lineage.find_obstacle(reader)

    def stands(self, night: str) -> tuple[str, str]:
        one = self.calendar()[night]
        return one.state, one.reason


@pytest.fixture
def dag(service: Settings, airflow: ObedientAirflow, request: pytest.FixtureRequest) -> Iterator[Dag]:
    made = Dag(service, airflow, request.node.originalname[-60:] + secrets.token_hex(3))
    yield made
    made.do("break_file", "")


def test_nights_that_are_due_are_nights_of_the_calendar_though_nothing_recorded_them(dag: Dag) -> None:
    known = dag.calendar()
    assert list(known) == [night(2), night(1), night(0)]
    assert {one.state for one in known.values()} == {"missing"}
    assert all(one.is_due and one.run_id is None for one in known.values())
    assert known[night(1)].reason.endswith(
        f"a later night is due by now; to run it: `retraining run --night {night(1)}`"
    )
    assert known[night(0)].reason.endswith("Airflow does not record why; see `retraining logs scheduler`")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (
            lambda dag, airflow: airflow.do("hear", "SchedulerJob", 3600),
            r"the scheduler does not run: it was last heard",
        ),
        (
            lambda dag, airflow: airflow.do("hear", "SchedulerJob", None),
            r"the scheduler does not run: it was never hea",
        ),
        (lambda dag, airflow: dag.do("read_dag", paused=True), r"is paused; unpause it .*airflow dags unpause "),
        (
            lambda dag, airflow: dag.do("break_file", "Traceback:\n  ...\nImportError: no module named tfx"),
            r"Airflow cannot read .*obedient_airflow\.py: ImportError: no module named tfx; mend the file",
        ),
        (
            lambda dag, airflow: dag.do("begin", night(1)),
            r"one night runs at a time, and scheduled__.* of night .* has not ended: ",
        ),
    ],
    ids=["scheduler down", "no scheduler", "paused", "unreadable", "held by an older run"],
)
def test_a_night_that_never_began_says_what_keeps_it(
    what: Callable[[Dag, ObedientAirflow], object], why: str, dag: Dag, airflow: ObedientAirflow
) -> None:
    assert dag.obstacle() is None
    what(dag, airflow)
    state, reason = dag.stands(night(0))
    assert state == "missing"
    # An older run holds up this night, not those to come.
    assert (dag.obstacle() is None) == ("one night runs" in why)
    assert dag.obstacle() is None or re.search(why, str(dag.obstacle()))
    assert re.search(f"no run was begun when it was due, .* UTC: .*{why}", reason), reason


def test_a_dag_that_airflow_has_never_read_is_what_keeps_its_nights(
    service: Settings, airflow: ObedientAirflow
) -> None:
    airflow.do("hear", "SchedulerJob", 1)
    with lineage.open_lineage(service, Names(pipeline="never_read")) as reader:
        *_, newest = lineage.calendar(reader)
    assert "Airflow does not know the DAG never_read: its file is not in DAGS_DIR" in newest.reason


def test_a_run_that_failed_before_its_first_node_failed_for_the_reason_its_task_gave(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    assert dag.do("work", run, "wait_for_drop", "fail 'DagRun' has no attribute 'data_interval'") == "up_for_retry"
    assert dag.stands(night(0)) == (
        "waiting",
        "wait_for_drop failed at attempt 1 and is tried again: 'DagRun' has no attribute 'data_interval'",
    )
    assert dag.do("work", run, "wait_for_drop", "fail it is still so", last=True) == "failed"
    dag.do("end", run, "failed")
    assert dag.stands(night(0)) == ("failed", "wait_for_drop: it is still so")
    assert dag.calendar()[night(0)].run_id == run


def test_a_skipped_night_says_why_it_was_skipped(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    assert dag.do("work", run, "wait_for_drop", "skip no complete drop by its cut-off") == "skipped"
    dag.do("end", run, "success")
    assert dag.stands(night(0)) == ("skipped", "no complete drop by its cut-off")


def test_a_night_that_waits_for_its_drop_says_until_when_unless_no_triggerer_would_notice(
    dag: Dag, airflow: ObedientAirflow
) -> None:
    run = dag.do("begin", night(0))
    assert dag.do("work", run, "wait_for_drop", "defer it is waited for until eight") == "deferred"
    assert dag.stands(night(0)) == ("waiting", "it is waited for until eight")
    airflow.do("hear", "TriggererJob", 600)
    state, reason = dag.stands(night(0))
    assert state == "stuck"
    assert reason.startswith("the triggerer does not run: it was last heard of at ")


def test_a_run_goes_no_further_without_a_scheduler_or_when_its_dag_is_paused(
    dag: Dag, airflow: ObedientAirflow
) -> None:
    run = dag.do("begin", night(0))
    dag.do("put", run, "Trainer", "running", 1)
    state, reason = dag.stands(night(0))
    assert (state, reason[:14]) == ("running", "Trainer since ")
    dag.do("read_dag", paused=True)
    assert dag.stands(night(0))[0] == "stuck"
    assert "is paused" in dag.stands(night(0))[1]
    airflow.do("hear", "SchedulerJob", 61)
    assert "the scheduler does not run" in dag.stands(night(0))[1]


def test_a_task_without_a_slot_names_its_pool(dag: Dag, airflow: ObedientAirflow) -> None:
    run = dag.do("begin", night(0))
    airflow.do("make_pool", "closed", 0)
    dag.do("put", run, "Trainer", "scheduled", 1, pool="closed")
    state, reason = dag.stands(night(0))
    assert state == "stuck"
    assert reason.startswith("Trainer waits for a slot of the pool closed, which has 0, none of them free; ")
    assert "airflow pools set closed" in reason
    airflow.do("make_pool", "narrow", 1)
    dag.do("put", run, "DropGate", "running", 1, pool="narrow")
    dag.do("put", run, "Trainer", "scheduled", 1, pool="narrow")
    assert dag.stands(night(0))[0] == "waiting"
    dag.do("put", run, "Trainer", "scheduled", 6, pool="narrow")
    assert dag.stands(night(0))[0] == "stuck"


def test_a_pool_without_slots_or_that_is_gone_is_an_obstacle_before_a_night_meets_it(
    dag: Dag, airflow: ObedientAirflow
) -> None:
    run = dag.do("begin", night(0))
    dag.do("put", run, "Trainer", "success", 1, pool="shut")
    assert re.match(r"there is no pool shut, which its tasks ask for, .*airflow pools set shut", str(dag.obstacle()))
    dag.do("put", run, "Trainer", "scheduled", 1, pool="shut")
    state, reason = dag.stands(night(0))
    assert (state, reason[:50]) == ("stuck", "Trainer cannot begin: there is no pool shut, which")
    airflow.do("make_pool", "shut", 0)
    assert str(dag.obstacle()).startswith("the pool shut has no slots, so none of them begins; give it some: ")
    airflow.do("make_pool", "shut", 2)
    assert dag.obstacle() is None


def test_each_dag_of_the_service_that_is_paused_is_named(dag: Dag, service: Settings) -> None:
    with lineage.open_lineage(service, dag.names) as reader:
        assert dag.names.pipeline not in lineage.find_paused(reader)
    dag.do("read_dag", paused=True)
    with lineage.open_lineage(service, dag.names) as reader:
        assert dag.names.pipeline in lineage.find_paused(reader)


def test_a_task_that_is_not_begun_for_minutes_is_stuck(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    dag.do("put", run, "Trainer", "queued", 1)
    assert dag.stands(night(0))[0] == "running"
    dag.do("put", run, "Trainer", "queued", 6)
    state, reason = dag.stands(night(0))
    assert (state, reason[:23]) == ("stuck", "Trainer is queued since")


def test_a_queued_run_names_the_run_it_waits_for(dag: Dag) -> None:
    older = dag.do("begin", night(1))
    dag.do("put", older, "Trainer", "running", 1)
    dag.do("begin", night(0), state="queued")
    state, reason = dag.stands(night(0))
    assert state == "waiting"
    assert reason.startswith(f"it waits until {older} of night {night(1)} has ended, which is: Trainer since ")


def test_what_mlmd_says_of_a_verdict_stands_whatever_airflow_says_later(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    dag.record(night(0), run=run)
    dag.do("end", run, "failed")
    assert dag.stands(night(0)) == ("pushed", "")


def test_a_run_that_died_in_a_node_has_the_nodes_reason_and_one_that_died_behind_it_airflows(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    dag.record(night(0), 3, run=run)
    assert dag.do("work", run, "Trainer", "fail the machine ran out of memory", last=True) == "failed"
    dag.do("end", run, "failed")
    # Lineage alone would say that it is still at work.
    assert dag.stands(night(0)) == ("failed", "Trainer: the machine ran out of memory")


def test_a_gate_that_stopped_a_night_blocked_it_also_where_only_airflow_knows(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    assert (
        dag.do("work", run, "DropGate", "fail too many bad rows:\n- 400 without a label\n- and", last=True) == "failed"
    )
    dag.do("end", run, "failed")
    # In one line.
    assert dag.stands(night(0)) == ("blocked", "DropGate: too many bad rows: - 400 without a label - and")


def test_a_run_by_hand_belongs_to_the_night_it_was_asked_for(dag: Dag) -> None:
    run = dag.do("begin", night(0), by_hand_for="2022-02-01")
    dag.do("work", run, "wait_for_drop", "fail there is no drop", last=True)
    dag.do("end", run, "failed")
    known = dag.calendar()
    assert (known["2022-02-01"].state, known["2022-02-01"].run_id) == ("failed", run)
    assert known[night(0)].state == "missing"
    assert "2022-02-02" not in known, "nobody asked for the nights between"


def test_a_run_leads_to_its_night_before_mlmd_has_heard_of_it(dag: Dag, service: Settings) -> None:
    scheduled = dag.do("begin", night(1))
    by_hand = dag.do("begin", night(0), by_hand_for=night(2))
    dag.do("work", by_hand, "wait_for_drop")
    with lineage.open_lineage(service, dag.names) as reader:
        assert lineage.find_night(reader, scheduled) == night(1)
        assert lineage.find_night(reader, by_hand) == night(2)
        with pytest.raises(UnknownError, match=r"the night of run 'another' of .* is not known, or not yet"):
            lineage.find_night(reader, "another")
    # The logical date of a search, or of scores, is no night.
    with (
        lineage.open_lineage(service, dataclasses.replace(dag.names, sensor=None)) as reader,
        pytest.raises(UnknownError),
    ):
        lineage.find_night(reader, scheduled)


def test_the_run_that_airflow_makes_of_a_night_before_the_first_start_is_no_gap(dag: Dag) -> None:
    run = dag.do("begin", night(3))
    dag.do("work", run, "wait_for_drop", "skip it ended before this service was first started")
    dag.do("end", run, "success")
    assert night(3) not in dag.calendar()


def test_the_newest_nights_are_told_whether_mlmd_knows_them_or_not(dag: Dag, service: Settings) -> None:
    dag.record(night(2), accuracy=0.6)
    run = dag.do("begin", night(1))
    dag.do("work", run, "wait_for_drop", "fail no", last=True)
    dag.do("end", run, "failed")
    with lineage.open_lineage(service, dag.names) as reader:
        told = lineage.latest(reader, newest=3)
        assert [(one.night, one.state) for one in told] == [
            (night(2), "refused"),
            (night(1), "failed"),
            (night(0), "missing"),
        ]
        assert told[0].metrics == {"accuracy": 0.6}
        assert lineage.latest(reader, newest=1)[0].night == night(0)
        assert [gap.kind for gap in lineage.gaps(reader)] == ["failed", "missing"]
        detail = lineage.night_detail(reader, night(1))
        assert [one.run_id for one in detail.scheduled] == [run]
        assert detail.summary is not None and detail.summary.reason == "wait_for_drop: no"
        assert detail.runs == ()
        assert lineage.night_detail(reader, night(0)).scheduled == ()


def test_a_finished_night_is_finished_though_airflow_has_forgotten_its_runs(dag: Dag, service: Settings) -> None:
    hows: dict[int, dict[str, Any]] = {2: {}, 1: {"accuracy": 0.6}}
    runs = {ago: dag.do("begin", night(ago)) for ago in hows}
    for ago, how in hows.items():
        dag.record(night(ago), run=runs[ago], **how)
        dag.do("end", runs[ago], "success")
    by_hand = dag.do("begin", night(0), by_hand_for="2022-02-01")
    dag.do("work", by_hand, "wait_for_drop", "fail there is no drop", last=True)
    dag.do("end", by_hand, "failed")
    before = dag.calendar()
    # Of the runs by schedule Airflow keeps the newest.
    assert dag.do("forget") == 1
    after = dag.calendar()
    assert [after[night(ago)].state for ago in (2, 1, 0)] == ["pushed", "refused", "missing"]
    for ago in (2, 1):
        assert after[night(ago)] == before[night(ago)]
    # It never came to MLMD, and nobody remembers it.
    assert before["2022-02-01"].state == "failed" and "2022-02-01" not in after
    with lineage.open_lineage(service, dag.names) as reader:
        assert [gap.night for gap in lineage.gaps(reader)] == [night(0)]
        finished = lineage.find_finished(reader, night(1))
        assert finished is not None and (finished.state, finished.run_id) == ("refused", runs[1])
        assert lineage.find_finished(reader, night(0)) is None
        detail = lineage.night_detail(reader, night(2))
        assert (detail.scheduled, [one.report.state for one in detail.runs]) == ((), ["pushed"])


def test_a_run_by_hand_is_of_the_night_it_was_asked_for_also_before_it_begins_and_when_it_is_long_ago(
    dag: Dag, service: Settings
) -> None:
    older = dag.do("begin", night(1))
    dag.do("put", older, "Trainer", "running", 1)
    run = dag.do("begin", night(0), by_hand_for="2023-01-01", state="queued")
    known = dag.calendar()["2023-01-01"]
    assert (known.run_id, known.state) == (run, "waiting")
    assert known.reason.startswith(f"it waits until {older} of night {night(1)} has ended")
    with lineage.open_lineage(service, dag.names) as reader:
        assert {gap.night: gap.kind for gap in lineage.gaps(reader)}["2023-01-01"] == "waiting"
        detail = lineage.night_detail(reader, "2023-01-01")
        assert [one.run_id for one in detail.scheduled] == [run]
        # The calendar offers its year.
        assert 2023 in pages.nights(reader, service)["years"]
        with pytest.raises(
            lineage.UnknownError, match="night 2023-01-01 has recorded nothing; it is waiting: it waits"
        ):
            lineage.graph(reader, "2023-01-01")


def test_a_success_without_a_task_is_told_as_nothing(dag: Dag) -> None:
    run = dag.do("begin", night(0))
    dag.do("end", run, "success")
    dag.do("remove_tasks", run)
    assert dag.stands(night(0)) == (
        "missing",
        f"{run} has ended in Airflow, which knows of no task of it, nor does lineage; to run the night: "
        f"`retraining run --night {night(0)}`",
    )


def test_airflows_database_is_asked_only_where_it_is_known_and_never_passed_over_in_silence(
    dag: Dag, service: Settings
) -> None:
    without = service.model_copy(update={"airflow_db_password": None})
    with lineage.open_lineage(without, dag.names) as reader:
        assert reader.scheduling is None
        assert lineage.calendar(reader) == ()
    wrong = service.model_copy(update={"airflow_db_password": service.postgres_password})
    with (
        lineage.open_lineage(wrong, dag.names) as reader,
        pytest.raises(LineageError, match=r"Airflow's database .* does not let .*AIRFLOW_DB_PASSWORD"),
    ):
        lineage.calendar(reader)


def test_prometheus_is_told_what_keeps_nights_from_a_verdict(service: Settings, airflow: ObedientAirflow) -> None:
    airflow.do("hear", "SchedulerJob", 100)
    airflow.do("hear", "TriggererJob", 1)
    airflow.do("read_dag", NIGHTLY_DAG, paused=True)
    readings = Readings("nights")
    with counted() as statements:
        read_nights(service, readings)
    assert len(statements) <= MOST_STATEMENTS, "a scrape costs as little as after three years"
    told = {name: values[()] for name, values in readings.values.items() if () in values}
    silence = time.time() - told["scheduler_heartbeat_timestamp_seconds"]
    assert 99 < silence < 99 + 120
    assert told["triggerer_heartbeat_timestamp_seconds"] - told["scheduler_heartbeat_timestamp_seconds"] > 90
    assert (told["nightly_dag_is_paused"], told["nightly_dag_import_errors"]) == (1, 0)
    with lineage.open_lineage(service) as reader:
        assert reader.scheduling is not None
        # Other tests leave pools without a slot.
        assert told["full_pools"] == len(reader.scheduling.dispatch().pools)
    assert (told["next_night_is_held_up"], told["night_is_overdue"]) == (1, 1)
    assert (told["nights_without_verdict_in_a_row"], told["refused_nights_in_a_row"]) == (3, 0)
    assert readings.values["recent_nights"][("missing",)] == 3
    assert "last_verdict_night_timestamp_seconds" not in told


def test_a_night_is_overdue_at_nine_and_no_longer_so_with_its_verdict(
    service: Settings, airflow: ObedientAirflow
) -> None:
    dag = Dag(service, airflow, lineage.OURS.pipeline)
    two = datetime.combine(NEWEST + timedelta(days=1), datetime.min.time(), SAO_PAULO) + timedelta(hours=2)
    dag.record(night(1))
    assert deadlines.find_overdue(service, two + timedelta(hours=6, minutes=59)) is None, (
        "the night before has a verdict"
    )
    overdue = deadlines.find_overdue(service, two + timedelta(hours=7))
    assert overdue is not None
    assert (overdue.night, overdue.state) == (night(0), "missing")
    assert str(overdue).startswith(f"night {night(0)} has no verdict 7 h 00 min after its scheduled start: missing; ")
    dag.record(night(0), accuracy=0.6)
    assert deadlines.find_overdue(service, two + timedelta(hours=7)) is None, "a refusal is a verdict"


def test_when_a_run_of_each_dag_last_succeeded_is_known(service: Settings, dag: Dag) -> None:
    for one, outcome in ((night(3), "success"), (night(2), "success"), (night(1), "failed")):
        dag.do("end", dag.do("begin", one), outcome)
    with lineage.open_lineage(service) as reader:
        assert reader.scheduling is not None
        found = reader.scheduling.find_last_successes(dag.names.pipeline[:-1])
        assert reader.scheduling.find_last_successes("ag") == {}
    assert found.keys() == {dag.names.pipeline}
    assert abs(time.time() - found[dag.names.pipeline].timestamp()) < 600


def test_cleaning_airflow_s_records_leaves_what_pages_and_commands_tell_of_nights(
    service: Settings, airflow: ObedientAirflow
) -> None:
    dag = Dag(service, airflow, "cleaned")
    run = dag.do("begin", night(1))
    dag.do("work", run, "wait_for_drop", "skip there was no drop")
    dag.do("end", run, "success")
    before = dag.calendar(night(1))
    assert before[night(1)].state == "skipped"
    assert "there was no drop" in before[night(1)].reason
    airflow.do("hear", "BackfillJob", 40 * 86400)
    jobs, runs = airflow.do("clean_records", "BackfillJob")
    assert jobs == 0
    assert runs >= 1
    assert dag.calendar(night(1)) == before
