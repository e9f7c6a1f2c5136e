"""An Airflow that does what it is told: real tables in Postgres, real runs and tasks, in a process of its own.

As a script it reads one instruction a line; what it makes, it makes as the scheduler and the workers do.
"""

import contextlib
import json
import os
import subprocess
import sys
import traceback
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from retraining.local import airflow_options
from retraining.settings import CHECKOUT, Settings

BEHAVIOUR: dict[str, str] = {}
"""What each task does at its next attempt: `fail <why>`, `skip <why>`, `defer <why>`; else it succeeds."""


class ObedientAirflow:
    """The process, as the tests see it."""

    def __init__(self, settings: Settings, home: Path) -> None:
        """Makes Airflow's tables; the first instruction waits for them."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_options.url(settings),
            "PYTHONPATH": str(CHECKOUT),
        }
        self._log = home / "log"
        home.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                env=environment,
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def do(self, what: str, *arguments: Any, **named: Any) -> Any:
        """Has it call one of the functions of this module: its answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([what, arguments, named]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError(self._log.read_text()[-4000:])

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def obey() -> None:
    """Makes the tables, then does what it is told until there is nothing more."""
    from airflow.utils.db import upgradedb

    upgradedb()
    for line in sys.stdin:
        what, arguments, named = json.loads(line)
        try:
            print("answer", json.dumps(globals()[what](*arguments, **named)), flush=True)
        except Exception:
            traceback.print_exc()
            raise


def make_dag(dag_id: str) -> Any:
    """The DAG, as the reader of DAG files leaves it: at two in Sao Paulo, one run at a time."""
    import pendulum
    from airflow.exceptions import AirflowSkipException
    from airflow.models import DAG
    from airflow.models.baseoperator import BaseOperator
    from airflow.triggers.temporal import TimeDeltaTrigger
    from airflow.utils.context import Context

    from retraining.operators.reasons import record

    class Obedient(BaseOperator):
        template_fields = ("night",)

        def __init__(self, night: str = "", **arguments: Any) -> None:
            super().__init__(**arguments)
            self.night = night

        def execute(self, context: Context) -> None:
            verb, _, why = BEHAVIOUR.pop(self.task_id, "").partition(" ")
            if verb == "fail":
                raise ValueError(why)
            if verb == "skip":
                record(context, why)
                raise AirflowSkipException(why)
            if verb == "defer":
                record(context, why)
                self.defer(trigger=TimeDeltaTrigger(timedelta(hours=1)), method_name="execute")

    night = "{{ params.night or logical_date.in_timezone(dag.timezone).strftime('%Y-%m-%d') }}"
    dag = DAG(
        dag_id,
        schedule="0 2 * * *",
        start_date=pendulum.datetime(2022, 1, 1, tz="America/Sao_Paulo"),
        catchup=False,
        max_active_runs=1,
        params={"night": None},
        default_args={"retries": 1, "retry_delay": timedelta(hours=1), "owner": "tests"},
    )
    names = ("HeadlineExampleGen", "DropGate", "Trainer")
    Obedient(task_id="wait_for_drop", night=night, dag=dag) >> [Obedient(task_id=name, dag=dag) for name in names]
    return dag


def read_dag(dag_id: str, paused: bool = False) -> None:
    """Has Airflow know the DAG, paused or not."""
    from airflow.models import DAG, DagModel
    from airflow.utils.session import create_session

    dag = make_dag(dag_id)
    with create_session() as session:
        DAG.bulk_write_to_db([dag], session=session)
        session.get(DagModel, dag_id).is_paused = paused


def begin(dag_id: str, night: str, by_hand_for: str = "", state: str = "running") -> str:
    """A run by schedule of a night; or by hand at the end of that night for another: its id."""
    import pendulum
    from airflow.utils.types import DagRunType

    dag = make_dag(dag_id)
    day = date.fromisoformat(night)
    moment = pendulum.datetime(day.year, day.month, day.day, 14 if by_hand_for else 2, tz="America/Sao_Paulo")
    kind = DagRunType.MANUAL if by_hand_for else DagRunType.SCHEDULED
    interval = (
        dag.timetable.infer_manual_data_interval(run_after=moment)
        if by_hand_for
        else dag.infer_automated_data_interval(moment)
    )
    run = dag.create_dagrun(
        run_type=kind,
        execution_date=moment,
        data_interval=interval,
        state=state,
        external_trigger=bool(by_hand_for),
        conf={"night": by_hand_for} if by_hand_for else {},
        start_date=pendulum.now("UTC") if state == "running" else None,
    )
    return str(run.run_id)


def work(dag_id: str, run_id: str, task: str, behaviour: str = "", last: bool = False) -> str:
    """Runs a task of a run as a worker does; `last` where no retry is left. Its state then."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    BEHAVIOUR[task] = behaviour
    dag = make_dag(dag_id)
    with create_session() as session:
        [run] = DagRun.find(dag_id=dag_id, run_id=run_id, session=session)
        run.dag = dag
        instance = run.get_task_instance(task, session=session)
        instance.task = dag.get_task(task)
        # The scheduler counts the attempts.
        run.schedule_tis([instance], session)
        session.flush()
        instance.refresh_from_db(session)
        if last:
            instance.max_tries = instance.try_number - 1
        session.commit()
        try:
            instance.run(session=session, ignore_all_deps=True, ignore_ti_state=True)
        except ValueError:
            session.rollback()
        instance.refresh_from_db(session)
        return str(instance.state)


def put(dag_id: str, run_id: str, task: str, state: str, minutes_ago: int, pool: str = "default_pool") -> None:
    """Leaves a task in a state, where a scheduler or a worker would have to do the next step."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.timezone import utcnow

    with create_session() as session:
        [run] = DagRun.find(dag_id=dag_id, run_id=run_id, session=session)
        instance = run.get_task_instance(task, session=session)
        instance.state, instance.pool = state, pool
        instance.queued_dttm = instance.start_date = utcnow() - timedelta(minutes=minutes_ago)


def remove_tasks(dag_id: str, run_id: str) -> None:
    """Leaves a run as Airflow makes one that is before the beginning of its DAG: without any task."""
    from airflow.models import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id).delete()


