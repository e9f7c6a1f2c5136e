"""A short history of nights, written by the real launcher: retries, clears, a backfill, a correction, a cached run.

The nodes do nothing but record what the real ones record. No `from __future__ import annotations`: TFX reads them
(no issue known).
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from launching import launch
from ml_metadata import MetadataStore
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.orchestration.data_types import PipelineInfo
from tfx.types import Channel, artifact_utils
from tfx.types.standard_artifacts import (
    Examples,
    ExampleStatistics,
    HyperParameters,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
    TransformGraph,
)

from headlines.bar import answered
from headlines.bar.tally import decide
from lineage import Names
from retraining.pipelines.as_of import ChampionResolver
from retraining.settings import Settings

NAME, TUNING = "story", "story_tuning"
NAMES = Names(pipeline=NAME)


class NewestTuned(ResolverStrategy):
    """Resolves to the newest hyperparameters, whichever pipeline tuned them."""

    def resolve_artifacts(self, store: MetadataStore, input_dict: Any) -> Any:
        known = store.get_artifact_type("HyperParameters")
        return {"hyperparameters": artifact_utils.deserialize_artifacts(
            known, store.get_artifacts_by_type("HyperParameters")[-1:]
        )}  # fmt: skip


LATE, LATE_DELIVERY = "2022-02-04", "2022-02-07"
"""A night, and the day on which its drop came; the others' came on their nights."""

accidents: list[str] = []
"""Nodes whose next attempt fails."""


def suffer(node: str) -> None:
    if node in accidents:
        accidents.remove(node)
        raise OSError(f"the network under {node} is down")


@component
def ReadDrops(examples: OutputArtifact[Examples], night: Parameter[str], drops: Parameter[str]) -> None:
    suffer("HeadlineExampleGen")
    examples.set_string_custom_property("night", night)
    described = {}
    for drop, version in json.loads(drops).items():
        delivered = f"{LATE_DELIVERY if drop == LATE else drop}T06:00:00+00:00"
        figures = {"version": version, "delivered": delivered, "sha256": f"{drop}v{version}", "rows_in": 100,
                   "rows_used": 90, "rows_quarantined": 8, "duplicates_folded": 2}  # fmt: skip
        examples.set_string_custom_property(f"drop:{drop}", json.dumps(figures))
        described[drop] = figures | {"files": [{"name": "a.csv", "rows": 100, "sha256": f"{drop}file"}]}
    examples.set_string_custom_property("classes", '{"negative": 20, "neutral": 70}')
    Path(examples.uri, "drops.json").write_text(json.dumps(described))


@component
def Gate(examples: InputArtifact[Examples], statistics: OutputArtifact[ExampleStatistics]) -> None:
    suffer("DropGate")


@component
def Preprocess(examples: InputArtifact[Examples], transform_graph: OutputArtifact[TransformGraph]) -> None:
    suffer("Transform")


@component
def Tune(examples: InputArtifact[Examples], best: OutputArtifact[HyperParameters]) -> None:
    pass


@component
def Train(
    examples: InputArtifact[Examples],
    transform_graph: InputArtifact[TransformGraph],
    model: OutputArtifact[Model],
    night: Parameter[str],
    code: Parameter[str] = "c1",
    hyperparameters: InputArtifact[HyperParameters] = None,  # type: ignore[assignment]
) -> None:
    suffer("Trainer")
    for name, value in {"night": night, "code": code, "settings": "s1", "library:keras": "3.1"}.items():
        model.set_string_custom_property(name, value)


@component
def Judge(
    model: InputArtifact[Model],
    examples: InputArtifact[Examples],
    blessing: OutputArtifact[ModelBlessing],
    evaluation: OutputArtifact[ModelEvaluation],
    accuracy: Parameter[float],
    rows: Parameter[int] = 0,
    baseline_model: InputArtifact[Model] = None,  # type: ignore[assignment]
    baseline_push: InputArtifact[PushedModel] = None,  # type: ignore[assignment]
) -> None:
    suffer("Evaluator")
    version = baseline_push.get_string_custom_property("pushed_version") if baseline_push else ""
    blessing.set_string_custom_property("champion_version", version)
    blessing.set_float_custom_property("metric:accuracy", accuracy)
    blessing.set_float_custom_property("lr_metric:accuracy", 0.75)
    blessing.set_float_custom_property("majority_metric:accuracy", 0.7)
    blessing.set_float_custom_property("fresh_champion_metric:accuracy", 0.72)
    if baseline_push:
        blessing.set_float_custom_property("champion_metric:accuracy", 0.78)
    passed = accuracy >= 0.75
    blessing.set_string_custom_property(
        "check:accuracy", json.dumps({"value": accuracy, "limit": 0.75, "passed": passed, "low": 0.7, "high": 0.9})
    )
    blessing.set_string_custom_property("reason", "blessed" if passed else "refused: accuracy")
    blessing.set_int_custom_property("blessed", int(passed))
    if rows:
        blessing.set_float_custom_property("metric:example_count", float(rows))
    write_evaluation(
        Path(evaluation.uri), examples.get_string_custom_property("night"), accuracy, is_compared=bool(baseline_push)
    )


