"""The two databases as files, and the embedded Postgres by itself, for as long as nothing else of the service runs."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg2
from psycopg2 import sql

from retraining.local import airflow, ports, postgres, preparation, service, supervisor
from retraining.settings import Settings
from retraining.upkeep import UpgradeError, dumps

PREFIXES: tuple[Literal["airflow_db", "mlmd"], ...] = ("airflow_db", "mlmd")
"""How the settings of the two databases begin; the copy of each is a file of that name."""

_START_SECONDS = 120
_STOP_SECONDS = 60
_OURS = "n.nspname <> 'information_schema' AND left(n.nspname, 3) <> 'pg_'"


def copy_path(folder: Path, prefix: str) -> Path:
    """Where the copy of a database is in a folder of copies."""
    return folder / f"{prefix}.dump"


@contextmanager
def running(settings: Settings, binaries: Path | None = None, owner: Settings | None = None) -> Iterator[None]:
    """Runs the embedded Postgres by itself; ended with the block.

    Args:
      settings: whose data it has, and the port on which it listens.
      binaries: of the Postgres that made the data. Default: those of the environment.
      owner: the service it is for, where that has its data elsewhere; `down` of that one ends what was left of it.

    Raises:
      UpgradeError: it does not start.
      PortTakenError: its port is taken.
      PreparationError: it refuses its superuser.
    """
    ports.check_free(settings, {"POSTGRES_PORT"})
    environment = airflow.environment(owner or settings)
    if binaries is not None:
        environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"
    path = supervisor.log_path(settings, "postgres")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        process = subprocess.Popen(
            shlex.split(postgres.server_command(settings)),
            cwd=settings.state_dir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # An interrupt from the terminal is for this command alone, which then ends the server.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not preparation.superuser_answers(settings):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UpgradeError(f"Postgres did not start; {path} ends with:\n{supervisor.last_lines(path)}")
            time.sleep(0.1)
        yield
    finally:
        with service.uninterrupted():
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # What it has said to be written, it has written.
                process.kill()
                process.wait()


def copy(settings: Settings, folder: Path) -> None:
    """Writes a copy of each database into a folder, which others may not read.

    Raises:
      DumpError: `pg_dump` failed.
    """
    for prefix in PREFIXES:
        place = settings.database(prefix)
        with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            [(snapshot,)] = cursor.fetchall()
            dumps.dump(place, copy_path(folder, prefix), snapshot, connection.server_version // 10_000)


def put_back(settings: Settings, folder: Path) -> None:
    """Makes each database what it was when its copy was written; what came since is gone.

    Raises:
      UpgradeError: a copy cannot be read, and nothing has changed.
      DumpError: it could not be run, and that database is empty.
    """
    for prefix in PREFIXES:
        _check_readable(copy_path(folder, prefix))
    for prefix in PREFIXES:
        place, source = settings.database(prefix), copy_path(folder, prefix)
        with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
            _empty(cursor)
            connection.commit()
        dumps.load(place, source)


def count_rows(settings: Settings) -> dict[str, int]:
    """The rows of every table of both databases, by `<database>.<table>`."""
    counts = {}
    for prefix in PREFIXES:
        place = settings.database(prefix)
        with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
            for schema, table in _find_relations(cursor, "r"):
                cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
                [(count,)] = cursor.fetchall()
                counts[f"{place.name}.{table}"] = int(count)
    return counts


def measure_bytes(settings: Settings) -> int:
    """The room that both databases take."""
    total = 0
    for prefix in PREFIXES:
        place = settings.database(prefix)
        with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_database_size(current_database())")
            [(size,)] = cursor.fetchall()
            total += int(size)
    return total


def list_others(settings: Settings) -> list[str]:
    """The databases of the embedded server that are neither the service's nor Postgres' own."""
    ours = [settings.airflow_db_database, settings.mlmd_database, "postgres"]
    with closing(postgres.connect_superuser(settings)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> ALL(%s) ORDER BY 1", [ours]
        )
        return [str(name) for (name,) in cursor.fetchall()]


def _empty(cursor: Any) -> None:
    """Drops what the role of a database owns in it.

    Not by DROP OWNED, which also takes the right to connect away, nor with the schema `public`, which before Postgres
    15 is the superuser's.
    """
    for kind, word in (("v", "VIEW"), ("r", "TABLE"), ("S", "SEQUENCE")):
        for schema, name in _find_relations(cursor, kind):
            statement = sql.SQL("DROP {} IF EXISTS {} CASCADE")
            cursor.execute(statement.format(sql.SQL(word), sql.Identifier(schema, name)))
    cursor.execute(
        f"SELECT n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace "
        f"WHERE t.typtype = 'e' AND {_OURS}"
    )
    for schema, name in cursor.fetchall():
        cursor.execute(sql.SQL("DROP TYPE {} CASCADE").format(sql.Identifier(schema, name)))


def _find_relations(cursor: Any, kind: str) -> list[tuple[str, str]]:
    cursor.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE c.relkind = %s AND {_OURS} ORDER BY 1, 2",
        [kind],
    )
    return [(str(schema), str(name)) for schema, name in cursor.fetchall()]


def _check_readable(source: Path) -> None:
    """Raises UpgradeError for a copy that cannot be read to its end, before anything is emptied for it."""
    reading = [str(dumps.find_program("pg_restore", 0)), "--file=/dev/null", str(source)]
    done = subprocess.run(reading, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UpgradeError(f"{source} cannot be read: {done.stderr.strip()}")
