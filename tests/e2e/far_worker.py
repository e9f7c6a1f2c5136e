"""A worker on a machine of its own, as far as one machine has two: another host name, another state folder."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from driving import CHECKOUT, Service

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
    """A line from another machine to a port of this one, which can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._is_cut = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks every connection, and lets nobody in any more."""
        self._is_cut.set()
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._is_cut.is_set():
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def lay_line(port: int) -> Iterator[Line]:
    """A line that ends with the block."""
    line = Line(port)
    try:
        yield line
    finally:
        line.cut()


CAN_HAVE_HOSTS = os.geteuid() == 0