UNKEPT = "2022-02-01"
"""A night that was judged before what a model answers to each row was kept."""
CARD = """# Model of night 2022-02-07

**<script>alert('card')</script> [press](javascript:alert(1)) ![seen](http://127.0.0.1:9/seen.png)**

## Data

| split | negative |
| --- | --- |
| train | 20 |
"""


def write_evaluation(folder: Path, night: str, accuracy: float, is_compared: bool) -> None:
    """What the real Evaluator leaves beside its verdict: of the nights 5 and 8 thirty evaluation rows are the same."""
    described = {"example_count": 60.0, "accuracy": accuracy, "macro_f1": 0.5, "log_loss": 0.4, "lr_accuracy": 0.7}
    verdict = {
        "slices": {"night=2022-02-01": described, "length=short": described,
                   "sentiment=positive": described | {"example_count": 12.0}},
        "limits": {"judged_slices": ["sentiment", "night"], "min_slice_rows": 30},
        "lr_metrics": {"accuracy": 0.7},
        "worst_slice": "night=2022-02-01",
        "confusion": {"candidate": [[10, 2, 0], [1, 30, 1], [0, 4, 12]]},
        # A bootstrap of rows that all agree, as it was kept once.
        "intervals": {"accuracy": [0.6, 0.95], "recall_negative": [0.0, 0.0]},
    }  # fmt: skip
    folder.joinpath("verdict.json").write_text(json.dumps(verdict))
    if night == UNKEPT:
        return
    numbers = range(int(night[-2:]) * 10, int(night[-2:]) * 10 + 60)
    actual = np.array([number % 3 for number in numbers])

    def answer(wrong_every: int) -> answered.Answers:
        predicted = [(number + (number % wrong_every == 0)) % 3 for number in numbers]
        return decide(0.7 * np.eye(3)[predicted] + 0.1)

    answers = {answered.CANDIDATE: answer(5 if accuracy >= 0.75 else 2)}
    if is_compared:
        answers[answered.CHAMPION] = answer(4)
    answered.write(folder, [f"título {number}" for number in numbers], actual, answers)


@component
def WriteCard(model: InputArtifact[Model], card: OutputArtifact[HyperParameters]) -> None:
    Path(card.uri, "card.md").write_text(CARD)


@component
def Push(
    model: InputArtifact[Model],
    model_blessing: InputArtifact[ModelBlessing],
    pushed_model: OutputArtifact[PushedModel],
    night: Parameter[str],
    version: Parameter[int],
) -> None:
    suffer("Pusher")
    blessed = model_blessing.get_int_custom_property("blessed")
    pushed_model.set_string_custom_property("night", night)
    pushed_model.set_int_custom_property("model_id", model.id)
    pushed_model.set_int_custom_property("pushed", blessed)
    pushed_model.set_string_custom_property("reason", "pushed" if blessed else "refused: accuracy")
    if blessed:
        pushed_model.set_string_custom_property("pushed_version", str(version))


