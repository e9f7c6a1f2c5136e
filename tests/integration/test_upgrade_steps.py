"""What an upgrade finds, refuses, does and leaves behind, on real databases; a whole service is in tests/e2e."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import create_autospec

import psycopg2
import pytest
from ml_metadata.metadata_store import metadata_store
from typer.testing import CliRunner

from headlines.disk import Disk
from retraining import renamed_settings
from retraining.cli.main import app
from retraining.local import postgres, preparation, secrets, service, standing
from retraining.local.preparation import PreparationError
from retraining.local.standing import StandingError
from retraining.recording.store import connection_config, migrate_store, open_store
from retraining.settings import Settings
from retraining.upkeep import UpgradeError, copies, databases, plans
from retraining.upkeep import upgrade as upgrading
from retraining.version import VERSION

OLDER_REVISION = "22ed7efa9da2"
"""Airflow 2.10.0's, which the Airflow here migrates."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A stopped service of the first version: databases of an older Airflow and of ML Metadata, and no stamp."""
    made = secrets.make_missing(
        Settings.from_env(state_dir=tmp_path_factory.mktemp("template"), postgres_port=free_port())
    )
    postgres.make_data(made)
    with databases.running(made):
        postgres.make_databases(made)
        open_store(connection_config(made))
        run(
            made,
            f"CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('{OLDER_REVISION}')",
        )
    return made


