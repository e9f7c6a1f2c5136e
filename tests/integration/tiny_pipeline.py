"""The judging half of the nightly pipeline behind a trainer that learns nothing, for either runner.

No `from __future__ import annotations` here: TFX reads the annotations (no issue known).
"""

import json
from pathlib import Path

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import Channel
from tfx.types.standard_artifacts import Examples, Model, PushedModel
from tiny_model import save_tiny_model, write_examples

from retraining.pipelines.as_of import ChampionResolver
from retraining.pipelines.evaluation import eval_config
from retraining.settings import Settings
from tfx_components.evaluator import HeadlineEvaluator
from tfx_components.infra_check import InfraCheck
from tfx_components.pusher import HeadlinePusher

ROWS = [("foi ruim", "negative"), ("saiu o boletim", "neutral"), ("foi bom", "positive")] * 10


@component
def TinyExamples(examples: OutputArtifact[Examples], night: Parameter[str]) -> None:
    examples.split_names = json.dumps(["train", "eval"])
    write_examples(Path(examples.uri), [(title, label, night) for title, label in ROWS])


@component
def TinyTrainer(model: OutputArtifact[Model], sure: Parameter[float], always: Parameter[str]) -> None:
    save_tiny_model(Path(model.uri), sure=sure, always=always)


def nodes(settings: Settings, night: str, sure: float = 3.0, always: str = "") -> list[BaseNode]:
    """The nodes, in the order in which they run."""
    examples = TinyExamples(night=night)
    trainer = TinyTrainer(sure=sure, always=always).with_id("Trainer")
    champion = ChampionResolver(
        night=night,
        model=Channel(type=Model, producer_component_id="Trainer", output_key="model"),
        pushed_model=Channel(type=PushedModel, producer_component_id="HeadlinePusher", output_key="pushed_model"),
    )
    evaluator = HeadlineEvaluator(
        examples=examples.outputs["examples"],
        model=trainer.outputs["model"],
        eval_config=eval_config(),
        limits=settings.bar_limits,
        baseline_model=champion.outputs["model"],
        baseline_push=champion.outputs["pushed_model"],
    )
    infra_check = InfraCheck(model=trainer.outputs["model"], examples=examples.outputs["examples"])
    pusher = HeadlinePusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_check.outputs["blessing"],
        serving_dir=str(settings.serving_dir),
        night=night,
    )
    return [examples, trainer, champion, evaluator, infra_check, pusher]
