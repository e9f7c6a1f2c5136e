"""What the machines of one service must share, and how a worker sees whether it does.

The service writes a token into each shared folder, and keeps what it wrote in Airflow's database, encrypted, with the
settings that must be the same: who reads the same there and in the folders has the same database, key and folders.
Lineage keeps absolute paths, so that a folder of lineage must also have the same path everywhere.
"""

import json
import logging
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from headlines.durable import replace_file
from headlines.errors import HeadlinesError
from retraining.pipelines.provenance import hash_code
from retraining.secret_sources import is_secret
from retraining.settings import Settings

_STATE = "STATE_DIR"
"""Need not be shared: whoever does is as good as the scheduler's machine."""
_OF_LINEAGE = ("DROPS_DIR", "PIPELINE_ROOT", "SERVING_DIR", "SCORES_DIR")
"""Those whose paths lineage keeps."""
_OF_MACHINE = {
    *(
        "state_dir",
        "dags_dir",
        "drops_dir",
        "pipeline_root",
        "serving_dir",
        "scores_dir",
        "notices_dir",
        "task_logs_dir",
    ),
    *("hyperparameters_file", "preload", "executor", "broker_url", "workers", "worker_slots", "worker_queues"),
    *("redis_port", "redis_password", "supervisor_port", "supervisor_password", "airflow_admin_password"),
    *("serving_host", "serving_port", "serving_grpc_port", "metrics_host", "metrics_port", "webserver_host"),
    *("webserver_port", "session_lifetime_minutes", "min_free_gb", "airflow_fernet_key"),
    *("beam_job_server", "beam_pool_host"),
}
_OF_DATABASES = ("postgres_", "mlmd_", "airflow_db_")
"""Settings, or how their names begin, that may be others on another machine: where things are from there, and what it
has. All others decide what a task does."""
_TOKEN_FILE = ".headlines-service"
_VARIABLE = "headlines_shared"
_MAX_SKEW_SECONDS = 15.0
"""Airflow takes a task for dead whose heartbeat is a minute old by the scheduler's clock."""


log = logging.getLogger(__name__)


class SharingError(HeadlinesError):
    """A worker does not share what it must; the message has a line for each thing, with what to do."""


@dataclass(frozen=True)
class Shared:
    """A folder as the scheduler's machine has it.

    Attributes:
      path: where it is there.
      token: what lies in it; None where that machine could not write it, as into drops that are mounted read-only.
    """

    path: str
    token: str | None


@dataclass(frozen=True)
class _Published:
    folders: dict[str, Shared]
    settings: dict[str, str | None]
    mlmd: str
    code: str
    host: str


