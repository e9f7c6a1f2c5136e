"""What a run for night D may resolve: champion and tuned hyperparameters as of D, never anything of a later night."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy, _ResolverDriver
from tfx.types import artifact_utils
from tfx.types.standard_artifacts import HyperParameters, Model, PushedModel

from headlines.names import MODEL_ID, NIGHT, PUSHED, PUSHED_VERSION, ROLLBACK_TYPE
from headlines.pushes.champion import Rollback, choose_champion
from tfx_components.artifacts import Artifacts, read_properties

MODEL = "model"
PUSHED_MODEL = "pushed_model"
HYPERPARAMETERS = "hyperparameters"
ROLLBACK = "rollback"


class RollbackRecord(types.Artifact):
    """A rollback, as retraining/recording/rollback.py records it."""

    TYPE_NAME = ROLLBACK_TYPE


class ChampionAsOf(ResolverStrategy):
    """Resolves to the model that was in production before night D, and to the push that put it there.

    That is the pushed model of the greatest version whose night is earlier than D, be it still in its Trainer's folder
    or only in the serving folder. A night's own push is left out, so that a rerun is compared with what its first run
    was compared with, and not with itself; so is every later night's, however early it was made. Blessed but never
    pushed does not count, nor does what a rollback withdrew that counts for night D.
    """

    def __init__(self, night: str) -> None:
        """Keeps the night D, `YYYY-MM-DD`."""
        self._night = night

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Chooses the champion and its push.

        Args:
          store: not used; all that decides is on the artifacts.
          input_dict: every `model`, `pushed_model` and `rollback` of the pipeline, in any order.

        Returns:
          One model and one push, or none of either: the first night has no champion, and downstream inputs are
          optional. (None instead would fail the node under LocalDagRunner.) Never a rollback: all have been heeded.

        Raises:
          ValueError: the night is not a date.
        """
        night = date.fromisoformat(self._night)
        models = {model.id: model for model in input_dict[MODEL] if _counts(model)}
        # A rerun that made the same model again has recorded the same version again: the latest record is the one kept.
        pushes = {
            int(push.get_string_custom_property(PUSHED_VERSION)): push
            for push in sorted(input_dict[PUSHED_MODEL], key=lambda push: push.id)
            if _counts(push)
            and push.get_int_custom_property(PUSHED) == 1
            and push.get_int_custom_property(MODEL_ID) in models
        }
        rollbacks = [
            Rollback.from_properties(one.id, read_properties(one)) for one in input_dict[ROLLBACK] if _is_live(one)
        ]
        champion = choose_champion(pushes, rollbacks, night)
        if champion is None:
            return {MODEL: [], PUSHED_MODEL: [], ROLLBACK: []}
        push = pushes[champion]
        return {MODEL: [models[push.get_int_custom_property(MODEL_ID)]], PUSHED_MODEL: [push], ROLLBACK: []}


