"""Which workers there are, by the broker: each answers for itself."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headlines.errors import HeadlinesError
from headlines.names import SCHEDULER_QUEUE
from retraining.settings import Settings

_PATIENCE_SECONDS = 3.0
"""How long a broker may take for a connection, or for an answer."""


class BrokerError(HeadlinesError):
    """The broker does not answer; the message says which setting names it, and never its password."""


@dataclass(frozen=True)
class Worker:
    """A worker that answers.

    Attributes:
      name: `<name>@<host>`.
      queues: from which it takes tasks.
      slots: how many tasks it runs at a time.
    """

    name: str
    queues: tuple[str, ...]
    slots: int


def check_broker(settings: Settings) -> None:
    """Asks whether the broker is there.

    Raises:
      BrokerError: it is not, or lets nobody in.
    """
    with _connected(settings):
        pass


def is_broker_there(settings: Settings) -> bool:
    """Whether the broker answers."""
    try:
        check_broker(settings)
    except BrokerError:
        return False
    return True


def find_answering(settings: Settings, names: list[str], seconds: float = 1.0) -> set[str]:
    """Which of this machine's workers answer; none where there is no broker.

    Args:
      settings: say where the broker is.
      names: as they were started, without a host.
      seconds: how long to wait for those that do not.
    """
    addresses = {f"{name}@{socket.gethostname()}": name for name in names}
    try:
        with _connected(settings) as (control, connection):
            answers: list[dict[str, Any]] = control.ping(
                destination=list(addresses), timeout=seconds, limit=len(addresses), connection=connection
            )
    except BrokerError:
        return set()
    return {addresses[worker] for answer in answers for worker in answer if worker in addresses}


def ask(settings: Settings, seconds: float = 1.0) -> list[Worker]:
    """Every worker that answers in time, on whatever machine.

    Raises:
      BrokerError: there is nobody to ask.
    """
    with _connected(settings) as (control, connection):
        inspection = control.inspect(timeout=seconds, connection=connection)
        queues: dict[str, list[dict[str, Any]]] = inspection.active_queues() or {}
        stats: dict[str, dict[str, Any]] = (inspection.stats() or {}) if queues else {}
    return [
        Worker(
            name,
            tuple(queue["name"] for queue in taken),
            int(stats.get(name, {}).get("pool", {}).get("max-concurrency", 0)),
        )
        for name, taken in sorted(queues.items())
    ]


def find_queues_of_nobody(settings: Settings, workers: list[Worker]) -> list[str]:
    """The queues to which tasks are sent, and from which no worker takes any."""
    taken = {queue for worker in workers for queue in worker.queues}
    used = dict.fromkeys([settings.queue, *settings.queues.values(), SCHEDULER_QUEUE])
    return [queue for queue in used if queue not in taken]


@contextmanager
def _connected(settings: Settings) -> Iterator[tuple[Any, Any]]:
    """What asks workers, and a connection of its own: kombu's pool would keep one that has broken meanwhile.

    Raises:
      BrokerError: the broker is not there, or goes while it is asked.
    """
    # Late: not everybody has it, and it takes a while.
    from celery import Celery

    application = Celery(broker=settings.broker, set_as_current=False)
    # Of kombu's Redis transport, these alone are limits.
    limits = {"socket_connect_timeout": _PATIENCE_SECONDS, "socket_timeout": _PATIENCE_SECONDS}
    application.conf.broker_transport_options = limits if settings.broker.startswith("redis") else {}
    application.conf.broker_connection_timeout = _PATIENCE_SECONDS
    with application.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=0)
            yield application.control, connection
        except Exception as error:  # Of whatever client the address asks for.
            name = "BROKER_URL" if settings.broker_url else "REDIS_PORT"
            raise BrokerError(
                f"the broker {connection.as_uri()} cannot be used: {error}; start it, or correct {name}"
            ) from None
