"""From the version that ran a state last to this one: look, stop, copy, migrate, start, and see that nothing changed.

The order is Airflow's own: nothing runs, a copy is there, then it migrates
(https://airflow.apache.org/docs/apache-airflow/2.11.2/installation/upgrading.html). Until the copy is whole nothing has
changed; after that `go_back` undoes it.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg2

import lineage
from headlines.errors import HeadlinesError
from lineage import LineageError
from retraining import renamed_settings
from retraining.local import airflow, model_server, ports, postgres, preparation, secrets, service, standing, supervisor
from retraining.local.preparation import Report
from retraining.local.standing import Schema
from retraining.settings import ENV_FILE, Settings
from retraining.upkeep import UpgradeError, answers, copies, databases, pins, postgres_major
from retraining.upkeep.answers import Answers
from retraining.version import VERSION
from retraining.watching import replicas

_PROGRAMS = "the scheduler, the triggerer, the web server and the watch"


@dataclass(frozen=True)
class Plan:
    """What stands between the state and this version.

    Attributes:
      last: the version that ran the state last.
      major: of the Postgres that made the data, where it is not the installed one.
      schemas: the tables of both databases.
      old_names: what is to be said of settings that have another name by now, or are gone.
      rewrites_env: whether `.env` is among what is to be changed.
      database_bytes: the room that both databases take.
    """

    last: str
    major: str | None
    schemas: tuple[Schema, ...]
    old_names: tuple[str, ...]
    rewrites_env: bool
    database_bytes: int

    @property
    def steps(self) -> list[str]:
        """What is to be done, in words; nothing where the state is this version's already."""
        steps = []
        if self.last != VERSION:
            steps.append(f"from version {self.last} to {VERSION}")
        if self.major:
            steps.append(f"the data of Postgres {self.major} is moved to the installed Postgres")
        steps += [f"migrate: {schema}" for schema in self.schemas if schema.age == "older"]
        if self.rewrites_env:
            steps.append(f"settings are renamed in {ENV_FILE}")
        return steps


@dataclass(frozen=True)
class Done:
    """What an upgrade did.

    Attributes:
      folder: where the copy is.
      kept_data: where the data of an older Postgres is kept; None where there is none.
      compared: how many questions lineage answers as before; 0 where the reader could not read it before.
      served: the version that answers now; None for none.
      gap_seconds: how long no model server of the service answered; None where its own did not run, or is not its own.
    """

    folder: Path
    kept_data: Path | None
    compared: int
    served: str | None
    gap_seconds: float | None


def make_plan(settings: Settings, report: Report, old_postgres: Path | None = None) -> Plan:
    """Looks at everything, and changes nothing.

    Args:
      settings: the settings to run with.
      report: receives one short line per step.
      old_postgres: where the binaries of the Postgres are that made the data, if it is an older one.

    Raises:
      UpgradeError, StandingError, PostgresError: there is nothing to upgrade, or it cannot be; with what to do.
    """
    last = standing.find_last_version(settings)
    if last is None:
        raise UpgradeError(
            f"nothing has run in {settings.state_dir} yet, so there is nothing to upgrade; `retraining up`"
        )
    _check_packages()
    report("looking at the databases, the settings and what serves")
    with _reachable(settings, _find_binaries(settings, report, old_postgres)):
        schemas = standing.find_schemas(settings)
        size = databases.measure_bytes(settings)
    standing.refuse_newer(schemas)
    rewrites = ENV_FILE.is_file() and renamed_settings.rewrite(text := ENV_FILE.read_text()) != text
    major = postgres_major.find_old_major(settings)
    return Plan(last, major, tuple(schemas), tuple(Settings.find_old_names()), rewrites, size)


def upgrade(settings: Settings, plan: Plan, report: Report, old_postgres: Path | None = None) -> Done:
    """Does what a plan says; the caller holds the lock.

    Raises:
      UpgradeError: it was not done; the message says what stands now, and the way back.
    """
    settings = secrets.make_missing(settings)
    was_up = supervisor.is_running(settings)
    binaries = _find_binaries(settings, report, old_postgres)
    copies.check_room(settings, plan.database_bytes, bool(plan.major))
    _check_alone(settings, was_up)
    served = model_server.find_version(settings) if was_up else None
    folder = copies.make_folder(settings)
    begun = time.monotonic()
    if settings.postgres_embedded:
        report("stopping the service")
        service.down(settings)
    try:
        before, rows = _copy(settings, plan, folder, binaries, report)
    except (HeadlinesError, psycopg2.Error, OSError) as error:
        raise UpgradeError(f"{error}\nNothing was changed. {_tell_older(plan)}") from error
    try:
        kept = postgres_major.move(settings, plan.major, folder, rows, report) if plan.major else None
        _migrate(settings, report)
        renamed_settings.rewrite_file(ENV_FILE, copies.keep_env(folder))
        standing.stamp(settings)
        if settings.postgres_embedded:
            settings = service.up(settings, report)
        gap = time.monotonic() - begun if was_up else None
        report("comparing what lineage and the model server answer with what they did")
        answer = _check(settings, before, served)
    except (HeadlinesError, psycopg2.Error, OSError) as error:
        raise UpgradeError(
            f"{error}\nThe databases as they were are in {folder}. Mend that and run `retraining upgrade` again; or go "
            f"back: `retraining upgrade --back '{folder}'`"
        ) from error
    return Done(folder, kept, len(before or ()), answer, gap)


