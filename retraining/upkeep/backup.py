"""A backup of a service while it runs: what lineage says is there, and the files that it names, of one moment.

The order makes it so. A push or a rollback, which is files and a record, is waited for and then held off until both are
taken. Of Airflow's database the moment is a little earlier than of MLMD's, never later: a task that Airflow still calls
running is tried again after a restore, while one that it calls done has its record. Artifacts never change once lineage
calls them live, and retention, which alone removes them, waits. Secrets that are rotated meanwhile end it.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ
from pydantic import SecretStr

from headlines import names
from headlines.objects.addresses import is_object, to_path
from headlines.postgres_address import Postgres
from headlines.pushes.versions import find_versions
from lineage.reader import SCHEMA_VERSION
from lineage.reading import LIVE
from retraining.local import standing
from retraining.local.preparation import Report
from retraining.notices import outbox
from retraining.places.recorded import places_of
from retraining.settings import Settings
from retraining.upkeep import archive, dumps
from retraining.upkeep.archive import FORMAT, BackupError, Manifest, Writer
from retraining.version import VERSION

# Members of a backup: folders of it, and the files in them.
DATABASES = {"airflow_db": "databases/airflow_db.dump", "mlmd": "databases/mlmd.dump"}
SERVING, VERSIONS, PIPELINES, SCORES, DROPS = "serving", "serving/versions", "pipelines", "scores", "drops"
SECRETS, NOTICES = "secrets", "notices"
SERVING_FILES = (names.POLICY_FILE, names.ROLLBACKS_FILE, names.REMOVED_FILE)
MADE_AT_FIRST_START = "scheduled_from"
"""Beside the secrets in their folder, and none: without it a service would begin anew."""

_LOCK_TIMEOUT = "60s"
_RUNNING = 2
"""The number of RUNNING of Execution.State in metadata_store.proto."""


@dataclass(frozen=True)
class _Snapshot:
    """A database as it was at a moment.

    Attributes:
      name: by which `pg_dump` takes the same moment.
      major: version of the server.
    """

    name: str
    major: int
    cursor: Any


LEFT_TO_BUCKETS = "it is on object storage, whose own versions keep it: docs/object-storage.md"
"""Why a place is not in a backup."""


def back_up(
    settings: Settings, target: Path, report: Report, with_secrets: bool = True, with_drops: bool = False
) -> Manifest:
    """Writes a backup; whatever goes wrong, an earlier file of that name is as it was.

    Args:
      settings: of the service, whose databases must answer.
      target: the file; it is written under another name beside it until it is whole.
      report: receives one short line per step.
      with_secrets: whether the secrets made at first start are in it.
      with_drops: whether the delivered drops are in it.

    Returns:
      What is in it.

    Raises:
      BackupError, DumpError: it could not be written.
    """
    # Late: the store brings ML Metadata, the formats of TensorFlow Serving take a second.
    from retraining.recording.advisory_locks import RETENTION_LOCK, hold_pushes

    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    counts: dict[str, int] = {}
    secrets = _read_secrets(settings, with_secrets)
    with ExitStack() as stack:
        writer, finish = stack.enter_context(archive.written(target))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")))
        with ExitStack() as pushes:
            if settings.serving_dir.is_dir():
                report("waiting for a push to end, if there is one")
                pushes.enter_context(hold_pushes(settings))
            report("copying the databases of Airflow and ML Metadata")
            of_airflow = stack.enter_context(_taken(settings.database("airflow_db")))
            of_mlmd = stack.enter_context(_taken(settings.mlmd, RETENTION_LOCK))
            for prefix, snapshot in (("airflow_db", of_airflow), ("mlmd", of_mlmd)):
                file = folder / f"{prefix}.dump"
                dumps.dump(settings.database(prefix), file, snapshot.name, snapshot.major)  # type: ignore[arg-type]
                writer.add(DATABASES[prefix], file)
                file.unlink()
            counts |= _count(of_airflow.cursor, of_mlmd.cursor)
            report("copying the pushed models")
            left_out = _add_serving(writer, settings, of_mlmd.cursor, counts)
        report("copying the artifacts")
        left_out |= _add_artifacts(writer, settings, of_mlmd.cursor, counts)
        left_out |= _leave_objects(settings)
        if not is_object(settings.scores_dir) and settings.scores_dir.is_dir():
            writer.add(SCORES, settings.scores_dir)
        if with_drops and not is_object(settings.drops_dir) and settings.drops_dir.is_dir():
            report("copying the drops")
            writer.add(DROPS, settings.drops_dir)
        for notice in outbox.read_all(settings):
            writer.add_text(f"{NOTICES}/{outbox.path_of(settings, notice.id).name}", outbox.to_text(notice).encode())
        if _read_secrets(settings, with_secrets) != secrets:
            raise BackupError("secrets were rotated meanwhile, and may not be those of the databases; try again")
        for name, secret in secrets.items():
            writer.add_text(f"{SECRETS}/{name}", secret)
        manifest = Manifest(
            FORMAT,
            made_at,
            VERSION,
            standing.find_last_version(settings) or VERSION,
            {"airflow_db": of_airflow.major, "mlmd": of_mlmd.major},
            SCHEMA_VERSION,
            places_of(settings),
            plain_settings(settings),
            counts,
            with_secrets,
            with_drops,
            left_out,
        )
        done = finish(manifest)
    # Only now is the file there. Its age is that of the moment that it holds.
    _tell_age(settings, made_at)
    return done


def plain_settings(settings: Settings) -> dict[str, str]:
    """The settings but for secrets, as text, by the names of their variables."""
    secret = {name.upper() for name in type(settings).model_fields if isinstance(getattr(settings, name), SecretStr)}
    return {name: text for name, text in settings.to_environment().items() if name not in secret}


def _read_secrets(settings: Settings, with_secrets: bool) -> dict[str, bytes]:
    """What lies beside the secrets, and they: those made at first start, those to follow them, and those put there."""
    found = {}
    for path in sorted(settings.secrets_dir.glob("[!.]*")):
        if path.is_file() and (path.name == MADE_AT_FIRST_START or with_secrets):
            # One to follow may take its place at this moment.
            with suppress(FileNotFoundError):
                found[path.name] = path.read_bytes()
    return found


def _tell_age(settings: Settings, made_at: str) -> None:
    """Says of which moment the newest backup is, to whoever watches its age."""
    marker = settings.state_dir / names.LAST_BACKUP_FILE
    moment = datetime.fromisoformat(made_at).timestamp()
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        os.utime(marker, (moment, moment))
    except OSError as error:
        raise BackupError(
            f"the backup is written, and that it is cannot be told to who watches its age: {marker}: {error.strerror}"
        ) from error


@contextmanager
def _taken(place: Postgres, shared_lock: str = "") -> Iterator[_Snapshot]:
    """A moment of a database, kept for as long as the block takes, and a lock that is waited for before it."""
    try:
        connection = psycopg2.connect(**place.arguments)
    except psycopg2.OperationalError as error:
        raise BackupError(place.explain(error)) from None
    with closing(connection), connection.cursor() as cursor:
        connection.autocommit = True
        if shared_lock:
            cursor.execute("SET lock_timeout = %s", [_LOCK_TIMEOUT])
            try:
                cursor.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", [shared_lock])
            except psycopg2.errors.LockNotAvailable:
                raise BackupError(
                    f"files that are not needed any more have been being removed for more than {_LOCK_TIMEOUT} "
                    "(`retraining prune`, or its DAG); wait until that has ended, and try again"
                ) from None
        connection.autocommit = False
        connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        cursor.execute("SELECT pg_export_snapshot(), current_setting('server_version_num')::int / 10000")
        [(name, major)] = cursor.fetchall()
        yield _Snapshot(name, major, cursor)


def _count(airflow: Any, mlmd: Any) -> dict[str, int]:
    counts = {}
    for cursor, name, table in (
        (airflow, "runs", "dag_run"),
        (mlmd, "executions", "execution"),
        (mlmd, "artifacts", "artifact"),
    ):
        cursor.execute(f"SELECT count(*) FROM {table}")
        [(counts[name],)] = cursor.fetchall()
    return counts


def _leave_objects(settings: Settings) -> dict[str, str]:
    """The places that a backup cannot hold as they were at one moment, each with why."""
    places = (settings.serving_dir, settings.pipeline_root, settings.scores_dir, settings.drops_dir)
    return {str(place): LEFT_TO_BUCKETS for place in places if is_object(place)}


def _add_serving(writer: Writer, settings: Settings, mlmd: Any, counts: dict[str, int]) -> dict[str, str]:
    """Adds the pushed versions with what says which of them serves; gives those it leaves out."""

    if is_object(settings.serving_dir):
        return {}
    for name in SERVING_FILES:
        if (settings.serving_dir.parent / name).is_file():
            writer.add(f"{SERVING}/{name}", settings.serving_dir.parent / name)
    mlmd.execute("SELECT string_value FROM artifactproperty WHERE name = %s", [names.PUSHED_VERSION])
    known = {version for (version,) in mlmd.fetchall()}
    mlmd.execute(
        "SELECT 1 FROM execution e JOIN executionproperty p ON p.execution_id = e.id AND p.name = 'component_id' "
        "AND p.string_value = %s WHERE e.last_known_state = %s LIMIT 1",
        [names.PUSHER, _RUNNING],
    )
    is_pushing = bool(mlmd.fetchall())
    left_out = {}
    for version in find_versions(settings.serving_dir):
        if is_pushing and str(version) not in known:
            # Its record is about to be written, and is not in the copy: after a restore the push is made again.
            left_out[str(settings.serving_dir / str(version))] = "its push was not on record yet"
            continue
        writer.add(f"{VERSIONS}/{version}", settings.serving_dir / str(version))
        counts["versions"] = counts.get("versions", 0) + 1
    return left_out


def _add_artifacts(writer: Writer, settings: Settings, mlmd: Any, counts: dict[str, int]) -> dict[str, str]:
    """Adds the files of every artifact that is live, which is what retention has left; gives those it cannot add."""
    mlmd.execute("SELECT DISTINCT uri FROM artifact WHERE state = %s AND uri <> '' ORDER BY uri", [LIVE])
    root, serving = settings.pipeline_root, settings.serving_dir.parent
    left_out: dict[str, str] = {}
    last = None
    for (uri,) in mlmd.fetchall():
        path = to_path(uri)
        if last is not None and path.is_relative_to(last):
            continue
        if path.is_relative_to(root) and path != root:
            if is_object(root):
                # It is left to the bucket, as all of PIPELINE_ROOT, which is told once.
                continue
            if path.exists():
                writer.add(f"{PIPELINES}/{path.relative_to(root)}", path)
                counts["folders"] = counts.get("folders", 0) + 1
                last = path
            else:
                left_out[uri] = "its files were gone already"
        elif not path.is_relative_to(serving):
            left_out[uri] = f"it does not lie in PIPELINE_ROOT={root}"
    return left_out
