"""The service on one box: up, down, and what runs."""

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psutil

from retraining.local import LocalError, airflow, model_server, ports, postgres, preparation, secrets, supervisor
from retraining.local.preparation import Report
from retraining.settings import CHECKOUT, Settings
from retraining.watching import watch

AIRFLOW_PROGRAMS = (
    # Logs are read from the disk, so no process needs to serve them (Airflow's log server listens on every address,
    # apache/airflow#60117).
    supervisor.Program("scheduler", "python -m airflow scheduler --skip-serve-logs", priority=20, stop_seconds=25),
    supervisor.Program("triggerer", "python -m airflow triggerer --skip-serve-logs", priority=20),
    supervisor.Program("webserver", "python -m airflow webserver", priority=30),
)
WATCH = supervisor.Program("watch", "python -m retraining watch", priority=40)
"""Sees when a night comes to no verdict, whatever of the others runs: retraining/watching/watch.py."""

MIN_FREE_BYTES = 2 * 2**30
START_SECONDS = 240
"""The longest a start may take, on a machine busy with other things."""
LOAD_SECONDS = 60
"""The longest a start waits for a pushed model to be loaded, besides."""


class ServiceError(LocalError):
    """The service could not be started or reached; the message says why and what to do."""


@dataclass(frozen=True)
class Health:
    """What of the service answers, by program name, with a word on each."""

    programs: dict[str, str]

    @property
    def has_started(self) -> bool:
        """Whether everything runs, even if the model server has nothing that it could serve."""
        return bool(self.programs) and set(self.programs.values()) <= {"healthy", "loading", "failing"}


def up(settings: Settings, report: Report) -> Settings:
    """Starts whatever of the service does not run; the caller holds the lock.

    Whatever goes wrong, an interrupt included, what this call started is stopped again.

    Args:
      settings: the settings to run with; a service that runs with others is started anew.
      report: receives one short line per step.

    Returns:
      The settings with the secrets made on the way.

    Raises:
      ServiceError, PortTakenError, PostgresError, SupervisorError: each with what to do.
    """
    settings = secrets.make_missing(settings)
    if secrets.find_staged(settings):
        report("new secrets are to be used: starting anew with them")
        down(settings)
        settings = secrets.take_next(settings)
    environment = airflow.environment(settings)
    fingerprint = hashlib.sha256(json.dumps(_configured(environment)).encode()).hexdigest()
    was_running = supervisor.is_running(settings)
    marker = settings.state_dir / "started-with"
    if was_running and marker.is_file() and marker.read_text() != fingerprint:
        report("settings have changed since the service was started: starting it anew")
        down(settings)
        was_running = False
    if was_running and health(settings).has_started:
        return settings
    if not was_running:
        _end_leftovers(settings)
        ports.check_free(settings)
        _check_place(settings)
        # A process id of before a restart of this machine may be another's now.
        for stale in settings.airflow_home.glob("*.pid"):
            stale.unlink()
        marker.write_text(fingerprint)
    try:
        if not was_running:
            supervisor.start(settings, list_programs(settings), environment)
        _start(settings, environment, report)
    except BaseException:
        if not was_running:
            with uninterrupted():
                report("stopping what was started")
                down(settings)
        raise
    return settings


def down(settings: Settings) -> bool:
    """Stops the service and everything that outlived it; the caller holds the lock.

    Returns:
      Whether anything ran.
    """
    with supervisor.connect(settings) as rpc:
        was_running = rpc is not None
        if rpc is not None:
            process = psutil.Process(rpc.getPID())
            rpc.shutdown()
            psutil.wait_procs([process], timeout=60)
    return _end_leftovers(settings) or was_running


def health(settings: Settings) -> Health:
    """What runs, and how well; empty if nothing does. Takes seconds only where the model server hangs."""
    programs = {name: str(info["statename"]).lower() for name, info in supervisor.states(settings).items()}
    answers = _web_health(settings) if programs else {}
    for name, state in programs.items():
        if state != "running":
            continue
        if name == "webserver":
            programs[name] = "healthy" if answers else "starting"
        elif name == "postgres":
            programs[name] = "starting" if preparation.find_database_problem(settings, "airflow") else "healthy"
        elif name == model_server.PROGRAM.name:
            programs[name] = model_server.find_state(settings)
        elif name == WATCH.name:
            programs[name] = "healthy" if watch.is_watching(settings, datetime.now(UTC)) else "starting"
        else:
            programs[name] = "healthy" if answers.get(name, {}).get("status") == "healthy" else "starting"
    return Health(programs)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts off interrupts for as long as it takes to leave nothing half done."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)