class HyperparametersAsOf(ResolverStrategy):
    """Resolves to the hyperparameters of the latest night before D that was tuned; of one night, to the last tuned.

    D's own are left out, so that D run again is trained as it was the first time; so are every later night's.
    """

    def __init__(self, night: str) -> None:
        """Keeps the night D, `YYYY-MM-DD`."""
        self._night = night

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Chooses the hyperparameters.

        Args:
          store: holds those of every pipeline.
          input_dict: not used: TFX offers a resolver only what its own pipeline made (tensorflow/tfx#2617), and tuning
            is another one.

        Returns:
          One artifact, or none when nothing was tuned before D.

        Raises:
          ValueError: the night is not a date.
        """
        night = date.fromisoformat(self._night)
        tuned = [
            artifact
            for artifact in _read(store, HyperParameters)
            # A search that goes on, or failed, has not set its night yet.
            if _counts(artifact)
            and (tuned_on := artifact.get_string_custom_property(NIGHT))
            and date.fromisoformat(tuned_on) < night
        ]
        latest = max(tuned, key=lambda one: (one.get_string_custom_property(NIGHT), one.id), default=None)
        return {HYPERPARAMETERS: [latest] if latest else []}


class PushedVersion(ResolverStrategy):
    """Resolves to the model that was pushed as a version."""

    def __init__(self, version: str) -> None:
        """Keeps the version."""
        self._version = version

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: Artifacts) -> Artifacts:
        """Finds the model.

        Args:
          store: holds the pushes of the nightly pipeline.
          input_dict: not used: TFX offers a resolver only what its own pipeline made (tensorflow/tfx#2617).

        Raises:
          LookupError: lineage knows no such push.
        """
        pushes = [
            push
            for push in _read(store, PushedModel)
            if _counts(push)
            and push.get_int_custom_property(PUSHED) == 1
            and push.get_string_custom_property(PUSHED_VERSION) == self._version
        ]
        models = {model.id: model for model in _read(store, Model) if _counts(model)}
        for push in sorted(pushes, key=lambda push: push.id, reverse=True):
            if model := models.get(push.get_int_custom_property(MODEL_ID)):
                return {MODEL: [model]}
        raise LookupError(
            f"lineage knows no model that was pushed as version {self._version!r}; `retraining status` lists the "
            "versions it knows"
        )


class _Driver(_ResolverDriver):
    """TFX's driver of resolvers, which also looks at what was removed since: it was made all the same."""

    def _build_input_dict(self, pipeline_info: Any, input_channels: Mapping[str, types.BaseChannel]) -> Artifacts:
        found: Artifacts = super()._build_input_dict(pipeline_info, input_channels)
        store, pipeline = self._metadata_handle.store, self._metadata_handle.get_pipeline_context(pipeline_info)
        for key, channel in input_channels.items():
            # Stock takes what is LIVE only (tfx/orchestration/metadata.py, `get_qualified_artifacts`).
            removed = mlmd.ListOptions(
                filter_query=f"contexts_p.id = {pipeline.id} AND type = '{channel.type_name}' AND state = DELETED"
            )
            if records := store.get_artifacts(list_options=removed):
                kind = store.get_artifact_type(channel.type_name)
                found[key] += artifact_utils.deserialize_artifacts(kind, records)
        return found


class _RenderedResolver(Resolver):
    """TFX's Resolver with a strategy whose configuration may hold templates that Airflow renders at run time."""

    def __init__(self, strategy: type[ResolverStrategy], config: dict[str, str], **channels: types.BaseChannel) -> None:
        super().__init__(strategy_class=strategy, config=config, **channels)
        self.driver_class = _Driver
        self._exec_properties: dict[str, Any] = super().exec_properties

    @property
    def exec_properties(self) -> dict[str, Any]:
        """One dict for the node's life: Airflow's runner puts the rendered values into it before it launches.

        TFX's Resolver makes a new dict at each call, in which rendered values are lost (no issue known).
        """
        return self._exec_properties

    @classmethod
    def get_class_type(cls) -> str:
        """The type of TFX's Resolver, by which LocalDagRunner knows how to run it and lineage knows to leave it out."""
        return str(Resolver.get_class_type())


class ChampionResolver(_RenderedResolver):
    """Resolves the champion as of a night."""

    def __init__(self, night: str, model: types.BaseChannel, pushed_model: types.BaseChannel) -> None:
        """Wires the resolver.

        Args:
          night: `YYYY-MM-DD`, or a template for it.
          model: all models of the pipeline.
          pushed_model: all pushes of the pipeline.
        """
        rollback = types.Channel(type=RollbackRecord)
        super().__init__(ChampionAsOf, {"night": night}, model=model, pushed_model=pushed_model, rollback=rollback)


class HyperparametersResolver(_RenderedResolver):
    """Resolves the tuned hyperparameters as of a night, whichever pipeline tuned them."""

    def __init__(self, night: str) -> None:
        """Takes the night, `YYYY-MM-DD`, or a template for it."""
        super().__init__(HyperparametersAsOf, {"night": night}, hyperparameters=types.Channel(type=HyperParameters))


class PushedModelResolver(_RenderedResolver):
    """Resolves the model of a pushed version, whichever pipeline made it."""

    def __init__(self, version: str) -> None:
        """Takes the version, or a template for it."""
        super().__init__(PushedVersion, {"version": version}, model=types.Channel(type=Model))


def _read(store: mlmd.MetadataStore, kind: type[types.Artifact]) -> list[types.Artifact]:
    """Every artifact of a kind, whichever pipeline made it."""
    records = store.get_artifacts_by_type(kind.TYPE_NAME)
    if not records:
        return []
    return list(artifact_utils.deserialize_artifacts(store.get_artifact_type(kind.TYPE_NAME), records))


def _is_live(artifact: types.Artifact) -> bool:
    return bool(artifact.mlmd_artifact.state == metadata_store_pb2.Artifact.LIVE)


def _counts(artifact: types.Artifact) -> bool:
    """Whether an artifact was made by an attempt that finished, be its folder there or removed since.

    What was champion as of a night does not depend on what is kept: a night whose champion was removed fails by that
    name (retraining/recording/pushed_copies.py), and is never compared with an older one instead.
    """
    return artifact.mlmd_artifact.state in (metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Artifact.DELETED)
