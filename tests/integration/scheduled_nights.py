"""Plays nights by schedule as Airflow's own scheduler, worker and triggerer do, and prints what came of each as JSON.

A program of its own, on a database of Airflow's: the DAG is the one in dags/, the runs are those that the scheduler
makes of it, and the clock is the real one. Its environment says where the databases and the drops are.
"""

import asyncio
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pendulum
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DAG, DagModel, DagRun, TaskInstance
from airflow.models.dagbag import DagBag
from airflow.models.trigger import Trigger
from airflow.timetables.base import DataInterval
from airflow.triggers.base import TriggerEvent
from airflow.utils.db import initdb
from airflow.utils.module_loading import import_string
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunType
from sqlalchemy.orm import Session

from headlines.names import LATE_DROPS_DAG, WAIT_FOR_DROP
from lineage import LineageError
from retraining.notices import outbox
from retraining.operators import waiting
from retraining.settings import Settings

NIGHTLY = "headline_retraining"
Seen = dict[str, Any]


class Nights:
    """The nightly DAG with some settings, and the runs that Airflow makes of it."""

    def __init__(self, **environment: str) -> None:
        """Reads the DAG files anew, as the DAG processor does, and forgets every run."""
        os.environ.update(environment)
        bag = DagBag("dags", include_examples=False)
        assert not bag.import_errors, bag.import_errors
        with create_session() as session:
            for run in session.query(DagRun).filter(DagRun.dag_id == NIGHTLY):
                session.delete(run)
        bag.sync_to_db()
        self.dag: DAG = bag.dags[NIGHTLY]
        self._scheduler = SchedulerJobRunner(Job())

    def schedule(self) -> str:
        """Lets the scheduler make the run that is due, and start it: its id."""
        with create_session() as session:
            due = [model for model in DagModel.dags_needing_dagruns(session)[0] if model.dag_id == NIGHTLY]
            self._scheduler._create_dag_runs(due, session)
            session.flush()
            self._scheduler._start_queued_dagruns(session)
            session.flush()
            [run] = DagRun.find(dag_id=NIGHTLY, state=DagRunState.RUNNING, session=session)
            assert run.run_type == DagRunType.SCHEDULED
            return str(run.run_id)

    def go_down_before(self, night: date) -> None:
        """Leaves the schedule where a scheduler left it that went down before it made this night's run."""
        begin = pendulum.datetime(night.year, night.month, night.day, 2, tz=self.dag.timezone)
        with create_session() as session:
            model = session.get(DagModel, NIGHTLY)
            model.next_dagrun, model.next_dagrun_create_after = begin, begin.add(days=1)
            model.next_dagrun_data_interval = DataInterval(begin, begin.add(days=1))

    def trigger(self, day: date, **conf: Any) -> str:
        """A run by hand: its id."""
        begin = pendulum.datetime(day.year, day.month, day.day, 2, tz=self.dag.timezone)
        run = self.dag.create_dagrun(
            run_type=DagRunType.MANUAL,
            execution_date=begin,
            data_interval=self.dag.timetable.infer_manual_data_interval(run_after=begin),
            state=DagRunState.RUNNING,
            external_trigger=True,
            conf=conf,
        )
        return str(run.run_id)

    def end(self, run_id: str) -> None:
        """Ends a run, and moves the schedule on as the scheduler does then."""
        with create_session() as session:
            run = self.find(run_id, session)
            run.set_state(DagRunState.SUCCESS)
            model = session.get(DagModel, NIGHTLY)
            model.calculate_dagrun_date_fields(self.dag, self.dag.get_run_data_interval(run))

    def forget(self, run_id: str) -> None:
        """Deletes a run, so that the scheduler makes it again."""
        with create_session() as session:
            session.delete(self.find(run_id, session))
            session.flush()
            DAG.bulk_write_to_db([self.dag], session=session)

    def clear(self, run_id: str) -> None:
        """Clears a run, as the button does."""
        with create_session() as session:
            run = self.find(run_id, session)
            self.dag.clear(start_date=run.execution_date, end_date=run.execution_date, session=session)
            session.flush()
            run.set_state(DagRunState.RUNNING)

    def sense(self, run_id: str) -> Seen:
        """Runs the sensor of a run as a worker does: what became of it and what it said."""
        # Each case is played as if nobody had been told of its night before.
        shutil.rmtree(outbox.folder(Settings.from_env()), ignore_errors=True)
        with create_session() as session:
            run = self.find(run_id, session)
            run.dag = self.dag
            instance = self._sensor(run_id, session)
            if instance.state != TaskInstanceState.SCHEDULED:
                run.schedule_tis([instance], session)
                session.flush()
                instance.refresh_from_db(session)
            instance.set_state(TaskInstanceState.QUEUED, session=session)
            session.commit()
            with listen() as said:
                try:
                    instance.run(session=session)
                except LineageError as error:
                    said.append(f"LineageError: {error}")
                except AirflowFailException as error:
                    said.append(str(error))
            instance.refresh_from_db(session)
            told = {"said": said, "errors": ERRORS.take()}
            return {"run": run_id, "state": instance.state, "attempt": instance.try_number, **told}

    def wait(self, run_id: str, meanwhile: Callable[[], object]) -> Seen:
        """Runs the trigger of a deferred sensor as the triggerer does, then the sensor again."""
        with create_session() as session:
            row = session.get(Trigger, self._sensor(run_id, session).trigger_id)
            trigger = import_string(row.classpath)(**row.kwargs)
            event = asyncio.run(find_event(trigger, meanwhile))
            Trigger.submit_event(row.id, event, session=session)
        return self.sense(run_id)

    def find(self, run_id: str, session: Session) -> DagRun:
        """A run."""
        [run] = DagRun.find(dag_id=NIGHTLY, run_id=run_id, session=session)
        return run

    def _sensor(self, run_id: str, session: Session) -> TaskInstance:
        instance = self.find(run_id, session).get_task_instance(WAIT_FOR_DROP, session=session)
        assert instance
        instance.task = self.dag.get_task(WAIT_FOR_DROP)
        return instance


