"""The model server as a program of the service, and in the foreground: its settings, its health, its answers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest
import waiting
from free_ports import free_port
from tiny_model import save_tiny_model

from headlines.pushes.champion import Rollback
from headlines.pushes.rollbacks import add
from retraining.local import LocalError, airflow, model_server, ports, roster, secrets, service, supervisor
from retraining.settings import CHECKOUT, Settings
from tfx_components.pusher import publish

PORTS = ("POSTGRES_PORT", "WEBSERVER_PORT", "SUPERVISOR_PORT", "SERVING_PORT", "SERVING_GRPC_PORT")
NIGHT = date(2022, 2, 5)

wait_until = partial(waiting.wait_until, seconds=120, every=0.2)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    (tmp_path / ".env").write_text("SERVING_TOKEN=secret\n")
    chosen = {name.lower(): free_port() for name in PORTS}
    # The model keeps its name, whatever the folder is called.
    place = {"state_dir": tmp_path / "a state", "serving_dir": tmp_path / "a state" / "pushed"}
    made = secrets.make_missing(Settings.from_env(**place, **chosen))
    made.state_dir.joinpath("logs").mkdir(parents=True, exist_ok=True)
    yield made
    service.down(made)


def ask(settings: Settings, path: str, token: str = "secret") -> httpx.Response:
    return httpx.get(f"{model_server.address(settings)}{path}", headers={"authorization": f"Bearer {token}"})


def push(settings: Settings, place: Path, sure: float) -> str:
    """Publishes a model as the next revision of one night and returns its version."""
    assert settings.serving_dir is not None
    return str(publish(save_tiny_model(place / str(sure), sure=sure), settings.serving_dir, NIGHT).version)


def test_the_program_is_healthy_before_anything_is_pushed_and_serves_each_push(
    settings: Settings, tmp_path: Path
) -> None:
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    model_server.prepare(settings)
    supervisor.run(settings, "serving")
    wait_until(lambda: service.health(settings).programs.get("serving") == "healthy", "the program is healthy")
    assert ask(settings, "/readyz").status_code == 503

    for sure in (2.0, 3.0):
        pushed = push(settings, tmp_path, sure)
        wait_until(lambda version=pushed: ask(settings, "/version").json().get("version") == version, "it is served")  # type: ignore[misc]
    # What only `.env` says reaches it, and so does what the service's own settings say.
    assert ask(settings, "/v1/models/headlines").json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert ask(settings, "/version", token="wrong").status_code == 401
    assert settings.serving_dir is not None
    back = Rollback(
        1, int(pushed), int(pushed) - 1, "ana", "bad", datetime(2022, 2, 6, 8, tzinfo=UTC), str(NIGHT), (int(pushed),)
    )
    add(settings.serving_dir, back)
    wait_until(lambda: ask(settings, "/version").json()["version"] == str(back.to_version), "the rollback is followed")
    # Another process at its place is told apart from it.
    os.kill(supervisor.states(settings)["serving"]["pid"], signal.SIGKILL)
    wait_until(lambda: service.health(settings).programs["serving"] != "healthy", "its death is seen")
    wait_until(lambda: service.health(settings).programs["serving"] == "healthy", "it is started again")


def test_a_damaged_version_is_a_failing_program_and_no_hindrance_to_a_start(settings: Settings, tmp_path: Path) -> None:
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    model_server.prepare(settings)
    supervisor.run(settings, "serving")
    [weights] = (settings.serving_dir / push(settings, tmp_path, 2.0)).glob("variables/variables.data-*")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:10])
    wait_until(lambda: service.health(settings).programs.get("serving") == "failing", "the damage is told")
    assert ask(settings, "/healthz").is_success
    health = service.Health({"postgres": "healthy", "serving": "failing"})
    assert health.has_started and set(health.programs.values()) != {"healthy"}
    assert model_server.find_version(settings) is None
    weights.write_bytes(whole)
    wait_until(lambda: service.health(settings).programs.get("serving") == "healthy", "it is tried again when mended")
    # What no server would take for a version is nothing that it could be loading.
    for file in settings.serving_dir.glob("*/saved_model.pb"):
        file.unlink()
    os.kill(supervisor.states(settings)["serving"]["pid"], signal.SIGKILL)
    wait_until(lambda: service.health(settings).programs.get("serving") == "failing", "nothing can be loaded")


def test_in_the_foreground_it_needs_no_service_and_a_taken_port_is_told(settings: Settings, tmp_path: Path) -> None:
    pushed = push(settings, tmp_path, sure=2.0)
    names = ("state_dir", "serving_dir", "serving_port", "serving_grpc_port")
    environment = os.environ | {name.upper(): str(getattr(settings, name)) for name in names}
    command = [sys.executable, "-m", "retraining", "serve"]
    process = subprocess.Popen(command, env=environment, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: model_server.is_healthy(settings), "it answers")
        wait_until(lambda: ask(settings, "/readyz").is_success, "the model is loaded")
        assert ask(settings, "/v1/models/headlines").json()["model_version_status"][0]["version"] == pushed
        with pytest.raises(LocalError, match=f"port {settings.serving_port} is taken.*SERVING_PORT"):
            ports.check_free(settings, {"SERVING_PORT"})
        second = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "SERVING_PORT" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) in (0, -signal.SIGINT, 130)
