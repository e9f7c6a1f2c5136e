"""What the DAGs of the TFX pipelines have in common: their arguments, and the parameter that names a night."""

from datetime import timedelta
from typing import Any

import pendulum
from airflow.models.param import Param

from retraining.operators.callbacks import FailureNotifier
from retraining.settings import Settings


def dag_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of a DAG, but for what it is, when it runs and what it asks for."""
    return {
        "start_date": pendulum.parse(settings.start_date, tz=settings.timezone),
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
        },
    }


def night_param(description: str) -> Param:
    """The optional night of a run that is triggered by hand, with what the form says of it."""
    return Param(None, type=["null", "string"], format="date", title="Night", description=description)
