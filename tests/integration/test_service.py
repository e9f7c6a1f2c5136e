"""Starting and stopping the service: what stands in its way is one clear message, and an interrupt leaves nothing."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from free_ports import free_port
from signals import hear_signals

from retraining.local import (
    LocalError,
    airflow,
    lock,
    postgres,
    preparation,
    processes,
    roster,
    secrets,
    service,
    supervisor,
)
from retraining.settings import CHECKOUT, Settings

PORTS = ("POSTGRES_PORT", "WEBSERVER_PORT", "SUPERVISOR_PORT", "SERVING_PORT", "SERVING_GRPC_PORT")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One state for the file, so that every start also proves that the interrupted ones before broke nothing."""
    state = tmp_path_factory.mktemp("a service") / "state; ~1 #2"
    return {**os.environ, "STATE_DIR": str(state), **{name: str(free_port()) for name in PORTS}}


@pytest.fixture
def settings(environment: dict[str, str]) -> Iterator[Settings]:
    made = Settings.from_env(state_dir=environment["STATE_DIR"], **{name.lower(): environment[name] for name in PORTS})
    made.state_dir.mkdir(parents=True, exist_ok=True)
    yield secrets.make_missing(made)
    service.down(made)


def find_processes(settings: Settings) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get(processes.MARK) == str(settings.state_dir)
                or f"port={settings.postgres_port}" in process.cmdline()
            ):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def start(environment: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "retraining", "up"],
        cwd=CHECKOUT,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=hear_signals,
    )


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("starting Postgres", signal.SIGINT),
        ("preparing the databases", signal.SIGTERM),
        ("starting the scheduler", signal.SIGINT),
        ("waiting for them", signal.SIGHUP),
    ],
)
def test_an_interrupted_start_leaves_nothing_running(
    environment: dict[str, str], settings: Settings, step: str, number: signal.Signals
) -> None:
    process = start(environment)
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if step in line:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=120)
    assert step in lines[-1], "".join(lines)
    assert "stopping what was started" in rest
    assert process.returncode == 128 + number
    assert find_processes(settings) == []
    assert service.health(settings).programs == {}


def test_a_second_command_on_the_same_state_names_the_process_of_the_first(
    environment: dict[str, str], settings: Settings
) -> None:
    with lock.hold(settings):
        done = start(environment)
        output, _ = done.communicate(timeout=60)
    assert done.returncode == 1
    assert f"process {os.getpid()}" in output
    assert len(output.splitlines()) == 1
    assert find_processes(settings) == []


def test_a_command_that_was_killed_holds_nothing_up(settings: Settings) -> None:
    code = "import sys, time; from retraining.local import lock; from retraining.settings import Settings\n"
    code += "with lock.hold(Settings.from_env(state_dir=sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.state_dir)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    with lock.hold(settings):
        pass


@pytest.mark.parametrize("name", PORTS)
def test_a_taken_port_is_one_message_that_names_the_setting_and_the_process(
    environment: dict[str, str], settings: Settings, name: str
) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(environment[name])))
        taken.listen()
        done = start(environment)
        output, _ = done.communicate(timeout=60)
    assert done.returncode == 1
    assert f"port {environment[name]} is taken" in output
    assert f"(process {os.getpid()})" in output
    assert f"set {name} to" in output
    assert "Traceback" not in output
    assert find_processes(settings) == []


def test_two_settings_with_one_port_are_told(settings: Settings) -> None:
    same = settings.model_copy(update={"webserver_port": settings.supervisor_port})
    with pytest.raises(LocalError, match="give each its own"):
        service.up(same, print)


def test_a_full_disk_is_told_before_anything_is_started(settings: Settings, tmp_path: Path) -> None:
    # One that has nothing yet; what serves already goes on serving.
    changed = settings.model_copy(update={"state_dir": tmp_path, "min_free_gb": 2.0**30})
    with pytest.raises(LocalError, match=r"GB free on the disk at /.*MIN_FREE_GB=1\.07374e\+09; .* STATE_DIR"):
        service.up(changed, print)
    assert find_processes(changed) == []


def test_a_path_that_airflow_cannot_take_is_told_before_anything_is_started(settings: Settings) -> None:
    changed = settings.model_copy(update={"state_dir": settings.state_dir / "100 %"})
    with pytest.raises(LocalError, match="100 %"):
        service.up(changed, print)
    assert find_processes(changed) == []


def test_a_step_that_fails_is_told_with_the_end_of_its_log_and_stops_the_rest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = preparation._begun
    monkeypatch.setattr(
        preparation,
        "_begun",
        lambda settings, environment, name, *module, **more: begin(
            settings, environment, name, *(("no_such_module",) if name == "migrate" else module), **more
        ),
    )
    with pytest.raises(LocalError, match=r"(?s)creating Airflow's tables failed.*migrate\.log.*no_such_module"):
        service.up(settings, print)
    assert find_processes(settings) == []


def test_a_wrong_superuser_password_is_told_with_what_to_do(settings: Settings) -> None:
    postgres.make_data(settings)
    (settings.secrets_dir / "postgres_password").write_text("another\n")
    changed = Settings.from_env(
        state_dir=settings.state_dir, **{name.lower(): getattr(settings, name.lower()) for name in PORTS}
    )
    try:
        with pytest.raises(LocalError, match="POSTGRES_PASSWORD"):
            service.up(changed, print)
    finally:
        (settings.secrets_dir / "postgres_password").write_text(settings.secret("postgres_password"))
    assert find_processes(settings) == []


def test_a_wrong_password_for_a_server_of_ones_own_names_its_settings(settings: Settings) -> None:
    postgres.make_data(settings)
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    supervisor.run(settings, "postgres")
    service.wait_for_postgres(settings)
    postgres.make_databases(settings)
    wrong = settings.model_copy(update={"mlmd_password": settings.airflow_secret_key})
    problem = preparation.find_database_problem(wrong, "mlmd")
    assert problem is not None
    assert "password authentication failed" in problem
    assert "MLMD_PASSWORD" in problem
    assert preparation.find_database_problem(settings, "mlmd") is None


def test_what_outlived_a_killed_supervisor_is_found_and_ended(settings: Settings) -> None:
    postgres.make_data(settings)
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    supervisor.run(settings, "postgres")
    service.wait_for_postgres(settings)
    with supervisor.connect(settings) as rpc:
        assert rpc is not None
        os.kill(rpc.getPID(), signal.SIGKILL)
    assert service.health(settings).programs == {}
    assert find_processes(settings)
    assert service.down(settings)
    assert find_processes(settings) == []


def test_a_program_that_dies_is_started_again(settings: Settings) -> None:
    postgres.make_data(settings)
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    supervisor.run(settings, "postgres")
    service.wait_for_postgres(settings)
    first = supervisor.states(settings)["postgres"]["pid"]
    os.kill(first, signal.SIGQUIT)
    service.wait_for_postgres(settings)
    assert supervisor.states(settings)["postgres"]["pid"] != first


def test_no_file_of_the_service_but_the_secrets_holds_a_password(
    settings: Settings, environment: dict[str, str]
) -> None:
    postgres.make_data(settings)
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    words = [settings.secret(name).encode() for name in secrets.NAMES]
    exposed = [
        path
        for path in Path(environment["STATE_DIR"]).rglob("*")
        if path.is_file() and path.parent != settings.secrets_dir and any(word in path.read_bytes() for word in words)
    ]
    assert exposed == []