def go_back(settings: Settings, folder: Path, report: Report) -> str:
    """Puts databases and `.env` back as they were when an upgrade began; the caller holds the lock.

    What was recorded since is no more in the databases afterwards.

    Returns:
      What to do next.

    Raises:
      UpgradeError, PostgresError: there is no whole copy, or it could not be put back.
    """
    copy = copies.Copy.read(folder)
    if not copies.is_whole(folder):
        raise UpgradeError(f"{folder} lacks a copy of a database, so it cannot be gone back to")
    if settings.postgres_embedded:
        report("stopping the service")
        service.down(settings)
    else:
        _check_alone(settings, was_up=False)
    if copy.major:
        if postgres.read_major(postgres.data_dir(settings)) != copy.major:
            report(f"putting the data of Postgres {copy.major} back")
            postgres_major.move_back(settings, copy.major)
    else:
        report("putting the databases back")
        with _reachable(settings, None):
            databases.put_back(settings, folder)
    copies.put_env_back(folder)
    if copy.has_stamp:
        standing.stamp(settings, copy.from_version)
    else:
        standing.stamp_path(settings).unlink(missing_ok=True)
    return _tell_checkout(copy.from_version)


def _copy(
    settings: Settings, plan: Plan, folder: Path, binaries: Path | None, report: Report
) -> tuple[Answers | None, dict[str, int]]:
    """What lineage answers before anything is changed, and the rows of every table where they will be moved."""
    with _reachable(settings, binaries):
        try:
            before = answers.ask(settings)
        except LineageError as error:
            report(f"lineage will not be compared: {error}")
            before = None
        rows = databases.count_rows(settings) if plan.major else {}
        if plan.major and (others := databases.list_others(settings)):
            report(
                f"not moved to the new Postgres, since they are not the service's: the databases {', '.join(others)}"
            )
        report(f"copying the databases to {folder}")
        databases.copy(settings, folder)
    has_stamp = standing.read_stamp(settings) is not None
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    copies.Copy(plan.last, VERSION, moment, plan.major or "", has_stamp).write(folder)
    return before, rows


def _migrate(settings: Settings, report: Report) -> None:
    with _reachable(settings, None):
        if settings.postgres_embedded:
            postgres.make_databases(settings)
        preparation.migrate(settings, airflow.environment(settings), report)


def _check(settings: Settings, before: Answers | None, served: str | None) -> str | None:
    """Raises UpgradeError where something is answered otherwise than before; returns the version that answers."""
    if before is not None and (changed := answers.find_changes(before, answers.ask(settings))):
        raise UpgradeError(f"lineage answers otherwise than before about {', '.join(changed)}")
    if not settings.postgres_embedded:
        return None
    observed = replicas.observe(settings)
    answer = model_server.find_version(settings)
    if not observed.is_right or (served is not None and answer != served):
        raise UpgradeError(f"version {served or 'none'} answered before; now {observed.text}")
    return answer


@contextmanager
def _reachable(settings: Settings, binaries: Path | None) -> Iterator[None]:
    """Has the databases answer: those that do, or the embedded server by itself.

    Raises:
      UpgradeError: a server of one's own does not answer.
    """
    if settings.postgres_embedded:
        if supervisor.is_running(settings) and preparation.superuser_answers(settings):
            yield
        else:
            with databases.running(settings, binaries):
                yield
        return
    for which in ("airflow", "mlmd"):
        if problem := preparation.find_database_problem(settings, which):
            raise UpgradeError(problem)
    yield


def _find_binaries(settings: Settings, report: Report, given: Path | None) -> Path | None:
    """The binaries of the Postgres that made the data, where they are not the installed ones."""
    major = postgres_major.find_old_major(settings)
    if major is None:
        return None
    installed = postgres.find_major(postgres.find_binaries())
    if int(major) > int(installed):
        # It says so.
        postgres.make_data(settings)
    return postgres_major.find_binaries(settings, major, given, report)


def _check_packages() -> None:
    if pins.LOCK.is_file() and (wrong := pins.find_wrong_pins()):
        raise UpgradeError(
            f"the packages here are not those of this version ({pins.tell(wrong)}); run `make setup` first"
        )


def _check_alone(settings: Settings, was_up: bool) -> None:
    """Refuses to begin where something is at work that would be torn, or beside which nothing could start again."""
    if not settings.postgres_embedded:
        if others := _count_others(settings):
            raise UpgradeError(
                f"{others} connections to Airflow's database are open; stop {_PROGRAMS}, and start them again after"
            )
        return
    if was_up and (
        running := [night.night for night in lineage.latest(settings, newest=5) if night.state == "running"]
    ):
        raise UpgradeError(
            f"night {', '.join(running)} is at work; wait for it, or stop the service (`retraining down`) and try "
            "again: its tasks then begin anew, in the new version"
        )
    if problems := [
        problem
        for name in ports.of_service(settings)
        for problem in ports.find_taken(settings, {name})
        if not _is_ours(settings, ports.of_service(settings)[name][1])
    ]:
        raise UpgradeError("\n".join(problems))


def _is_ours(settings: Settings, port: int) -> bool:
    """Whether who listens on a port is of this service, as it runs until now."""
    for connection in psutil.net_connections("tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and getattr(connection.laddr, "port", None) == port
            and connection.pid
        ):
            try:
                return psutil.Process(connection.pid).environ().get(airflow.MARK) == str(settings.state_dir)
            except psutil.Error:
                return False
    return False


def _count_others(settings: Settings) -> int:
    with (
        closing(psycopg2.connect(**settings.database("airflow_db").arguments)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        [(count,)] = cursor.fetchall()
        return int(count)


def _tell_older(plan: Plan) -> str:
    return f"When that is mended, run `retraining upgrade` again; until then: {_tell_checkout(plan.last)}"


def _tell_checkout(version: str) -> str:
    return (
        f"check out the version that ran here (`git checkout v{version}`, or ORIG_HEAD, where `git pull` came from), "
        "run `make setup`, then `make up`"
    )
