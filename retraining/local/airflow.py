"""The environment of every process of the service, Airflow's among them, and the address of its web server."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from retraining.local import airflow_options, postgres
from retraining.local.processes import MARK
from retraining.notices.links import web_root
from retraining.settings import CHECKOUT, Settings

ADMIN = "admin"
"""The web user made at first start."""

_DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "NOTIFY_SOCKET", "WATCHDOG_")
"""What is not passed on.

Bytecode halves every start, and a stray virtual environment must not be picked up. What systemd says to one process is
not for those that it starts, gunicorn and Postgres among them.
"""

_ARITHMETIC = {
    # Rounds otherwise than Eigen, and takes half the time for an epoch.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # A thread per task: on models this small threads wait for one another, and tasks run beside each other.
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""What decides the last bits of a model's weights."""

_QUIET = {
    # Start-up banners of TensorFlow, absl and gRPC; warnings and errors stay.
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "GRPC_VERBOSITY": "ERROR",
    # Each filter matches the beginning of one message, never a whole category.
    "PYTHONWARNINGS": ",".join(
        f"ignore:{message}"
        for message in (
            "You are using a Python version",
            "You are using a non-supported Python version",
            # Airflow insists on the old name of its session backend, and then warns about it (no issue known).
            "This module is deprecated. Please use `airflow.providers.fab.auth_manager",
        )
    ),
}


def web_address(settings: Settings) -> str:
    """Where the web server answers, for a browser on this machine."""
    host = "127.0.0.1" if settings.webserver_host == "0.0.0.0" else settings.webserver_host
    # Airflow answers below the path of its base_url, whoever asks.
    return f"http://{host}:{settings.webserver_port}{urlsplit(web_root(settings)).path}"


def environment(settings: Settings) -> dict[str, str]:
    """The whole environment of every process of the service, this process' own included."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if settings.postgres_embedded:
        path.insert(1, str(postgres.find_binaries()))
    dropped = settings.secret_pointers()
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Where a secret is must not be said beside the secret.
        if not (name in dropped or name.startswith(_DROPPED))
    }
    return {
        **airflow_options.suggest(settings),
        **settings.server_options,
        **settings.airflow_options,
        **inherited,
        **settings.to_environment(),
        **_QUIET,
        **_ARITHMETIC,
        **airflow_options.decide(settings),
        "AIRFLOW_HOME": str(settings.airflow_home),
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
        # Gunicorn's control socket would be made in the home folder, outside the checkout (benoitc/gunicorn#3551).
        "GUNICORN_CMD_ARGS": "--no-control-socket",
        # Otherwise a process that renames itself overwrites the environment others see, and with it the mark
        # (dvarrazzo/py-setproctitle#166).
        "SPT_NOENV": "1",
        MARK: str(settings.state_dir),
    }


def compute_as_the_service() -> None:
    """Makes this process compute as the service's do, to the last bit; to be called before TensorFlow is imported."""
    os.environ.update(_QUIET | _ARITHMETIC)
