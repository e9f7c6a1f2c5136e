"""The service on one box: up, down, and what runs."""

import hashlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psutil

from headlines import disk
from retraining.local import (
    LocalError,
    airflow,
    airflow_options,
    lock,
    model_server,
    object_places,
    ports,
    postgres,
    preparation,
    processes,
    redis_server,
    secrets,
    supervisor,
)
from retraining.local.preparation import Report
from retraining.local.roster import WATCH, find_stop_seconds, list_programs, list_workers
from retraining.notices import sending
from retraining.settings import CHECKOUT, Settings
from retraining.watching import watch
from retraining.watching.programs import Look, Program
from retraining.workers import asking, command

START_SECONDS = 240
"""The longest a start may take, on a machine busy with other things."""
LOAD_SECONDS = 60
"""The longest a start waits for a pushed model to be loaded, besides."""
_FAILING_SECONDS = 10
"""A program that is still, or again, without a process this long after it was first seen so is not waited for."""
_SPARE_STOP_SECONDS = 10
"""What the supervisor itself takes to end, after its programs."""
_ADVICE = (
    "What runs goes on, and what does not is started again and again. `retraining status` shows how it stands, "
    "`retraining up` waits once more, `retraining down` stops it"
)
UNIT_MARK = "RETRAINING_UNIT"
"""Set to its name by a systemd unit that starts the service (retraining/boot)."""


class ServiceError(LocalError):
    """The service could not be started or reached; the message says why and what to do."""


class UnhealthyError(ServiceError):
    """The service runs, and not all of it is healthy; the message says what is not, and what to do."""


@dataclass(frozen=True)
class Health:
    """What of the service answers, by program name, with a word on each."""

    programs: dict[str, str]

    @property
    def has_started(self) -> bool:
        """Whether everything runs, even if the model server has nothing that it could serve."""
        return bool(self.programs) and not self.missing

    @property
    def missing(self) -> list[str]:
        """The programs that do not answer yet.

        A model that cannot be loaded is mended with the help of the service: what is pushed next, or a rollback.
        """
        return [name for name, state in self.programs.items() if state not in ("healthy", "loading", "failing")]


def up(settings: Settings, report: Report) -> Settings:
    """Starts whatever of the service does not run; the caller holds the lock.

    What cannot be prepared, and an interrupt, stop again what this call started. What merely is not healthy yet does
    not: a night needs no web server, and on a busy machine stopping what is healthy and starting it over helps nobody.

    Args:
      settings: the settings to run with; a service that runs with others is started anew.
      report: receives one short line per step.

    Returns:
      The settings with the secrets made on the way.

    Raises:
      UnhealthyError: it runs, and after a patient wait not all of it is healthy.
      ServiceError, PortTakenError, PostgresError, PreparationError, SupervisorError, NoticeError: each with what to do.
    """
    sending.check(settings)
    object_places.check(settings)
    if settings.executor == "celery":
        command.check_packages()
    settings = secrets.make_missing(settings)
    for sentence in airflow_options.find_unused(settings, settings.given_airflow_options()):
        report(sentence)
    if secrets.find_staged(settings):
        _leave_to_unit(settings, "new secrets are to be used")
        report("new secrets are to be used: starting anew with them")
        down(settings)
        settings = secrets.take_next(settings)
    environment = airflow.environment(settings)
    fingerprint = hashlib.sha256(json.dumps(_configured(environment)).encode()).hexdigest()
    was_running = supervisor.is_running(settings)
    marker = settings.state_dir / watch.STARTED_WITH
    if was_running and marker.is_file() and marker.read_text() != fingerprint:
        _leave_to_unit(settings, "settings have changed since the service was started")
        report("settings have changed since the service was started: starting it anew")
        down(settings)
        was_running = False
    if was_running and health(settings).has_started:
        return settings
    if not was_running:
        processes.end_all(settings.state_dir)
        ports.check_free(settings)
        _check_place(settings, report)
        marker.write_text(fingerprint)
    try:
        if not was_running:
            supervisor.start(settings, list_programs(settings), environment)
        _start(settings, environment, report)
    except UnhealthyError:
        raise
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
            psutil.wait_procs([process], timeout=find_stop_seconds(settings) + _SPARE_STOP_SECONDS)
    return processes.end_all(settings.state_dir) or was_running


def look_at_programs(settings: Settings) -> Look:
    """How the programs are, for the watch."""
    known, states = supervisor.states(settings), health(settings).programs
    programs = {name: Program(states.get(name, "gone"), float(info["start"])) for name, info in known.items()}
    return Look(programs, supervisor.find_pid(settings) or 0, time.time())


def find_strays(settings: Settings) -> list[processes.Stray]:
    """The processes of the service that belong to no running program."""
    known = supervisor.states(settings)
    running = {name: int(info["pid"]) for name, info in known.items() if info["pid"]}
    # A start that is at work has steps of its own beside it.
    others = [supervisor.find_pid(settings), lock.find_holder(settings)]
    return processes.find_strays(settings.state_dir, running, [pid for pid in others if pid])


def find_unit(settings: Settings) -> str | None:
    """The systemd unit that has started the running service; None where none has, or nothing runs."""
    pid = supervisor.find_pid(settings)
    try:
        return psutil.Process(pid).environ().get(UNIT_MARK) if pid else None
    except psutil.Error:
        return None


