"""Rollback: an earlier pushed version serves again, at once, and MLMD remembers who did it, when and why."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType, Event, Execution, ExecutionType

from headlines import disk
from headlines.errors import HeadlinesError
from headlines.holding import Check
from headlines.names import NIGHT, PUSHED, PUSHED_VERSION, ROLLBACK_TYPE, ROLLBACKS_FILE, SAVED_MODEL_FILE, TO_VERSION
from headlines.objects.addresses import is_object
from headlines.pushes import removals, rollbacks
from headlines.pushes.champion import Rollback, find_withdrawn
from headlines.pushes.versions import find_versions
from retraining.openlineage.rollbacks import tell_of_rollback
from retraining.recording.advisory_locks import TYPES_LOCK, hold_pushes, lock
from retraining.recording.store import connection_config, open_store
from retraining.settings import Settings

TYPE = ROLLBACK_TYPE
"""The MLMD type of the execution and of its artifact."""


class RollbackError(HeadlinesError):
    """The version does not serve, or not yet; the message says why and what to do."""


def roll_back(settings: Settings, reason: str, by: str, to_version: int | None = None) -> Rollback:
    """Makes an earlier pushed version serve again, and withdraws every newer one that is there.

    The intention is recorded first, then the files change, then the record is completed: a process that dies in
    between leaves a record that `settle_rollbacks` completes or gives up, by what the files say.

    Args:
      settings: where MLMD and the pushed models are.
      reason: why; never empty.
      by: the person.
      to_version: what to serve. Default: the version before the one that serves.

    Returns:
      What was done. Later nights' champion is `to_version` until a newer push.

    Raises:
      RollbackError: there is no such version, it serves already, or the files cannot be read or written.
      StoreError: MLMD does not answer.
    """
    if not reason.strip():
        raise RollbackError("a rollback needs a reason, for those who will ask why this version serves")
    if "\0" in reason:
        raise RollbackError("the reason holds a NUL character, which no database stores; write it as plain text")
    serving_dir = settings.serving_dir
    if not find_versions(serving_dir):
        raise RollbackError(f"nothing was pushed to {serving_dir} yet, so there is nothing to roll back")
    config = connection_config(settings)
    store = open_store(config)
    with lock(config, TYPES_LOCK):
        execution = Execution(type_id=store.put_execution_type(ExecutionType(name=TYPE), True, True))
        artifact = Artifact(type_id=store.put_artifact_type(ArtifactType(name=TYPE), True, True))
    with _hold(settings) as check_held:
        sentences = _settle(settings, store)
        records = _find_pushes(store)
        # Of several records of one version the latest.
        pushes = {
            int(one.custom_properties[PUSHED_VERSION].string_value): one
            for one in records
            if one.custom_properties[PUSHED].int_value == 1
        }
        served = rollbacks.find_served(serving_dir) or 0
        if to_version == served:
            raise RollbackError("; ".join([f"{served} serves already", *sentences]))
        target = _choose(serving_dir, served, to_version, pushes)
        # Also those that were removed from disk: to lineage they are pushed all the same.
        versions = {*find_versions(serving_dir), *pushes}
        planned = Rollback(
            0,
            served,
            target,
            by,
            reason.strip(),
            datetime.now(UTC).replace(microsecond=0),
            _first_night(settings, records),
            tuple(sorted(version for version in versions if version > target)),
        )
        for record in (execution, artifact):
            for name, value in planned.to_properties().items():
                setattr(
                    record.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value
                )
        execution.last_known_state, artifact.state = Execution.RUNNING, Artifact.PENDING
        artifact.uri = str(serving_dir.parent / ROLLBACKS_FILE)
        linked = [(artifact, _event("rollback", Event.OUTPUT))] + [
            (pushes[version], _event(key, Event.INPUT))
            for key, version in (("from", served), ("to", target))
            if version in pushes
        ]
        contexts = [one for one in store.get_contexts_by_artifact(pushes[target].id) if one.type == "pipeline"]
        execution.id, [artifact.id, *_], _ = store.put_execution(execution, linked, contexts)
        rollback = replace(planned, id=artifact.id)
        # Recorded or not, nothing is rolled back that another may be changing.
        check_held()
        try:
            rollbacks.add(serving_dir, rollback)
        except (OSError, rollbacks.ConfigError) as error:
            problem = _explain(error, serving_dir)
            if rollback in rollbacks.read(serving_dir):
                raise RollbackError(
                    f"{target} is the champion from now on, but the model servers have not been told: {problem}; then "
                    f"give the command again with --to {target}"
                ) from error
            _end(store, execution, artifact, Execution.FAILED, Artifact.ABANDONED)
            raise RollbackError(f"{problem}. {served} serves on") from error
        _end(store, execution, artifact, Execution.COMPLETE, Artifact.LIVE)
    tell_of_rollback(settings, rollback)
    return rollback


def settle_rollbacks(settings: Settings) -> list[str]:
    """Completes or gives up the record of a rollback whose process died. For the start of the service.

    Returns:
      One sentence per rollback that was settled.

    Raises:
      RollbackError: one is in force, and the model servers cannot be told.
      StoreError: MLMD does not answer.
    """
    serving_dir = settings.serving_dir
    store = open_store(connection_config(settings))
    if not serving_dir.is_dir() or not _unfinished(store):
        return []
    with _hold(settings):
        return _settle(settings, store)


@contextmanager
def _hold(settings: Settings) -> Iterator[Check]:
    with ExitStack() as stack:
        try:
            check = stack.enter_context(hold_pushes(settings))
        except OSError as error:
            raise RollbackError(_explain(error, settings.serving_dir)) from error
        yield check


def _explain(error: OSError | rollbacks.ConfigError, serving_dir: Path) -> str:
    if isinstance(error, rollbacks.ConfigError):
        return str(error)
    full = disk.tell_full(error, [serving_dir.parent])
    remedy = f"{full}; free some there" if full else "free space or correct the permissions there"
    if is_object(serving_dir):
        remedy = "correct SERVING_DIR, or what the environment says of object storage (docs/object-storage.md)"
    return f"{serving_dir.parent} cannot be written ({error}); {remedy}"


def _settle(settings: Settings, store: MetadataStore) -> list[str]:
    """Ends what `hold` shows to be nobody's any more; the files are the judge of what took place."""
    serving_dir = settings.serving_dir
    in_force = {rollback.id: rollback for rollback in rollbacks.read(serving_dir)}
    sentences = []
    for execution in _unfinished(store):
        [output] = [e for e in store.get_events_by_execution_ids([execution.id]) if e.type == Event.OUTPUT]
        [artifact] = store.get_artifacts_by_id([output.artifact_id])
        to_version = artifact.custom_properties[TO_VERSION].int_value
        if artifact.id in in_force:
            try:
                rollbacks.tell_servers(serving_dir)
            except (OSError, rollbacks.ConfigError) as error:
                raise RollbackError(
                    f"the rollback to {to_version} (execution {execution.id}) is in force, but the model servers "
                    f"cannot be told: {_explain(error, serving_dir)}"
                ) from error
            _end(store, execution, artifact, Execution.COMPLETE, Artifact.LIVE)
            tell_of_rollback(settings, in_force[artifact.id])
            sentences.append(f"the rollback to {to_version} (execution {execution.id}) is COMPLETE only now")
        else:
            _end(store, execution, artifact, Execution.FAILED, Artifact.ABANDONED)
            sentences.append(f"the rollback to {to_version} (execution {execution.id}) is FAILED: nothing was changed")
    return sentences


