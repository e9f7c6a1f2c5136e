"""The end of a night, from training to push, with nothing slow in it: the resolver and the Pusher are the real ones.

No `from __future__ import annotations` here: TFX reads the annotations (no issue known).
"""

import os
import signal
from datetime import date
from pathlib import Path

from ml_metadata import MetadataStore
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import Channel, artifact_utils
from tfx.types.standard_artifacts import InfraBlessing, Model, ModelBlessing, PushedModel
from tiny_model import save_tiny_model

from retraining.pipelines.as_of import ChampionAsOf, ChampionResolver, RollbackRecord
from retraining.recording.store import connection_config
from retraining.settings import Settings
from tfx_components.pusher import HeadlinePusher

accidents: list[str] = []
"""What goes wrong next, by component: each `Trainer` or `Judge` in it fails one attempt, `killed Trainer` kills it."""


def suffer(name: str) -> None:
    if name in accidents:
        accidents.remove(name)
        raise OSError(f"the network under {name} is down")
    if f"killed {name}" in accidents:
        os.kill(os.getpid(), signal.SIGKILL)


@component
def QuickTrainer(model: OutputArtifact[Model], custom_config: Parameter[str]) -> None:
    """Its model is a function of the night and of the version of its drop, as the real one's is of the window."""
    sure = float(custom_config.partition('"sure": ')[2].partition("}")[0])
    save_tiny_model(Path(model.uri), sure=sure, told=False)
    suffer("Trainer")


@component
def QuickJudge(
    model: InputArtifact[Model],
    blessing: OutputArtifact[ModelBlessing],
    infra: OutputArtifact[InfraBlessing],
    champion: InputArtifact[PushedModel] = None,  # type: ignore[assignment]
) -> None:
    suffer("Judge")
    version = champion.get_string_custom_property("pushed_version") if champion else ""
    blessing.set_string_custom_property("champion_version", version)
    for artifact in (blessing, infra):
        artifact.set_int_custom_property("blessed", 1)


def nodes(settings: Settings, night: str, version: int = 1) -> list[BaseNode]:
    """The nodes of a night whose drop is there in `version`, in the order in which they run."""
    sure = date.fromisoformat(night).day + version / 10
    trainer = QuickTrainer(custom_config=f'{{"night": "{night}", "sure": {sure}}}').with_id("Trainer")
    champion = ChampionResolver(
        night=night,
        model=Channel(type=Model, producer_component_id="Trainer", output_key="model"),
        pushed_model=Channel(type=PushedModel, producer_component_id="Pusher", output_key="pushed_model"),
    )
    judge = QuickJudge(model=trainer.outputs["model"], champion=champion.outputs["pushed_model"]).with_id("Judge")
    pusher = HeadlinePusher(
        model=trainer.outputs["model"],
        model_blessing=judge.outputs["blessing"],
        infra_blessing=judge.outputs["infra"],
        serving_dir=str(settings.serving_dir),
        night=night,
    ).with_id("Pusher")
    return [champion, trainer, judge, pusher]


def champion_as_of(settings: Settings, night: str) -> str:
    """The version that lineage calls champion as of a night; empty for none."""
    store = MetadataStore(connection_config(settings))

    def read(kind: type) -> list[Model]:
        artifact_type = store.get_artifact_type(kind.TYPE_NAME)
        return [
            artifact_utils.deserialize_artifact(artifact_type, artifact)
            for artifact in store.get_artifacts_by_type(kind.TYPE_NAME)
        ]

    history = {"model": read(Model), "pushed_model": read(PushedModel), "rollback": read(RollbackRecord)}
    found = ChampionAsOf(night).resolve_artifacts(store, history)
    return found["pushed_model"][0].get_string_custom_property("pushed_version") if found["pushed_model"] else ""
