"""The places of a service as its own lineage database keeps them: where it was written, each time since when.

A table beside MLMD's own, so that it goes wherever the paths go that it explains: with a dump, a copy, a moved folder.
"""

import re
from collections.abc import Iterator, Mapping

from psycopg2.extensions import cursor as Cursor

from headlines.drops.rulings import DROPS_DIR_PROPERTY
from headlines.names import EXAMPLE_GEN, PUSHED_DESTINATION
from retraining.settings import Settings

PLACES = ("state_dir", "pipeline_root", "serving_dir", "drops_dir", "scores_dir")
"""The settings whose paths lineage holds, the first that of the folder in which the others lie by default."""

TABLE = "retraining_places"
_CREATE = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    setting text NOT NULL, path text NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (setting, since))"""


def places_of(settings: Settings) -> dict[str, str]:
    """Where the settings of today say that the service lies."""
    return {name: str(getattr(settings, name)) for name in PLACES}


def read_places(cursor: Cursor) -> dict[str, str]:
    """Where the service that wrote this lineage lay last; empty where nothing is recorded."""
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TABLE])
    if cursor.fetchone() != (True,):
        return {}
    cursor.execute(f"SELECT DISTINCT ON (setting) setting, path FROM {TABLE} ORDER BY setting, since DESC")
    return {name: path for name, path in cursor.fetchall() if name in PLACES}


def write_places(cursor: Cursor, places: Mapping[str, str]) -> None:
    """Records the places that differ from those on record."""
    before = read_places(cursor)
    changed = {name: path for name, path in places.items() if before.get(name) != path}
    if not changed:
        return
    cursor.execute(_CREATE)
    for name, path in changed.items():
        cursor.execute(f"INSERT INTO {TABLE} (setting, path) VALUES (%s, %s)", [name, path])


def derive_places(cursor: Cursor) -> dict[str, str]:
    """Where a service lay that recorded no places, as its newest records tell; empty where there are none."""
    cursor.execute("SELECT to_regclass('artifactproperty') IS NOT NULL")
    if cursor.fetchone() != (True,):
        return {}
    places = dict(_derive(cursor))
    root = places.get("pipeline_root", "")
    state_dir = root.removesuffix("/pipelines")
    if state_dir != root and places.get("serving_dir", f"{state_dir}/serving/headlines").startswith(f"{state_dir}/"):
        places["state_dir"] = state_dir
    return places


def _derive(cursor: Cursor) -> Iterator[tuple[str, str]]:
    cursor.execute(
        "SELECT uri FROM artifact WHERE uri ~ %s ORDER BY id DESC LIMIT 1", [f"/{EXAMPLE_GEN}/examples/[0-9]+$"]
    )
    for (uri,) in cursor.fetchall():
        yield "pipeline_root", re.sub(f"/{EXAMPLE_GEN}/examples/[0-9]+$", "", uri)
    cursor.execute(
        "SELECT string_value FROM artifactproperty WHERE name = %s AND string_value <> '' "
        "ORDER BY artifact_id DESC LIMIT 1",
        [PUSHED_DESTINATION],
    )
    for (path,) in cursor.fetchall():
        yield "serving_dir", path.rpartition("/")[0]
    for setting, name in (("drops_dir", DROPS_DIR_PROPERTY), ("scores_dir", "scores_dir")):
        cursor.execute(
            "SELECT string_value FROM executionproperty WHERE name = %s AND string_value LIKE '/%%' "
            "ORDER BY execution_id DESC LIMIT 1",
            [name],
        )
        for (path,) in cursor.fetchall():
            yield setting, path
