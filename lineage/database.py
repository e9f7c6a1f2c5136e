"""A database that is only read: in Postgres or an SQLite file, one statement at a time."""

import json
import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ

from headlines.errors import HeadlinesError
from headlines.postgres_address import Postgres

_LIST = re.compile(r"\bIN :(\w+)")
_VALUE = re.compile(r"(?<!:):(\w+)")
# MLMD's ids, with which lists of numbers are compared, are of Postgres' type integer; no number exceeds bigint.
_GREATEST_ID, _GREATEST = 2**31 - 1, 2**63 - 1


class LineageError(HeadlinesError):
    """Lineage cannot be read; the message says why and what to do."""

    may_pass = True


class UnknownError(HeadlinesError, LookupError):
    """Lineage does not know what was asked for; the message says what there is instead."""


class _Cursor(Protocol):
    def execute(self, statement: str, parameters: Any, /) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Database:
    """One transaction on a database: what it sees does not change while it is open.

    Attributes:
      place: which database, for messages.
    """

    def __init__(self, cursor: _Cursor, place: str) -> None:
        self._cursor = cursor
        self._is_sqlite = isinstance(cursor, sqlite3.Cursor)
        self.place = place

    def rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement in the SQL that Postgres and SQLite share.

        Args:
          statement: a parameter is `:name`; a list may only be used as `x IN :name`.
          **parameters: by name; a sequence that is no string is a list.

        Raises:
          UnknownError: a value is of a kind that no record can have.
          LineageError: the database went away or took too long.
        """
        values = {
            name: list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else value
            for name, value in parameters.items()
        }
        for value in values.values():
            _check(value)
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
            raise LineageError(f"the database {self.place} could not answer: {answer}") from error

    def column(self, statement: str, **parameters: Any) -> list[Any]:
        """The values of a statement that asks for one column; otherwise as `rows`."""
        return [value for (value,) in self.rows(statement, **parameters)]


def connect(place: Postgres) -> psycopg2.extensions.connection:
    """Connects to a Postgres to read it.

    Raises:
      LineageError: the server does not let the user in; it says what to do.
    """
    try:
        connection: psycopg2.extensions.connection = psycopg2.connect(
            **{
                **place.arguments,
                "application_name": "retraining lineage",
                # A reader that hangs would keep a web page waiting, and old rows from being cleaned up. Compiling a
                # plan takes longer than running any of these; tables are joined in the order in which they are
                # written, for what a property's name and value leave of a table is nothing that the planner's
                # statistics tell.
                "options": "-c statement_timeout=30s -c jit=off -c join_collapse_limit=1 -c random_page_cost=1.1",
            }
        )
    except (psycopg2.OperationalError, psycopg2.ProgrammingError) as error:
        raise LineageError(place.explain(error)) from None
    connection.set_session(readonly=True, isolation_level=ISOLATION_LEVEL_REPEATABLE_READ)
    return connection


def _check(value: Any) -> None:
    """Refuses what neither Postgres nor SQLite could be asked, which would end the transaction or worse."""
    greatest = _GREATEST_ID if isinstance(value, list) else _GREATEST
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, str) and not _is_storable(one):
            raise UnknownError(f"nothing in lineage is called {one!r:.100}: text holds no such characters")
        if isinstance(one, int) and abs(one) > greatest:
            raise UnknownError(f"nothing in lineage has a number as great as {one}")


def _is_storable(text: str) -> bool:
    # Half of a surrogate pair is what is left of bytes that were no UTF-8.
    return "\0" not in text and (text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text))


def _as_array(values: list[Any]) -> list[Any] | str:
    """Numbers as one literal: Postgres plans an array of a thousand expressions in milliseconds (no issue known)."""
    return "{" + ",".join(map(str, values)) + "}" if all(isinstance(value, int) for value in values) else values
