"""The way back from a backup: into an empty place, on this machine or another, as the service it was."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psycopg2
from pydantic import SecretStr

from headlines.objects.addresses import is_object
from lineage.reader import SCHEMA_VERSION
from retraining.local import airflow, ports, postgres, preparation, roster, secrets, service, standing, supervisor
from retraining.local.preparation import Report
from retraining.notices import outbox
from retraining.places.moves import Move, Moves
from retraining.places.recorded import PLACES, places_of
from retraining.places.relocation import move_everything
from retraining.settings import Settings
from retraining.upkeep import archive, dumps
from retraining.upkeep.archive import BackupError, Manifest
from retraining.upkeep.backup import (
    DATABASES,
    DROPS,
    MADE_AT_FIRST_START,
    NOTICES,
    PIPELINES,
    SCORES,
    SECRETS,
    SERVING,
    SERVING_FILES,
    VERSIONS,
    plain_settings,
)

_INTO = "databases"
"""Folder below `state_dir` for the databases' files, until they have been read."""
_LOCK = "lock"
"""What this command itself has made in `state_dir`: see retraining/local/lock.py."""
_HERE = {name.upper() for name in PLACES} | {
    *("POSTGRES_PORT", "MLMD_PORT", "AIRFLOW_DB_PORT", "WEBSERVER_PORT", "SUPERVISOR_PORT", "SERVING_PORT"),
    *("SERVING_GRPC_PORT", "REDIS_PORT", "DAGS_DIR", "NOTICES_DIR", "TASK_LOGS_DIR", "WORKERS", "WORKER_SLOTS"),
}
"""Settings that say where a service lies and how it is reached; another place has others."""


@dataclass(frozen=True)
class Restored:
    """What was restored, and what a person should know of it.

    Attributes:
      manifest: of the backup.
      paths: how many paths in lineage were rewritten.
      differences: settings that are others than those of the backup: `{name: (then, now)}`.
    """

    manifest: Manifest
    paths: int
    differences: dict[str, tuple[str | None, str | None]]


def restore(settings: Settings, file: Path, report: Report) -> Restored:
    """Makes of a backup a service that `retraining up` starts; whatever goes wrong, its folders are empty again.

    Args:
      settings: of the place to restore into; the caller holds its lock. `.env` is left as it is.
      file: the backup.
      report: receives one short line per step.

    Raises:
      BackupError: the backup cannot be used, or there is something already where it would go; nothing was touched.
      DumpError, PostgresError, PreparationError, SupervisorError: a database could not be made or read.
    """
    # Late: it brings TFX.
    from retraining.recording.settling import settle_restored_executions

    report("checking the backup")
    manifest = archive.check(file)
    _check_versions(manifest, file)
    _check_empty(settings, manifest)
    _check_drops(settings, manifest)
    if settings.postgres_embedded:
        ports.check_free(settings)
    elif settings.mlmd_password and settings.airflow_db_password:
        # With passwords that are in the backup alone, it is found out below.
        _check_databases_empty(settings, may_be_missing=settings.postgres_password is not None)
    files: list[Path] = []

    def place(name: PurePosixPath) -> Path | None:
        target = locate(name, settings)
        files.extend([target] if target else [])
        return target

    try:
        report("writing the files")
        settings.secrets_dir.mkdir(mode=0o700, parents=True)
        archive.extract(file, place)
        settings = secrets.make_missing(_with_restored_secrets(settings))
        with _databases(settings, report):
            _check_databases_empty(settings)
            report("reading the databases of Airflow and ML Metadata")
            for prefix, member in DATABASES.items():
                dumps.load(settings.database(prefix), settings.state_dir / _INTO / Path(member).name)  # type: ignore[arg-type]
            report("putting the paths of lineage right")
            today = places_of(settings)
            moves = Moves(Move(manifest.places[name], today[name]) for name in PLACES)
            paths = move_everything(settings, moves).paths
            # Only now: what such an attempt left is removed, and not where the backup comes from.
            settle_restored_executions(settings)
        shutil.rmtree(settings.state_dir / _INTO)
        # A newer version asks to be upgraded to, as in the place of then.
        standing.stamp(settings, manifest.ran_by)
    except BaseException:
        with service.uninterrupted():
            _take_back(settings, files)
        raise
    return Restored(manifest, paths, find_differences(manifest, settings))


def locate(name: PurePosixPath, settings: Settings) -> Path | None:
    """Where a member of a backup goes; None for the manifest."""
    for folder, place in (
        (VERSIONS, settings.serving_dir),
        (SERVING, settings.serving_dir.parent),
        (PIPELINES, settings.pipeline_root),
        (SCORES, settings.scores_dir),
        (DROPS, settings.drops_dir),
        (SECRETS, settings.secrets_dir),
        (NOTICES, outbox.folder(settings)),
        ("databases", settings.state_dir / _INTO),
    ):
        if name.is_relative_to(folder):
            return place / name.relative_to(folder)
    return None


