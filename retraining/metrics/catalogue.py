"""Every gauge of the endpoint but Airflow's own: its name, its labels, what it says, and which source it comes from.

Named by Prometheus' rules (https://prometheus.io/docs/practices/naming): base units, and moments instead of ages, which
a query gets by `time() - ...`. What is not known has no value.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client.core import GaugeMetricFamily

from headlines.names import FRESH_ROWS

PREFIX = "headlines_"

SourceName = Literal["lineage", "nights", "replicas", "programs", "places", "folders"]
"""Whom is asked: MLMD, MLMD and Airflow's database together, the model servers, the supervisor, the disks."""


@dataclass(frozen=True)
class Metric:
    """A gauge.

    Attributes:
      name: without its prefix.
      meaning: what it says, in one sentence.
      source: who knows it; None for what is told of each source.
      labels: what tells its values apart.
    """

    name: str
    meaning: str
    source: SourceName | None
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus has it."""
        return f"{PREFIX}{self.name}"


@dataclass
class Readings:
    """What a source says at one moment.

    Attributes:
      source: which.
      values: by metric, and by the values of its labels.
    """

    source: SourceName
    values: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """Notes a value; None for one that is not known, which is left out.

        Raises:
          KeyError: the catalogue has no such metric of this source, with so many labels.
        """
        metric = METRICS[name]
        if metric.source not in (None, self.source) or len(metric.labels) != len(labels):
            raise KeyError(f"{name} of {self.source} with labels {labels}")
        if value is not None:
            self.values.setdefault(name, {})[labels] = float(value)


def list_families(readings: Iterable[Readings]) -> Iterator[GaugeMetricFamily]:
    """What several sources say, as Prometheus' client takes it."""
    by_metric: dict[str, dict[tuple[str, ...], float]] = {}
    for one in readings:
        for name, values in one.values.items():
            by_metric.setdefault(name, {}).update(values)
    for name, values in by_metric.items():
        family = make_family(METRICS[name])
        for labels, value in values.items():
            family.add_metric(labels, value)
        yield family


def make_family(metric: Metric) -> GaugeMetricFamily:
    """A metric without a value."""
    return GaugeMetricFamily(metric.full_name, metric.meaning, labels=metric.labels)


