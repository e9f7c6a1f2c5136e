"""The service on one box: Postgres, Airflow's programs, the model server and the watch, kept by a supervisor.

Nothing here may import tfx, tensorflow or airflow: those run in processes of their own.
"""

from headlines.errors import HeadlinesError


class LocalError(HeadlinesError):
    """The service cannot do what was asked; the message says what happened and what to do."""
