"""How the end-to-end tests drive a service and look at what it left behind."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from waiting import wait_until

import lineage
from retraining.local import LocalError, airflow, model_server
from retraining.nights.rehearsal import QUICK
from retraining.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent

# A quick training, and a bar so low that every model is pushed: for tests of time.
SMALL_TRAINING = {
    name: value for name, value in Settings.from_env(**QUICK).to_environment().items() if name.lower() in QUICK
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_environment(state_dir: Path, drops_dir: Path, **settings: str) -> dict[str, str]:
    """The variables of a service apart from every other; `settings` by the names of their variables."""
    ports = ("POSTGRES_PORT", "WEBSERVER_PORT", "SUPERVISOR_PORT", "SERVING_PORT", "SERVING_GRPC_PORT", "REDIS_PORT")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        **{name: str(free_port()) for name in ports},
        "STATE_DIR": str(state_dir),
        "DROPS_DIR": str(drops_dir),
        "RETRY_DELAY_SECONDS": "1",
        **settings,
    }


@dataclass
class Service:
    """The `retraining` command against one service, and what it left behind."""

    environment: dict[str, str]
    checkout: Path = CHECKOUT

    def __call__(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "retraining", *arguments],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert not check or done.returncode == 0, f"retraining {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def settings(self) -> Settings:
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return Settings.from_env()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def airflow(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs Airflow's own command in the service's environment, as its people do."""
        return self("exec", "airflow", *arguments)

    def find_processes(self) -> list[psutil.Process]:
        """What runs of it, and of what it keeps in its state folder, but for this process."""
        found = []
        for process in psutil.process_iter():
            try:
                place = Path(process.environ().get("STATE_DIR", "/"))
                is_ours = place.is_relative_to(self.environment["STATE_DIR"])
            except psutil.Error:
                continue
            if is_ours and process.pid != os.getpid():
                found.append(process)
        return found

    def versions(self) -> list[str]:
        """The pushed versions that a model server would see, oldest first."""
        folder = self.settings.serving_dir
        assert folder is not None
        return sorted(path.name for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []

    def served(self) -> str | None:
        """The version that the model server answers with; None before its first."""
        address = model_server.address(self.settings)
        version: str | None = httpx.get(f"{address}/version", timeout=30, trust_env=False).json().get("version")
        return version

    def wait_until_served(self, version: str, seconds: float = 180) -> None:
        """Waits until the model server answers with a version: it looks for new ones every few seconds."""
        what = f"{version} is served"
        wait_until(lambda: self.served() == version, what, seconds, every=1, unanswered=(httpx.HTTPError, LocalError))

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        settings = self.settings
        answer = httpx.request(
            method,
            f"{airflow.web_address(settings)}/api/v1/{path}",
            auth=(airflow.ADMIN, settings.secret("airflow_admin_password")),
            timeout=30,
            **arguments,
        )
        answer.raise_for_status()
        return answer.json()

    def task_log(self, run_id: str, task: str) -> list[str]:
        """The lines of the newest log of a task, without Airflow's closing remarks on callbacks and exit codes."""
        folder = (
            self.settings.airflow_home / "logs" / "dag_id=headline_retraining" / f"run_id={run_id}" / f"task_id={task}"
        )
        newest = max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        return newest.read_text().splitlines()


@contextmanager
def start_service(place: Path, twelve_nights: Path, nights: int, **settings: str) -> Iterator[Service]:
    """A service in `place` with the drops of the first so many nights; `settings` by the names of their variables."""
    drops = place / "drops"
    for number in range(1, nights + 1):
        shutil.copytree(twelve_nights / f"2022-02-{number:02}", drops / f"2022-02-{number:02}")
    service = Service(make_environment(place / "state", drops, **settings))
    try:
        service("up")
        yield service
    finally:
        service("down", check=False)


def query(service: Service, statement: str) -> list[tuple[Any, ...]]:
    """Asks lineage in SQL."""
    with lineage.open_lineage(service.settings) as reader:
        return reader.rows(statement)


def predict(model: Path, titles: list[str]) -> dict[str, Any]:
    """Asks a pushed model, in a fresh process with nothing but TensorFlow."""
    script = (
        "import json, sys, tensorflow as tf\n"
        "answer = tf.saved_model.load(sys.argv[1]).signatures['predict_text'](tf.constant(json.loads(sys.argv[2])))\n"
        "print(json.dumps({'label': [l.decode() for l in answer['label'].numpy()],"
        " 'probabilities': answer['probabilities'].numpy().tolist()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model), json.dumps(titles)], capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
