"""How MLMD remembers that an artifact's files were removed: its state is DELETED, and it says when, by whom, how much.

It says so before the first file goes and how much when the last one is gone, so that a removal which died in between is
found and ended (`plan.read_unfinished` of retraining/retention), and nobody who asks MLMD is led to half an artifact.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact

from headlines.names import REMOVED_AT, REMOVED_BY, REMOVED_BYTES

_BATCH = 200


def mark(store: MetadataStore, ids: Collection[int], at: datetime, by: str) -> list[int]:
    """Marks those of some artifacts that are LIVE as removed.

    Returns:
      Their ids; what is in another state by now is left alone.
    """
    marked = []
    for artifacts in _read(store, ids):
        live = [artifact for artifact in artifacts if artifact.state == Artifact.LIVE]
        for artifact in live:
            artifact.state = Artifact.DELETED
            artifact.custom_properties[REMOVED_AT].string_value = at.isoformat(timespec="seconds")
            artifact.custom_properties[REMOVED_BY].string_value = by
        if live:
            store.put_artifacts(live)
        marked += [int(artifact.id) for artifact in live]
    return marked


def finish(store: MetadataStore, sizes: Mapping[int, int]) -> None:
    """Notes of removed artifacts how many bytes went, now that the last file is gone."""
    for artifacts in _read(store, sizes):
        for artifact in artifacts:
            # MLMD's column for whole numbers ends at 2 GiB (artifactproperty.int_value is INT in its schema 10).
            artifact.custom_properties[REMOVED_BYTES].double_value = sizes[artifact.id]
        store.put_artifacts(artifacts)


def _read(store: MetadataStore, ids: Collection[int]) -> list[list[Artifact]]:
    ordered = sorted(ids)
    return [
        list(store.get_artifacts_by_id(ordered[begin : begin + _BATCH])) for begin in range(0, len(ordered), _BATCH)
    ]
