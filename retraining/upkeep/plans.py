"""What stands between a state and this version, and what an upgrade would not begin beside; nothing is changed."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg2

import lineage
from lineage import LineageError
from retraining import renamed_settings
from retraining.local import ports, postgres, preparation, processes, standing, supervisor
from retraining.local.preparation import Report
from retraining.local.standing import Schema
from retraining.settings import ENV_FILE, Settings
from retraining.upkeep import UpgradeError, databases, pins, postgres_major
from retraining.version import VERSION

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


def make_plan(settings: Settings, report: Report, old_postgres: Path | None = None) -> Plan:
    """Looks at everything, and changes nothing but what an interrupted upgrade left.

    Args:
      settings: the settings to run with.
      report: receives one short line per step.
      old_postgres: where the binaries of the Postgres are that made the data, if it is an older one.

    Raises:
      UpgradeError, StandingError, PostgresError: there is nothing to upgrade, or it cannot be; with what to do.
    """
    postgres_major.settle(settings, report)
    last = standing.find_last_version(settings)
    if last is None:
        raise UpgradeError(
            f"nothing has run in {settings.state_dir} yet, so there is nothing to upgrade; `retraining up`"
        )
    _check_packages()
    report("looking at the databases, the settings and what serves")
    with reachable(settings, find_binaries(settings, report, old_postgres)):
        schemas = standing.find_schemas(settings)
        size = databases.measure_bytes(settings)
    standing.refuse_newer(schemas)
    rewrites = renamed_settings.needs_rewriting(ENV_FILE)
    major = postgres_major.find_old_major(settings)
    return Plan(last, major, tuple(schemas), tuple(Settings.find_old_names()), rewrites, size)


def find_binaries(settings: Settings, report: Report, given: Path | None) -> Path | None:
    """The binaries of the Postgres that made the data, where they are not the installed ones."""
    major = postgres_major.find_old_major(settings)
    if major is None:
        return None
    installed = postgres.find_major(postgres.find_binaries())
    if int(major) > int(installed):
        # It says so.
        postgres.make_data(settings)
    return postgres_major.find_binaries(settings, major, given, report)


@contextmanager
def reachable(settings: Settings, binaries: Path | None) -> Iterator[None]:
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


def check_alone(settings: Settings, was_up: bool) -> None:
    """Refuses to begin where something is at work that would be torn, or beside which nothing could start again."""
    if not settings.postgres_embedded:
        if others := _count_others(settings):
            raise UpgradeError(
                f"{others} connections to Airflow's database are open; stop {_PROGRAMS}, and start them again after"
            )
        return
    if was_up:
        _check_nights(settings)
    if problems := [
        problem
        for name in ports.of_service(settings)
        for problem in ports.find_taken(settings, {name})
        if not _is_ours(settings, ports.of_service(settings)[name][1])
    ]:
        raise UpgradeError("\n".join(problems))


def _check_nights(settings: Settings) -> None:
    advice = "stop the service (`retraining down`) and try again: the tasks at work then begin anew, in the new version"
    try:
        at_work = [night.night for night in lineage.latest(settings, newest=5) if night.state == "running"]
    except LineageError as error:
        raise UpgradeError(f"whether a night is at work cannot be read: {error}; {advice}") from None
    if at_work:
        raise UpgradeError(f"night {', '.join(at_work)} is at work; wait for it, or {advice}")


def _is_ours(settings: Settings, port: int) -> bool:
    """Whether who listens on a port is of this service, as it runs until now."""
    for connection in psutil.net_connections("tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and getattr(connection.laddr, "port", None) == port
            and connection.pid
        ):
            try:
                return psutil.Process(connection.pid).environ().get(processes.MARK) == str(settings.state_dir)
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


def _check_packages() -> None:
    if pins.LOCK.is_file() and (wrong := pins.find_wrong_pins()):
        raise UpgradeError(
            f"the packages here are not those of this version ({pins.tell(wrong)}); run `make setup` first"
        )
