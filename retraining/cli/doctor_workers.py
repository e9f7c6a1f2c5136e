"""What can be wrong with Celery workers: what a machine does not share, and queues from which nobody takes tasks."""

from collections.abc import Callable

from retraining.cli.finding import Finding
from retraining.settings import Settings, SettingsError
from retraining.workers import asking, command, sharing
from retraining.workers.asking import BrokerError
from retraining.workers.command import WorkerError
from retraining.workers.sharing import SharingError


def list_worker_checks(settings: Settings, has_postgres: bool) -> list[Callable[[], Finding]]:
    """What is looked at where tasks run on workers: on the scheduler's machine and on each of theirs.

    Args:
      settings: of this machine.
      has_postgres: whether a server of the service's own answers.
    """
    if settings.executor != "celery":
        return []
    try:
        command.check_packages()
    except WorkerError as error:
        problem = str(error)
        return [lambda: Finding("workers", "fail", problem)]
    if settings.postgres_embedded and not has_postgres:
        return [lambda: Finding("workers", "warn", "not looked at while the service is down")]
    return [lambda: _sharing(settings), lambda: _workers(settings)]


def _sharing(settings: Settings) -> Finding:
    try:
        unknown = sharing.check(settings)
    except (SharingError, SettingsError) as error:
        return Finding("sharing", "fail", "; ".join(str(error).splitlines()))
    if unknown:
        return Finding("sharing", "warn", "; ".join(unknown))
    return Finding("sharing", "ok", "databases, keys, folders, code and time are those of the scheduler")


def _workers(settings: Settings) -> Finding:
    try:
        found = asking.ask(settings)
    except BrokerError as error:
        return Finding("workers", "fail", str(error))
    if lonely := asking.find_queues_of_nobody(settings, found):
        return Finding("workers", "fail", f"nobody takes tasks from {', '.join(lonely)}: start a worker that does")
    return Finding("workers", "ok", "; ".join(f"{one.name}: {' '.join(one.queues)}" for one in found))