def health(settings: Settings) -> Health:
    """What runs, and how well; empty if nothing does. Takes seconds only where the model server hangs."""
    programs = {name: str(info["statename"]).lower() for name, info in supervisor.states(settings).items()}
    answers = _web_health(settings) if programs else {}
    workers = [worker.name for worker in list_workers(settings) if worker.name in programs]
    answering = asking.find_answering(settings, workers) if workers else set()
    for name, state in programs.items():
        if state.upper() not in supervisor.RUNS:
            continue
        if name == "webserver":
            programs[name] = "healthy" if answers else "starting"
        elif name == "postgres":
            programs[name] = "starting" if preparation.find_database_problem(settings, "airflow") else "healthy"
        elif name == model_server.NAME:
            programs[name] = model_server.find_state(settings)
        elif name == redis_server.PROGRAM.name:
            programs[name] = "healthy" if asking.is_broker_there(settings) else "starting"
        elif name in workers:
            programs[name] = "healthy" if name in answering else "starting"
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


def wait_for_postgres(settings: Settings) -> None:
    """Waits until the embedded server answers.

    Raises:
      SupervisorError, PreparationError, ServiceError: it does not run, or refuses its superuser.
    """
    _wait(settings, lambda: [] if preparation.superuser_answers(settings) else ["postgres"])


def _start(settings: Settings, environment: dict[str, str], report: Report) -> None:
    if settings.postgres_embedded:
        report("starting Postgres")
        postgres.make_data(settings)
        supervisor.run(settings, "postgres")
        wait_for_postgres(settings)
        secrets.finish(settings, "postgres_password")
        postgres.make_databases(settings)
    if settings.has_own_redis:
        redis_server.prepare(settings)
        supervisor.run(settings, redis_server.PROGRAM.name)
    with preparation.preparing(settings, environment, report):
        preparation.encrypt_anew(settings, environment)
        preparation.publish_shared(settings)
        report("starting the scheduler, the triggerer, the web server and the model server")
        # The scheduler is the slowest to start. Nothing it could run needs to be waited for: at a first start the
        # nightly DAG is paused, the scoring DAG waits for a push and a search is skipped, and later each attempt makes
        # the types it lacks itself, one process at a time.
        supervisor.run(settings, "scheduler")
        preparation.make_admin(settings, environment)
        supervisor.run(settings, "webserver")
        supervisor.run(settings, "triggerer")
        model_server.prepare(settings)
        supervisor.run(settings, model_server.NAME)
        for worker in list_workers(settings):
            supervisor.run(settings, worker.name)
    # Only now: its first look asks the databases.
    supervisor.run(settings, WATCH.name)
    report("waiting for them to be healthy")
    try:
        _wait(settings, lambda: health(settings).missing)
    except supervisor.SupervisorError as error:
        # The others run, and the supervisor goes on trying.
        raise UnhealthyError(f"{error}\n{_ADVICE}") from None
    deadline = time.monotonic() + LOAD_SECONDS
    while (state := health(settings).programs.get(model_server.NAME)) == "loading":
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    if state != "healthy":
        report(f"the model server answers with no version, it is {state}: `retraining status` says why")


def _wait(settings: Settings, find_missing: Callable[[], list[str]]) -> None:
    """Waits until no program is missing.

    Raises:
      SupervisorError: one of them ends again and again, or the supervisor is gone.
      UnhealthyError: one is not healthy after START_SECONDS.
    """
    deadline = time.monotonic() + START_SECONDS
    first_seen: dict[str, float] = {}
    while missing := find_missing():
        now = time.monotonic()
        for name in supervisor.find_failing(settings):
            if name in missing and now - first_seen.setdefault(name, now) > _FAILING_SECONDS:
                raise supervisor.SupervisorError(supervisor.explain_failure(settings, name))
        if now > deadline:
            raise UnhealthyError(
                f"after {START_SECONDS} s not healthy yet: {', '.join(missing)}; see `retraining logs {missing[0]}`\n"
                f"{_ADVICE}"
            )
        time.sleep(0.1)


def _leave_to_unit(settings: Settings, why: str) -> None:
    """Refuses to start anew what systemd has started, for it would take it to be stopped, and not keep it running.

    Raises:
      ServiceError: a unit runs it; the message says what to do.
    """
    if unit := find_unit(settings):
        raise ServiceError(
            f"{why}, and {unit} runs the service, so systemd is to start it anew: `systemctl restart {unit}`, or "
            f"`systemctl --user restart {unit}` for a unit of your own"
        )


def _web_health(settings: Settings) -> dict[str, dict[str, str]]:
    try:
        answer = httpx.get(f"{airflow.web_address(settings)}/health", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return {}
    return dict(answer.json()) if answer.is_success else {}


def _check_place(settings: Settings, report: Report) -> None:
    for place, remedy in ((settings.state_dir, "set STATE_DIR to another"), (CHECKOUT, "move the checkout")):
        if "%" in str(place):
            raise ServiceError(f"Airflow cannot work in {place}, since it takes the % for its own; {remedy}")
    low = disk.find_low(settings.written_places, settings.min_free_gb)
    if low and not postgres.data_dir(settings).exists():
        problem = disk.tell_low(low, settings.min_free_gb)
        raise ServiceError(f"{problem}; free some there, or set STATE_DIR to a folder on another disk")
    if low:
        # What serves goes on serving; nights say the same, and do not begin.
        report(f"{disk.tell_low(low, settings.min_free_gb)}: no night will begin")


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
