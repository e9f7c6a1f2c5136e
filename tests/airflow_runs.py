"""Airflow's own run, task instance and context, in memory, for tests that execute an operator without its database.

They are the real classes, so that a test cannot know more than Airflow does.
"""

from datetime import datetime

from airflow.models import DagRun, TaskInstance
from airflow.models.baseoperator import BaseOperator
from airflow.timetables.base import DataInterval
from airflow.utils.context import Context, OutletEventAccessors
from airflow.utils.state import TaskInstanceState


def make_context(
    operator: BaseOperator,
    interval: DataInterval,
    run_type: str = "manual",
    run_id: str = "run-1",
    attempt: int = 1,
    is_cleared: bool = False,
    logical_date: datetime | None = None,
) -> Context:
    """What an operator of a DAG is executed with.

    Args:
      operator: the operator, in its DAG.
      interval: of the run.
      run_type: Airflow's word for who made the run.
      run_id: the run's.
      attempt: 1 for the first.
      is_cleared: whether the attempts before this one were cleared, instead of having failed.
      logical_date: of the run, if it is another than the interval's start, as that of a run by hand is.
    """
    date = logical_date or interval.start
    run = DagRun(operator.dag_id, run_id, execution_date=date, run_type=run_type, data_interval=interval)
    instance = TaskInstance(operator, run_id=run_id, state=TaskInstanceState.RUNNING)
    instance.dag_run = run
    if is_cleared:
        # As `clear_task_instances` in airflow/models/taskinstance.py does.
        instance.max_tries = attempt - 1 + operator.retries
    instance.try_number = attempt
    return Context(
        dag=operator.dag,
        dag_run=run,
        logical_date=run.logical_date,
        outlet_events=OutletEventAccessors(),
        task=operator,
        task_instance=instance,
        ti=instance,
        triggering_dataset_events={},
    )
