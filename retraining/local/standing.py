"""Which version of this project ran a state last, and whether the programs here go with what its databases hold.

`up` and `init` make empty databases ready and migrate none: a migration has no way back but a copy made before it, and
a machine that comes up at night must not begin one. `retraining upgrade` does: retraining/upkeep/upgrade.py.
"""

import functools
import importlib.util
import json
import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg2
from packaging.version import InvalidVersion, Version

from headlines.durable import replace_file
from headlines.postgres_address import Postgres
from lineage.reader import SCHEMA_VERSION
from retraining.local import LocalError, postgres
from retraining.settings import Settings
from retraining.version import FIRST, VERSION

_REVISION = re.compile(r"^(down_revision|revision)\b[^=]*=\s*(.+)$", re.MULTILINE)
_QUOTED = re.compile(r"[\"']([0-9a-f]+)[\"']")

Age = Literal["empty", "older", "current", "newer"]


class StandingError(LocalError):
    """The programs here do not go with the databases; the message says which and what to do."""


@dataclass(frozen=True)
class Schema:
    """The tables of one database beside those that a program here works with.

    Attributes:
      owner: whose they are: `Airflow` or `ML Metadata`.
      age: of the database, beside the program.
      found: what the database calls its state; empty where it has no tables.
      wanted: what the program calls its own.
    """

    owner: str
    age: Age
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.owner}'s tables are of {self.found}, and {self.owner} here works with {self.wanted}"


def stamp_path(settings: Settings) -> Path:
    """The file that says which version ran the state last."""
    return settings.state_dir / "version.json"


def read_stamp(settings: Settings) -> str | None:
    """The version that ran the state last; None where nothing says so, as the first version did not."""
    try:
        return str(json.loads(stamp_path(settings).read_text())["version"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        path = stamp_path(settings)
        raise StandingError(f'{path} cannot be read ({error}); write {{"version": "{VERSION}"}} into it') from None


def stamp(settings: Settings, version: str = VERSION) -> None:
    """Says that a version runs the state from now on."""
    content = {"version": version, "since": datetime.now(UTC).isoformat(timespec="seconds")}
    replace_file(stamp_path(settings), json.dumps(content) + "\n")


def find_last_version(settings: Settings) -> str | None:
    """The version that ran the state last, the first where it says nothing; None where nothing has run in it."""
    return read_stamp(settings) or (FIRST if _has_run(settings) else None)


def tell_other_version(settings: Settings) -> str:
    """Says what to do where another version than this ran the state last; empty where none did."""
    last = find_last_version(settings)
    if last in (None, VERSION):
        return ""
    known = f"version {last}" if read_stamp(settings) else f"version {FIRST}, or one soon after it"
    if _is_newer(last):
        return (
            f"this state was last run by {known}, and this is {VERSION}, an older one: check out the newer one again "
            f"(`git checkout v{last}`, `make setup`), or go back for good with `retraining upgrade --back FOLDER`"
        )
    return f"this state was last run by {known}, and this is {VERSION}: run `retraining upgrade`"


def find_schemas(settings: Settings) -> list[Schema]:
    """What the two databases hold, beside what Airflow and ML Metadata here work with.

    Raises:
      psycopg2.OperationalError: a database does not answer.
    """
    revisions = _ask(settings.database("airflow_db"), "alembic_version", "SELECT version_num FROM alembic_version")
    versions = _ask(settings.database("mlmd"), "mlmdenv", "SELECT schema_version FROM mlmdenv")
    return [_compare_airflow(revisions), _compare_mlmd(versions)]


def check(settings: Settings) -> bool:
    """Refuses databases whose tables would have to be migrated, or are of a newer program.

    Returns:
      Whether both are empty.

    Raises:
      StandingError: they would.
      psycopg2.OperationalError: a database does not answer.
    """
    schemas = find_schemas(settings)
    refuse_newer(schemas)
    if older := [schema for schema in schemas if schema.age == "older"]:
        raise StandingError(
            f"{'; '.join(map(str, older))}: run `retraining upgrade`, which makes a copy first and then migrates them"
        )
    return all(schema.age == "empty" for schema in schemas)


def refuse_newer(schemas: Iterable[Schema]) -> None:
    """Raises StandingError for a database whose tables are of a newer program than is here."""
    if newer := [schema for schema in schemas if schema.age == "newer"]:
        raise StandingError(
            f"{'; '.join(map(str, newer))}: this checkout is older than the one that ran here last. Check that one out "
            "again and run `make setup`; or put the databases back as they were before its upgrade, with "
            "`retraining upgrade --back FOLDER` (see `upgrades` in the state folder)"
        )


@functools.cache
def read_airflow_revisions() -> tuple[frozenset[str], str]:
    """Every revision of Airflow's tables that the installed Airflow knows, and its newest.

    They are read from its migration files, as alembic does, which would import Airflow for it: seconds.
    """
    spec = importlib.util.find_spec("airflow")
    if spec is None or spec.origin is None:
        raise StandingError("Airflow is not installed; run `make setup`")
    revisions: set[str] = set()
    parents: set[str] = set()
    for path in Path(spec.origin).parent.joinpath("migrations", "versions").glob("[0-9]*.py"):
        for name, value in _REVISION.findall(path.read_text(encoding="utf-8")):
            (revisions if name == "revision" else parents).update(_QUOTED.findall(value))
    heads = revisions - parents
    if len(heads) != 1:
        raise StandingError(f"Airflow's migrations end in {sorted(heads)} instead of in one; run `make setup`")
    return frozenset(revisions), heads.pop()


def _compare_airflow(found: list[Any]) -> Schema:
    known, head = read_airflow_revisions()
    age: Age = "empty"
    if found:
        age = "newer" if not known.issuperset(found) else "current" if found == [head] else "older"
    return Schema("Airflow", age, f"revision {', '.join(map(str, found))}" if found else "", f"revision {head}")


def _compare_mlmd(found: list[Any]) -> Schema:
    age: Age = "empty"
    if found:
        newest = max(map(int, found))
        age = "newer" if newest > SCHEMA_VERSION else "older" if newest < SCHEMA_VERSION else "current"
    text = f"schema version {', '.join(map(str, found))}" if found else ""
    return Schema("ML Metadata", age, text, f"schema version {SCHEMA_VERSION}")


def _ask(place: Postgres, table: str, statement: str) -> list[Any]:
    """The values of one column; none where its table is not there."""
    with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", (table,))
        if cursor.fetchone() == (None,):
            return []
        cursor.execute(statement)
        return sorted(value for (value,) in cursor.fetchall())


def _has_run(settings: Settings) -> bool:
    """Whether a service of whatever version has kept anything in the state folder."""
    return postgres.data_dir(settings).exists() or (settings.airflow_home / "logs").exists()


def _is_newer(version: str | None) -> bool:
    try:
        return version is not None and Version(version) > Version(VERSION)
    except InvalidVersion:
        return False