async def find_event(trigger: waiting.DropTrigger, meanwhile: Callable[[], object]) -> TriggerEvent:
    """The one event of a trigger, which gives none before what happens meanwhile."""

    async def listen() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    asked = asyncio.ensure_future(listen())
    await asyncio.sleep(10 * waiting.POLL_SECONDS)
    assert not asked.done(), "the trigger does not wait"
    meanwhile()
    [event] = await asyncio.wait_for(asked, 60)
    return event


@contextmanager
def listen() -> Iterator[list[str]]:
    """What an operator logs meanwhile, and why Airflow says that it skipped its task."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name.startswith("retraining") or isinstance(record.msg, AirflowSkipException):
                said.append(record.getMessage())

    listener, loggers = Listener(), [logging.getLogger(name) for name in ("airflow.task", "retraining")]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.INFO)
    yield said
    for logger in loggers:
        logger.removeHandler(listener)


class Errors(logging.Handler):
    """What the log of a task shows of errors, as its file has it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the whole text of a line, with its traceback."""
        self._shown.append(self.format(record))

    def take(self) -> list[str]:
        """What was shown since the last time."""
        shown, self._shown = self._shown, []
        return shown


ERRORS = Errors()


class Drops:
    """The drops of the nights before the newest."""

    def __init__(self, newest: date) -> None:
        self._newest = newest
        self._folder = Path(os.environ["DROPS_DIR"])

    def night(self, ago: int) -> date:
        return self._newest - timedelta(days=ago)

    def deliver(self, *ago: int) -> None:
        for each in ago:
            path = self._folder / str(self.night(each)) / "headlines.csv"
            path.parent.mkdir(parents=True)
            path.write_text("title,sentiment\nChove,neutral\n")

    def take_back(self, *ago: int) -> None:
        for each in ago:
            shutil.rmtree(self._folder / str(self.night(each)))


def play_each(drops: Drops) -> dict[str, Seen]:
    """After an outage of a week the scheduler makes up for every night, in order."""
    seen = {}
    nights = Nights(CATCHUP_MODE="each", LATE_DROPS="next_run", START_DATE=str(drops.night(6)))
    drops.deliver(6, 5, 4, 2, 1)

    def sense() -> Seen:
        run_id = nights.schedule()
        outcome = nights.sense(run_id)
        nights.end(run_id)
        return outcome

    seen["before the first start"] = sense()
    seen["early"] = sense()
    seen["run before"] = sense()
    nights.clear(seen["run before"]["run"])
    seen["run before, cleared"] = nights.sense(seen["run before"]["run"])
    nights.end(seen["run before"]["run"])
    seen["missing"] = sense()
    seen["newest but two"] = sense()
    seen["newest but one"] = sense()
    seen |= play_newest_night(nights, drops)
    drops.take_back(6, 5, 4, 2, 1)
    return seen


def play_newest(drops: Drops) -> dict[str, Seen]:
    """After an outage of a few nights the scheduler makes the run that was next before it, then the newest."""
    seen = {}
    nights = Nights(CATCHUP_MODE="newest", LATE_DROPS="backfill", START_DATE=str(drops.night(6)))
    drops.deliver(4, 3, 2, 1, 0)
    nights.go_down_before(drops.night(2))
    run_id = nights.schedule()
    seen["older"] = nights.sense(run_id)
    nights.clear(run_id)
    seen["older, cleared"] = nights.sense(run_id)
    nights.end(run_id)

    run_id = nights.schedule()
    port = os.environ["MLMD_PORT"]
    os.environ["MLMD_PORT"] = "1"
    seen["early, lineage away"] = nights.sense(run_id)
    os.environ["MLMD_PORT"] = port
    seen["early"] = nights.sense(run_id)
    nights.forget(run_id)
    drops.take_back(0)
    seen |= play_newest_night(nights, drops)

    nights = Nights(DROP_WAIT_MINUTES="30")
    seen["missing"] = nights.sense(nights.schedule())
    nights = Nights()
    seen["by hand, run before"] = nights.sense(nights.trigger(drops.night(4)))
    nights = Nights()
    seen["by hand, forced"] = nights.sense(nights.trigger(drops.night(4), force=True))
    nights = Nights()
    seen["by hand, long ago"] = nights.sense(nights.trigger(date(2021, 1, 1)))
    nights = Nights()
    seen["by hand, for a night long ago"] = nights.sense(nights.trigger(drops.night(0), night="2021-01-01"))
    return seen


def play_newest_night(nights: Nights, drops: Drops) -> dict[str, Seen]:
    """The newest night is due and its drop is late: once it comes, once it does not."""
    run_id = nights.schedule()
    seen = {"late": nights.sense(run_id), "late, resumed": nights.wait(run_id, lambda: drops.deliver(0))}
    drops.take_back(0)
    nights.forget(run_id)
    run_id = nights.schedule()
    seen["never"] = nights.sense(run_id)
    # When it has waited for a while, the trigger's clock is put forward, to after the cut-off.
    now = pendulum.now
    later = mock.create_autospec(now, side_effect=lambda zone: now(zone).add(hours=6))
    with ExitStack() as clock:
        put_forward = mock.patch.object(pendulum, "now", later)
        seen["never, resumed"] = nights.wait(run_id, lambda: clock.enter_context(put_forward))
    with create_session() as session:
        waits = DagRun.find(dag_id=LATE_DROPS_DAG, session=session)
        seen["never, resumed"] |= {
            "logical date": nights.find(run_id, session).execution_date.isoformat(),
            "late runs": {run.run_id: [run.conf, run.execution_date.isoformat()] for run in waits},
        }
    return seen


def main(newest: str) -> None:
    waiting.POLL_SECONDS = 0.05
    logging.getLogger("airflow.task").addHandler(ERRORS)
    initdb()
    drops = Drops(date.fromisoformat(newest))
    print(json.dumps({"each": play_each(drops), "newest": play_newest(drops)}))


if __name__ == "__main__":
    main(sys.argv[1])
