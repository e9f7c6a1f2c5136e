"""A job server lives as long as a node's work, whatever becomes of it; a job that nobody waits for is ended."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from flink_rest import OVERVIEW, answering
from waiting import wait_until

from retraining.engines import UnreachableEngineError, submitting
from retraining.engines.submitting import submit
from retraining.settings import CHECKOUT

JOBS = "/jobs/overview"
# What stands for Java: it says which process it is, and what it was given.
_START = """#!{python}
import json, os, pathlib, sys, time
place = pathlib.Path({place!r})
(place / "command.json").write_text(json.dumps(sys.argv[1:]))
(place / "pid").write_text(str(os.getpid()))
"""
SERVES = """
import grpc
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1))
server.add_insecure_port("localhost:" + sys.argv[sys.argv.index("--job-port") + 1])
server.start()
server.wait_for_termination()
"""
SLEEPS = "time.sleep(600)"
FAILS = "sys.exit(3)"

Launch = Callable[[str], Path]


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Puts a program first on PATH under the name of Java, and returns where it leaves its number."""

    def put(program: str) -> Path:
        launcher = tmp_path / "bin" / "java"
        launcher.parent.mkdir()
        launcher.write_text(_START.format(python=sys.executable, place=str(tmp_path)) + program)
        launcher.chmod(0o755)
        monkeypatch.setenv("PATH", str(launcher.parent), prepend=os.pathsep)
        return tmp_path / "pid"

    return put


@pytest.fixture
def bodies() -> dict[str, str]:
    """What the cluster answers, by path."""
    return {"/overview": json.dumps(OVERVIEW)}


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    path = tmp_path / "job-server.jar"
    path.touch()
    return path


def list_flink(master: str, jar: Path | str) -> list[str]:
    return ["--runner=FlinkRunner", f"--flink_master={master}", f"--flink_job_server_jar={jar}"]


def is_gone(pid_file: Path) -> bool:
    pid = int(pid_file.read_text())
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def find_value(arguments: list[str], name: str) -> str:
    [value] = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")]
    return value


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{closed.getsockname()[1]}"


def test_one_box_imports_none_of_what_hands_over_jobs() -> None:
    code = "import sys, retraining.engines.submitting; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "retraining.engines.readiness" in done.stdout.split()
    assert not {name for name in done.stdout.split() if name.startswith("apache_beam")}


def test_a_job_server_that_cannot_be_prepared_is_told_as_what_it_is(
    java: Launch, bodies: dict[str, str], nowhere: str
) -> None:
    pid = java(SERVES)
    jar = f"http://{nowhere}/job-server.jar"
    with (
        answering(bodies) as master,
        pytest.raises(RuntimeError, match=f"Unable to fetch remote job server jar at {jar}"),
        submit(list_flink(master, jar)),
    ):
        pytest.fail("there is no job server")
    assert not pid.exists()


@pytest.mark.parametrize(
    "runner", ["FlinkRunner", "flinkrunner", "Flink", "apache_beam.runners.portability.flink_runner.FlinkRunner"]
)
def test_a_runner_is_known_by_whatever_name_beam_takes(runner: str, nowhere: str) -> None:
    with pytest.raises(UnreachableEngineError), submit([f"--runner={runner}", f"--flink_master={nowhere}"]):
        pytest.fail("there is no cluster")


def test_another_runner_is_left_to_beam(nowhere: str) -> None:
    arguments = ["--runner=PortableRunner", f"--flink_master={nowhere}"]
    with submit(arguments) as given:
        assert given == arguments


def test_a_job_server_is_gone_when_the_work_is_done(java: Launch, bodies: dict[str, str], jar: Path) -> None:
    pid = java(SERVES)
    with answering(bodies) as master:
        arguments = list_flink(master, jar)
        with submit(arguments) as given:
            assert not is_gone(pid)
            assert find_value(given, "runner") == "PortableRunner"
            command = json.loads((pid.parent / "command.json").read_text())
            port = command[command.index("--job-port") + 1]
            assert find_value(given, "job_endpoint") == f"localhost:{port}"
            assert command[command.index("--flink-master") + 1] == master
            assert str(jar) in command
    assert is_gone(pid)


