"""Rewriting the paths in an MLMD database, of Postgres or SQLite, inside the caller's transaction."""

import sqlite3
from collections.abc import Iterator
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import execute_batch

from retraining.places.moves import Moves

# Every column of MLMD's schema 10 that holds paths, with what names its row (ml_metadata/util/metadata_source_query_
# config.cc). A URI is a path; a property may be one, or JSON with some in it, such as the Pusher's destination.
_COLUMNS = (
    ("artifact", ("id",), "uri"),
    ("artifactproperty", ("artifact_id", "name", "is_custom_property"), "string_value"),
    ("executionproperty", ("execution_id", "name", "is_custom_property"), "string_value"),
    ("contextproperty", ("context_id", "name", "is_custom_property"), "string_value"),
)


def rewrite_paths(cursor: "Cursor | sqlite3.Cursor", moves: Moves) -> int:
    """Rewrites every path that lies in a folder that has moved.

    A path elsewhere, a foreign pipeline's for example, stays as it is.

    Returns:
      How many paths were rewritten.
    """
    is_sqlite = isinstance(cursor, sqlite3.Cursor)
    mark = "?" if is_sqlite else "%s"
    count = 0
    for table, key, column in _COLUMNS:
        changes = list(_find_changes(cursor, moves, table, key, column))
        where = " AND ".join(f"{name} = {mark}" for name in key)
        statement = f"UPDATE {table} SET {column} = {mark} WHERE {where}"
        if is_sqlite:
            cursor.executemany(statement, changes)
        else:
            execute_batch(cursor, statement, changes, page_size=1000)
        count += len(changes)
    return count


def _find_changes(
    cursor: "Cursor | sqlite3.Cursor", moves: Moves, table: str, key: tuple[str, ...], column: str
) -> Iterator[tuple[Any, ...]]:
    # By position and not by LIKE, in which a folder's _ and % would stand for others.
    holds = "instr({}, ?) > 0" if isinstance(cursor, sqlite3.Cursor) else "strpos({}, %s) > 0"
    condition = " OR ".join(holds.format(column) for _ in moves.spellings)
    cursor.execute(f"SELECT {column}, {', '.join(key)} FROM {table} WHERE {condition}", list(moves.spellings))
    for text, *row in cursor.fetchall():
        if (rewritten := moves.rewrite(text)) != text:
            yield rewritten, *row
