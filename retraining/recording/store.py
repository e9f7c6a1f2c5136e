"""The connection to MLMD's Postgres: open it, say clearly why it cannot be opened, hold a lock in it."""

import contextlib
import hashlib
import logging
import random
import time
from collections.abc import Iterator

import psycopg2
from google.protobuf.message import Message
from ml_metadata import MetadataStore, errors
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig, PostgreSQLDatabaseConfig

from headlines.errors import HeadlinesError
from headlines.postgres_address import Postgres, is_local
from retraining.settings import Settings

TYPES_LOCK = "mlmd types"
"""The lock under which types are made.

MLMD checks it against no other process, and would make each several times (no issue known).
"""

# MLMD 1.16 on Postgres fails on every backslash (`syntax error at or near "{"`; no issue known), and Postgres itself on
# a NUL.
_UNSTORABLE = str.maketrans({"\\": "\u29f5", "\x00": "\u2400"})
# MLMD indexes string values, and an entry of a b-tree holds at most 2,704 bytes (google/ml-metadata#194).
_MAX_BYTES = 2000
# Ours, beside MLMD's own: nothing of MLMD's finds the run and the node of an execution (no issue known).
_INDEXES = {"retraining_association_execution": "association (execution_id)"}
_LOCK_TIMEOUT_SECONDS = 60
_NIGHT_POLL_SECONDS = 1
_OPEN_ATTEMPTS = 10

logger = logging.getLogger(__name__)


class StoreError(HeadlinesError):
    """MLMD's database cannot be used; the message says where it is, what it answered and which settings to check."""

    may_pass = True


class NightTakenError(StoreError):
    """Another run trains the night; the message says which."""


class RecordError(StoreError):
    """MLMD can never take or give what is asked of it; the message says what that is."""

    may_pass = False


class PlainConnectionError(StoreError):
    """MLMD's client would send over a network what must be encrypted; the message says what to do."""

    may_pass = False


class CleanStore(MetadataStore):
    """A MetadataStore on Postgres that takes any string, and gives the paths of events back as they were put.

    What Postgres cannot store is replaced by a look-alike in the request that goes to the database, never in the
    caller's artifacts and executions. The steps of a path, which MLMD reads without an order (no issue known), are
    sorted: Postgres may put the second before the first, and TFX would then miss an output under its key.
    """

    def _call(self, method_name: str, request: Message, response: Message, *args: object) -> None:
        _clean(request)
        super()._call(method_name, request, response, *args)
        for event in getattr(response, "events", ()):
            # TFX writes two: the key, then the index.
            event.path.steps.sort(key=lambda step: step.WhichOneof("value") != "key")


def connection_config(settings: Settings) -> ConnectionConfig:
    """Where MLMD is, in MLMD's own words.

    Raises:
      SettingsError: MLMD_PASSWORD is not set.
      StoreError: POSTGRES_SSLMODE requires TLS, and MLMD's client, which has none, would go over a network.
    """
    place = settings.mlmd
    host, port = place.host, str(place.port)
    if settings.mlmd_tunnel:
        host, _, port = settings.mlmd_tunnel.rpartition(":")
        host = host.strip("[]")
    elif place.requires_tls and not is_local(host):
        # Its wheel is built without OpenSSL: ml_metadata 1.16 takes `sslmode` and knows disable and prefer alone.
        raise PlainConnectionError(
            f"POSTGRES_SSLMODE={settings.postgres_sslmode}, but MLMD's own client has no TLS and would send to "
            f"MLMD_HOST={host} in clear; run a TLS tunnel on this machine (stunnel, PgBouncer, your cloud's proxy) and "
            "set MLMD_TUNNEL=127.0.0.1:<its port>: docs/security.md has an example"
        )
    return ConnectionConfig(
        postgresql=PostgreSQLDatabaseConfig(
            host=host,
            # A string; without it MLMD aborts the whole process (no issue known).
            port=port,
            dbname=place.name,
            user=place.user,
            password=place.password or "",
            # Otherwise MLMD looks into the database `postgres` first, where its role has no business.
            skip_db_creation=True,
        )
    )


def storable(text: str) -> str:
    r"""`text` as MLMD can hold it: a backslash becomes U+29F5, a NUL U+2400, half a surrogate pair `?`.

    A text of over 2,000 bytes in UTF-8 is cut, and ends with the hash and the length of the whole.
    """
    clean = text.encode("utf-8", "replace").decode().translate(_UNSTORABLE)
    whole = clean.encode()
    if len(whole) <= _MAX_BYTES:
        return clean
    start = whole[: _MAX_BYTES - 60].decode(errors="ignore")
    return f"{start} … (sha256:{hashlib.sha256(whole).hexdigest()[:16]}, {len(whole)} bytes)"


