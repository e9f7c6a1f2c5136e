"""MLMD made ready for a first run: by several at once, again, and with a database that cannot be used."""

import contextlib
import multiprocessing
import socket
from collections import Counter

import pytest
from launching import Make, Split, Use, launch, pipeline
from ml_metadata import MetadataStore
from postgres_server import query
from pydantic import SecretStr
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, Schema

from retraining.pipelines.mlmd import initialise, main
from retraining.recording.advisory_locks import lock
from retraining.recording.settling import settle_dead_executions
from retraining.recording.store import StoreError, connection_config
from retraining.settings import Settings


def initialise_tiny(settings: Settings) -> None:
    make = Make()
    importer = Importer(source_uri="/nowhere", artifact_type=Schema)
    resolver = Resolver(model=Channel(type=Model, producer_component_id="Make"))
    initialise(settings, [pipeline(settings, make, Use(model=make.outputs["model"]), Split(), importer, resolver)])


def type_names(settings: Settings) -> Counter[str]:
    return Counter(name for (name,) in query(settings, "SELECT name FROM type"))


def test_four_processes_at_once_make_every_type_once(settings: Settings) -> None:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=initialise_tiny, args=(settings,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    names = type_names(settings)
    assert set(names.values()) == {1}
    assert {
        *("Examples", "Model", "PushedModel", "Schema", "pipeline", "run", "component_run"),
        *(f"launching.{name}" for name in ("Make", "Use", "Split")),
        *(f"tfx.dsl.components.common.{name}" for name in ("importer.Importer", "resolver.Resolver")),
    } <= set(names)


def test_a_start_of_the_service_makes_the_types_of_every_pipeline(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: settings))
    assert main() == 0
    names = type_names(settings)
    assert set(names.values()) == {1}
    # The nightly pipeline's, the search's and the scoring's own.
    assert {"ModelBlessing", "PushedModel", "HyperParameters", "TunerResults", "Quarantine", "Scores"} <= set(names)


def test_tables_are_made_by_one_process_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retraining.recording.advisory_locks._LOCK_TIMEOUT_SECONDS", 0.1)
    with lock(connection_config(settings), "mlmd tables"), pytest.raises(StoreError, match="the lock 'mlmd tables'"):
        initialise(settings, [])
    assert query(settings, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_launch_makes_its_types_one_process_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    initialise(settings, [])
    monkeypatch.setattr("retraining.recording.advisory_locks._LOCK_TIMEOUT_SECONDS", 0.1)
    with lock(connection_config(settings), "mlmd types"), pytest.raises(StoreError, match="the lock 'mlmd types'"):
        launch(settings, Make())
    assert "launching.Make" not in type_names(settings)
    launch(settings, Make())
    assert type_names(settings)["launching.Make"] == 1


def test_types_are_complete_so_that_a_run_adds_none(settings: Settings) -> None:
    initialise_tiny(settings)
    types = query(settings, "SELECT * FROM type ORDER BY id")
    properties = query(settings, "SELECT * FROM typeproperty ORDER BY 1, 2")
    launch(settings, Make())
    assert query(settings, "SELECT * FROM type ORDER BY id") == types
    assert query(settings, "SELECT * FROM typeproperty ORDER BY 1, 2") == properties


def test_initialising_again_changes_nothing_and_keeps_records(settings: Settings) -> None:
    initialise_tiny(settings)
    launch(settings, Make())
    before = query(settings, "SELECT * FROM type ORDER BY id")
    initialise_tiny(settings)
    assert query(settings, "SELECT * FROM type ORDER BY id") == before
    assert len(MetadataStore(connection_config(settings)).get_executions()) == 1


def test_a_wrong_password_is_told_without_the_password(settings: Settings) -> None:
    wrong = settings.model_copy(update={"mlmd_password": SecretStr("wr0ng-secret")})
    with pytest.raises(StoreError) as error:
        initialise(wrong, [])
    message = str(error.value)
    assert f"host 127.0.0.1, port {settings.mlmd_port}, database {settings.mlmd_database}" in message
    assert f'password authentication failed for user "{settings.mlmd_user}"' in message
    assert "MLMD_PASSWORD" in message
    assert "wr0ng-secret" not in message
    assert "\n" not in message


def test_a_server_that_is_down_is_told_with_its_port(settings: Settings) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = settings.model_copy(update={"mlmd_port": unused.getsockname()[1]})
        with pytest.raises(StoreError, match=rf"port {down.mlmd_port}, .*[Cc]onnection refused.*MLMD_PORT"):
            settle_dead_executions(down)


def test_a_database_that_is_not_there_is_told_by_name(settings: Settings) -> None:
    lost = settings.model_copy(update={"mlmd_database": "lost"})
    with pytest.raises(StoreError, match=r'database "lost" does not exist.*MLMD_DATABASE'):
        initialise(lost, [])


def test_a_lock_that_is_kept_is_told_by_name(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retraining.recording.advisory_locks._LOCK_TIMEOUT_SECONDS", 0.1)
    config = connection_config(settings)
    with lock(config, "champion"):
        with (
            pytest.raises(StoreError, match=r"lock 'champion' in host .* for more than 0.1 s"),
            lock(config, "champion"),
        ):
            pytest.fail("both hold it")
        with lock(config, "another"):
            pass
    with lock(config, "champion"), contextlib.suppress(Exception):
        pass
