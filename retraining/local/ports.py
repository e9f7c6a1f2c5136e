"""Whether the service's ports are free, and who has them if not."""

import socket
from collections.abc import Collection

import psutil

from retraining.local import LocalError
from retraining.settings import Settings


class PortTakenError(LocalError):
    """A port of the service is taken; the message names the setting that changes it."""


def of_service(settings: Settings) -> dict[str, tuple[str, int]]:
    """Address and port of everything the service listens on, by the name of its setting."""
    ports = {
        "SUPERVISOR_PORT": ("127.0.0.1", settings.supervisor_port),
        "WEBSERVER_PORT": (settings.webserver_host, settings.webserver_port),
        "SERVING_PORT": (settings.serving_host, settings.serving_port),
    }
    if settings.serving_grpc_port:
        ports["SERVING_GRPC_PORT"] = (settings.serving_host, settings.serving_grpc_port)
    if settings.metrics_port:
        ports["METRICS_PORT"] = (settings.metrics_host, settings.metrics_port)
    if settings.postgres_embedded:
        ports["POSTGRES_PORT"] = ("127.0.0.1", settings.postgres_port)
    if settings.has_own_redis:
        ports["REDIS_PORT"] = ("127.0.0.1", settings.redis_port)
    return ports


def find_taken(settings: Settings, names: Collection[str] | None = None) -> list[str]:
    """One line per port that cannot be used, saying who has it and what to do; of all, or of those settings only."""
    ports = {name: port for name, port in of_service(settings).items() if names is None or name in names}
    problems = [
        f"port {port} is taken{_holder(port)}; set {name} to a free port in .env, or stop that process"
        for name, (host, port) in ports.items()
        if _is_taken(host, port)
    ]
    numbers = [port for _, port in ports.values()]
    if len(set(numbers)) < len(numbers):
        assignments = ", ".join(f"{name}={port}" for name, (_, port) in ports.items())
        problems.append(f"two settings name one port ({assignments}); give each its own")
    return problems


def check_free(settings: Settings, names: Collection[str] | None = None) -> None:
    """Raises PortTakenError if a port of the service cannot be used; looks at all, or at those settings only."""
    if problems := find_taken(settings, names):
        raise PortTakenError("\n".join(problems))


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a connection of a minute ago is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _holder(port: int) -> str:
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        pids = {connection.pid for connection in listening if getattr(connection.laddr, "port", None) == port}
        return "".join(f" by {psutil.Process(pid).name()} (process {pid})" for pid in sorted(filter(None, pids))[:1])
    except psutil.Error:
        return ""
