"""How the endpoint is opened beside the watch, and what becomes of a port that is taken."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from retraining.cli import service_commands
from retraining.cli.main import app
from retraining.local import ports
from retraining.metrics import endpoint
from retraining.settings import Settings
from retraining.watching.programs import Look


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # Free by TCP; who has it by UDP differs from test to test.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Settings.from_env(state_dir=tmp_path, metrics_port=free.getsockname()[1], serving_urls="none")


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Lets the endpoint try again, once for each release."""
    naps = threading.Semaphore(0)

    def sleep(seconds: float) -> None:
        assert naps.acquire(timeout=60)

    monkeypatch.setattr(endpoint.time, "sleep", sleep)
    return naps


def wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def ask(settings: Settings) -> str:
    return httpx.get(f"http://127.0.0.1:{settings.metrics_port}/metrics", trust_env=False, timeout=30).text


def test_the_endpoint_tells_of_the_disks_where_nothing_else_runs(settings: Settings) -> None:
    endpoint.serve(settings)
    page = ask(settings)
    assert 'headlines_disk_free_bytes{setting="STATE_DIR"}' in page
    assert 'headlines_source_up{source="lineage"} 0.0' in page
    assert "process_resident_memory_bytes" in page
    assert str(settings.state_dir) not in page, "no path is told"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as airflow:
        airflow.sendto(b"airflow.dagbag_size:4|g", ("127.0.0.1", settings.metrics_port))
    wait(lambda: "airflow_dags 4.0" in ask(settings))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_a_port_that_is_taken_is_told_once_and_tried_until_it_is_free(
    settings: Settings, naps: threading.Semaphore, caplog: pytest.LogCaptureFixture, kind: socket.SocketKind
) -> None:
    caplog.set_level(logging.INFO)
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", settings.metrics_port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        endpoint.start(settings)
        wait(lambda: "No metrics" in caplog.text)
        naps.release()
    naps.release(10)
    wait(lambda: "Metrics: http://127.0.0.1" in caplog.text)
    assert caplog.text.count("No metrics: METRICS_HOST=127.0.0.1, METRICS_PORT=") == 1
    assert "headlines_disk_free_bytes" in ask(settings)


def test_without_a_port_there_is_no_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    settings = Settings.from_env(state_dir=tmp_path)
    assert settings.metrics_port == 0
    endpoint.start(settings)
    assert threading.active_count() == before
    assert "METRICS_PORT" not in ports.of_service(settings)


def test_the_watch_opens_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []

    def run(given: Settings, find_programs: Callable[[], Look]) -> None:
        assert given.metrics_port == settings.metrics_port
        wait(lambda: _answers(settings))
        pages.append(ask(settings))

    monkeypatch.setattr(service_commands.watch, "run", run)
    result = CliRunner().invoke(
        app, ["watch"], env={"METRICS_PORT": str(settings.metrics_port), "STATE_DIR": str(settings.state_dir)}
    )
    assert result.exit_code == 0, result.output
    assert "headlines_disk_free_bytes" in pages[0]


def _answers(settings: Settings) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", settings.metrics_port)) == 0


def test_a_service_that_listens_there_names_the_setting_where_the_port_is_taken(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", settings.metrics_port))
        other.listen()
        [problem] = ports.find_taken(settings, ["METRICS_PORT"])
    assert f"port {settings.metrics_port} is taken" in problem
    assert "set METRICS_PORT to a free port" in problem
