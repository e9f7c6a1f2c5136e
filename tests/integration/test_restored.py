"""A backup of databases and files of one moment, and a service made of it in other folders and databases."""

import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import psycopg2
import pytest
from launching import launch_all, pipeline
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType, Execution, ExecutionType
from postgres_server import Server
from pydantic import SecretStr
from tiny_pipeline import nodes

from headlines.names import LAST_BACKUP_FILE
from headlines.pushes import removals, rollbacks
from retraining.engines.arguments import list_arguments
from retraining.local import postgres as embedded
from retraining.local import standing, supervisor
from retraining.notices import outbox
from retraining.notices.telling import tell
from retraining.places.relocation import PlacesError, relocate, settle_places
from retraining.recording.store import connection_config
from retraining.settings import Settings
from retraining.upkeep import archive
from retraining.upkeep.archive import BackupError
from retraining.upkeep.backup import back_up
from retraining.upkeep.dumps import DumpError
from retraining.upkeep.restore import restore

Make = Callable[[str], Settings]


def quiet(_: str) -> None:
    """Is told of the steps."""


@pytest.fixture
def make_place(postgres: Server, tmp_path: Path) -> Iterator[Make]:
    """Makes settings with folders of their own and two empty databases on a Postgres of one's own."""
    made: list[Settings] = []

    def make(name: str) -> Settings:
        database = f"{name}_{secrets.token_hex(4)}"
        settings = Settings.from_env(
            state_dir=tmp_path / name / "state",
            drops_dir=tmp_path / name / "drops",
            postgres_embedded=False,
            postgres_port=postgres.settings.postgres_port,
            postgres_password=postgres.settings.postgres_password,
            mlmd_database=database,
            mlmd_user=database,
            mlmd_password="right",
            airflow_db_database=f"airflow_{database}",
            airflow_db_user=f"airflow_{database}",
            airflow_db_password="right",
        )
        embedded.make_databases(settings)
        settings.drops_dir.mkdir(parents=True)
        made.append(settings)
        return settings

    yield make
    for settings in made:
        with closing(embedded.connect_superuser(settings)) as connection, connection.cursor() as cursor:
            for database in (settings.mlmd_database, settings.airflow_db_database):
                cursor.execute(f"DROP DATABASE {database} WITH (FORCE)")
                cursor.execute(f"DROP ROLE {database}")


@pytest.fixture
def service(make_place: Make) -> Settings:
    """A service with two models, of which one was pushed, the other is being pushed at this moment."""
    settings = make_place("then")
    for statement in ("CREATE TABLE dag_run (id int)", "INSERT INTO dag_run VALUES (1), (2)"):
        ask(settings, "airflow_db", statement)
    store = MetadataStore(connection_config(settings))
    model, push = (store.put_artifact_type(ArtifactType(name=name)) for name in ("Model", "PushedModel"))
    records = []
    for number, version in ((1, "2022020101"), (2, "2022020201")):
        made = Artifact(type_id=model, uri=f"{settings.pipeline_root}/Trainer/model/{number}", state=Artifact.LIVE)
        for folder in (Path(made.uri), settings.serving_dir / version):
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_text(f"model {number}")
        records.append(made)
    pushed = Artifact(type_id=push, uri=f"{settings.pipeline_root}/Pusher/pushed_model/3", state=Artifact.LIVE)
    pushed.custom_properties["pushed_version"].string_value = "2022020101"
    pushed.custom_properties["pushed_destination"].string_value = str(settings.serving_dir / "2022020101")
    half_made = Artifact(type_id=model, uri=f"{settings.pipeline_root}/Trainer/model/9", state=Artifact.PENDING)
    Path(half_made.uri).mkdir()
    store.put_artifacts([*records, pushed, half_made])
    kind = ExecutionType(name="Pusher")
    kind.properties["component_id"] = 3
    pushing = Execution(type_id=store.put_execution_type(kind), last_known_state=Execution.RUNNING)
    pushing.properties["component_id"].string_value = "Pusher"
    store.put_executions([pushing])
    rollbacks.write_policy(settings.serving_dir)
    removed = {"2022013101": {"at": "2022-02-01T12:00:00+00:00", "by": "retention"}}
    (settings.serving_dir.parent / "removed.json").write_text(json.dumps(removed))
    settings.secrets_dir.mkdir(parents=True)
    for name, text in (
        ("airflow_fernet_key", "a key"),
        ("airflow_fernet_key.next", "one to follow it"),
        ("notify", "https://hooks.example.org/"),
        ("scheduled_from", "2022-02-01"),
    ):
        (settings.secrets_dir / name).write_text(text)
    (settings.drops_dir / "2022-02-01").mkdir()
    (settings.drops_dir / "2022-02-01" / "headlines.csv").write_text("title,sentiment\n")
    os.utime(settings.drops_dir / "2022-02-01" / "headlines.csv", (1e9, 1e9))
    standing.stamp(settings, "0.1.5")
    return settings.model_copy(update={"scheduled_from": "2022-02-01"})


