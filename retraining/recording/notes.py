"""Writing notes on nights and versions, where lineage is: MLMD remembers who wrote what, when, and who withdrew it.

A note is an execution with one artifact, of types that no node and no resolver of the pipelines takes.
"""

from dataclasses import replace
from datetime import UTC, datetime

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType, Event, Execution, ExecutionType

from headlines.drops.drops_folder import parse_night
from headlines.names import NIGHTLY_DAG, NOTE_TYPE, PUSHED, PUSHED_VERSION, night_of
from headlines.notes import Note, NoteError, check_name, check_text, pair
from retraining.recording.advisory_locks import TYPES_LOCK, lock
from retraining.recording.store import connection_config, open_store
from retraining.settings import Settings


def write_note(
    settings: Settings,
    text: str,
    by: str,
    night: str | None = None,
    version: int | None = None,
    pipeline: str = NIGHTLY_DAG,
) -> Note:
    """Records a note on a night, or on a pushed version.

    Args:
      settings: where MLMD is.
      text: what is to be remembered.
      by: the person.
      night: `YYYY-MM-DD`; not with a version, which has a night of its own.
      version: as it was pushed.
      pipeline: whose night or version.

    Returns:
      The note as it is kept.

    Raises:
      NoteError: it cannot be kept, or it is about nothing that there is.
      DropError: the night is no date.
      StoreError: MLMD does not answer.
    """
    if (night is None) == (version is None):
        raise NoteError("a note is about a night or about a version: name one of them")
    note = Note(0, "", version, check_text(text), check_name(by), _now())
    store = open_store(connection_config(settings))
    if version is None:
        note = replace(note, night=parse_night(night or "").isoformat())
    else:
        if not _is_pushed(store, version, pipeline):
            raise NoteError(f"no version {version} was ever pushed by {pipeline}, so there is nothing to note on it")
        note = replace(note, night=night_of(version).isoformat())
    return _put(settings, store, note, pipeline)


def withdraw_note(settings: Settings, identity: int, why: str, by: str, pipeline: str = NIGHTLY_DAG) -> Note:
    """Withdraws a note. Both are kept, and both are shown.

    Args:
      settings: where MLMD is.
      identity: of the note.
      why: the reason.
      by: the person.
      pipeline: whose night or version it is on.

    Returns:
      The note that was withdrawn, with what withdrew it.

    Raises:
      NoteError: there is no such note, or it was withdrawn before.
      StoreError: MLMD does not answer.
    """
    why, by = check_text(why), check_name(by)
    store = open_store(connection_config(settings))
    note = next((one for one in pair(_read_notes(store)) if one.id == identity), None)
    if note is None or not _is_of(store, identity, pipeline):
        raise NoteError(f"there is no note {identity}; `retraining lineage notes` lists them with their numbers")
    if note.withdrawal:
        raise NoteError(f"note {identity} was withdrawn before, by {note.withdrawal.by}")
    withdrawal = Note(0, note.night, note.version, why, by, _now(), withdraws=identity)
    return replace(note, withdrawal=_put(settings, store, withdrawal, pipeline))


def _put(settings: Settings, store: MetadataStore, note: Note, pipeline: str) -> Note:
    """Records a note at once or not at all."""
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    if context is None:
        raise NoteError(f"{pipeline} has run no night yet, so there is nothing to write a note on; run one first")
    with lock(connection_config(settings), TYPES_LOCK):
        execution = Execution(type_id=store.put_execution_type(ExecutionType(name=NOTE_TYPE), True, True))
        artifact = Artifact(type_id=store.put_artifact_type(ArtifactType(name=NOTE_TYPE), True, True))
    for name, value in note.to_properties().items():
        setattr(artifact.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
    execution.last_known_state, artifact.state = Execution.COMPLETE, Artifact.LIVE
    steps = [Event.Path.Step(key="note"), Event.Path.Step(index=0)]
    event = Event(type=Event.OUTPUT, path=Event.Path(steps=steps))
    _, [identity], _ = store.put_execution(execution, [(artifact, event)], [context])
    # As it is kept: MLMD takes not every character.
    [kept] = store.get_artifacts_by_id([identity])
    return _to_note(kept)


def _is_pushed(store: MetadataStore, version: int, pipeline: str) -> bool:
    return any(
        record.state == Artifact.LIVE
        and record.custom_properties[PUSHED].int_value == 1
        and record.custom_properties[PUSHED_VERSION].string_value == str(version)
        and _is_of(store, record.id, pipeline)
        for record in store.get_artifacts_by_type("PushedModel")
    )


def _is_of(store: MetadataStore, artifact: int, pipeline: str) -> bool:
    contexts = store.get_contexts_by_artifact(artifact)
    return any((context.type, context.name) == ("pipeline", pipeline) for context in contexts)


def _read_notes(store: MetadataStore) -> list[Note]:
    return [_to_note(record) for record in store.get_artifacts_by_type(NOTE_TYPE)]


def _to_note(record: Artifact) -> Note:
    properties = record.custom_properties
    return Note.from_properties(
        record.id, {name: getattr(value, str(value.WhichOneof("value"))) for name, value in properties.items()}
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
