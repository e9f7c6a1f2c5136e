"""The read side: MLMD's tables in Postgres become plain dataclasses that the web UI and the command line show.

psycopg2 and SQL only: no tfx, tensorflow, airflow or ml_metadata here.
"""

from retraining.lineage.connection import LineageError, connect
from retraining.lineage.reports import Check, NightReport, nights, run_report, runs_of_night

__all__ = ["Check", "LineageError", "NightReport", "connect", "nights", "run_report", "runs_of_night"]