def list_programs(settings: Settings) -> list[supervisor.Program]:
    """What the supervisor keeps running."""
    programs = [*AIRFLOW_PROGRAMS, model_server.PROGRAM, WATCH]
    if not settings.postgres_embedded:
        return programs
    # The interrupt signal asks Postgres not to wait for its clients, and is for its first process alone.
    server = supervisor.Program(
        "postgres", postgres.server_command(settings), priority=1, stop_signal="INT", stop_group=False, stop_seconds=20
    )
    return [server, *programs]


def wait_for_postgres(settings: Settings) -> None:
    """Waits until the embedded server answers.

    Raises:
      SupervisorError, PreparationError, ServiceError: it does not run, or refuses its superuser.
    """
    _wait("postgres", settings, lambda: preparation.superuser_answers(settings))


def _start(settings: Settings, environment: dict[str, str], report: Report) -> None:
    if settings.postgres_embedded:
        report("starting Postgres")
        postgres.make_data(settings)
        supervisor.run(settings, "postgres")
        wait_for_postgres(settings)
        secrets.finish(settings, "postgres_password")
        postgres.make_databases(settings)
    with preparation.preparing(settings, environment, report):
        preparation.encrypt_anew(settings, environment)
        report("starting the scheduler, the triggerer, the web server and the model server")
        # The scheduler is the slowest to start. Nothing it could run needs to be waited for: at a first start the
        # nightly DAG is paused, the scoring DAG waits for a push and a search is skipped, and later each attempt makes
        # the types it lacks itself, one process at a time.
        supervisor.run(settings, "scheduler")
        preparation.make_admin(settings, environment)
        supervisor.run(settings, "webserver")
        supervisor.run(settings, "triggerer")
        model_server.prepare(settings)
        supervisor.run(settings, model_server.PROGRAM.name)
    # Only now: its first look asks the databases.
    supervisor.run(settings, WATCH.name)
    report("waiting for them to be healthy")
    # A model that cannot be loaded is mended with the help of the service: what is pushed next, or a rollback.
    _wait("webserver", settings, lambda: health(settings).has_started)
    deadline = time.monotonic() + LOAD_SECONDS
    while (state := health(settings).programs.get(model_server.PROGRAM.name)) == "loading":
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if state != "healthy":
        report(f"the model server answers with no version, it is {state}: `retraining status` says why")


def _wait(name: str, settings: Settings, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_done():
        supervisor.check(settings)
        if time.monotonic() > deadline:
            raise ServiceError(f"{name} did not become healthy within {START_SECONDS} s; see `retraining logs {name}`")
        time.sleep(0.1)


def _web_health(settings: Settings) -> dict[str, dict[str, str]]:
    try:
        answer = httpx.get(f"{airflow.web_address(settings)}/health", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return {}
    return dict(answer.json()) if answer.is_success else {}


def _check_place(settings: Settings) -> None:
    for place, remedy in ((settings.state_dir, "set STATE_DIR to another"), (CHECKOUT, "move the checkout")):
        if "%" in str(place):
            raise ServiceError(f"Airflow cannot work in {place}, since it takes the % for its own; {remedy}")
    free = shutil.disk_usage(settings.state_dir).free
    if free < MIN_FREE_BYTES:
        raise ServiceError(
            f"{settings.state_dir} has {free / 2**30:.1f} GB free, the service needs {MIN_FREE_BYTES / 2**30:.0f} GB; "
            "free some, or set STATE_DIR to a folder on another disk"
        )


def _configured(environment: dict[str, str]) -> dict[str, str]:
    """The part of the environment that comes from the settings."""
    names = {name.upper() for name in Settings.model_fields}
    prefixes = ("AIRFLOW__", "SERVING_")
    configured = {name: value for name, value in environment.items() if name in names or name.startswith(prefixes)}
    # Nothing that runs uses the superuser's.
    configured.pop("POSTGRES_PASSWORD", None)
    # The first encrypts; one behind it is the one before it, until the next start.
    keys = ("AIRFLOW_FERNET_KEY", "AIRFLOW__CORE__FERNET_KEY")
    return configured | {name: configured[name].partition(",")[0] for name in keys if name in configured}


def _end_leftovers(settings: Settings) -> bool:
    """Ends what belongs to this state folder's service and has lost its supervisor."""
    leftovers = [process for process in psutil.process_iter() if _belongs(process, settings)]
    for process in leftovers:
        _signal(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(leftovers, timeout=10)
    for process in alive:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)
    return bool(leftovers)


def _belongs(process: psutil.Process, settings: Settings) -> bool:
    try:
        return process.environ().get(airflow.MARK) == str(settings.state_dir)
    except (psutil.Error, OSError):
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