def ask(settings: Settings, prefix: str, statement: str) -> list:
    place = settings.database(prefix)
    with closing(psycopg2.connect(**place.arguments)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else set()


def test_a_backup_is_of_one_moment_and_is_the_same_service_in_other_folders_and_databases(
    service: Settings, make_place: Make, tmp_path: Path
) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    made = back_up(service, file, quiet, with_drops=True)
    assert made == archive.check(file)
    assert made.counts == {"runs": 2, "executions": 1, "artifacts": 4, "versions": 1, "folders": 2}
    # What is being pushed has its files and not yet its record.
    assert made.left_out[str(service.serving_dir / "2022020201")] == "its push was not on record yet"
    assert "right" not in str(made.settings)

    done = restore(later, file, quiet)
    assert done.manifest == made
    files = {"headlines/2022020101/saved_model.pb", "models.config", "removed.json"}
    assert list_files(later.serving_dir.parent) == files
    # No number is given twice.
    assert removals.read(later.serving_dir) == {2022013101: "removed on 2022-02-01 by retention"}
    assert f'base_path: "{later.serving_dir}"' in (later.serving_dir.parent / "models.config").read_text()
    assert list_files(later.pipeline_root) == {f"Trainer/model/{number}/saved_model.pb" for number in (1, 2)}
    delivered = later.drops_dir / "2022-02-01" / "headlines.csv"
    assert (delivered.read_text(), delivered.stat().st_mtime) == ("title,sentiment\n", 1e9)
    assert {path.name: path.read_text() for path in later.secrets_dir.glob("airflow_fernet_key*")} == {
        "airflow_fernet_key": "a key",
        "airflow_fernet_key.next": "one to follow it",
    }
    assert (later.secrets_dir / "notify").read_text() == "https://hooks.example.org/"
    assert (later.secrets_dir / "airflow_fernet_key").stat().st_mode & 0o777 == 0o600
    assert later.secrets_dir.stat().st_mode & 0o777 == 0o700
    assert (later.secrets_dir / "scheduled_from").read_text() == "2022-02-01"
    assert not (later.state_dir / "databases").exists()
    assert ask(later, "airflow_db", "SELECT id FROM dag_run") == [(1,), (2,)]
    [(state, error)] = ask(
        later,
        "mlmd",
        "SELECT e.last_known_state, p.string_value FROM execution e JOIN executionproperty p ON p.execution_id = e.id "
        "AND p.name = 'error'",
    )
    assert (state, error) == (Execution.FAILED, "an unknown process was at work when the backup was made")
    assert ask(service, "mlmd", "SELECT last_known_state FROM execution") == [(Execution.RUNNING,)]
    uris = [uri for (uri,) in ask(later, "mlmd", "SELECT uri FROM artifact ORDER BY id")]
    assert uris == [
        uri.replace(str(service.pipeline_root), str(later.pipeline_root))
        for (uri,) in ask(service, "mlmd", "SELECT uri FROM artifact ORDER BY id")
    ]
    [(destination,)] = ask(later, "mlmd", "SELECT string_value FROM artifactproperty WHERE name = 'pushed_destination'")
    assert destination == str(later.serving_dir / "2022020101")


def test_a_backup_of_a_postgres_of_ones_own_is_restored_into_the_embedded_one(
    service: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar.gz"
    back_up(service, file, quiet)
    with ExitStack() as probes:
        ports = [probes.enter_context(closing(socket.socket())) for _ in range(5)]
        for port in ports:
            port.bind(("127.0.0.1", 0))
        numbers = [port.getsockname()[1] for port in ports]
    names = ("postgres_port", "webserver_port", "supervisor_port", "serving_port", "serving_grpc_port")
    later = Settings.from_env(
        state_dir=tmp_path / "later", drops_dir=service.drops_dir, **dict(zip(names, numbers, strict=True))
    )
    steps: list[str] = []
    done = restore(later, file, steps.append)
    assert done.paths > 0
    assert "making the embedded Postgres" in steps
    assert not supervisor.is_running(Settings.from_env(**later.model_dump(include={"state_dir", *names})))
    assert list_files(later.pipeline_root) == {f"Trainer/model/{number}/saved_model.pb" for number in (1, 2)}
    # The data are there, and the server that read them has ended.
    assert (later.state_dir / "postgres" / "data" / "PG_VERSION").is_file()
    assert not (later.state_dir / "postgres" / "data" / "postmaster.pid").exists()
    with pytest.raises(BackupError, match=r"STATE_DIR: .* is not empty"):
        restore(later, file, quiet)


def test_nights_after_a_restore_and_after_a_move_are_judged_against_the_champion(
    make_place: Make, tmp_path: Path
) -> None:
    def run(settings: Settings, night: str) -> tuple[str, str]:
        """Runs a night; which champion it was judged against, and what it pushed."""
        judged = settings.model_copy(update={"min_accuracy": 0.6, "min_macro_f1": 0.4})
        chain = nodes(judged, night, sure=float(night[-1]))
        launch_all(judged, pipeline(judged, *chain, beam_pipeline_args=list_arguments(judged)), night)
        store = MetadataStore(connection_config(judged))
        blessing, push = (
            max(store.get_artifacts_by_type(kind), key=lambda one: one.id) for kind in ("ModelBlessing", "PushedModel")
        )
        return (
            blessing.custom_properties["champion_version"].string_value,
            push.custom_properties["pushed_version"].string_value,
        )

    first, second, file = make_place("first"), make_place("second"), tmp_path / "backup.tar.gz"
    ask(first, "airflow_db", "CREATE TABLE dag_run (id int)")
    assert run(first, "2022-02-01") == ("", "2022020101")
    back_up(first, file, quiet)
    shutil.rmtree(tmp_path / "first")
    restore(second, file, quiet)
    assert run(second, "2022-02-02") == ("2022020101", "2022020201")

    (tmp_path / "moved").mkdir()
    second.state_dir.rename(tmp_path / "moved" / "state")
    moved = Settings.from_env(
        **second.model_dump(exclude={"state_dir", "pipeline_root", "serving_dir", "scores_dir"}),
        state_dir=tmp_path / "moved" / "state",
    )
    with pytest.raises(PlacesError, match="`retraining relocate`"):
        settle_places(moved, quiet)
    relocate(moved)
    assert run(moved, "2022-02-03") == ("2022020201", "2022020301")
    astray = [uri for (uri,) in ask(moved, "mlmd", "SELECT uri FROM artifact") if str(moved.state_dir) not in uri]
    assert astray == []


def test_settings_that_are_others_than_then_are_shown_but_not_those_of_the_place(
    service: Settings, make_place: Make, tmp_path: Path
) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    back_up(service.model_copy(update={"window_nights": 3, "webserver_port": 1}), file, quiet)
    done = restore(later.model_copy(update={"serving_token": SecretStr("hidden")}), file, quiet)
    assert done.differences.pop("WINDOW_NIGHTS") == ("3", "12")
    assert set(done.differences) <= {f"{db}_{part}" for db in ("MLMD", "AIRFLOW_DB") for part in ("DATABASE", "USER")}


def test_a_backup_says_its_age_and_only_when_it_is_there(service: Settings, tmp_path: Path) -> None:
    marker = service.state_dir / LAST_BACKUP_FILE
    with pytest.raises(BackupError):
        back_up(service.model_copy(update={"mlmd_password": SecretStr("wrong")}), tmp_path / "none", quiet)
    assert not marker.exists()
    made = back_up(service, tmp_path / "backup.tar.gz", quiet)
    assert marker.stat().st_mtime == datetime.fromisoformat(made.made_at).timestamp()


def test_what_is_to_be_told_and_who_ran_the_service_come_along(
    service: Settings, make_place: Make, tmp_path: Path
) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    told = service.model_copy(update={"notify": SecretStr("http://127.0.0.1:1/")})
    tell(told, "night overdue", "no verdict", fact="2022-02-01", night="2022-02-01")
    back_up(service, file, quiet)
    restore(later, file, quiet)
    assert outbox.read_all(later) == outbox.read_all(service) != []
    # What was told is known there, and not told again.
    assert outbox.begin_id(later, "night overdue", "2022-02-01") is None
    assert standing.find_last_version(later) == "0.1.5"


def test_secrets_that_are_rotated_while_a_backup_is_written_end_it(service: Settings, tmp_path: Path) -> None:
    key = service.secrets_dir / "airflow_fernet_key"

    def rotate(step: str) -> None:
        if step == "copying the artifacts":
            key.with_name("airflow_fernet_key.next").replace(key)

    with pytest.raises(BackupError, match="secrets were rotated meanwhile"):
        back_up(service, tmp_path / "backup.tar.gz", rotate)
    assert not (tmp_path / "backup.tar.gz").exists()


def test_secrets_can_be_left_out_and_are_made_anew(service: Settings, make_place: Make, tmp_path: Path) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    made = back_up(service, file, quiet, with_secrets=False)
    assert {name for name in made.files if name.startswith("secrets/")} == {"secrets/scheduled_from"}
    restore(later, file, quiet)
    assert (later.secrets_dir / "airflow_fernet_key").read_text() != "a key"


def test_a_backup_of_a_service_that_does_not_answer_says_so_and_leaves_the_earlier_one(
    service: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar.gz"
    back_up(service, file, quiet)
    before = file.read_bytes()
    with pytest.raises(BackupError, match=r"MLMD's database at .* does not let user"):
        back_up(service.model_copy(update={"mlmd_password": SecretStr("wrong")}), file, quiet)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == ["backup.tar.gz"]


@pytest.mark.parametrize("taken", ["state", "serving", "database"])
def test_a_place_that_is_not_empty_is_refused_and_left_as_it_is(
    taken: str, service: Settings, make_place: Make, tmp_path: Path
) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    back_up(service, file, quiet)
    if taken == "database":
        ask(later, "mlmd", "CREATE TABLE theirs (id int)")
    else:
        mine = (later.state_dir if taken == "state" else later.serving_dir.parent) / "models.config"
        mine.parent.mkdir(parents=True)
        mine.write_text("theirs")
    before = list_files(later.state_dir)
    with pytest.raises(BackupError, match=r"not empty|is there, and"):
        restore(later, file, quiet)
    assert list_files(later.state_dir) == before
    assert ask(later, "airflow_db", "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_restore_that_fails_takes_back_what_it_wrote_and_nothing_else(
    service: Settings, make_place: Make, tmp_path: Path
) -> None:
    file, later = tmp_path / "backup.tar.gz", make_place("later")
    made = back_up(service, file, quiet, with_drops=True)
    # Whole as a file, with a database in it that is none.
    with archive.written(file) as (writer, finish):
        for name in made.files:
            writer.add_text(name, b"no dump")
        finish(replace(made, files={}))
    arrived = later.drops_dir / "2022-02-02.csv"

    def deliver(step: str) -> None:
        if step.startswith("reading"):
            arrived.write_text("delivered meanwhile")

    with pytest.raises(DumpError, match=r"airflow_db\.dump could not be read into the database"):
        restore(later, file, deliver)
    assert list_files(later.state_dir) == set()
    assert list_files(later.drops_dir) == {"2022-02-02.csv"}
