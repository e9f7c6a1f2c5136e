"""The command line of a Celery worker."""

import importlib.metadata
import os
from collections.abc import Mapping, Sequence

from headlines.errors import HeadlinesError
from retraining.settings import Settings

NAME = "worker"
"""What a worker is called unless it is told; Celery puts `@<host>` behind it."""
_PACKAGES = ("apache-airflow-providers-celery", "celery", "redis")


class WorkerError(HeadlinesError):
    """No worker can run here; the message says why and what to do."""


def check_packages() -> None:
    """Looks for the packages that workers need besides.

    Raises:
      WorkerError: one is missing.
    """
    missing = [name for name in _PACKAGES if not _is_installed(name)]
    if missing:
        raise WorkerError(
            f"EXECUTOR=celery needs {', '.join(missing)}, which the service alone does without; install "
            "requirements-celery.lock: `make setup-celery`"
        )


def _is_installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def build(settings: Settings, name: str, queues: Sequence[str]) -> list[str]:
    """What to run.

    Args:
      settings: say how many tasks at a time.
      name: of the worker, on this machine.
      queues: from which it takes tasks.
    """
    command = ["airflow", "celery", "worker", "--celery-hostname", f"{name}@%h"]
    command += ["--queues", ",".join(queues), "--concurrency", str(settings.worker_slots)]
    # Airflow's log server listens on every address (apache/airflow#60117).
    return command if settings.worker_log_port else [*command, "--skip-serve-logs"]


def become(settings: Settings, name: str, queues: Sequence[str], environment: Mapping[str, str]) -> None:
    """Becomes the worker; returns only if that fails.

    Raises:
      WorkerError: it cannot be run.
    """
    command = build(settings, name, queues)
    settings.airflow_home.mkdir(parents=True, exist_ok=True)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise WorkerError(f"{command[0]} cannot be run: {error.strerror}") from None
