"""Why an attempt failed, kept in Airflow's audit log: Airflow itself keeps none (apache/airflow#73027).

In every process that settles attempts: the task's own, the scheduler, the reader of DAG files. So nothing of ours that
may change is imported here, for the scheduler's tasks must not inherit code that goes stale.
"""

import sys

from airflow.listeners import hookimpl
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.state import TaskInstanceState
from sqlalchemy.orm import Session

from headlines.names import REASON_EVENT


@hookimpl
def on_task_instance_failed(
    previous_state: TaskInstanceState | None,
    task_instance: TaskInstance,
    error: str | BaseException | None,
    session: Session,
) -> None:
    """Adds the reason to the transaction that ends the attempt."""
    if error:
        session.add(Log(REASON_EVENT, task_instance, extra=str(error) or type(error).__name__))


class ReasonPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "reasons"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
