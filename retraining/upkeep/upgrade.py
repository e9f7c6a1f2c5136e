"""From the version that ran a state last to this one: look, stop, copy, migrate, start, and see that nothing changed.

The order is Airflow's own: nothing runs, a copy is there, then it migrates
(https://airflow.apache.org/docs/apache-airflow/2.11.2/installation/upgrading.html). Until the copy is whole nothing has
changed; after that `go_back` undoes it.
"""

import sys
import time
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

import lineage
from headlines.errors import HeadlinesError
from lineage import LineageError
from retraining import renamed_settings
from retraining.local import airflow, model_server, postgres, preparation, secrets, service, standing, supervisor
from retraining.local.preparation import Report
from retraining.settings import ENV_FILE, Settings
from retraining.upkeep import UpgradeError, answers, copies, databases, plans, postgres_major
from retraining.upkeep.answers import Answers
from retraining.version import VERSION


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


def upgrade(settings: Settings, plan: plans.Plan, report: Report, old_postgres: Path | None = None) -> Done:
    """Does what a plan says; the caller holds the lock.

    Raises:
      UpgradeError: it was not done; the message says what stands now, and the way back.
    """
    settings = secrets.make_missing(settings)
    was_up = supervisor.is_running(settings)
    if unit := service.find_unit(settings):
        raise UpgradeError(
            f"{unit} runs the service, and systemd would know of no other: `systemctl stop {unit}`, upgrade, then "
            f"`retraining down` and `systemctl start {unit}` (with --user for a unit of your own)"
        )
    binaries = plans.find_binaries(settings, report, old_postgres)
    copies.check_room(settings, plan.database_bytes, bool(plan.major))
    plans.check_alone(settings, was_up)
    served = model_server.find_version(settings) if was_up else None
    stamp = standing.read_stamp(settings)
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
        # What there is to make beside, `up` makes.
        if not settings.postgres_embedded or any(schema.age == "older" for schema in plan.schemas):
            _migrate(settings, report)
        renamed_settings.rewrite_file(ENV_FILE, copies.keep_env(folder))
        standing.stamp(settings)
        if settings.postgres_embedded:
            settings = service.up(settings, report)
        gap = time.monotonic() - begun if was_up else None
        report("comparing what lineage and the model server answer with what they did")
        answer = _check(settings, before, served)
    except (HeadlinesError, psycopg2.Error, OSError) as error:
        _put_stamp_back(settings, stamp)
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
        plans.check_alone(settings, was_up=False)
    if copy.major and postgres.read_major(postgres.data_dir(settings)) != copy.major:
        report(f"putting the data of Postgres {copy.major} back")
        postgres_major.move_back(settings, copy.major)
    with plans.reachable(settings, plans.find_binaries(settings, report, None)):
        if not copy.major:
            report("putting the databases back")
            databases.put_back(settings, folder)
        for aside in copies.put_files_back(settings, folder, _find_on_record(settings, report)):
            report(f"pushed since, and no more on record: moved to {aside}")
    _put_stamp_back(settings, copy.from_version if copy.has_stamp else None)
    return _tell_checkout(copy.from_version)


def _find_on_record(settings: Settings, report: Report) -> Container[int]:
    try:
        return lineage.pushed_versions(settings)
    except LineageError as error:
        report(f"whether versions in {settings.serving_dir} were pushed since is for you to look at: {error}")
        return range(sys.maxsize)


def _copy(
    settings: Settings, plan: plans.Plan, folder: Path, binaries: Path | None, report: Report
) -> tuple[Answers | None, dict[str, int]]:
    """What lineage answers before anything is changed, and the rows of every table where they will be moved."""
    with plans.reachable(settings, binaries):
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
        copies.keep_files(settings, folder)
    has_stamp = standing.read_stamp(settings) is not None
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    copies.Copy(plan.last, VERSION, moment, plan.major or "", has_stamp).write(folder)
    return before, rows


def _put_stamp_back(settings: Settings, version: str | None) -> None:
    if version is None:
        standing.stamp_path(settings).unlink(missing_ok=True)
    else:
        standing.stamp(settings, version)


def _migrate(settings: Settings, report: Report) -> None:
    with plans.reachable(settings, None):
        if settings.postgres_embedded:
            postgres.make_databases(settings)
        preparation.migrate(settings, airflow.environment(settings), report)


def _check(settings: Settings, before: Answers | None, served: str | None) -> str | None:
    """Raises UpgradeError where something is answered otherwise than before; returns the version that answers."""
    if before is not None and (changed := answers.find_changes(before, answers.ask(settings))):
        raise UpgradeError(f"lineage answers otherwise than before about {', '.join(changed)}")
    if not settings.postgres_embedded:
        return None
    reign = lineage.serving_version(settings)
    wanted = served or (str(reign.version) if reign else None)
    answer = model_server.find_version(settings)
    if wanted is not None and answer != wanted:
        raise UpgradeError(
            f"version {wanted} should answer as before, and {f'version {answer}' if answer else 'none'} does; see "
            "`retraining logs serving`"
        )
    return answer


def _tell_older(plan: plans.Plan) -> str:
    return f"When that is mended, run `retraining upgrade` again; until then: {_tell_checkout(plan.last)}"


def _tell_checkout(version: str) -> str:
    return (
        f"check out the version that ran here (`git checkout v{version}`, or ORIG_HEAD, where `git pull` came from), "
        "run `make setup`, then `make up`"
    )
