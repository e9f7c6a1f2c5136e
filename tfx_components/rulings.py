"""Rulings on drops in MLMD: an execution with one artifact each, of types that no node takes."""

from datetime import UTC, datetime

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ArtifactType, Event, Execution, ExecutionType

from headlines.drops.rulings import Ruling
from headlines.names import RULING_TYPE

_EXECUTION_TYPE = "RuleOnDrop"


def register_ruling_types(store: MetadataStore) -> tuple[int, int]:
    """The types of a ruling's execution and artifact, made where they are not there.

    MLMD checks that against no other process: on a shared store, under the lock for types.
    """
    execution = store.put_execution_type(ExecutionType(name=_EXECUTION_TYPE), True, True)
    return execution, store.put_artifact_type(ArtifactType(name=RULING_TYPE), True, True)


def read_rulings(store: MetadataStore) -> list[Ruling]:
    """Every ruling, whichever pipeline's: drops belong to none."""
    return [
        Ruling.from_properties(
            record.id,
            {name: getattr(value, str(value.WhichOneof("value"))) for name, value in record.custom_properties.items()},
        )
        for record in store.get_artifacts_by_type(RULING_TYPE)
        if record.state == Artifact.LIVE
    ]


def put_ruling(store: MetadataStore, ruling: Ruling, pipeline: str) -> None:
    """Records a ruling at once or not at all.

    Args:
      store: of the pipeline.
      ruling: its id is not looked at.
      pipeline: in which it was made.
    """
    execution_type, artifact_type = register_ruling_types(store)
    execution = Execution(type_id=execution_type, last_known_state=Execution.COMPLETE)
    artifact = Artifact(type_id=artifact_type, state=Artifact.LIVE)
    for name, value in ruling.to_properties().items():
        setattr(artifact.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
    event = Event(type=Event.OUTPUT, path=Event.Path(steps=[Event.Path.Step(key="ruling"), Event.Path.Step(index=0)]))
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    store.put_execution(execution, [(artifact, event)], [context] if context else [])


def now() -> datetime:
    """The present moment as rulings keep it."""
    return datetime.now(UTC).replace(microsecond=0)
