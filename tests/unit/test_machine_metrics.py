"""What the endpoint tells of disks, secrets, folders, programs and model servers."""

import os
import shutil
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from pydantic import SecretStr

from headlines.names import LAST_BACKUP_FILE
from lineage import LineageError
from retraining.local.service import Health
from retraining.metrics import machine
from retraining.metrics.catalogue import Readings
from retraining.notices.telling import tell
from retraining.settings import Settings
from retraining.watching import watch
from retraining.watching.replicas import Observation, Replica
from retraining.watching.watch import Memory


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(state_dir=tmp_path / "state", drops_dir=tmp_path / "drops")


def test_each_disk_is_measured_also_of_a_folder_that_is_not_made_yet(settings: Settings) -> None:
    readings = Readings("places")
    machine.read_places(settings, readings)
    usage = shutil.disk_usage(settings.state_dir.parent)
    settings_told = {("STATE_DIR",), ("DROPS_DIR",), ("SERVING_DIR",), ("PIPELINE_ROOT",)}
    assert readings.values["disk_size_bytes"] == dict.fromkeys(settings_told, usage.total)
    assert readings.values["disk_free_bytes"].keys() == settings_told
    assert readings.values["disk_limit_bytes"] == {(): settings.min_free_gb * 2**30}
    assert readings.values.keys() == {"disk_size_bytes", "disk_free_bytes", "disk_limit_bytes"}, (
        "nothing else is known yet"
    )


def test_secrets_the_backup_and_the_watch_tell_when(settings: Settings) -> None:
    settings.secrets_dir.mkdir(parents=True)
    secret = settings.secrets_dir / "mlmd_password"
    secret.write_text("never shown")
    os.utime(secret, (1000, 2000))
    backup = settings.state_dir / LAST_BACKUP_FILE
    backup.touch()
    os.utime(backup, (1000, 3000))
    watch._keep(settings, Memory(looked_at="2022-02-02T05:00:00+00:00"))
    readings = Readings("places")
    machine.read_places(settings, readings)
    assert readings.values["secret_modified_timestamp_seconds"] == {("mlmd_password",): 2000}
    assert readings.values["backup_timestamp_seconds"] == {(): 3000}
    assert readings.values["watch_look_timestamp_seconds"] == {(): 1643778000}


def test_what_waits_to_be_sent_is_told_of_each_address(settings: Settings) -> None:
    told = settings.model_copy(update={"notify": SecretStr("http://127.0.0.1:1/T0KEN failure|http://127.0.0.1:1/")})
    readings = Readings("places")
    machine.read_places(told, readings)
    first, second = ((f"address {number} of NOTIFY (http://)",) for number in (1, 2))
    assert readings.values["notices_not_sent"] == {first: 0, second: 0}
    tell(told, "late drop", "no drop by six", fact="2022-02-02", night="2022-02-02")
    machine.read_places(told, readings)
    assert readings.values["notices_not_sent"] == {first: 1, second: 0}


def test_folders_are_measured_by_what_they_take_and_a_link_takes_nothing(settings: Settings) -> None:
    kept, linked = settings.state_dir / "pipelines" / "a" / "b", settings.state_dir / "serving"
    kept.mkdir(parents=True)
    linked.mkdir()
    (kept / "weights").write_bytes(os.urandom(100_000))
    (linked / "weights").hardlink_to(kept / "weights")
    (linked / "way").symlink_to(kept)
    (settings.state_dir / "watch.json").write_text("{}")
    readings = Readings("folders")
    machine.read_folders(settings, readings)
    sizes = readings.values["folder_size_bytes"]
    assert sizes.keys() == {("pipelines",), ("serving",), (".",)}
    assert 100_000 <= sizes[("pipelines",)] < 120_000
    assert sizes[("serving",)] < 10_000, "a hard link is counted once, a symbolic one is not followed"


def test_programs_are_told_where_a_supervisor_runs_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = Readings("programs")
    machine.read_programs(settings, readings)
    assert readings.values == {}, "in a container something else does"

    known = {"watch": {"start": 1643778000}, "webserver": {"start": 0}}
    health = Health({"watch": "healthy", "webserver": "fatal"})
    monkeypatch.setattr(machine.supervisor, "states", create_autospec(machine.supervisor.states, return_value=known))
    monkeypatch.setattr(machine.service, "health", create_autospec(machine.service.health, return_value=health))
    machine.read_programs(settings, readings)
    assert readings.values == {
        "program_is_healthy": {("watch",): 1, ("webserver",): 0},
        "program_start_timestamp_seconds": {("watch",): 1643778000},
    }


def test_a_model_server_is_told_with_its_version_and_how_that_stands(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = (
        Replica("http://a", 2022020201, state="agrees"),
        Replica("http://b", 2022020101, state="differs"),
        Replica("http://c", problem="no answer", state="unreachable"),
    )
    observe = create_autospec(machine.replicas.observe, return_value=Observation(None, answers))
    monkeypatch.setattr(machine.replicas, "observe", observe)
    readings = Readings("replicas")
    machine.read_replicas(settings, readings)
    assert readings.values["replica_version"] == {("http://a",): 2022020201, ("http://b",): 2022020101}
    states = {labels for labels, value in readings.values["replica_state"].items() if value}
    assert states == {("http://a", "agrees"), ("http://b", "differs"), ("http://c", "unreachable")}
    assert readings.values["replicas_are_right"] == {(): 0}


def test_without_lineage_it_is_told_what_answers_and_not_whether_that_is_right(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = create_autospec(machine.replicas.observe, side_effect=LineageError("MLMD does not answer"))
    answers = (Replica("http://a", 2022020201), Replica("http://c", problem="no answer"))
    monkeypatch.setattr(machine.replicas, "observe", gone)
    monkeypatch.setattr(machine.replicas, "ask", create_autospec(machine.replicas.ask, return_value=answers))
    readings = Readings("replicas")
    with pytest.raises(LineageError):
        machine.read_replicas(settings, readings)
    assert readings.values["replica_version"] == {("http://a",): 2022020201}
    states = {labels for labels, value in readings.values["replica_state"].items() if value}
    assert states == {("http://a", "unknown"), ("http://c", "unreachable")}
    assert "replicas_are_right" not in readings.values
