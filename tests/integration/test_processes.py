"""What is killed leaves nothing behind: a program is started again, without end, after all that it has left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from free_ports import free_port
from waiting import wait_until

from retraining.local import airflow, postgres, processes, roster, secrets, service, succession, supervisor
from retraining.settings import CHECKOUT, Settings

# As LocalExecutor does: a child whose child runs in a session of its own.
FAMILY = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
    time.sleep(600)
time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    ports = ("postgres_port", "webserver_port", "supervisor_port", "serving_port", "serving_grpc_port")
    made = Settings.from_env(state_dir=tmp_path / "a state", **{name: free_port() for name in ports})
    made.state_dir.mkdir()
    yield secrets.make_missing(made)
    service.down(made)


def start(settings: Settings, **scripts: str) -> None:
    """Has the supervisor run Python scripts, each as a program of its name."""
    for name, script in scripts.items():
        (settings.state_dir / f"{name}.py").write_text(script)
    programs = [supervisor.Program(name, f"python {name}.py", priority=1, stop_seconds=1) for name in scripts]
    supervisor.start(settings, programs, airflow.environment(settings))
    for name in scripts:
        supervisor.run(settings, name)


def find(settings: Settings, program: str) -> set[int]:
    return {process.pid for process, owner in processes.find_all(settings.state_dir) if owner == program}


def start_postgres(settings: Settings) -> None:
    postgres.make_data(settings)
    supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
    supervisor.run(settings, "postgres")
    service.wait_for_postgres(settings)


def test_a_killed_program_takes_all_it_has_begun_along_and_no_other_programs(settings: Settings) -> None:
    start(settings, scheduler=FAMILY, webserver=FAMILY)
    for name in ("scheduler", "webserver"):
        wait_until(lambda name=name: len(find(settings, name)) == 3, f"the family of {name}")  # type: ignore[misc]
    old, other = find(settings, "scheduler"), find(settings, "webserver")
    assert service.find_strays(settings) == []
    os.kill(supervisor.states(settings)["scheduler"]["pid"], signal.SIGKILL)
    wait_until(lambda: not old & find(settings, "scheduler"), "the old family is gone")
    wait_until(lambda: len(find(settings, "scheduler")) == 3, "a new family")
    assert find(settings, "webserver") == other
    assert service.find_strays(settings) == []
    log = supervisor.log_path(settings, "scheduler").read_text()
    assert "ending 2 processes that an earlier scheduler has left" in log
    assert service.down(settings)
    assert list(processes.find_all(settings.state_dir)) == []


def test_what_outlives_the_supervisor_or_its_program_is_a_stray_with_its_name_and_size(settings: Settings) -> None:
    start(settings, scheduler=FAMILY, webserver=FAMILY)
    wait_until(lambda: len(find(settings, "scheduler") | find(settings, "webserver")) == 6, "both families")
    with supervisor.connect(settings) as rpc:
        assert rpc is not None
        # Nothing takes its place.
        rpc.stopProcess("webserver")
    left = find(settings, "webserver")
    assert {(one.program, one.pid) for one in service.find_strays(settings)} == {("webserver", pid) for pid in left}
    step = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
        env={**os.environ, processes.MARK: str(settings.state_dir)},
        stdout=subprocess.PIPE,
    )
    assert step.stdout
    step.stdout.readline()
    # A step of a start that is at work is a child of the command that holds the lock.
    (settings.state_dir / "lock").write_text(f"{os.getpid()} retraining up")
    assert step.pid not in {one.pid for one in service.find_strays(settings)}
    (settings.state_dir / "lock").unlink()
    [stray] = [one for one in service.find_strays(settings) if one.pid == step.pid]
    assert (stray.program, stray.memory_mb > 0) == ("", True)
    assert "time.sleep(600)" in stray.command
    assert service.down(settings)
    assert step.poll() is not None
    assert service.find_strays(settings) == []


def test_a_program_that_fails_for_long_comes_back_by_itself_and_at_once_when_asked(settings: Settings) -> None:
    start(
        settings,
        watch="import os, time\nprint('tried', flush=True)\nos.path.exists('mended') or os._exit(3)\ntime.sleep(600)",
    )

    def count_tries() -> int:
        return supervisor.log_path(settings, "watch").read_text().count("tried")

    wait_until(lambda: supervisor.find_failing(settings) == ["watch"], "it fails")
    supervisor.run(settings, "watch")
    assert supervisor.find_failing(settings) == []
    # The waits are of 1, 2, 3 and 4 seconds: supervisor's own default gives up before the last.
    wait_until(lambda: count_tries() >= 5, "it is tried for ten seconds")
    (settings.state_dir / "mended").touch()
    wait_until(lambda: count_tries() >= 6 and not supervisor.find_failing(settings), "it came back by itself")


def test_a_killed_postgres_starts_again_when_the_last_of_its_backends_is_gone_and_loses_nothing(
    settings: Settings,
) -> None:
    start_postgres(settings)
    segments = len(list(Path("/dev/shm").glob("PostgreSQL.*")))
    working = postgres.connect_superuser(settings)
    with working.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        cursor.execute("SELECT pg_backend_pid()")
        [backend] = cursor.fetchone()
    postmaster = supervisor.states(settings)["postgres"]["pid"]
    old = find(settings, "postgres")
    assert {backend, postmaster} < old
    # This one does not see that its server has died, nor hear a signal but the last.
    os.kill(backend, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    wait_until(lambda: supervisor.states(settings)["postgres"]["pid"] not in (0, postmaster), "a new one")
    assert not find(settings, "postgres") - old - {supervisor.states(settings)["postgres"]["pid"]}
    os.kill(backend, signal.SIGCONT)
    service.wait_for_postgres(settings)
    assert not old & find(settings, "postgres")
    assert psutil.pid_exists(supervisor.states(settings)["postgres"]["pid"])
    connection = postgres.connect_superuser(settings)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")
        assert cursor.fetchone() == (1000,)
    connection.close()
    with pytest.raises(psycopg2.OperationalError), working.cursor() as cursor:
        cursor.execute("SELECT 1")
    # Postgres removes the shared memory that the killed one has left.
    assert len(list(Path("/dev/shm").glob("PostgreSQL.*"))) == segments


def test_what_a_power_cut_leaves_keeps_nothing_from_starting(settings: Settings) -> None:
    postgres.make_data(settings)
    data = postgres.data_dir(settings)
    # By now the numbers are those of a process that has nothing to do with it: this one.
    lines = [
        os.getpid(),
        data,
        int(time.time()) - 3600,
        settings.postgres_port,
        "",
        "127.0.0.1",
        "  1234567  1",
        "ready",
    ]
    (data / "postmaster.pid").write_text("".join(f"{line}\n" for line in lines))
    (settings.state_dir / "supervisor.pid").write_text(f"{os.getpid()}\n")
    (settings.state_dir / "started-with").write_text("another's")
    start_postgres(settings)
    log = supervisor.log_path(settings, "postgres").read_text()
    assert f"process {os.getpid()}, which it names, is no server of this folder" in log
    assert (settings.state_dir / "supervisor.pid").read_text() == f"{supervisor.find_pid(settings)}\n"
    # The file of a server that runs stays.
    kept = (data / "postmaster.pid").read_text()
    succession._settle_postmaster_file(data)
    assert (data / "postmaster.pid").read_text() == kept
    assert service.down(settings)
    assert not (settings.state_dir / "supervisor.pid").exists()


def test_only_a_file_that_names_no_server_of_the_folder_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.pid"
    # What nobody can read, and a number that no process has, are Postgres' to judge.
    for text, is_kept in {"x\n": True, "999999999\n/data\n": True, "": False, f"{os.getpid()}\n/data\n": False}.items():
        file.write_text(text)
        succession._settle_postmaster_file(tmp_path)
        assert file.exists() == is_kept, text
    file.unlink(missing_ok=True)
    succession._settle_postmaster_file(tmp_path)


def test_a_process_number_of_before_a_restart_keeps_the_web_server_from_nothing(settings: Settings) -> None:
    settings.airflow_home.mkdir()
    for name in ("webserver", "webserver-monitor", "scheduler"):
        (settings.airflow_home / f"airflow-{name}.pid").write_text(f"{os.getpid()}\n")
    done = subprocess.run(
        [sys.executable, "-m", "retraining.local.succession", "webserver", "echo", "it", "runs"],
        cwd=settings.state_dir,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), processes.MARK: str(settings.state_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "it runs\n"
    assert [path.name for path in settings.airflow_home.iterdir()] == ["airflow-scheduler.pid"]
