"""Starts tasks warm where the scheduler runs them: it imports TFX once, and each task that it forks shares it."""

import sys

from airflow.jobs.job import Job
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from retraining.workers import preloading

# The first job, which forked tasks find here as well.
_seen: list[object] = []


@hookimpl
def on_starting(component: object) -> None:
    """Imports what the tasks need, when it is the scheduler that starts."""
    # Airflow calls this before a job knows its type (no issue known), and in every task forked from the scheduler again
    # (apache/airflow#27855).
    if sys.argv[1:2] != ["scheduler"] or not isinstance(component, Job) or _seen:
        return
    _seen.append(component)
    # It reads DAG files too, which needs TFX, wherever tasks run.
    preloading.preload()


class PreloadPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "preload"
    listeners = [sys.modules[__name__]]  # noqa: RUF012
