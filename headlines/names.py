"""Every name that two rooms share: who writes it and who reads it take it from here.

DAG, node and task ids are what Airflow and MLMD keep history under, property names are what lineage is asked by, file
names are what other programs look for: a value here never changes. Nothing is imported but the calendar.
"""

from collections.abc import Iterable
from datetime import date, datetime

# DAGs; of the first three each is also a TFX pipeline.
NIGHTLY_DAG = "headline_retraining"
TUNING_DAG = "headline_tuning"
SCORING_DAG = "headline_scoring"
LATE_DROPS_DAG = "headline_late_drops"
HOUSEKEEPING_DAG = "headline_housekeeping"
DAG_PREFIX = "headline_"
"""With which the id of every DAG of ours begins."""

# Nodes, which are tasks of the same name
EXAMPLE_GEN = "HeadlineExampleGen"
GATE = "DropGate"
LIVE_TRAFFIC = "LiveTraffic"
TRAINER = "Trainer"
TUNER = "Tuner"
EVALUATOR = "Evaluator"
PUSHER = "Pusher"
MODEL_CARD = "ModelCard"

# Tasks that are no nodes
WAIT_FOR_DROP = "wait_for_drop"
ANNOUNCE_PUSH = "announce_push"
CHOOSE_NIGHT = "choose_night"
FIND_UNLABELLED = "find_unlabelled"
REMOVE_FILES = "remove_files"
CLEAN_RECORDS = "clean_records"

SCHEDULER_QUEUE = "scheduler"
"""The queue of tasks that only a worker with the scheduler's own STATE_DIR can do."""

# What runs and their tasks are given
NIGHT_PARAM = "night"
FORCE_PARAM = "force"

REASON_EVENT = "reason"
"""Event in Airflow's audit log: what an attempt says of itself when it fails, is skipped or begins to wait."""

# Inputs and outputs of nodes
BASELINE_MODEL = "baseline_model"
BASELINE_PUSH = "baseline_push"

# Types of artifacts that are no TFX's own
BASELINE_ANSWERS_TYPE = "BaselineAnswers"
FRESH_SCORE_TYPE = "FreshScore"
TRAFFIC_REPORT_TYPE = "TrafficReport"
ROLLBACK_TYPE = "Rollback"
NOTE_TYPE = "Note"
RULING_TYPE = "Ruling"
SCORES_TYPE = "Scores"

# Properties of examples: what is in them
NIGHT = "night"
NIGHTS = "nights"
CLASSES = "classes"
ROWS_IN = "rows_in"
ROWS_USED = "rows_used"
ROWS_QUARANTINED = "rows_quarantined"
DUPLICATES_FOLDED = "duplicates_folded"
PASSED_OVER = "passed_over"
"""What lay beside the files of the night's drop and was not read, or has no rows."""
NIGHT_ROWS_IN = "night_rows_in"
NIGHT_ROWS_QUARANTINED = "night_rows_quarantined"
DROP_PREFIX = "drop:"
"""With a night behind it, the description of that night's drop as JSON."""
LABEL_CODES = "label_codes"
"""In the description of a drop, and in its `_SUCCESS` file: the codes that its labels are written in."""
LEFT_OUT_PREFIX = "left_out:"
"""With a night behind it, which version of its drop is left out of the window, and after a space why."""
REASON_PREFIX = "reason:"
"""With a reason behind it, how many rows are in the quarantine for it."""

# Properties of models: what they were made of
CODE = "code"
DATA = "data"
SETTINGS = "settings"
HYPERPARAMETERS = "hyperparameters"
LIBRARY_PREFIX = "library:"

# Properties of verdicts and scores
BLESSED = "blessed"
REASON = "reason"
CHAMPION_VERSION = "champion_version"
FRESH_ROWS = "fresh_rows"
CHECK_PREFIX = "check:"
METRIC_PREFIX = "metric:"
CHAMPION_METRIC_PREFIX = "champion_metric:"
LR_METRIC_PREFIX = "lr_metric:"
MAJORITY_METRIC_PREFIX = "majority_metric:"
FRESH_METRIC_PREFIXES = {who: f"fresh_{who}_metric:" for who in ("champion", "lr", "majority")}
"""How each that answers beside the candidate did on the rows that no earlier night had."""

# Properties of traffic reports
ALARM = "alarm"
"""What is beyond its limits."""
TRAFFIC_NOTE = "note"
REQUESTS = "requests"
SERVED_ROWS = "served_rows"
SERVED_ACCURACY = "served_accuracy"
SKEW_PREFIX = "skew:"
DRIFT_PREFIX = "drift:"

# Limits that gate and traffic report are given, as their executions keep them
ALARM_LIMITS = "alarm_limits"
MAX_SKEW = "max_skew"
MAX_DRIFT = "max_drift"
MIN_SERVED_ACCURACY = "min_served_accuracy"
MIN_REQUESTS = "min_requests"

# What the driver of HeadlineExampleGen gives it, as its execution keeps it: refusals that stand, and label codes
PRECEDENTS = "precedents"
ACCEPTED = "accepted"
"""What DropGate's driver gives it: who accepted the drop and why; empty for nobody."""