def open_store(config: ConnectionConfig) -> MetadataStore:
    """Opens the MLMD store, creating its tables in an empty database.

    Raises:
      StoreError: it cannot be opened.
    """
    for attempt in range(1, _OPEN_ATTEMPTS + 1):
        try:
            return CleanStore(config)
        except (RuntimeError, errors.StatusError) as error:
            # MLMD only says 'connection pointer is NULL' (no issue known). If Postgres answers, somebody else was
            # creating the tables.
            with contextlib.closing(_connect(config)):
                pass
            if attempt == _OPEN_ATTEMPTS:
                raise StoreError(f"MLMD cannot use its database at {_place(config)}: {error}") from error
            time.sleep(random.random())
    raise AssertionError("unreachable")


def add_indexes(config: ConnectionConfig) -> None:
    """Creates the indexes that the questions about lineage need, as docs/lineage.md tells; MLMD's tables must be there.

    Raises:
      StoreError: the database does not answer.
    """
    with contextlib.closing(_connect(config)) as connection, connection, connection.cursor() as cursor:
        for name, target in _INDEXES.items():
            # Even where there is nothing to do, CREATE INDEX waits for everybody who writes to the table
            # (no issue known).
            cursor.execute("SELECT to_regclass(%s)", (name,))
            if cursor.fetchone() == (None,):
                cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {target}")


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
    with contextlib.closing(_connect(config)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            # Postgres keeps 63 bytes of it, and drops what is not ASCII.
            cursor.execute("SELECT set_config('application_name', %s, false)", (f"by {holder}"[:63],))
            is_logged = False
            # Asked for again and again: a wait inside Postgres could not be ended by a signal (psycopg/psycopg2#333).
            while not _try_lock(cursor, f"night {night}"):
                other = _find_holder(cursor, f"night {night}")
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


def _try_lock(cursor: psycopg2.extensions.cursor, name: str) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,))
    row = cursor.fetchone()
    return row is not None and bool(row[0])


def _find_holder(cursor: psycopg2.extensions.cursor, name: str) -> str:
    """Who holds an advisory lock, as they called themselves."""
    cursor.execute(
        """SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
           WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database
             WHERE datname = current_database())
           AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)""",
        (name,),
    )
    row = cursor.fetchone()
    return str(row[0]) if row else "by a run that has just ended"


@contextlib.contextmanager
def lock(config: ConnectionConfig, name: str) -> Iterator[None]:
    """Holds the lock `name` in the database; it is released when the process dies, too.

    Raises:
      StoreError: the database does not answer, or another process keeps the lock for more than a minute.
    """
    with contextlib.closing(_connect(config)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            try:
                cursor.execute("SET lock_timeout = %s", (f"{_LOCK_TIMEOUT_SECONDS}s",))
                cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            except psycopg2.errors.LockNotAvailable as error:
                raise StoreError(
                    f"another process has been holding the lock {name!r} in {_place(config)} for more than "
                    f"{_LOCK_TIMEOUT_SECONDS} s; end it, or wait for it, and try again"
                ) from error
        yield


def _connect(config: ConnectionConfig) -> psycopg2.extensions.connection:
    place = _place(config)
    try:
        connection: psycopg2.extensions.connection = psycopg2.connect(**place.arguments)
    except psycopg2.OperationalError as error:
        raise StoreError(place.explain(error)) from None
    return connection


def _place(config: ConnectionConfig) -> Postgres:
    server = config.postgresql
    return Postgres("MLMD", "MLMD", server.host, int(server.port or 0), server.dbname, server.user, server.password)


def _clean(message: Message) -> None:
    """Makes every string of `message` storable, in place."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING and field.label != field.LABEL_REPEATED:
            if field.name == "uri" and "\\" in value:
                raise RecordError(
                    f"the path {value!r} has a backslash, which MLMD cannot store; use another directory "
                    "(STATE_DIR, PIPELINE_ROOT)"
                )
            setattr(message, field.name, storable(value))
        elif field.type == field.TYPE_MESSAGE and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type == field.TYPE_MESSAGE:
                for item in value.values():
                    _clean(item)
        elif field.type == field.TYPE_MESSAGE:
            for item in value if field.label == field.LABEL_REPEATED else [value]:
                _clean(item)