def publish(settings: Settings) -> None:
    """Writes the tokens, and what workers compare with: for the machine of the scheduler, at each start."""
    folders = {name: Shared(str(place), _settle_token(place)) for name, place in _list_folders(settings).items()}
    published = _Published(
        folders, _list_settings(settings), _identify_mlmd(settings), hash_code(), socket.gethostname()
    )
    text = json.dumps(asdict(published))
    encrypted = _keys(settings).encrypt(text.encode()).decode()
    database = settings.database("airflow_db")
    with closing(psycopg2.connect(**database.arguments)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO variable (key, val, description, is_encrypted) VALUES (%s, %s, %s, true)
               ON CONFLICT (key) DO UPDATE SET val = excluded.val, is_encrypted = true""",
            (_VARIABLE, encrypted, "What a worker's machine must share: docs/scaling.md"),
        )


def keep_published(settings: Settings) -> None:
    """Publishes anew where code was edited since, from which the next tasks are made; for the watch, at each look."""
    if settings.executor != "celery":
        return
    try:
        if _read(settings)[0].code != hash_code():
            publish(settings)
    except (SharingError, psycopg2.Error) as error:
        log.warning("What workers must share could not be looked at: %s", error)


def check(settings: Settings) -> list[str]:
    """Compares this machine with that of the scheduler.

    Returns:
      One sentence for each thing that could not be compared.

    Raises:
      SharingError: something is not shared.
    """
    published, skew_seconds = _read(settings)
    here = _list_folders(settings)
    problems = [*_find_problems(here, published, skew_seconds), *_find_differences(settings, published)]
    if problems:
        raise SharingError("\n".join(problems))
    return [
        f"{name}={here[name]}: {published.host} could not write to it, so nobody knows whether it is the same folder"
        for name, shared in published.folders.items()
        if name in here and name != _STATE and shared.token is None
    ]


def shares_state(settings: Settings) -> bool:
    """Whether this machine has the scheduler's own state folder, and can do what only that one can.

    Raises:
      SharingError: it cannot be seen.
    """
    published, _ = _read(settings)
    return _find_token(settings.state_dir) == published.folders[_STATE].token is not None


def _list_folders(settings: Settings) -> dict[str, Path]:
    """The shared folders, by what names them."""
    folders = {
        "DROPS_DIR": settings.drops_dir,
        "PIPELINE_ROOT": settings.pipeline_root,
        "SERVING_DIR": settings.serving_dir,
        "SCORES_DIR": settings.scores_dir,
        "NOTICES_DIR": settings.notices_dir,
    }
    # Each keeps its own where the web server asks for them, or where they go to a store.
    are_elsewhere = settings.worker_log_port or _has_remote_logs(settings)
    return folders | ({} if are_elsewhere else {"TASK_LOGS_DIR": settings.task_logs_dir}) | {_STATE: settings.state_dir}


def _has_remote_logs(settings: Settings) -> bool:
    return settings.given_airflow_options().get("AIRFLOW__LOGGING__REMOTE_LOGGING", "").lower() == "true"


def _list_settings(settings: Settings) -> dict[str, str | None]:
    """The settings that must be the same everywhere, as text; and what a file of them says."""
    names = [name for name in Settings.model_fields if name not in _OF_MACHINE and not name.startswith(_OF_DATABASES)]
    given = json.dumps(settings.given_hyperparameters, sort_keys=True)
    return {name.upper(): settings.write(name) for name in names} | {"HYPERPARAMETERS_FILE": given}


def _find_differences(settings: Settings, published: _Published) -> Iterator[str]:
    host, here = published.host, _list_settings(settings)
    secret = {name.upper() for name, field in Settings.model_fields.items() if is_secret(field)}
    for name, there in published.settings.items():
        if here.get(name) != there:
            values = "" if name in secret else f", {there or 'not set'} there and {here.get(name) or 'not set'} here"
            yield f"{name} is another than on {host}{values}; set it to the same"
    if published.host != socket.gethostname() and settings.serving_urls is None:
        yield "SERVING_URLS is not set, and would be this machine's own model server; name the service's everywhere"
    if published.mlmd != _identify_mlmd(settings):
        yield f"MLMD_HOST and MLMD_DATABASE name another database than on {host}; correct them"


def _identify_mlmd(settings: Settings) -> str:
    """Which of which server's databases ML Metadata's is, wherever it is asked from.

    Raises:
      SharingError: it does not let its role in.
    """
    database = settings.mlmd
    try:
        with closing(psycopg2.connect(**database.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT system_identifier, oid FROM pg_control_system(), pg_database WHERE datname = current_database()"
            )
            return "/".join(map(str, cursor.fetchall()[0]))
    except psycopg2.OperationalError as error:
        raise SharingError(database.explain(error)) from None


def _find_problems(here: dict[str, Path], published: _Published, skew_seconds: float) -> Iterator[str]:
    host = published.host
    if abs(skew_seconds) > _MAX_SKEW_SECONDS:
        how = f"{abs(skew_seconds):.0f} s {'ahead of' if skew_seconds > 0 else 'behind'}"
        yield (
            f"the clock of this machine is {how} the database's, and Airflow would take its tasks for dead; let both "
            "follow a time server"
        )
    if (code := hash_code()) != published.code:
        yield (
            f"the code here is {code}, and {published.code} on {host}, so that their models would differ; put the same "
            "version of the project on both, and start the scheduler's machine first"
        )
    for name, place in here.items():
        shared = published.folders.get(name)
        if name == _STATE:
            continue
        if shared is None:
            yield f"{name}={place} is not known on {host}; keep logs on both machines alike"
        elif name in _OF_LINEAGE and str(place) != shared.path:
            yield f"{name}={place}, but {shared.path} on {host}, and lineage keeps paths; mount it there too"
        elif shared.token and (token := _find_token(place)) != shared.token:
            how = f"has another {_TOKEN_FILE}" if token else f"has no {_TOKEN_FILE} in it"
            yield f"{name}={place} is another folder than on {host}: it {how}; mount the shared folder there"
        elif name != "DROPS_DIR" and (problem := _find_write_problem(place)):
            yield f"{name}={place} cannot be written to: {problem}; give this user the right to"


def _read(settings: Settings) -> tuple[_Published, float]:
    """What the scheduler's machine has published, and how far this machine's clock is ahead, in seconds.

    Raises:
      SharingError: there is nothing, or it is encrypted by another key.
    """
    database = settings.database("airflow_db")
    row = None
    try:
        with closing(psycopg2.connect(**database.arguments)) as connection, connection.cursor() as cursor:
            began = time.time()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
            [(now,)] = cursor.fetchall()
            skew_seconds = (began + time.time()) / 2 - now
            cursor.execute("SELECT val FROM variable WHERE key = %s", (_VARIABLE,))
            row = cursor.fetchone()
    except psycopg2.errors.UndefinedTable:
        pass
    except psycopg2.OperationalError as error:
        raise SharingError(database.explain(error)) from None
    if row is None:
        raise SharingError(
            "the service was never started with EXECUTOR=celery: `retraining up` on the scheduler's machine, or for "
            "a team `retraining init`, comes first"
        )
    try:
        content = json.loads(_keys(settings).decrypt(row[0].encode()))
    except InvalidToken:
        raise SharingError(
            "AIRFLOW_FERNET_KEY is another one than the scheduler's, and this worker could read no connection; give it "
            "the same secrets"
        ) from None
    folders = {name: Shared(**shared) for name, shared in content["folders"].items()}
    return _Published(**{**content, "folders": folders}), skew_seconds


def _keys(settings: Settings) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.secret("airflow_fernet_key").split(",")])


def _settle_token(folder: Path) -> str | None:
    """The token of a folder, made where there is none; None where it cannot be."""
    if token := _find_token(folder):
        return token
    token = secrets.token_hex(16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / _TOKEN_FILE, f"{token}\n")
    except OSError:
        return None
    return token


def _find_token(folder: Path) -> str | None:
    try:
        return (folder / _TOKEN_FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _find_write_problem(folder: Path) -> str | None:
    probe = folder / f"{_TOKEN_FILE}-{secrets.token_hex(4)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None
