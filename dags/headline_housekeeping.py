"""The housekeeping DAG: once a week removes artifacts, served versions, logs and records that nothing needs any more.

What is needed is decided by one rule, in retraining/retention/needed.py. By hand: `retraining prune --dry-run`.
"""

from datetime import timedelta

from airflow.models import DAG

from headlines.names import CLEAN_RECORDS, HOUSEKEEPING_DAG, REMOVE_FILES
from retraining.operators.arguments import dag_arguments, send_to_queues
from retraining.operators.callbacks import HousekeepingEndNotifier, HousekeepingNotifier
from retraining.operators.housekeeping import CleanRecords, RemoveFiles
from retraining.settings import Settings

settings = Settings.from_env()
arguments = dag_arguments(settings)

with DAG(
    HOUSEKEEPING_DAG,
    **{
        **arguments,
        "default_args": {
            **arguments["default_args"],
            "on_failure_callback": HousekeepingNotifier(),
            "on_success_callback": HousekeepingEndNotifier(),
        },
        "description": "Removes old artifacts, served versions, logs and records that nothing needs any more.",
        "doc_md": __doc__,
        "schedule": None if settings.housekeeping_schedule == "none" else settings.housekeeping_schedule,
        "is_paused_upon_creation": False,
        "tags": ["headlines"],
    },
) as dag:
    # Neither needs the other: what one could not do keeps the other from nothing.
    RemoveFiles(task_id=REMOVE_FILES, execution_timeout=timedelta(hours=3))
    CleanRecords(task_id=CLEAN_RECORDS)
send_to_queues(dag, settings)
