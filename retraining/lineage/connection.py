"""Read-only access to an MLMD database of schema 10: on Postgres, or in an SQLite file.

Nothing here knows what is asked; no statement here reads more than MLMD's own bookkeeping.
"""

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ

from retraining.lineage.names import OURS, Names
from retraining.settings import Settings

SCHEMA_VERSION = 10

_LIST = re.compile(r"\bIN :(\w+)")
_VALUE = re.compile(r"(?<!:):(\w+)")


class LineageError(RuntimeError):
    """Lineage cannot be read; the message says why and what to do."""


class UnknownError(LookupError):
    """Lineage does not know what was asked for; the message says what there is instead."""


class _Cursor(Protocol):
    def execute(self, statement: str, parameters: Any, /) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Reader:
    """One transaction on an MLMD database: what it sees does not change while it is open.

    Attributes:
      place: which database, for messages.
      names: how the pipeline that is asked about calls its parts.
    """

    def __init__(self, cursor: _Cursor, place: str, names: Names) -> None:
        """Use `open_lineage`."""
        self._cursor = cursor
        self._is_sqlite = isinstance(cursor, sqlite3.Cursor)
        self.place = place
        self.names = names

    def rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement in the SQL that Postgres and SQLite share.

        Args:
          statement: a parameter is `:name`; a list may only be used as `x IN :name`.
          **parameters: by name; a sequence that is no string is a list.

        Raises:
          LineageError: the database went away or took too long.
        """
        values = {
            name: list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else value
            for name, value in parameters.items()
        }
        try:
            if self._is_sqlite:
                lists = {name: json.dumps(value) for name, value in values.items() if isinstance(value, list)}
                self._cursor.execute(_LIST.sub(r"IN (SELECT value FROM json_each(:\1))", statement), values | lists)
            else:
                arrays = {name: _as_array(value) for name, value in values.items() if isinstance(value, list)}
                self._cursor.execute(_VALUE.sub(r"%(\1)s", _LIST.sub(r"= ANY(:\1)", statement)), values | arrays)
            return self._cursor.fetchall()
        except (psycopg2.Error, sqlite3.Error) as error:
            answer = " ".join(str(error).split())
            raise LineageError(f"the MLMD database {self.place} could not answer: {answer}") from error

    def types(self, *names: str) -> list[int]:
        """The ids of the types so called, of any kind; MLMD may hold a type more than once."""
        return [identity for identity, name in self._types.items() if name in names]

    def type_name(self, identity: int) -> str:
        """What a type is called."""
        return self._types[identity]

    @cached_property
    def _types(self) -> dict[int, str]:
        return dict(self.rows("SELECT id, name FROM type"))

    @cached_property
    def pipelines(self) -> list[int]:
        """The contexts of the pipeline that is asked about: one, or none before its first run."""
        found = self.rows(
            "SELECT id FROM context WHERE type_id IN :types AND name = :name",
            types=self.types("pipeline"),
            name=self.names.pipeline,
        )
        return [identity for (identity,) in found]

    @cached_property
    def run_types(self) -> list[int]:
        """The types of a run's context: AirflowDagRunner's and LocalDagRunner's."""
        return self.types("run", "pipeline_run")

    @cached_property
    def node_types(self) -> list[int]:
        """The types of the context of a node in a run (AirflowDagRunner) or a pipeline (LocalDagRunner)."""
        return self.types("component_run", "node")


Source = Settings | Path | Reader


@contextmanager
def open_lineage(source: Source, names: Names = OURS) -> Iterator[Reader]:
    """Opens a read-only transaction on lineage, for one question or several about the same moment.

    Args:
      source: the settings that say where MLMD's Postgres is, the path of an SQLite file, or what is open already.
      names: how the pipeline calls its parts; not used for what is open already.

    Yields:
      What every question of this package takes.

    Raises:
      LineageError: the server does not answer, the file is missing, or the schema is missing or of an unknown version.
    """
    if isinstance(source, Reader):
        yield source
    elif isinstance(source, Path):
        with closing(_open_file(source)) as file:
            yield _checked(
                Reader(file.cursor(), str(source), names), "SELECT 1 FROM sqlite_master WHERE name = 'MLMDEnv'"
            )
    else:
        place = f"{source.mlmd_host}:{source.mlmd_port}/{source.mlmd_database}"
        with closing(_connect(source, place)) as connection, connection.cursor() as cursor:
            yield _checked(Reader(cursor, place, names), "SELECT 1 FROM pg_tables WHERE tablename = 'mlmdenv'")


def _connect(settings: Settings, place: str) -> psycopg2.extensions.connection:
    try:
        connection = psycopg2.connect(
            host=settings.mlmd_host,
            port=settings.mlmd_port,
            dbname=settings.mlmd_database,
            user=settings.mlmd_user,
            password=settings.secret("mlmd_password"),
            connect_timeout=5,
            application_name="retraining lineage",
            # A reader that hangs would keep a web page waiting, and old rows from being cleaned up. Compiling a plan
            # takes longer than running any of these; tables are joined in the order in which they are written, for what
            # a property's name and value leave of a table is nothing that the planner's statistics tell.
            options="-c statement_timeout=30s -c jit=off -c join_collapse_limit=1 -c random_page_cost=1.1",
        )
    except psycopg2.OperationalError as error:
        raise LineageError(
            f"the MLMD database {place} does not let user {settings.mlmd_user} in: {str(error).strip()}; "
            "is it running (`retraining status`; `retraining up` starts it), and are MLMD_HOST, MLMD_PORT and "
            "MLMD_PASSWORD right?"
        ) from None
    connection.set_session(readonly=True, isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
    return connection


def _open_file(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise LineageError(f"there is no MLMD file {path}; `retraining run --local` writes one")
    # The isolation level makes reading no transaction of its own: it is begun here, for one view of all questions.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.execute("BEGIN")
    return connection


def _checked(reader: Reader, find_tables: str) -> Reader:
    if not reader.rows(find_tables):
        raise LineageError(f"the database {reader.place} holds no MLMD tables yet; `retraining up` makes them")
    versions = [version for (version,) in reader.rows("SELECT schema_version FROM mlmdenv")]
    if versions != [SCHEMA_VERSION]:
        raise LineageError(
            f"the database {reader.place} has MLMD schema version {', '.join(map(str, versions)) or 'none'}, this "
            f"reader knows {SCHEMA_VERSION}; use the ml-metadata version that requirements.txt pins"
        )
    return reader


def _as_array(values: list[Any]) -> list[Any] | str:
    """Numbers as one literal, since Postgres plans an array of a thousand expressions in milliseconds."""
    return "{" + ",".join(map(str, values)) + "}" if all(isinstance(value, int) for value in values) else values
