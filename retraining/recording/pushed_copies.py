"""A pushed model whose Trainer's folder is gone: what takes it as an input is given its copy in the serving folder.

What is pushed is the Trainer's SavedModel as it is (headlines/pushes/publishing.py), with the signatures by which the
Evaluator, Baseline and BulkInferrer ask a model; so the Trainer's folder is needed no longer once it was pushed.
"""

import copy
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact as Record
from tfx import types
from tfx.dsl.components.base.base_driver import BaseDriver
from tfx.dsl.io import fileio
from tfx.types.standard_artifacts import Model, PushedModel

from headlines.errors import HeadlinesError
from headlines.names import (
    MODEL_ID,
    NIGHT,
    PUSHED,
    PUSHED_DESTINATION,
    REMOVED_AT,
    REMOVED_BY,
    SAVED_MODEL_FILE,
    SERVING_FORMAT,
)
from headlines.objects.addresses import download, is_object, to_path
from headlines.pushes.removals import tell

Artifacts = Mapping[str, list[types.Artifact]]


class GoneError(HeadlinesError):
    """The files of an input are gone; the message says which, and what to do."""


def tolerate_gone(driver_class: type[BaseDriver]) -> type[BaseDriver]:
    """A driver that goes on without the folder of a model of which there is a copy, and says whose files are gone.

    TFX's own stops at every input whose folder is not there (tfx/types/artifact_utils.py, `verify_artifacts`).
    """

    class Driver(driver_class):
        def verify_input_artifacts(self, artifacts_dict: dict[str, list[types.Artifact]]) -> None:
            missing = find_missing(artifacts_dict)
            copies = find_copies(self._metadata_handle.store, missing)
            for artifact in missing:
                # Of a push its record alone matters: the folder that TFX makes for it is empty.
                if artifact.id not in copies and artifact.type_name != PushedModel.TYPE_NAME:
                    raise GoneError(_explain(self._metadata_handle.store, artifact))

    return Driver


@contextmanager
def lend_copies(copies: Mapping[int, Path], inputs: Artifacts, outputs: Artifacts) -> Iterator[Artifacts]:
    """Gives the inputs of a component for as long as it runs, with copies in place of models whose folders are gone.

    A copy lies in the component's own output, where Beam's workers elsewhere see it as they see the output, and goes
    with it if the attempt is killed.

    Args:
      copies: the folder of each copy by the model's id, from `find_copies`.
      inputs: by key; they stay as they are, for they are what is recorded.
      outputs: by key.
    """
    place = next((artifact.uri for artifacts in outputs.values() for artifact in artifacts), None)
    with ExitStack() as stack:

        def lend(artifact: types.Artifact) -> types.Artifact:
            if artifact.id not in copies:
                return artifact
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".pushed-model-", dir=place))
            copied, lying = copies[artifact.id], Path(folder, SERVING_FORMAT)
            if is_object(copied):
                download(copied, lying)
            else:
                shutil.copytree(copied, lying)
            lent = copy.deepcopy(artifact)
            lent.uri = folder
            return lent

        yield {key: [lend(artifact) for artifact in artifacts] for key, artifacts in inputs.items()}


def find_missing(artifacts: Artifacts) -> list[types.Artifact]:
    """Those whose files are not where lineage says; of what was removed small files may be left."""
    everything = (artifact for several in artifacts.values() for artifact in several)
    return [one for one in everything if _was_removed(one) or not one.uri or not fileio.exists(one.uri)]


def _was_removed(artifact: types.Artifact) -> bool:
    return bool(artifact.mlmd_artifact.state == Record.DELETED)


def find_copies(store: MetadataStore, artifacts: list[types.Artifact]) -> dict[int, Path]:
    """The folder in which each of some models was pushed and still is, by the model's id."""
    models = {artifact.id for artifact in artifacts if artifact.type_name == Model.TYPE_NAME}
    copies = {identity: to_path(destination) for identity, destination in _find_pushes(store, models)}
    return {identity: path for identity, path in copies.items() if (path / SAVED_MODEL_FILE).is_file()}


def _find_pushes(store: MetadataStore, models: set[int]) -> Iterator[tuple[int, str]]:
    if not models:
        return
    for push in sorted(store.get_artifacts_by_type(PushedModel.TYPE_NAME), key=lambda push: int(push.id)):
        properties: Mapping[str, Any] = push.custom_properties
        is_push = push.state in (Record.LIVE, Record.DELETED) and properties[PUSHED].int_value == 1
        destination = properties[PUSHED_DESTINATION].string_value
        if is_push and destination and properties[MODEL_ID].int_value in models:
            yield properties[MODEL_ID].int_value, destination


def _explain(store: MetadataStore, artifact: types.Artifact) -> str:
    said: Mapping[str, Any] = artifact.mlmd_artifact.custom_properties
    if _was_removed(artifact) and REMOVED_AT in said:
        removal = tell(datetime.fromisoformat(said[REMOVED_AT].string_value), said[REMOVED_BY].string_value)
        text, night = f"{artifact.type_name} {artifact.id} was {removal}", _find_night(store, artifact)
        again = f"`retraining run --night {night} --force`" if night else "clear all tasks of its run"
        text += f"; one task alone cannot be run on it, but its night as a whole can, from its drops on: {again}"
        is_model = artifact.type_name == Model.TYPE_NAME
        return text + (". As the champion of another night it must be brought back from a backup" if is_model else "")
    pushed = [destination for _, destination in _find_pushes(store, {artifact.id})]
    copied = f", nor what was pushed of it at {pushed[-1]}" if pushed else ""
    return (
        f"{artifact.type_name} {artifact.id} is not at {artifact.uri or 'any place'}{copied}: "
        + ("lineage says that it was removed" if _was_removed(artifact) else "its files are gone")
        + "; bring them back from a backup or, if the service was moved, say so with `retraining relocate`"
    )


def _find_night(store: MetadataStore, artifact: types.Artifact) -> str:
    """The night of the run that made an artifact; empty where no node of it says one."""
    # Those that only took it came later.
    runs = sorted(context.id for context in store.get_contexts_by_artifact(artifact.id) if context.type == "run")
    executions = [execution for run in runs[:1] for execution in store.get_executions_by_context(run)]
    return next((one.properties[NIGHT].string_value for one in executions if NIGHT in one.properties), "")
