"""Read-only connections to an MLMD database on Postgres.

Nothing here knows the nightly pipeline.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection

from retraining.settings import Settings

SCHEMA_VERSION = 10


class LineageError(RuntimeError):
    """Lineage cannot be read; the message says why and what to do."""


@contextmanager
def connect(settings: Settings) -> Iterator[connection]:
    """Opens a read-only transaction on the MLMD database.

    Args:
      settings: where it is.

    Yields:
      A psycopg2 connection, closed afterwards.

    Raises:
      LineageError: the server does not answer, or the schema is missing or of an unknown version.
    """
    place = f"{settings.mlmd_host}:{settings.mlmd_port}/{settings.mlmd_database}"
    try:
        opened = psycopg2.connect(
            host=settings.mlmd_host,
            port=settings.mlmd_port,
            dbname=settings.mlmd_database,
            user=settings.mlmd_user,
            password=settings.secret("mlmd_password"),
            connect_timeout=5,
            application_name="retraining lineage",
        )
    except psycopg2.OperationalError as error:
        raise LineageError(
            f"the MLMD database {place} does not let user {settings.mlmd_user} in: {str(error).strip()}; "
            "is it running (`retraining status`; `retraining up` starts it), and are MLMD_HOST, MLMD_PORT and "
            "MLMD_PASSWORD right?"
        ) from None
    try:
        opened.set_session(readonly=True)
        with opened.cursor() as cursor:
            cursor.execute("SELECT to_regclass('mlmdenv')")
            found = cursor.fetchone()
            if found is None or found[0] is None:
                raise LineageError(f"the database {place} holds no MLMD tables yet; `retraining up` makes them")
            cursor.execute("SELECT schema_version FROM mlmdenv")
            version = cursor.fetchone()
        if version is None or version[0] != SCHEMA_VERSION:
            raise LineageError(
                f"the database {place} has MLMD schema version {version and version[0]}, this reader knows "
                f"{SCHEMA_VERSION}; use the ml-metadata version that requirements.txt pins"
            )
        yield opened
    finally:
        opened.close()
