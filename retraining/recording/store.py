"""The connection to MLMD's Postgres: open it, and say clearly why it cannot be opened."""

import contextlib
import hashlib
import random
import time
from typing import Any

import psycopg2
from google.protobuf.message import Message
from ml_metadata import MetadataStore, errors
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig, PostgreSQLDatabaseConfig

from headlines.errors import HeadlinesError
from headlines.postgres_address import Postgres, is_local
from retraining.settings import Settings

# MLMD 1.16 on Postgres fails on every backslash (`syntax error at or near "{"`; no issue known), and Postgres itself on
# a NUL.
_UNSTORABLE = str.maketrans({"\\": "\u29f5", "\x00": "\u2400"})
# MLMD indexes string values, and an entry of a b-tree holds at most 2,704 bytes (google/ml-metadata#194).
_MAX_BYTES = 2000
# Ours, beside MLMD's own: nothing of MLMD's finds the run and the node of an execution (no issue known).
_INDEXES = {"retraining_association_execution": "association (execution_id)"}
_OPEN_ATTEMPTS = 10


class StoreError(HeadlinesError):
    """MLMD's database cannot be used; the message says where it is, what it answered and which settings to check."""

    may_pass = True


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
            with contextlib.closing(connect(config)):
                pass
            if attempt == _OPEN_ATTEMPTS:
                raise StoreError(f"MLMD cannot use its database at {place_of(config)}: {error}") from error
            time.sleep(random.random())
    raise AssertionError("unreachable")


def migrate_store(config: ConnectionConfig) -> None:
    """Brings the tables of an older ML Metadata to those of the one here; others are left as they are.

    ML Metadata does it in one transaction, and refuses tables of a newer one (docs/index.md of google/ml-metadata,
    "Upgrade the database schema"). The caller holds TABLES_LOCK.

    Raises:
      StoreError: it could not.
    """
    try:
        CleanStore(config, enable_upgrade_migration=True)
    except (RuntimeError, errors.StatusError) as error:
        raise StoreError(f"ML Metadata cannot migrate its database at {place_of(config)}: {error}") from error


def add_indexes(config: ConnectionConfig) -> None:
    """Creates the indexes that the questions about lineage need, as docs/lineage.md tells; MLMD's tables must be there.

    Raises:
      StoreError: the database does not answer.
    """
    with contextlib.closing(connect(config)) as connection, connection, connection.cursor() as cursor:
        for name, target in _INDEXES.items():
            # Even where there is nothing to do, CREATE INDEX waits for everybody who writes to the table
            # (no issue known).
            cursor.execute("SELECT to_regclass(%s)", (name,))
            if cursor.fetchone() == (None,):
                cursor.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {target}")


def connect(config: ConnectionConfig, **options: Any) -> psycopg2.extensions.connection:
    """A connection to MLMD's database, beside MLMD's own.

    Args:
      config: where it is.
      **options: more of libpq's parameters.

    Raises:
      StoreError: the database does not answer, or does not let its role in.
    """
    place = place_of(config)
    try:
        connection: psycopg2.extensions.connection = psycopg2.connect(**place.arguments, **options)
    except psycopg2.OperationalError as error:
        raise StoreError(place.explain(error)) from None
    return connection


def place_of(config: ConnectionConfig) -> Postgres:
    """Where MLMD is, in our words."""
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
