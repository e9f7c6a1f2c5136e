"""The read side: MLMD's tables in Postgres become plain dataclasses that the web UI and the command line show.

psycopg2 and SQL only: no tfx, tensorflow, airflow or ml_metadata here.
"""

from retraining.lineage.artifacts import ArtifactRecord, RunArtifacts, artifacts_of_run
from retraining.lineage.connection import LineageError, connect
from retraining.lineage.reports import Check, NightReport, champion_as_of, nights, run_report, runs_of_night

__all__ = [
    "ArtifactRecord",
    "Check",
    "LineageError",
    "NightReport",
    "RunArtifacts",
    "artifacts_of_run",
    "champion_as_of",
    "connect",
    "nights",
    "run_report",
    "runs_of_night",
]