# Properties of what is scored and of scores; behind each prefix a night
VERSION = "version"
ROWS_PREFIX = "rows:"
QUARANTINED_PREFIX = "quarantined:"
FILES_PREFIX = "files:"
"""The files of unlabelled headlines, as JSON."""
LABELS_PREFIX = "labels:"
"""How many headlines were given each label, as JSON."""
SCORES_FILE_PREFIX = "file:"

# Properties of what a search for hyperparameters found
TRIALS = "trials"
OBJECTIVE = "objective"
SCORE = "score"

# Properties of pushes and rollbacks
PUSHED = "pushed"
PUSHED_VERSION = "pushed_version"
PUSHED_DESTINATION = "pushed_destination"
"""The folder of the version, as TFX's Pusher writes it."""
MODEL_ID = "model_id"
TO_VERSION = "to_version"
FROM_VERSION = "from_version"
BY = "by"
AT = "at"
WITHDRAWN_PREFIX = "withdrawn:"
"""With a version behind it: MLMD on Postgres takes no string of any length (google/ml-metadata#194)."""

# Properties of notes
ABOUT_NIGHT = "about_night"
"""Not `night`: what has that is of a run."""
ABOUT_VERSION = "about_version"
TEXT = "text"
WITHDRAWS = "withdraws"

# Properties of rulings on drops, beside those of notes that say on what, by whom, when and why
RULED = "ruled"
DROP_SHA256 = "drop_sha256"

# Properties of artifacts whose files were removed; their state is DELETED from then on
REMOVED_AT = "removed_at"
"""When it was decided, ISO 8601, UTC."""
REMOVED_BY = "removed_by"
REMOVED_BYTES = "removed_bytes"
"""How much that freed; written when the last file is gone, and absent until then."""
RETENTION = "retention"
"""Who removes what is not needed any more."""

# Properties of executions: which attempt it was, by which process, and how it ended
ATTEMPT = "attempt"
HOST = "host"
PID = "pid"
PROCESS_STARTED = "process_started"
PROCESS_KEY = "process_key"
"""Names the lock that the process holds in MLMD's database while it is at work."""
ERROR = "error"
ENDED = "ended"
"""Seconds since the epoch; absent where nobody saw the end, as of a process that was killed."""
SUPERSEDED_BY = "superseded_by"
EXECUTION_RESULT = "__execution_result__"
"""LocalDagRunner's own, as JSON: what an executor answered, or why a node's inputs could not be found."""

# Files in artifacts
RECORDS_FILE = "data_tfrecord-00000-of-00001.gz"
DROPS_FILE = "drops.json"
QUARANTINE_FILE = "quarantine.csv"
DUPLICATES_FILE = "duplicates.csv"
ANOMALIES_FILE = "SchemaDiff.pb"
VERDICT_FILE = "verdict.json"
CARD_FILE = "card.md"
TRIALS_FILE = "tuner_results.json"
"""TFX's Tuner writes it: a row for each trial that came to an end."""

SERVING_FORMAT = "Format-Serving"
"""Folder of the SavedModel in a Trainer's model, as TFX has it (tfx/utils/path_constants.py)."""

# Files of deliveries, and of pushed versions
HEADLINES_FILE = "headlines.csv"
SUCCESS_MARKER = "_SUCCESS"
POLICY_FILE = "models.config"
ROLLBACKS_FILE = "rollbacks.json"
LAST_BACKUP_FILE = "last-backup"
"""In STATE_DIR: whatever backs the service up touches it, so that its age is that of the backup."""
REMOVED_FILE = "removed.json"
INCOMING = ".incoming-"
"""How the folder of a version begins until it is whole: never a number, so no model server takes it for one."""
STAGING = "headline-staging-"
"""How a folder for temporary files begins in which a component works on copies of what is on object storage."""
SAVED_MODEL_FILE = "saved_model.pb"

_REVISIONS = 100


def name_records(shard: int, shards: int) -> str:
    """The file of one of so many parts of a split; of the only one it is RECORDS_FILE."""
    return f"data_tfrecord-{shard:05d}-of-{shards:05d}.gz"


def version_of(night: date, revision: int = 1) -> int:
    """The pushed version `YYYYMMDDRR` of a night: of two versions the greater is the later night's, or the later one's.

    Args:
      night: the night.
      revision: from 1 to 99.

    Raises:
      ValueError: a night has no such revision.
    """
    if not 0 < revision < _REVISIONS:
        raise ValueError(f"revision {revision} of night {night}: a night has revisions 1 to {_REVISIONS - 1}")
    return int(f"{night:%Y%m%d}") * _REVISIONS + revision


def night_of(version: int) -> date:
    """The night of a pushed version.

    Raises:
      ValueError: it is no version `YYYYMMDDRR`.
    """
    return datetime.strptime(str(version // _REVISIONS), "%Y%m%d").date()


def is_before(version: int, night: date) -> bool:
    """Whether a pushed version is an earlier night's."""
    return version // _REVISIONS < int(f"{night:%Y%m%d}")


def find_versions_of(night: date, versions: Iterable[int]) -> list[int]:
    """Those of some pushed versions that are a night's, in order."""
    return sorted(version for version in versions if version // _REVISIONS == int(f"{night:%Y%m%d}"))


def revision_of(version: int) -> int:
    """Which of the versions of its night a pushed version is, from 1."""
    return version % _REVISIONS
