"""Read-only access to an MLMD database of schema 10: on Postgres, or in an SQLite file."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol

import psycopg2

from headlines.postgres_address import Postgres
from headlines.schedule import Schedule
from lineage.airflow_runs import Scheduling, open_scheduling
from lineage.database import Database, LineageError, connect
from lineage.database import UnknownError as UnknownError
from lineage.pipeline_names import OURS, Names

SCHEMA_VERSION = 10


class Reader(Database):
    """One transaction on an MLMD database, and one on Airflow's beside it when a question needs that.

    Attributes:
      names: how the pipeline that is asked about calls its parts.
    """

    def __init__(
        self,
        cursor: sqlite3.Cursor | psycopg2.extensions.cursor,
        place: str,
        names: Names,
        find_scheduling: Callable[[], Scheduling | None] = lambda: None,
    ) -> None:
        """Use `open_lineage`."""
        super().__init__(cursor, place)
        self.names = names
        self._find_scheduling = find_scheduling

    @cached_property
    def scheduling(self) -> Scheduling | None:
        """The second source: Airflow's database; None where no settings say where it is, or it has no tables yet.

        Raises:
          LineageError: Airflow's database does not answer.
        """
        return self._find_scheduling()

    def types(self, *names: str) -> list[int]:
        """The ids of the types so called, of any kind; MLMD may hold a type more than once (no issue known)."""
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
        return self.column(
            "SELECT id FROM context WHERE type_id IN :types AND name = :name",
            types=self.types("pipeline"),
            name=self.names.pipeline,
        )

    @cached_property
    def run_types(self) -> list[int]:
        """The types of a run's context: AirflowDagRunner's and LocalDagRunner's."""
        return [*self.types("run"), *self.local_run_types]

    @cached_property
    def local_run_types(self) -> list[int]:
        """The types of the context of a run by LocalDagRunner."""
        return self.types("pipeline_run")

    @cached_property
    def node_types(self) -> list[int]:
        """The types of the context of a node in a run (AirflowDagRunner) or a pipeline (LocalDagRunner)."""
        return self.types("component_run", "node")


class Databases(Schedule, Protocol):
    """Where lineage is, beside the schedule of the nights: what our settings say, or anything else that says it."""

    @property
    def mlmd(self) -> Postgres:
        """MLMD's database."""

    @property
    def airflow_db(self) -> Postgres | None:
        """Airflow's, a second source of what became of nights; None where there is none."""


Source = Databases | Postgres | Path | Reader


@contextmanager
def open_lineage(source: Source, names: Names = OURS) -> Iterator[Reader]:
    """Opens a read-only transaction on lineage, for one question or several about the same moment.

    Args:
      source: what says where MLMD's Postgres is, and Airflow's; an MLMD of other people's in Postgres; the path of an
        SQLite file; or what is open already.
      names: how the pipeline calls its parts; not used for what is open already.

    Yields:
      What every question of this package takes.

    Raises:
      LineageError: the server does not answer, the file is missing, or the schema is missing or of an unknown version.
    """
    if isinstance(source, Reader):
        yield source
        return
    with ExitStack() as stack:
        if isinstance(source, Path):
            file = stack.enter_context(closing(_open_file(source)))
            reader = Reader(file.cursor(), str(source), names)
            find_tables = "SELECT 1 FROM sqlite_master WHERE name = 'MLMDEnv'"
        else:
            place = source if isinstance(source, Postgres) else source.mlmd
            connection = stack.enter_context(closing(connect(place)))
            cursor = stack.enter_context(connection.cursor())
            reader = Reader(cursor, str(place), names, lambda: _find_scheduling(stack, source, names))
            find_tables = "SELECT 1 FROM pg_tables WHERE tablename = 'mlmdenv'"
        yield _checked(reader, find_tables)


def _find_scheduling(stack: ExitStack, source: Databases | Postgres, names: Names) -> Scheduling | None:
    # Where other people's Airflow is, and when its runs are due, nobody says.
    return None if isinstance(source, Postgres) else open_scheduling(stack, source.airflow_db, source, names)


def _open_file(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise LineageError(f"there is no MLMD file {path}; `retraining run --night YYYY-MM-DD --local` writes one")
    # The isolation level makes reading no transaction of its own: it is begun here, for one view of all questions.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.execute("BEGIN")
    return connection


def _checked(reader: Reader, find_tables: str) -> Reader:
    if not reader.rows(find_tables):
        raise LineageError(
            f"the database {reader.place} holds no MLMD tables yet; `retraining up` makes those of the service"
        )
    versions = reader.column("SELECT schema_version FROM mlmdenv")
    if versions != [SCHEMA_VERSION]:
        raise LineageError(
            f"the database {reader.place} has MLMD schema version {', '.join(map(str, versions)) or 'none'}, this "
            f"reader knows {SCHEMA_VERSION}; use the ml-metadata version that requirements.txt pins"
        )
    return reader