def nodes(
    night: str,
    drops: dict[str, int],
    accuracy: float = 0.8,
    revision: int = 1,
    code: str = "c1",
    tuned: bool = False,
    rows: int = 0,
) -> list[BaseNode]:
    """The nodes of a night in the order in which they run."""
    read = ReadDrops(night=night, drops=json.dumps(drops)).with_id("HeadlineExampleGen")
    examples = read.outputs["examples"]
    gate = Gate(examples=examples).with_id("DropGate")
    preprocess = Preprocess(examples=examples).with_id("Transform")
    tuning = Resolver(strategy_class=NewestTuned, hyperparameters=Channel(type=HyperParameters))
    tuning = tuning.with_id("HyperparametersResolver")
    train = Train(
        examples=examples,
        transform_graph=preprocess.outputs["transform_graph"],
        night=night,
        code=code,
        **({"hyperparameters": tuning.outputs["hyperparameters"]} if tuned else {}),
    ).with_id("Trainer")
    champion = ChampionResolver(
        night=night,
        model=Channel(type=Model, producer_component_id="Trainer", output_key="model"),
        pushed_model=Channel(type=PushedModel, producer_component_id="Pusher", output_key="pushed_model"),
    )
    judge = Judge(
        model=train.outputs["model"],
        examples=examples,
        accuracy=accuracy,
        rows=rows,
        baseline_model=champion.outputs["model"],
        baseline_push=champion.outputs["pushed_model"],
    ).with_id("Evaluator")
    push = Push(
        model=train.outputs["model"],
        model_blessing=judge.outputs["blessing"],
        night=night,
        version=int(night.replace("-", "")) * 100 + revision,
    ).with_id("Pusher")
    return [read, gate, preprocess, champion, *([tuning] if tuned else []), train, judge, push]


class Story:
    """Launches nodes as Airflow's tasks do."""

    def __init__(self, settings: Settings, pipeline: str = NAME) -> None:
        self._settings = settings
        self._pipeline = pipeline

    def launch(self, node: BaseNode, run: str, *, cache: bool = False, pipeline: str = "") -> None:
        info = PipelineInfo(pipeline or self._pipeline, str(self._settings.pipeline_root), run)
        launch(self._settings, node, cache=cache, pipeline_info=info)

    def run(self, night: str, drops: dict[str, int], run: str = "", *, cache: bool = False, **how: Any) -> None:
        """A whole run; a node in `accidents` fails once, and is tried again."""
        for node in nodes(night, drops, **how):
            try:
                self.launch(node, run or f"scheduled__{night}", cache=cache)
            except OSError:
                self.launch(node, run or f"scheduled__{night}", cache=cache)

    def tune(self, night: str, drops: dict[str, int]) -> None:
        """A search for hyperparameters, in a pipeline of its own."""
        read = ReadDrops(night=night, drops=json.dumps(drops)).with_id("HeadlineExampleGen")
        for node in (read, Tune(examples=read.outputs["examples"]).with_id("Tuner")):
            self.launch(node, f"manual__{night}", pipeline=TUNING)

    def write_card(self, night: str) -> None:
        """The card of a night's model, which quotes what anyone may have delivered."""
        train = next(node for node in nodes(night, {}) if node.id == "Trainer")
        self.launch(WriteCard(model=train.outputs["model"]).with_id("ModelCard"), f"scheduled__{night}")

    def tell(self) -> None:
        """The whole story."""
        first, second = {"2022-02-01": 1}, {"2022-02-01": 1, "2022-02-02": 1}
        self.run("2022-02-01", first)
        accidents.append("Trainer")
        self.run("2022-02-02", second)
        accidents.extend(["DropGate", "DropGate"])
        with contextlib.suppress(OSError):
            self.run("2022-02-03", second | {"2022-02-03": 1})
        # Night 4 is late: it is run after night 5, which did without it.
        self.run("2022-02-05", second | {"2022-02-05": 1})
        self.run("2022-02-04", second | {"2022-02-04": 1})
        # The drop of night 2 is corrected, and its night run again.
        self.run("2022-02-02", {"2022-02-01": 1, "2022-02-02": 2}, "manual__2022-02-02", revision=2)
        # Night 7 is tuned on the first drop, no longer trained on it; everything from its Trainer on is cleared once.
        self.tune("2022-02-06", first)
        seventh = {"2022-02-05": 1, "2022-02-07": 1}
        self.run("2022-02-07", seventh, tuned=True, code="c2", accuracy=0.85)
        for node in nodes("2022-02-07", seventh, tuned=True, code="c2", accuracy=0.85, revision=2)[5:]:
            self.launch(node, "scheduled__2022-02-07")
        # Night 8 is refused; its second run is answered by the cache as far as the Trainer.
        eighth = {"2022-02-07": 1, "2022-02-08": 1}
        self.run("2022-02-08", eighth, accuracy=0.6)
        self.run("2022-02-08", eighth, "manual__2022-02-08", accuracy=0.6, cache=True)
