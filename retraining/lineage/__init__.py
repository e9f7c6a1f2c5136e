"""The read side: MLMD's tables, in Postgres or an SQLite file, answer questions with plain dataclasses.

Where the settings say where Airflow's database is, it is a second source of what became of nights. psycopg2, sqlite3
and SQL only: no tfx, tensorflow, airflow or ml_metadata here, and nothing else knows the tables.
"""

from retraining.lineage.airflow_runs import REASON
from retraining.lineage.calendar import calendar, find_gaps, find_obstacle, gaps, latest
from retraining.lineage.compare import compare
from retraining.lineage.connection import Reader, Source, UnknownError, open_lineage
from retraining.lineage.database import LineageError
from retraining.lineage.graph import graph, to_dot
from retraining.lineage.history import metric_history, metrics
from retraining.lineage.models import (
    drops_of_model,
    find_model,
    model_detail,
    models,
    name_model,
    path_back,
    serving_now,
)
from retraining.lineage.names import OURS, Names
from retraining.lineage.nights import night_detail
from retraining.lineage.orphans import orphans
from retraining.lineage.reading import artifacts_of_run, execution_detail, find_execution
from retraining.lineage.recall import drops, recall
from retraining.lineage.records import (
    ArtifactRecord,
    Check,
    Comparison,
    Difference,
    Dispatch,
    DropFile,
    DropUse,
    Edge,
    ExecutionDetail,
    ExecutionRecord,
    Gap,
    Graph,
    History,
    ModelDetail,
    ModelSummary,
    NightDetail,
    NightReport,
    NightSummary,
    Node,
    Orphans,
    Point,
    Recall,
    Reign,
    Rollback,
    RunArtifacts,
    RunDetail,
    ScheduledRun,
    ScheduledTask,
    Serving,
    Taint,
    Way,
)
from retraining.lineage.runs import nights, run_report, runs_of_night
from retraining.lineage.serving import champion_as_of, pushed_versions, reigns, rollbacks, serving_version
from retraining.lineage.shape import VERSION, to_json
from retraining.lineage.standing import VERDICTS

__all__ = [
    "OURS",
    "REASON",
    "VERDICTS",
    "VERSION",
    "ArtifactRecord",
    "Check",
    "Comparison",
    "Difference",
    "Dispatch",
    "DropFile",
    "DropUse",
    "Edge",
    "ExecutionDetail",
    "ExecutionRecord",
    "Gap",
    "Graph",
    "History",
    "LineageError",
    "ModelDetail",
    "ModelSummary",
    "Names",
    "NightDetail",
    "NightReport",
    "NightSummary",
    "Node",
    "Orphans",
    "Point",
    "Reader",
    "Recall",
    "Reign",
    "Rollback",
    "RunArtifacts",
    "RunDetail",
    "ScheduledRun",
    "ScheduledTask",
    "Serving",
    "Source",
    "Taint",
    "UnknownError",
    "Way",
    "artifacts_of_run",
    "calendar",
    "champion_as_of",
    "compare",
    "drops",
    "drops_of_model",
    "execution_detail",
    "find_execution",
    "find_gaps",
    "find_model",
    "find_obstacle",
    "gaps",
    "graph",
    "latest",
    "metric_history",
    "metrics",
    "model_detail",
    "models",
    "name_model",
    "night_detail",
    "nights",
    "open_lineage",
    "orphans",
    "path_back",
    "pushed_versions",
    "recall",
    "reigns",
    "rollbacks",
    "run_report",
    "runs_of_night",
    "serving_now",
    "serving_version",
    "to_dot",
    "to_json",
]
