"""Whether the process of an attempt is at work, as every machine can see it: it holds a lock in MLMD's database.

Postgres frees the lock when the process ends, however it ends, and when its machine has not been heard of for half a
minute. The name of a host and a process id could not tell: a container has another name at each start, and process ids
of its own.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator

import psycopg2
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig

from retraining.recording.advisory_locks import find_holder, open_session, try_lock
from retraining.recording.store import StoreError, place_of

_LOOK_SECONDS = 5.0
"""How often a holder looks whether it still holds its lock: Postgres may have been started anew."""

_RETURN_SECONDS = 4 * _LOOK_SECONDS
"""So long after a start of Postgres a holder may still be on its way back."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def show(config: ConnectionConfig) -> Iterator[str]:
    """Shows that this process is at work, for as long as the block lasts.

    Args:
      config: MLMD's database.

    Yields:
      The key by which others ask for it.

    Raises:
      StoreError: the database does not answer.
    """
    key = uuid.uuid4().hex
    holder = _Holder(config, key)
    try:
        holder.look()
    except psycopg2.Error as error:
        raise StoreError(f"this process cannot show in {place_of(config)} that it is at work: {error}") from None
    holder.start()
    try:
        yield key
    finally:
        holder.stop()


def is_shown(config: ConnectionConfig, key: str, is_patient: bool = True) -> bool:
    """Whether the process of a key is at work.

    Args:
      config: MLMD's database.
      key: of the process.
      is_patient: whether to wait, just after Postgres was started anew, for those that come back for their locks.

    Raises:
      StoreError: the database does not answer.
    """
    deadline = time.monotonic() + _RETURN_SECONDS
    with contextlib.closing(open_session(config)) as connection, connection.cursor() as cursor:
        while find_holder(cursor, _name(key)) is None:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float")
            [(age_seconds,)] = cursor.fetchall()
            if not is_patient or age_seconds > _RETURN_SECONDS or time.monotonic() > deadline:
                return False
            time.sleep(1)
        return True


def _name(key: str) -> str:
    return f"process {key}"


class _Holder(threading.Thread):
    """Holds the lock of this process, also when its connection breaks meanwhile: a database that is away comes back."""

    def __init__(self, config: ConnectionConfig, key: str) -> None:
        super().__init__(name="liveness", daemon=True)
        self._config = config
        self._key = key
        self._connection: psycopg2.extensions.connection | None = None
        self._has_lock = False
        self._ended = threading.Event()

    def run(self) -> None:
        """Looks again and again."""
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self.look()
            except (psycopg2.Error, StoreError) as error:
                logger.debug("The lock of this process is lost, and asked for again: %s", error)
                self._close()
        self._close()

    def look(self) -> None:
        """Takes the lock where it is not held.

        Raises:
          psycopg2.Error, StoreError: the database does not answer, or no more.
        """
        if self._connection is None:
            self._connection = open_session(self._config)
        with self._connection.cursor() as cursor:
            if not self._has_lock:
                # Until Postgres knows that it is broken, the connection before this one holds it.
                self._has_lock = try_lock(cursor, _name(self._key))
            cursor.execute("SELECT 1")

    def stop(self) -> None:
        """Frees the lock; where the network has gone the end of the process does."""
        self._ended.set()
        self.join(_LOOK_SECONDS)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._has_lock = None, False