def test_a_job_that_fails_is_cancelled_and_no_other(java: Launch, bodies: dict[str, str], jar: Path) -> None:
    pid, patched = java(SERVES), list[str]()
    with (
        answering(bodies, patched) as master,
        pytest.raises(ZeroDivisionError),
        submit(list_flink(master, jar)) as given,
    ):
        own = find_value(given, "job_name")
        jobs = [("a1", own, -1), ("a2", own, 1764590400000), ("a3", f"{own}0", -1), ("a4", "another", -1)]
        bodies[JOBS] = json.dumps({"jobs": [{"jid": jid, "name": name, "end-time": end} for jid, name, end in jobs]})
        raise ZeroDivisionError
    assert patched == ["/jobs/a1?mode=cancel"]
    assert is_gone(pid)


def test_a_job_that_is_done_is_not_cancelled(java: Launch, bodies: dict[str, str], jar: Path) -> None:
    java(SERVES)
    patched: list[str] = []
    with answering(bodies, patched) as master, submit(list_flink(master, jar)) as given:
        job = {"jid": "a1", "name": find_value(given, "job_name"), "end-time": -1}
        bodies[JOBS] = json.dumps({"jobs": [job]})
    assert not patched


@pytest.mark.parametrize("answer", ["", "{}", '{"jobs": [{}]}', None])
def test_a_master_that_cannot_cancel_is_a_warning_and_the_failure_stays(
    java: Launch, bodies: dict[str, str], jar: Path, caplog: pytest.LogCaptureFixture, answer: str | None
) -> None:
    pid = java(SERVES)
    with contextlib.ExitStack() as cluster:
        master = cluster.enter_context(answering(bodies))
        with pytest.raises(ZeroDivisionError), submit(list_flink(master, jar)):
            if answer is None:
                cluster.close()
            else:
                bodies[JOBS] = answer
            raise ZeroDivisionError
    # Only warnings: whether what is less grave is recorded depends on what was imported before.
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    [warning] = [record.getMessage() for record in records if record.name == submitting.__name__]
    assert f"at FLINK_MASTER={master} could not be cancelled" in warning
    assert is_gone(pid)


def test_a_job_server_is_gone_when_its_task_is_killed(java: Launch, bodies: dict[str, str], jar: Path) -> None:
    pid = java(SERVES)
    with answering(bodies) as master:
        arguments = list_flink(master, jar)
        code = f"import os, signal\nfrom {submitting.__name__} import submit\n"
        code += f"with submit({arguments!r}): os.kill(os.getpid(), signal.SIGKILL)"
        # What Beam has made for the server is not removed then.
        surroundings = {**os.environ, "TMPDIR": str(pid.parent)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=CHECKOUT, env=surroundings, stderr=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: is_gone(pid), "the job server is gone")


def test_a_job_server_that_ends_at_once_fails_the_work(java: Launch, bodies: dict[str, str], jar: Path) -> None:
    pid = java(FAILS)
    with (
        answering(bodies) as master,
        pytest.raises(RuntimeError, match="Service failed to start up with error 3"),
        submit(list_flink(master, jar)),
    ):
        pytest.fail("there is no job server")
    assert is_gone(pid)


def test_a_job_server_that_never_answers_is_gone_when_the_task_runs_out_of_time(
    java: Launch, bodies: dict[str, str], jar: Path
) -> None:
    pid = java(SLEEPS)

    def run_out(number: int, frame: object) -> None:
        raise TimeoutError("the task's time is up")

    before = signal.signal(signal.SIGUSR1, run_out)

    def wait_and_tell() -> None:
        wait_until(pid.exists, "the job server runs", 60)
        os.kill(os.getpid(), signal.SIGUSR1)

    telling = threading.Thread(target=wait_and_tell)
    telling.start()
    try:
        with (
            answering(bodies) as master,
            pytest.raises(TimeoutError, match="time is up"),
            submit(list_flink(master, jar)),
        ):
            pytest.fail("there is no job server")
    finally:
        telling.join()
        signal.signal(signal.SIGUSR1, before)
    assert is_gone(pid)
