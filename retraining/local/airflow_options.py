"""What Airflow is told: what the service decides, and what it suggests and Airflow's own variables change."""

import json
import os
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from headlines.postgres_address import SILENCE_OPTIONS
from retraining.local import airflow_series
from retraining.notices.links import web_root
from retraining.openlineage.options import airflow_options as openlineage_options
from retraining.settings import BUNDLE, Settings

_CONNECT_SECONDS = 15
_EXTRA = "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"
_WORKER_START = "retraining.workers.celery_start"
_EXECUTORS = {"local": "LocalExecutor", "celery": "CeleryExecutor"}


def url(settings: Settings) -> str:
    """The SQLAlchemy address of Airflow's database, password included."""
    user, password = quote(settings.airflow_db_user, safe=""), quote(settings.secret("airflow_db_password"), safe="")
    place = f"{settings.airflow_db_host}:{settings.airflow_db_port}/{quote(settings.airflow_db_database, safe='')}"
    # On a machine that is cut off a task, and then its worker, would wait as long as the system tries: a quarter of an
    # hour for an answer, and two minutes for each new connection.
    options = urlencode({"connect_timeout": _CONNECT_SECONDS, **SILENCE_OPTIONS, **settings.tls_options})
    return f"postgresql+psycopg2://{user}:{password}@{place}?{options}"


def decide(settings: Settings) -> dict[str, str]:
    """What only the settings say, since the service would not do what it promises with anything else."""
    decided = {_variable(*name): str(value) for name, (value, _) in _decisions(settings).items()}
    return decided | ({_EXTRA: _extend(settings)} if settings.executor == "celery" else {})


def _extend(settings: Settings) -> str:
    """What is given of Celery's own settings, and what a worker's first process imports before it forks."""
    given = json.loads(settings.given_airflow_options().get(_EXTRA) or "{}")
    imports = [_WORKER_START, *(name for name in given.get("imports", ()) if name != _WORKER_START)]
    return json.dumps({**given, "imports": imports})


def find_unused(settings: Settings, given: Mapping[str, str]) -> list[str]:
    """One sentence for each variable of Airflow's own that says otherwise than what is decided.

    Args:
      settings: of the service.
      given: variables by name, such as those of the environment.
    """
    return [
        f"{_variable(*name)} is not used: {why}"
        for name, (value, why) in _decisions(settings).items()
        if given.get(_variable(*name), str(value)) != str(value)
    ]


def _decisions(settings: Settings) -> dict[tuple[str, str], tuple[object, str]]:
    """By section and option: the value, and what decides it."""
    proxy = settings.web_address is not None
    return {
        ("core", "executor"): (_EXECUTORS[settings.executor], "EXECUTOR decides"),
        ("core", "dags_folder"): (settings.dags_dir, "DAGS_DIR decides"),
        ("core", "plugins_folder"): (BUNDLE / "plugins", "the pages and the timetable of nights are plugins"),
        ("core", "dags_are_paused_at_creation"): (True, "a schedule begins when a person says so"),
        ("core", "fernet_key"): (settings.secret("airflow_fernet_key"), "AIRFLOW_FERNET_KEY decides"),
        ("logging", "base_log_folder"): (settings.task_logs_dir, "TASK_LOGS_DIR decides"),
        ("database", "sql_alchemy_conn"): (url(settings), "AIRFLOW_DB_HOST and the settings beside it decide"),
        ("api", "auth_backends"): (
            "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth,airflow.api.auth.backend.session",
            "the commands ask Airflow's API with a password, and the pages by a session",
        ),
        ("webserver", "web_server_host"): (settings.webserver_host, "WEBSERVER_HOST decides"),
        ("webserver", "web_server_port"): (settings.webserver_port, "WEBSERVER_PORT decides"),
        ("webserver", "base_url"): (web_root(settings), "WEB_ADDRESS decides"),
        ("webserver", "secret_key"): (settings.secret("airflow_secret_key"), "AIRFLOW_SECRET_KEY decides"),
        ("webserver", "session_lifetime_minutes"): (
            settings.session_lifetime_minutes,
            "SESSION_LIFETIME_MINUTES decides",
        ),
        ("webserver", "cookie_secure"): (web_root(settings).startswith("https://"), "WEB_ADDRESS decides"),
        # Without a proxy anybody could send the headers.
        # https://airflow.apache.org/docs/apache-airflow/2.11.2/howto/run-behind-proxy.html
        ("webserver", "enable_proxy_fix"): (proxy, "WEB_ADDRESS decides whether a proxy is trusted"),
        **(_celery_decisions(settings) if settings.executor == "celery" else {}),
    }


def _celery_decisions(settings: Settings) -> dict[tuple[str, str], tuple[object, str]]:
    return {
        ("celery", "broker_url"): (settings.broker, "BROKER_URL decides"),
        ("celery", "worker_concurrency"): (settings.worker_slots, "WORKER_SLOTS decides"),
        ("celery", "worker_enable_remote_control"): (True, "workers are asked whether they are there"),
        ("operators", "default_queue"): (settings.queue, "QUEUE decides"),
    }


def suggest(settings: Settings) -> dict[str, str]:
    """What Airflow works well with here; a variable of Airflow's own in the environment or `.env` wins."""
    sections: dict[str, dict[str, object]] = {
        "core": {
            # Of workers each has its own limit.
            "parallelism": (os.cpu_count() or 2) + 2 if settings.executor == "local" else 64,
            "load_examples": False,
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
        "database": {"load_default_connections": False},
        "webserver": {
            "workers": 2,
            "default_ui_timezone": settings.timezone,
            "warn_deployment_exposure": False,
            # No other site shows a page of ours in a frame and has it clicked.
            "x_frame_enabled": False,
            # `Strict` would have whoever follows a link of a notice log in again.
            "cookie_samesite": "Lax",
            # In the database, where a session ends with its row; the cookie is a signed number alone.
            "session_backend": "database",
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
        "logging": {
            "colored_console_log": False,
            **({"worker_log_server_port": settings.worker_log_port} if settings.worker_log_port else {}),
        },
        "metrics": airflow_series.list_options(settings),
        "usage_data_collection": {"enabled": False},
        **(_suggest_for_celery(settings) if settings.executor == "celery" else {}),
        "openlineage": openlineage_options(settings),
    }
    return {
        _variable(section, option): str(value)
        for section, options in sections.items()
        for option, value in options.items()
    }


def _suggest_for_celery(settings: Settings) -> dict[str, dict[str, object]]:
    return {
        "celery": {"worker_prefetch_multiplier": 1, "operation_timeout": 10.0},
        # A task that takes longer would be given to another worker as well.
        "celery_broker_transport_options": {"visibility_timeout": max(86400, 120 * settings.task_timeout_minutes)},
    }


def _variable(section: str, option: str) -> str:
    return f"AIRFLOW__{section.upper()}__{option.upper()}"