def end(dag_id: str, run_id: str, state: str) -> None:
    """Ends a run."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        [run] = DagRun.find(dag_id=dag_id, run_id=run_id, session=session)
        run.set_state(state)


def forget(dag_id: str) -> int:
    """Cleans Airflow's tables of all that is past, as `airflow db clean` does: how many runs of the DAG are left."""
    from airflow.models import DagRun
    from airflow.utils.db_cleanup import run_cleanup
    from airflow.utils.session import create_session
    from airflow.utils.timezone import utcnow

    tables = ["dag_run", "task_instance", "log"]
    with contextlib.redirect_stdout(sys.stderr):
        run_cleanup(clean_before_timestamp=utcnow(), table_names=tables, confirm=False, skip_archive=True)
    with create_session() as session:
        return int(session.query(DagRun).filter_by(dag_id=dag_id).count())


def clean_records(job_type: str) -> list[int]:
    """Runs the task that cleans records, as in the service's own Airflow: how many such jobs, and runs, are left."""
    from airflow.jobs.job import Job
    from airflow.models import DagRun
    from airflow.utils.context import Context
    from airflow.utils.session import create_session

    from retraining.operators import housekeeping

    housekeeping.AIRFLOW_HOME = str(Settings.from_env().airflow_home)
    with contextlib.redirect_stdout(sys.stderr):
        housekeeping.CleanRecords(task_id="clean_records").execute(Context())
    with create_session() as session:
        jobs = session.query(Job).filter(Job.job_type == job_type).count()
        return [int(jobs), int(session.query(DagRun).count())]


def hear(job_type: str, seconds_ago: float | None) -> None:
    """A scheduler or a triggerer that was last heard of so long ago; with None there never was one."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session
    from airflow.utils.timezone import utcnow

    with create_session() as session:
        session.query(Job).filter(Job.job_type == job_type).delete()
        if seconds_ago is not None:
            job = Job()
            job.job_type = job_type
            job.prepare_for_execution(session=session)
            job.latest_heartbeat = utcnow() - timedelta(seconds=seconds_ago)
            session.merge(job)


def break_file(dag_id: str, error: str) -> None:
    """The file of the DAG cannot be read any more; with an empty error it can."""
    from airflow.models import DagModel
    from airflow.models.errors import ParseImportError
    from airflow.utils.session import create_session

    with create_session() as session:
        model = session.get(DagModel, dag_id)
        session.query(ParseImportError).delete()
        model.has_import_errors = bool(error)
        if error:
            session.add(ParseImportError(filename=model.fileloc, stacktrace=error))


def make_pool(name: str, slots: int) -> None:
    """A pool with so many slots."""
    from airflow.models.pool import Pool

    Pool.create_or_update_pool(name, slots, "of the tests", include_deferred=False)


if __name__ == "__main__":
    obey()
