"""A model server as a process of its own, to which signals are sent."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
# Of util-linux. Only root has them to drop.
_OBEY_PERMISSIONS = ["--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


class ServerProcess:
    """`python -m serving`, which obeys file permissions even where the tests run as root."""

    def __init__(self, folder: Path | str, environment: Mapping[str, str] | None = None, **settings: Any) -> None:
        # Both held until both are chosen, so that they are two.
        with socket.socket() as probe, socket.socket() as grpc_probe:
            for one in (probe, grpc_probe):
                one.bind(("127.0.0.1", 0))
            self.port, self.grpc_port = probe.getsockname()[1], grpc_probe.getsockname()[1]
        # A pipe that nobody reads would hold the process up.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        values = {"dir": folder, "port": self.port, "grpc_port": self.grpc_port, "poll_seconds": 0.1, **settings}
        self.port, self.grpc_port = values["port"], values["grpc_port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            # Not by `preexec_fn`: a fork among the threads of gRPC's clients may die before it comes to that.
            ["setpriv", *_OBEY_PERMISSIONS, sys.executable, "-m", "serving"],
            env=os.environ
            | {f"SERVING_{name.upper()}": str(value) for name, value in values.items()}
            | dict(environment or {}),
            cwd=ROOT,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            # Its workers would outlive it by what they have to end.
            for pid in [self.process.pid, *self.find_workers()]:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self._output.close()

    @property
    def log(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def find_workers(self) -> list[int]:
        """The process ids of its workers, where it has several."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=30)

    def post(self, path: str, document: Any, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", json=document, headers=headers, timeout=30)

    def answers(self, path: str) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def problems(self) -> str:
        """What it says at `/readyz`, ready or not."""
        document = self.get("/readyz").json()
        return "; ".join(document["problems"]) if "problems" in document else str(document["error"])

    def end(self, seconds: float) -> int:
        """Sends the signal to end, and returns with what it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)
