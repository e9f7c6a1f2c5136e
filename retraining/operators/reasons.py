"""What an attempt says of itself when it is skipped or begins to wait, kept in Airflow's audit log beside the task.

Why an attempt failed is kept there by plugins/reason_listener.py, which hears of every failure, and of no skip.
"""

from airflow.models.log import Log
from airflow.utils.context import Context
from airflow.utils.session import create_session

from headlines.names import REASON_EVENT


def record(context: Context, reason: str) -> None:
    """Keeps what happened and what to do: lineage, `status`, the pages and the task's audit log show it."""
    with create_session() as session:
        session.add(Log(REASON_EVENT, context["ti"], extra=reason))