_SOURCES = (
    Metric("source_up", "1 if a source was read at the last attempt, 0 if not.", None, ("source",)),
    Metric("source_read_timestamp_seconds", "When the source was last read.", None, ("source",)),
    Metric("source_read_duration_seconds", "How long the last attempt took.", None, ("source",)),
)
_LINEAGE = (
    Metric("mlmd_schema_version", "Version of the schema of MLMD's tables.", "lineage"),
    Metric("serving_version", "The version that should serve, YYYYMMDDRR.", "lineage"),
    Metric("serving_since_timestamp_seconds", "When it was pushed, or returned to.", "lineage"),
    Metric("serving_night_timestamp_seconds", "The beginning of the night that it was trained for.", "lineage"),
    Metric("measured_night_timestamp_seconds", "The beginning of the newest night whose drop was measured.", "lineage"),
    Metric("drop_rows", "Rows of that night's drop.", "lineage"),
    Metric("drop_quarantined_rows", "Rows of it in the quarantine.", "lineage"),
    Metric("drop_quarantined_ratio", "Share of its rows in the quarantine.", "lineage"),
    Metric("drop_label_ratio", "Share of a label in it.", "lineage", ("label",)),
    Metric("drop_measure", "What it is measured by, as on the Drift page.", "lineage", ("measure",)),
    Metric("drop_measure_limit", "The limit that the measure was held to.", "lineage", ("measure",)),
    Metric("drop_measures_beyond_limit", "Measures of it that are beyond their limits.", "lineage"),
    Metric("traffic_measure", "What that night's live traffic is measured by.", "lineage", ("measure",)),
    Metric("traffic_measure_limit", "The limit that the measure was held to.", "lineage", ("measure",)),
    Metric("window_nights", "Drops that the newest run trained on.", "lineage"),
    Metric("window_missing_nights", "Nights of its window without a drop that it trained on.", "lineage"),
    Metric("window_missing_limit_nights", "The setting MAX_MISSING_NIGHTS, beyond which a run stops.", "lineage"),
    Metric("window_refused_nights", "Nights of its window left out, since their drops were refused.", "lineage"),
    Metric("judged_night_timestamp_seconds", "The beginning of the newest night with a judged candidate.", "lineage"),
    Metric("candidate_accuracy_ratio", "Accuracy of that candidate on held-out rows.", "lineage"),
    Metric("candidate_macro_f1_ratio", "Macro-F1 of that candidate on held-out rows.", "lineage"),
    Metric("candidate_check", "What a check of the quality bar found of it.", "lineage", ("check",)),
    Metric("candidate_check_limit", "What the check asks for.", "lineage", ("check",)),
    Metric("candidate_check_low", "Lower end of the 95 % interval of what it found.", "lineage", ("check",)),
    Metric("candidate_check_high", "Upper end of the 95 % interval of what it found.", "lineage", ("check",)),
    Metric("candidate_check_passed", "1 if the check was passed, 0 if not.", "lineage", ("check",)),
    Metric(FRESH_ROWS, "Rows of that night that no earlier night had: what is live for the champion.", "lineage"),
    Metric("fresh_accuracy_ratio", "Accuracy on fresh rows of the champion, LR and majority.", "lineage", ("model",)),
    Metric("fresh_macro_f1_ratio", "Macro-F1 on fresh rows of the champion, LR and majority.", "lineage", ("model",)),
    Metric("removed_artifacts", "Artifacts whose files retention has removed, ever.", "lineage"),
    Metric("removed_artifact_bytes", "What that freed, without what pushed versions shared with them.", "lineage"),
    Metric("min_accuracy_ratio", "The setting MIN_ACCURACY.", "lineage"),
)
_NIGHTS = (
    Metric("newest_night_timestamp_seconds", "The beginning of the newest night that was run or is due.", "nights"),
    Metric("newest_night_state", "1 for the state of that night, 0 for every other.", "nights", ("state",)),
    Metric("last_verdict", "1 for the newest verdict that there is, 0 for the other.", "nights", ("verdict",)),
    Metric("last_verdict_night_timestamp_seconds", "The beginning of the night of that verdict.", "nights"),
    Metric(
        "newest_night_in_state_timestamp_seconds",
        "The beginning of the newest night in a state, of the last 30.",
        "nights",
        ("state",),
    ),
    Metric("recent_nights", "How many of the last 30 nights are in a state.", "nights", ("state",)),
    Metric("refused_nights_in_a_row", "Newest verdicts in a row that were refusals.", "nights"),
    Metric("nights_without_verdict_in_a_row", "Newest nights in a row that have ended without one.", "nights"),
    Metric("night_is_overdue", "1 if a night should have come to a verdict by now and has not.", "nights"),
    Metric("next_night_is_held_up", "1 if something keeps the next night from beginning, 0 if nothing.", "nights"),
    Metric("scheduler_heartbeat_timestamp_seconds", "When Airflow's scheduler was last heard of.", "nights"),
    Metric("triggerer_heartbeat_timestamp_seconds", "When Airflow's triggerer was last heard of.", "nights"),
    Metric("nightly_dag_is_paused", "1 if the nightly DAG is paused.", "nights"),
    Metric("nightly_dag_import_errors", "1 if the file of the nightly DAG cannot be read, 0 if it can.", "nights"),
    Metric("dag_success_timestamp_seconds", "When a run of a DAG of ours last succeeded.", "nights", ("dag_id",)),
    Metric("full_pools", "Pools of Airflow's without a free slot.", "nights"),
)
_REST = (
    Metric("replica_version", "The version that a model server answers with, YYYYMMDDRR.", "replicas", ("address",)),
    Metric("replica_state", "1 for how it stands to what should.", "replicas", ("address", "state")),
    Metric("replicas_are_right", "1 if every model server answers as it should, or will in a moment.", "replicas"),
    Metric("program_is_healthy", "1 if a program of the service is healthy.", "programs", ("program",)),
    Metric("program_start_timestamp_seconds", "When it was last started.", "programs", ("program",)),
    Metric("disk_free_bytes", "What the service can still write in a folder.", "places", ("setting",)),
    Metric("disk_size_bytes", "Size of the file system that the folder is on.", "places", ("setting",)),
    Metric("disk_limit_bytes", "MIN_FREE_GB: with less free no night begins.", "places"),
    Metric("secret_modified_timestamp_seconds", "When a secret was made or changed.", "places", ("secret",)),
    Metric("backup_timestamp_seconds", "When STATE_DIR/last-backup was last touched.", "places"),
    Metric("notices_not_sent", "Notices that an address of NOTIFY has not accepted yet.", "places", ("address",)),
    Metric("watch_look_timestamp_seconds", "When the watch last looked.", "places"),
    Metric("folder_size_bytes", "What a part of STATE_DIR takes on disk.", "folders", ("folder",)),
)

METRICS = {metric.name: metric for metric in (*_SOURCES, *_LINEAGE, *_NIGHTS, *_REST)}