def find_differences(manifest: Manifest, settings: Settings) -> dict[str, tuple[str | None, str | None]]:
    """The settings that are others than when the backup was made, but for those of the place."""
    then, now = manifest.settings, plain_settings(settings)
    return {
        name: (then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if name not in _HERE and then.get(name) != now.get(name)
    }


def _check_versions(manifest: Manifest, file: Path) -> None:
    if manifest.mlmd_schema != SCHEMA_VERSION:
        raise BackupError(
            f"{file} holds lineage of MLMD's schema {manifest.mlmd_schema}, and this version reads {SCHEMA_VERSION}; "
            f"restore it with version {manifest.project} of this project, and upgrade it then"
        )


def _check_empty(settings: Settings, manifest: Manifest) -> None:
    places = {
        "STATE_DIR": settings.state_dir,
        "PIPELINE_ROOT": settings.pipeline_root,
        "SERVING_DIR": settings.serving_dir,
        "SCORES_DIR": settings.scores_dir,
        "NOTICES_DIR": settings.notices_dir,
        **({"DROPS_DIR": settings.drops_dir} if manifest.has_drops else {}),
    }
    for name, place in places.items():
        if is_object(place):
            _check_left(name, place, manifest)
            continue
        there = [path.name for path in place.iterdir() if path.name != _LOCK] if place.is_dir() else []
        if there:
            raise BackupError(
                f"{name}: {place} is not empty ({', '.join(sorted(there)[:3])}), and a backup is mixed with nothing; "
                f"move that away, or set {name} to an empty folder"
            )
    for file in (settings.serving_dir.parent / name for name in SERVING_FILES):
        if file.exists():
            raise BackupError(f"{file} is there, and a backup is mixed with nothing; move it away, or set SERVING_DIR")


def _check_left(name: str, place: Path, manifest: Manifest) -> None:
    """Lets lineage lead to object storage where it did before, and nowhere else."""
    if str(place) not in manifest.left_out:
        raise BackupError(
            f"{name}={place} is on object storage, and the backup was made of a service that had it elsewhere; set "
            f"{name} to {manifest.places.get(name.lower(), 'where it was')} or to a folder"
        )


def _check_drops(settings: Settings, manifest: Manifest) -> None:
    if not manifest.has_drops and not settings.drops_dir.is_dir():
        raise BackupError(
            f"the backup holds no drops, and DROPS_DIR={settings.drops_dir} is not there; bring the drops there first, "
            "for the next night reads those of its whole window"
        )


@contextmanager
def _databases(settings: Settings, report: Report) -> Iterator[None]:
    """The servers of both databases, with the databases in them; the embedded one alone, until the end of the block."""
    if not settings.postgres_embedded:
        if settings.postgres_password is not None and preparation.superuser_answers(settings):
            postgres.make_databases(settings)
        yield
        return
    report("making the embedded Postgres")
    postgres.make_data(settings)
    try:
        supervisor.start(settings, roster.list_programs(settings), airflow.environment(settings))
        supervisor.run(settings, "postgres")
        service.wait_for_postgres(settings)
        postgres.make_databases(settings)
        yield
    finally:
        with service.uninterrupted():
            service.down(settings)


def _with_restored_secrets(settings: Settings) -> Settings:
    """The settings with what the backup brought, unless `.env` or the environment says another."""
    values: dict[str, object] = {}
    for name in (*secrets.NAMES, MADE_AT_FIRST_START):
        path = settings.secrets_dir / name
        if not getattr(settings, name) and path.is_file():
            text = path.read_text().strip()
            values[name] = text if name == MADE_AT_FIRST_START else SecretStr(text)
    return settings.model_copy(update=values)


def _check_databases_empty(settings: Settings, may_be_missing: bool = False) -> None:
    for prefix in DATABASES:
        place = settings.database(prefix)  # type: ignore[arg-type]
        try:
            connection = psycopg2.connect(**place.arguments)
        except psycopg2.OperationalError as error:
            if may_be_missing:
                continue
            raise BackupError(place.explain(error)) from None
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1 LIMIT 1")
            if rows := cursor.fetchall():
                raise BackupError(
                    f"the database {place} is not empty (it has the table {rows[0][0]}), and a backup is restored into "
                    f"empty ones only; set {place.prefix}_DATABASE to another, or empty it"
                )


def _take_back(settings: Settings, files: Collection[Path]) -> None:
    """Removes what was written, and nothing else that has come meanwhile into folders that others use too."""
    for file in files:
        file.unlink(missing_ok=True)
    for folder in sorted({parent for file in files for parent in file.parents}, reverse=True):
        # Where something else lies in it, or above all of it, there it ends.
        with suppress(OSError):
            folder.rmdir()
    # Its lock is this command's, and everything beside it too.
    for path in settings.state_dir.iterdir() if settings.state_dir.is_dir() else ():
        if path.name != _LOCK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