def _unfinished(store: MetadataStore) -> list[Execution]:
    return [one for one in store.get_executions_by_type(TYPE) if one.last_known_state == Execution.RUNNING]


def _end(store: MetadataStore, execution: Execution, artifact: Artifact, state: int, artifact_state: int) -> None:
    execution.last_known_state, artifact.state = state, artifact_state
    store.put_execution(execution, [(artifact,)], [])


def _find_pushes(store: MetadataStore) -> list[Artifact]:
    """What every run that got to its push left there, pushed or not, oldest first."""
    records = store.get_artifacts_by_type("PushedModel")
    return sorted((one for one in records if one.state == Artifact.LIVE), key=lambda record: int(record.id))


def _first_night(settings: Settings, records: list[Artifact]) -> str:
    """The first night whose champion follows a rollback made now: the one after the newest that is decided.

    Not simply today's date: the run for yesterday may still be to come, or the service may be at work on older nights.
    """
    newest = max(date.fromisoformat(record.custom_properties[NIGHT].string_value) for record in records)
    today = datetime.now(ZoneInfo(settings.timezone)).date()
    return min(today, newest + timedelta(days=1)).isoformat()


def _choose(serving_dir: Path, served: int, to_version: int | None, pushed: Collection[int]) -> int:
    usable = [
        version
        for version in find_versions(serving_dir)
        if version in pushed and version != served and (serving_dir / str(version) / SAVED_MODEL_FILE).is_file()
    ]
    if to_version is None:
        withdrawn = find_withdrawn(rollbacks.read(serving_dir))
        earlier = [version for version in usable if version < served and version not in withdrawn]
        if not earlier:
            raise RollbackError(f"{served or 'nothing'} serves, and there is no earlier version to roll back to")
        return earlier[-1]
    if to_version not in usable:
        if removal := removals.read(serving_dir).get(to_version):
            raise RollbackError(f"version {to_version} was {removal}; bring it back from a backup to serve it again")
        others = ", ".join(str(version) for version in reversed(usable)) or "none"
        raise RollbackError(f"there is no pushed model {to_version} in {serving_dir}; there are: {others}")
    return to_version


def _event(key: str, kind: int) -> Event:
    return Event(type=kind, path=Event.Path(steps=[Event.Path.Step(key=key), Event.Path.Step(index=0)]))
