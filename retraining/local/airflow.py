"""How Airflow is set up on one box: the environment of its processes, and the addresses it has."""

import os
import sys
from pathlib import Path
from urllib.parse import quote

from retraining.local import postgres
from retraining.local.processes import MARK
from retraining.settings import BUNDLE, CHECKOUT, Settings

ADMIN = "admin"
"""The web user made at first start."""

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
    return f"postgresql+psycopg2://{user}:{password}@{place}"


def web_address(settings: Settings) -> str:
    """Where the web server answers, for a browser on this machine."""
    host = "127.0.0.1" if settings.webserver_host == "0.0.0.0" else settings.webserver_host
    return f"http://{host}:{settings.webserver_port}"


def environment(settings: Settings) -> dict[str, str]:
    """The whole environment of every process of the service, this process' own included."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if settings.postgres_embedded:
        path.insert(1, str(postgres.find_binaries()))
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Bytecode halves every start, and a stray Airflow or virtual environment must not be picked up.
        # What systemd says to one process is not for those that it starts, gunicorn and Postgres among them.
        if not name.startswith(("AIRFLOW__", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "NOTIFY_SOCKET", "WATCHDOG_"))
    }
    return {
        **settings.server_options,
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
            "base_url": web_address(settings),
            "secret_key": settings.secret("airflow_secret_key"),
            "workers": 2,
            "default_ui_timezone": settings.timezone,
            "warn_deployment_exposure": False,
            "instance_name": "Headline retraining",
        },
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
        # In milliseconds, as Airflow 3 has them: the old unit warns at every start.
        "metrics": {"timer_unit_consistency": True},
        "usage_data_collection": {"enabled": False},
    }
    variables = {"AIRFLOW_HOME": str(settings.airflow_home)}
    for section, options in sections.items():
        for option, value in options.items():
            variables[f"AIRFLOW__{section.upper()}__{option.upper()}"] = str(value)
    return variables