@pytest.fixture
def settings(template: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    place = tmp_path / "a state"
    # Where root runs the suite, the data is another user's.
    subprocess.run(["cp", "-a", template.state_dir, place], check=True)
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr("retraining.upkeep.upgrade.ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr("retraining.upkeep.plans.ENV_FILE", tmp_path / ".env")
    monkeypatch.setattr("retraining.upkeep.copies.ENV_FILE", tmp_path / ".env")
    return template.model_copy(update={"state_dir": place})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow's migration is its own; here it sets the revision. The service is said to be up."""

    def migrate(settings: Settings, environment: dict[str, str], report: preparation.Report) -> None:
        run(settings, f"UPDATE alembic_version SET version_num = '{standing.read_airflow_revisions()[1]}'")

    monkeypatch.setattr(preparation, "migrate", create_autospec(preparation.migrate, side_effect=migrate))
    up = create_autospec(service.up, side_effect=lambda settings, report: settings)
    monkeypatch.setattr(service, "up", up)
    monkeypatch.setattr(upgrading, "_check", create_autospec(upgrading._check, return_value=None))
    yield


def run(settings: Settings, statement: str, prefix: str = "airflow_db") -> None:
    with (
        closing(psycopg2.connect(**settings.database(prefix).arguments)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_databases_that_would_be_migrated_are_refused_by_a_start(settings: Settings) -> None:
    _, head = standing.read_airflow_revisions()
    with databases.running(settings):
        with pytest.raises(StandingError, match=f"revision {OLDER_REVISION}, .* revision {head}: run `retraining upgr"):
            standing.check(settings)
        run(settings, f"UPDATE alembic_version SET version_num = '{head}'")
        assert not standing.check(settings)
        run(settings, "UPDATE mlmdenv SET schema_version = 9", "mlmd")
        with pytest.raises(StandingError, match=r"schema version 9, .* schema version 10: run `retraining upgrade`"):
            standing.check(settings)


@pytest.mark.parametrize(
    ("prefix", "statement", "told"),
    [
        ("airflow_db", "UPDATE alembic_version SET version_num = 'ffffffffffff'", "Airflow's tables are of revision f"),
        ("mlmd", "UPDATE mlmdenv SET schema_version = 11", "ML Metadata's tables are of schema version 11"),
    ],
)
def test_databases_of_a_newer_program_are_told_plainly(
    settings: Settings, prefix: str, statement: str, told: str
) -> None:
    with databases.running(settings):
        run(settings, statement, prefix)
        with pytest.raises(StandingError, match=f"{told}.*this checkout is older than the one that ran here last"):
            standing.check(settings)
    with pytest.raises(StandingError, match=told):
        plans.make_plan(settings, print)


def test_empty_databases_are_prepared_and_belong_to_this_version(settings: Settings) -> None:
    with databases.running(settings):
        run(settings, "DROP TABLE alembic_version")
        run(settings, "DROP TABLE mlmdenv", "mlmd")
        assert standing.check(settings)


def test_the_revisions_of_airflow_are_those_that_alembic_finds() -> None:
    from airflow.utils.db import _get_alembic_config
    from alembic.script import ScriptDirectory

    known, head = standing.read_airflow_revisions()
    script = ScriptDirectory.from_config(_get_alembic_config())
    assert (known, head) == ({revision.revision for revision in script.walk_revisions()}, script.get_current_head())


def test_tables_of_an_older_ml_metadata_are_migrated(settings: Settings) -> None:
    config = connection_config(settings)
    with databases.running(settings):
        metadata_store.downgrade_schema(config, 9)
        assert [schema.age for schema in standing.find_schemas(settings)] == ["older", "older"]
        migrate_store(config)
        assert [schema.age for schema in standing.find_schemas(settings)] == ["older", "current"]
        migrate_store(config)


def test_an_upgrade_copies_migrates_stamps_and_has_nothing_to_do_afterwards(
    settings: Settings, started: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(renamed_settings, "RENAMED", {"OLD_SEED": renamed_settings.Renamed("SEED")})
    (tmp_path / ".env").write_text("OLD_SEED=7\n")
    plan = plans.make_plan(settings, print)
    assert plan.steps[0] == f"from version 0.1.0 to {VERSION}"
    assert OLDER_REVISION in plan.steps[1]
    assert plan.steps[2] == f"settings are renamed in {tmp_path / '.env'}"

    done = upgrading.upgrade(settings, plan, print)
    assert standing.read_stamp(settings) == VERSION
    assert (tmp_path / ".env").read_text() == "SEED=7\n"
    assert done.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in done.folder.iterdir() if path.suffix == ".dump"} == {0}
    assert not plans.make_plan(settings, print).steps

    # And back, to the byte.
    assert "git checkout v0.1.0" in upgrading.go_back(settings, done.folder, print)
    assert standing.read_stamp(settings) is None
    assert (tmp_path / ".env").read_text() == "OLD_SEED=7\n"
    assert plans.make_plan(settings, print).steps == plan.steps


def test_a_failed_migration_says_why_and_the_way_back_and_is_begun_again(
    settings: Settings, started: None, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object) -> None:
        raise PreparationError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "migrate", fail)
        with pytest.raises(UpgradeError, match=r"no space left\n.*Mend that .*upgrade --back '.*a state/up"):
            upgrading.upgrade(settings, plans.make_plan(settings, print), print)
    assert standing.read_stamp(settings) is None
    plan = plans.make_plan(settings, print)
    assert len(plan.steps) == 2
    upgrading.upgrade(settings, plan, print)
    assert not plans.make_plan(settings, print).steps


def test_where_no_copy_can_be_made_nothing_is_changed(
    settings: Settings, started: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plans.make_plan(settings, print)
    with monkeypatch.context() as patch:
        full = Disk(settings.state_dir, "/dev/sdb1", 2**30, 0, 10)
        patch.setattr(copies, "find_disk", create_autospec(copies.find_disk, return_value=full))
        with pytest.raises(UpgradeError, match=r"has 0 MB free, and the copy of the databases may take \d+ MB"):
            upgrading.upgrade(settings, plan, print)
    assert not (settings.state_dir / "upgrades").exists()
    with pytest.raises(UpgradeError, match="holds no copy of an upgrade"):
        copies.Copy.read(settings.state_dir)


def test_the_command_says_what_it_would_do_and_does_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["upgrade", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert (
        f"- from version 0.1.0 to {VERSION}\n- migrate: Airflow's tables are of revision {OLDER_REVISION}"
        in shown.output
    )
    assert shown.output.endswith("Nothing was done: --dry-run.\n")
    assert not (settings.state_dir / "upgrades").exists()


def test_packages_of_another_version_are_asked_for_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "requirements.lock").write_text("typer==0.0.1\n")
    monkeypatch.setattr("retraining.upkeep.pins.LOCK", tmp_path / "requirements.lock")
    with pytest.raises(UpgradeError, match=r"typer is .*, pinned 0\.0\.1\); run `make setup` first"):
        plans.make_plan(settings, print)


def test_nothing_to_upgrade_is_said(tmp_path: Path) -> None:
    with pytest.raises(UpgradeError, match=r"nothing has run in .* yet"):
        plans.make_plan(Settings.from_env(state_dir=tmp_path), print)


def test_databases_of_ones_own_are_left_alone_while_others_are_connected(settings: Settings) -> None:
    own = settings.model_copy(update={"postgres_embedded": False})
    (own.airflow_home / "logs").mkdir(parents=True)
    with databases.running(settings):
        plan = plans.make_plan(own, print)
        with (
            closing(psycopg2.connect(**own.database("airflow_db").arguments)),
            pytest.raises(UpgradeError, match="1 connections to Airflow's database are open; stop the scheduler"),
        ):
            upgrading.upgrade(own, plan, print)
