"""What a database is asked, and what it never could be."""

import sqlite3
from typing import Any

import pytest

from lineage.database import Database, UnknownError


@pytest.fixture
def database() -> Database:
    return Database(sqlite3.connect(":memory:").cursor(), "a database of the tests")


@pytest.mark.parametrize(
    "value", ["a\0b", "half of \ud800", 2**63, -(2**63) - 1, ["fine", "a\0b"], [1, 2**31], [9**4000]]
)
def test_what_no_record_can_have_is_not_known_and_never_asked(value: Any, database: Database) -> None:
    statement = "SELECT 1 WHERE 1 IN :value" if isinstance(value, list) else "SELECT 1 WHERE 1 = :value"
    with pytest.raises(UnknownError, match="nothing in lineage"):
        database.rows(statement, value=value)
    assert database.rows("SELECT 'goes on'") == [("goes on",)]


@pytest.mark.parametrize("value", ["São Paulo 🙂", "\\", 2**63 - 1, [2**31 - 1, 7], ["", "é"], None, 1.5])
def test_anything_else_is_asked(value: Any, database: Database) -> None:
    if isinstance(value, list):
        assert database.column("SELECT 7 WHERE :first IN :value", first=value[0], value=value) == [7]
    else:
        assert database.column("SELECT :value", value=value) == [value]
