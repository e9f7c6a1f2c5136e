"""What the housekeeping DAG does: removes files that nothing needs, and cleans what Airflow keeps of itself."""

import logging
from datetime import timedelta
from typing import Any

from airflow.configuration import AIRFLOW_HOME
from airflow.exceptions import AirflowException, AirflowSkipException
from airflow.models.baseoperator import BaseOperator
from airflow.models.dagrun import DagRun
from airflow.utils import timezone
from airflow.utils.context import Context
from airflow.utils.db_cleanup import config_dict, run_cleanup

from headlines.display import count, tell_size
from retraining.recording.refusals import fail_at_once
from retraining.settings import Settings

KEPT_TABLES = frozenset(("dag", "dag_run", "dataset_event", "log", "task_instance", "trigger"))
"""Tables of Airflow's that are left alone, since `airflow db clean` can only take the old rows of a table and not some.

Pages and commands read runs, tasks and the audit log: which nights were skipped or failed before lineage heard of them,
and with which reason. A trigger may wait for longer than logs are kept; Airflow removes it by itself when it has fired.
"""

log = logging.getLogger(__name__)


class RemoveFiles(BaseOperator):
    """Removes what no kept night, rollback or model server needs any more, as `retraining prune` does."""

    @fail_at_once()
    def execute(self, context: Context) -> dict[str, Any]:
        """Returns of each kind of thing how many went, and how many bytes.

        Raises:
          AirflowException: something could not be removed; the message says what, and the next run tries again.
        """
        from retraining.retention import removal
        from retraining.retention.plan import sum_up

        _skip_the_first(context)
        pruning = removal.remove(Settings.from_env())
        for one in sum_up(pruning.items):
            log.info("Removed: %s of %s, %s: %s", one.count, one.what, tell_size(one.size_bytes), one.why)
        log.info("%s removed, %s", count(len(pruning.items), "thing"), tell_size(pruning.size_bytes))
        for note in pruning.notes:
            log.warning("%s", note)
        if pruning.problems:
            raise AirflowException("; ".join(pruning.problems))
        return {
            "size_bytes": pruning.size_bytes,
            "removed": {f"{one.what}: {one.why}": one.count for one in sum_up(pruning.items)},
        }


def _skip_the_first(context: Context) -> None:
    """Skips the run that Airflow makes up for a date before the DAG was there (apache/airflow#38168).

    Whoever upgrades has until the next one to look at what would go, and to say how much is kept.
    """
    run = context["dag_run"]
    if run.run_type == "scheduled" and DagRun.get_previous_scheduled_dagrun(run.id) is None:
        raise AirflowSkipException(
            "this run is for a date before housekeeping began, and the next is the first; what would go: "
            "`retraining prune --dry-run`; to remove it now: `retraining prune`"
        )


class CleanRecords(BaseOperator):
    """Removes old rows of Airflow's database that nothing reads, as `airflow db clean --skip-archive` does."""

    def execute(self, context: Context) -> list[str]:
        """Returns the tables that were cleaned.

        Raises:
          AirflowSkipException: the service does not run this Airflow, whose records are its owner's.
        """
        settings = Settings.from_env()
        if str(settings.airflow_home) != AIRFLOW_HOME:
            raise AirflowSkipException(
                f"this Airflow, in {AIRFLOW_HOME}, is not the service's own: its logs and records are kept or removed "
                "by who runs it"
            )
        tables = sorted(config_dict.keys() - KEPT_TABLES)
        before = timezone.utcnow() - timedelta(days=settings.keep_log_days)
        run_cleanup(clean_before_timestamp=before, table_names=tables, confirm=False, skip_archive=True)
        log.info("Rows of before %s are gone from %s.", before.isoformat(), ", ".join(tables))
        return tables
