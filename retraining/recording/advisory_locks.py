"""Locks in MLMD's Postgres, for which every machine of a service can ask.

A lock is free again when its holder's process ends, however it ends, or its machine is gone. They are Postgres'
advisory locks, each held by a connection of its own
(https://www.postgresql.org/docs/16/explicit-locking.html#ADVISORY-LOCKS).
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

import psycopg2
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig

from headlines.holding import Check, lend
from headlines.objects.addresses import is_object
from headlines.postgres_address import SILENCE_OPTIONS
from headlines.pushes.versions import kept_in
from retraining.recording.store import StoreError, connect, connection_config, place_of
from retraining.settings import Settings

TABLES_LOCK = "mlmd tables"
"""The lock under which MLMD's tables are made or migrated."""

TYPES_LOCK = "mlmd types"
"""The lock under which types are made.

MLMD checks it against no other process, and would make each several times (no issue known).
"""

RETENTION_LOCK = "retention"
"""The lock under which is decided what is removed; what takes inputs shares it until that is on record."""

# The same of the server's end: https://www.postgresql.org/docs/16/runtime-config-connection.html#GUC-TCP-KEEPALIVES-IDLE
_SERVER_OPTIONS = {
    name if name == "tcp_user_timeout" else f"tcp_{name}": value for name, value in SILENCE_OPTIONS.items()
}
_LOCK_TIMEOUT_SECONDS = 60
_NIGHT_POLL_SECONDS = 1

logger = logging.getLogger(__name__)


class NightTakenError(StoreError):
    """Another run trains the night; the message says which."""


@contextlib.contextmanager
def hold_night(config: ConnectionConfig, night: str, holder: str, wait: bool = True) -> Iterator[None]:
    """Holds a night for its training, so that two runs never train the same night at once; freed if the process dies.

    Args:
      config: where the lock is.
      night: `YYYY-MM-DD`.
      holder: who asks, in a few words that another who has to wait is shown.
      wait: whether to wait for as long as another holds it, or to fail.

    Raises:
      NightTakenError: another holds the night, and `wait` is false.
      StoreError: the database does not answer.
    """
    with contextlib.closing(open_session(config)) as connection:
        with connection.cursor() as cursor:
            # Postgres keeps 63 bytes of it, and drops what is not ASCII.
            cursor.execute("SELECT set_config('application_name', %s, false)", (f"by {holder}"[:63],))
            is_logged = False
            # Asked for again and again: a wait inside Postgres could not be ended by a signal (psycopg/psycopg2#333).
            while not try_lock(cursor, f"night {night}"):
                other = find_holder(cursor, f"night {night}") or "by a run that has just ended"
                if not wait:
                    raise NightTakenError(
                        f"night {night} is being trained ({other}); two runs of a night never train at once: wait "
                        "until it has ended, or end it, and try again"
                    )
                if not is_logged:
                    logger.warning("Night %s is being trained (%s); waiting until it has ended.", night, other)
                is_logged = True
                time.sleep(_NIGHT_POLL_SECONDS)
        yield


@contextlib.contextmanager
def hold_patiently(config: ConnectionConfig, name: str) -> Iterator[Callable[[], None]]:
    """Holds the lock `name`, however long another has to be waited for.

    Returns:
      What raises an error where the connection, and with it the lock, has been lost.

    Raises:
      StoreError: the database does not answer.
    """
    with contextlib.closing(open_session(config)) as connection, connection.cursor() as cursor:

        def check() -> None:
            try:
                cursor.execute("SELECT 1")
            except psycopg2.Error as error:
                raise StoreError(f"the lock {name!r} in {place_of(config)} has been lost: {error}") from error

        # Asked for again and again, as for a night.
        while not try_lock(cursor, name):
            time.sleep(_NIGHT_POLL_SECONDS)
        yield check


def lend_lock(config: ConnectionConfig) -> contextlib.AbstractContextManager[None]:
    """Lends this database's locks to what has to hold a place on object storage, such as a push."""
    return lend(lambda name: hold_patiently(config, f"place {name}"))


@contextlib.contextmanager
def hold_pushes(settings: Settings) -> Iterator[Check]:
    """Holds the serving directory: no push, rollback or removal begins meanwhile.

    Returns:
      What raises an error where it is not held any more, as by a lock of a database that has gone away.

    Raises:
      OSError: it cannot be held.
      StoreError: it is on object storage, and the database does not answer.
    """
    # Without a database a folder is held all the same.
    lent = lend_lock(connection_config(settings)) if is_object(settings.serving_dir) else contextlib.nullcontext()
    with lent, kept_in(settings.serving_dir).hold(settings.serving_dir) as check:
        yield check


def open_session(config: ConnectionConfig) -> psycopg2.extensions.connection:
    """A connection for locks, which breaks half a minute after one end has last heard of the other.

    Raises:
      StoreError: the database does not answer.
    """
    connection = connect(config, **SILENCE_OPTIONS)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for name, value in _SERVER_OPTIONS.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    except psycopg2.Error as error:
        connection.close()
        raise StoreError(f"no lock can be asked for in {place_of(config)}: {error}") from None
    return connection


def try_lock(cursor: psycopg2.extensions.cursor, name: str) -> bool:
    """Takes the lock `name` for the cursor's connection, unless another holds it; returns whether it did."""
    cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
    row = cursor.fetchone()
    return row is not None and bool(row[0])


def find_holder(cursor: psycopg2.extensions.cursor, name: str) -> str | None:
    """Who holds the lock `name`, as they called themselves; None where nobody does."""
    cursor.execute(
        """SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
           WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database
             WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)""",
        (name,),
    )
    row = cursor.fetchone()
    return str(row[0]) if row else None


@contextlib.contextmanager
def lock(config: ConnectionConfig, name: str, is_shared: bool = False) -> Iterator[None]:
    """Holds the lock `name` in the database; it is released when the process dies, too.

    Args:
      config: where it is.
      name: of the lock.
      is_shared: whether others may hold it as well who ask for it so.

    Raises:
      StoreError: the database does not answer, or another process keeps the lock for more than a minute.
    """
    with contextlib.closing(open_session(config)) as connection:
        with connection.cursor() as cursor:
            try:
                cursor.execute("SET lock_timeout = %s", (f"{_LOCK_TIMEOUT_SECONDS}s",))
                kind = "pg_advisory_lock_shared" if is_shared else "pg_advisory_lock"
                cursor.execute(f"SELECT {kind}(hashtextextended(%s, 0))", (name,))
            except psycopg2.errors.LockNotAvailable as error:
                raise StoreError(
                    f"another process has been holding the lock {name!r} in {place_of(config)} for more than "
                    f"{_LOCK_TIMEOUT_SECONDS} s; end it, or wait for it, and try again"
                ) from error
        yield
