"""How Airflow is set up on one box: the environment of its processes, and the addresses it has."""

import os
import sys
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from retraining.local import airflow_series, postgres
from retraining.local.processes import MARK
from retraining.notices.links import web_root
from retraining.openlineage.options import airflow_options
from retraining.secret_sources import BACKEND_PREFIX
from retraining.settings import BUNDLE, CHECKOUT, Settings

ADMIN = "admin"
"""The web user made at first start."""

_PASSED = BACKEND_PREFIX
"""What of Airflow's configuration a user sets in the environment: where connections, variables and secrets are kept.

All else that Airflow reads is this project's, and follows from the settings.
"""
_DROPPED = ("AIRFLOW__", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "NOTIFY_SOCKET", "WATCHDOG_")
"""What is not passed on.

Bytecode halves every start, and a stray Airflow or virtual environment must not be picked up. What systemd says to one
process is not for those that it starts, gunicorn and Postgres among them.
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


def url(settings: Settings) -> str:
    """The SQLAlchemy address of Airflow's database, password included."""
    user, password = quote(settings.airflow_db_user, safe=""), quote(settings.secret("airflow_db_password"), safe="")
    place = f"{settings.airflow_db_host}:{settings.airflow_db_port}/{quote(settings.airflow_db_database, safe='')}"
    options = f"?{urlencode(settings.tls_options)}" if settings.tls_options else ""
    return f"postgresql+psycopg2://{user}:{password}@{place}{options}"


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
        if name.startswith(_PASSED) or not (name in dropped or name.startswith(_DROPPED))
    }
    return {
        **settings.server_options,
        **settings.backend_options,
        **inherited,
        **settings.to_environment(),
        **_QUIET,
        **_ARITHMETIC,
        **_airflow_settings(settings),
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


def _protection(settings: Settings) -> dict[str, object]:
    """How browsers are held to their sessions, and whom the web server believes where they are."""
    return {
        # No other site shows a page of ours in a frame and has it clicked.
        "x_frame_enabled": False,
        "cookie_secure": web_root(settings).startswith("https://"),
        # `Strict` would have whoever follows a link of a notice log in again.
        "cookie_samesite": "Lax",
        # In the database, where a session ends with its row; the cookie is a signed number alone.
        "session_backend": "database",
        "session_lifetime_minutes": settings.session_lifetime_minutes,
        # Without a proxy anybody could send the headers.
        # https://airflow.apache.org/docs/apache-airflow/2.11.2/howto/run-behind-proxy.html
        "enable_proxy_fix": settings.web_address is not None,
    }


def compute_as_the_service() -> None:
    """Makes this process compute as the service's do, to the last bit; to be called before TensorFlow is imported."""
    os.environ.update(_QUIET | _ARITHMETIC)


def _airflow_settings(settings: Settings) -> dict[str, str]:
    sections: dict[str, dict[str, object]] = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": (os.cpu_count() or 2) + 2,
            "dags_folder": settings.dags_dir,
            "plugins_folder": BUNDLE / "plugins",
            "load_examples": False,
            "dags_are_paused_at_creation": True,
            "fernet_key": settings.secret("airflow_fernet_key"),
            # Importing TFX without a warm parent takes 10-60 s on a busy machine.
            "dagbag_import_timeout": 180,
            "dag_file_processor_timeout": 240,
            "min_serialized_dag_update_interval": 5,
            "min_serialized_dag_fetch_interval": 5,
            # The name a task was started under must stay the same while a laptop changes networks.
            "hostname_callable": "socket.gethostname",
            # What runs in C++ does not hear a request to end; whoever interrupts should not wait for it.
            "killed_task_cleanup_time": 5,
        },
        "database": {"sql_alchemy_conn": url(settings), "load_default_connections": False},
        "api": {
            "auth_backends": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth,"
            "airflow.api.auth.backend.session"
        },
        "webserver": {
            "web_server_host": settings.webserver_host,
            "web_server_port": settings.webserver_port,
            "base_url": web_root(settings),
            "secret_key": settings.secret("airflow_secret_key"),
            "workers": 2,
            "default_ui_timezone": settings.timezone,
            "warn_deployment_exposure": False,
            **_protection(settings),
            "instance_name": "Headline retraining",
        },
        # By the address of whoever asks, and in each of the web server's processes apart; the same holds for passwords
        # that scripts give, by retraining/web/attempts.py.
        "fab": {"auth_rate_limited": True, "auth_rate_limit": "5 per 40 second"},
        "scheduler": {
            "job_heartbeat_sec": 2,
            "scheduler_heartbeat_sec": 2,
            "scheduler_idle_sleep_time": 0.2,
            # Read warm the DAG files cost a second of work; cold they cost the import of TFX.
            "min_file_process_interval": 30 if settings.preload else 120,
            "dag_dir_list_interval": 60,
            "parsing_processes": 1,
            "catchup_by_default": False,
            "orphaned_tasks_check_interval": 30,
            "scheduler_zombie_task_threshold": 60,
        },
        "logging": {"colored_console_log": False},
        "metrics": airflow_series.list_options(settings),
        "usage_data_collection": {"enabled": False},
        "openlineage": airflow_options(settings),
    }
    variables = {"AIRFLOW_HOME": str(settings.airflow_home)}
    for section, options in sections.items():
        for option, value in options.items():
            variables[f"AIRFLOW__{section.upper()}__{option.upper()}"] = str(value)
    return variables
