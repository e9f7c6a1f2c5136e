"""The DAG of late drops: it waits on for the drop of a night that was skipped, then begins the skipped run anew.

There only with `LATE_DROPS=backfill`. The nightly DAG begins its runs, and runs one night at a time whoever asks.
"""

from datetime import timedelta

from airflow.models import DAG
from airflow.models.param import Param
from airflow.operators.trigger_dagrun import TriggerDagRunOperator

from headlines.names import LATE_DROPS_DAG, NIGHTLY_DAG
from retraining.openlineage.skips import tell_of_skip
from retraining.operators.arguments import begin_long_ago
from retraining.operators.callbacks import FailureNotifier
from retraining.operators.waiting import LateDropWait
from retraining.settings import Settings

settings = Settings.from_env()

if settings.late_drops == "backfill":
    with DAG(
        LATE_DROPS_DAG,
        description="Waits for the drops that missed their cut-off, and has their nights run.",
        doc_md=__doc__,
        schedule=None,
        start_date=begin_long_ago(settings),
        is_paused_upon_creation=False,
        tags=["headlines"],
        params={"night": Param(type="string", format="date", title="Night")},
        default_args={
            "owner": "headlines",
            "retries": settings.retries,
            "retry_delay": timedelta(seconds=settings.retry_delay_seconds),
            "on_failure_callback": FailureNotifier(),
            "on_skipped_callback": tell_of_skip,
        },
    ):
        LateDropWait(task_id="wait_for_late_drop", night="{{ params.night }}", settings=settings) >> (
            # It has the logical date of the run that was skipped: that one is cleared, and queued behind what runs.
            TriggerDagRunOperator(
                task_id="run_night", trigger_dag_id=NIGHTLY_DAG, logical_date="{{ logical_date }}", reset_dag_run=True
            )
        )
