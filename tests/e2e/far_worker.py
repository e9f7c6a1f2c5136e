"""A worker on a machine of its own, as far as one machine has two: another host name, another state folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from driving import CHECKOUT, Service, free_port

_SECRETS = ("mlmd_password", "airflow_db_password", "airflow_fernet_key", "airflow_secret_key")


class FarWorker:
    """`retraining worker`, given what the documentation says that a machine must be given."""

    def __init__(self, service: Service, place: Path, host: str, **settings: str) -> None:
        """Starts it.

        Args:
          service: whose tasks it is to run.
          place: for its state folder and its log.
          host: what its machine is called.
          **settings: others than the service's, by the names of their variables.
        """
        there = service.settings
        place.mkdir(exist_ok=True)
        self.host = host
        self.log = place / "worker.log"
        variables = {
            **service.environment,
            **{name.upper(): there.secret(name) for name in _SECRETS},
            "STATE_DIR": str(place / "state"),
            "POSTGRES_EMBEDDED": "false",
            "BROKER_URL": there.broker,
            "PIPELINE_ROOT": str(there.pipeline_root),
            "SERVING_DIR": str(there.serving_dir),
            "SCORES_DIR": str(there.scores_dir),
            "NOTICES_DIR": str(there.notices_dir),
            "TASK_LOGS_DIR": str(there.task_logs_dir),
            "SCHEDULED_FROM": there.scheduled_from,
            **settings,
        }
        command = f"hostname {host} && exec {sys.executable} -m retraining worker"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--uts", "sh", "-c", command],
                cwd=CHECKOUT,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def has_started(self) -> bool:
        """Whether Celery says that it takes tasks."""
        assert self.process.poll() is None, self.log.read_text()
        return " ready." in self.log.read_text()

    def list_processes(self) -> list[psutil.Process]:
        """The worker, and all that it has begun."""
        worker = psutil.Process(self.process.pid)
        return [worker, *worker.children(recursive=True)]

    def kill(self) -> None:
        """Ends all of it at once, as a machine that loses its power."""
        for process in self.list_processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Ends it as its people do, after its tasks; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


class Line:
    """A second way to a port of loopback, which can go silent as a network does that swallows what it is given."""

    def __init__(self, target: int, port: int) -> None:
        self.port = port
        self._way = ("OUTPUT", "-p", "tcp", "-d", "127.0.0.1", "--dport", str(port))
        self._way += ("-j", "DNAT", "--to-destination", f"127.0.0.1:{target}")
        # By where the first packet was sent to, and so whatever belongs to it, there and back.
        self._silence = ("OUTPUT", "-p", "tcp", "-m", "conntrack", "--ctorigdstport", str(port), "-j", "DROP")
        self._is_silent = False

    def lay(self) -> None:
        """Begins to carry."""
        _run("iptables", "-t", "nat", "-A", *self._way)

    def silence(self) -> None:
        """Swallows every packet from now on: neither end hears of the other, nor of its end."""
        _run("iptables", "-I", *self._silence)
        self._is_silent = True

    def end(self) -> None:
        """Leaves nothing behind."""
        _run("iptables", "-t", "nat", "-D", *self._way)
        if self._is_silent:
            _run("iptables", "-D", *self._silence)


@contextmanager
def lay_line(port: int) -> Iterator[Line]:
    """A line that ends with the block.

    Args:
      port: of loopback, to which it leads.
    """
    line = Line(port, free_port())
    line.lay()
    try:
        yield line
    finally:
        line.end()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


CAN_HAVE_HOSTS = os.geteuid() == 0
