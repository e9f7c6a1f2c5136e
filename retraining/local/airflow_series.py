"""What Airflow counts and the endpoint for Prometheus takes from it: retraining/metrics/airflow_statsd.py reads it."""

from dataclasses import dataclass
from typing import Literal

from retraining.settings import Settings

PREFIX = "airflow"
"""Before every name that Airflow sends."""


@dataclass(frozen=True)
class Series:
    """What Airflow sends under one name.

    Attributes:
      statsd: the name, as in the metrics of Airflow's documentation, without its prefix.
      kind: of the protocol.
      name: Prometheus', without what the kind adds to it.
      meaning: what it says, in one sentence.
      labels: those of its tags that are kept.
    """

    statsd: str
    kind: Literal["c", "g", "ms"]
    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus has it; a timer has `_count` and `_sum` behind it."""
        return f"{self.name}_total" if self.kind == "c" else self.name


_TASK = ("dag_id", "task_id")
_POOL = ("pool_name",)

# https://airflow.apache.org/docs/apache-airflow/2.11.2/administration-and-deployment/logging-monitoring/metrics.html.
SERIES = (
    Series("scheduler_heartbeat", "c", "airflow_scheduler_heartbeats", "Heartbeats of the scheduler."),
    Series("triggerer_heartbeat", "c", "airflow_triggerer_heartbeats", "Heartbeats of the triggerer."),
    Series("executor.running_tasks", "g", "airflow_executor_running_tasks", "Tasks that the executor runs."),
    Series("executor.queued_tasks", "g", "airflow_executor_queued_tasks", "Tasks that wait in the executor."),
    Series("executor.open_slots", "g", "airflow_executor_open_slots", "Tasks that the executor could begin besides."),
    Series("scheduler.tasks.starving", "g", "airflow_starving_tasks", "Tasks that no pool has a slot for."),
    Series("pool.open_slots", "g", "airflow_pool_open_slots", "Free slots of a pool.", _POOL),
    Series("pool.running_slots", "g", "airflow_pool_running_slots", "Slots of a pool that tasks run in.", _POOL),
    Series("pool.queued_slots", "g", "airflow_pool_queued_slots", "Slots of a pool that queued tasks hold.", _POOL),
    Series("dag_processing.import_errors", "g", "airflow_dag_import_errors", "Files of DAGs that cannot be read."),
    Series("dagbag_size", "g", "airflow_dags", "DAGs in the files that were read."),
    Series("dag_processing.total_parse_time", "g", "airflow_dag_parse_seconds", "Reading all files of DAGs once took."),
    Series("dag_processing.last_duration", "ms", "airflow_dag_file_seconds", "Reading a file of DAGs.", ("file_name",)),
    Series("dag_file_processor_timeouts", "c", "airflow_dag_file_timeouts", "Files of DAGs that took too long."),
    Series("zombies_killed", "c", "airflow_zombie_tasks", "Tasks whose process was gone.", _TASK),
    Series("ti.start", "c", "airflow_task_starts", "Attempts of tasks that began.", _TASK),
    Series("ti.finish", "c", "airflow_task_ends", "Attempts of tasks by the state they ended in.", (*_TASK, "state")),
    Series("task.duration", "ms", "airflow_task_duration_seconds", "Attempts of tasks.", _TASK),
    Series("task.queued_duration", "ms", "airflow_task_queued_seconds", "From queued to begun, of tasks.", _TASK),
    Series("dagrun.duration.success", "ms", "airflow_dagrun_success_seconds", "Runs that succeeded.", ("dag_id",)),
    Series("dagrun.duration.failed", "ms", "airflow_dagrun_failure_seconds", "Runs that failed.", ("dag_id",)),
    Series("dagrun.schedule_delay", "ms", "airflow_dagrun_delay_seconds", "From a run's due moment on.", ("dag_id",)),
)  # fmt: skip


def list_options(settings: Settings) -> dict[str, object]:
    """Airflow's section `metrics`, with which it sends these series and no other to the endpoint, if there is one."""
    # In milliseconds, as Airflow 3 has them: the old unit warns at every start.
    timers: dict[str, object] = {"timer_unit_consistency": True}
    if not settings.metrics_port:
        return timers
    return {
        **timers,
        "statsd_on": True,
        "statsd_host": {"0.0.0.0": "127.0.0.1"}.get(settings.metrics_host, settings.metrics_host),
        "statsd_port": settings.metrics_port,
        "statsd_prefix": PREFIX,
        # Tags, instead of names that DAGs and tasks are part of; Airflow refuses a name with the / of a path in a tag.
        "statsd_influxdb_enabled": True,
        "statsd_disabled_tags": "job_id,run_id,file_path",
        "metrics_use_pattern_match": True,
        "metrics_allow_list": ",".join(f"^{one.statsd.replace('.', '[.]')}($|[^.a-z_])" for one in SERIES),
    }


def main() -> None:
    """Prints the environment with which an Airflow of one's own sends them."""
    for option, value in list_options(Settings.from_env()).items():
        print(f"AIRFLOW__METRICS__{option.upper()}='{value}'")


if __name__ == "__main__":
    main()
