"""What the DAGs of the TFX pipelines have in common: their arguments, and the parameter that names a night."""

from datetime import datetime, timedelta
from typing import Any

import pendulum
from airflow.models.dag import DAG
from airflow.models.param import Param

from headlines.names import LIVE_TRAFFIC, REMOVE_FILES, SCHEDULER_QUEUE, WAIT_FOR_DROP
from retraining.openlineage.skips import tell_of_skip
from retraining.operators.callbacks import FailureNotifier
from retraining.operators.timetable import NightTimetable
from retraining.settings import Settings

_OF_SCHEDULER = (LIVE_TRAFFIC, REMOVE_FILES, WAIT_FOR_DROP)
"""What needs files of the scheduler's machine alone: requests, Airflow's own logs, what the watch remembers."""
_LONG_AGO = 1900
"""A year before every night."""


def dag_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of a DAG, but for what it is, when it runs and what it asks for."""
    return {
        "start_date": begin_long_ago(settings),
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["headlines", "tfx"],
        # What every task has unless it says otherwise.
        "default_args": {
            "owner": "headlines",
            "retries": settings.retries,
            "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=15),
            "execution_timeout": timedelta(minutes=settings.task_timeout_minutes),
            "on_failure_callback": FailureNotifier(),
            "on_skipped_callback": tell_of_skip,
        },
    }


def send_to_queues(dag: DAG, settings: Settings) -> None:
    """Gives tasks to the queues that they have: some to a machine with a GPU, some to the scheduler's own."""
    for task, queue in {**settings.queues, **dict.fromkeys(_OF_SCHEDULER, SCHEDULER_QUEUE)}.items():
        if dag.has_task(task):
            dag.get_task(task).queue = queue


def begin_long_ago(settings: Settings) -> pendulum.DateTime:
    """The `start_date` of a DAG whose runs refuse nights before START_DATE themselves.

    Airflow gives a run before the `start_date` no tasks, and calls it a success.
    """
    return pendulum.datetime(_LONG_AGO, 1, 1, tz=settings.timezone)


def nightly_schedule(settings: Settings) -> NightTimetable | None:
    """The schedule of the nightly DAG; None for runs by hand only."""
    if settings.schedule == "none":
        return None
    first = pendulum.instance(datetime.fromisoformat(settings.start_date), tz=settings.timezone)
    return NightTimetable(settings.schedule, first.timezone, first)


def night_param(description: str) -> Param:
    """The optional night of a run that is triggered by hand, with what the form says of it."""
    return Param(None, type=["null", "string"], format="date", title="Night", description=description)
