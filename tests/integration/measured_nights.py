"""Nights that are measured: the real HeadlineExampleGen and DropGate, launched as Airflow does, on drops made here.

What takes long, such as the validator, the search and the scoring, is a node that records what the real one records;
tests of those hold the names to that. No `from __future__ import annotations`: TFX reads them (no issue known).
"""

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowFailException
from launching import launch
from lineage_story import NAME
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.data_types import PipelineInfo
from tfx.types.artifact_utils import encode_split_names
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, HyperParameters, TunerResults

from headlines import names
from retraining.settings import Settings
from tfx_components.gate import DropGate
from tfx_components.headline_example_gen.component import HeadlineExampleGen
from tfx_components.live_traffic import TrafficReport
from tfx_components.score_writer import Scores

FIRST, SWAPPED, CLEARED, FEW = "2022-03-01", "2022-03-02", "2022-03-03", "2022-03-04"
"""A good night; one whose labels are swapped; one whose limits were raised after that; one of few titles."""

LABELS = ("negative",) * 5 + ("neutral",) * 13 + ("positive",) * 2
SWAP = {"negative": "neutral", "neutral": "negative", "positive": "positive"}
_PHRASES = {
    "negative": "Acidente grave mata gente na rua {} em bairro da zona norte",
    "neutral": "Prefeitura anuncia obra na rua {} em bairro da zona sul",
    "positive": "Cura inédita salva gente da rua {} em hospital da zona leste",
}


def _spell(number: int) -> str:
    """A number in letters, since titles that differ in their numbers alone are one headline."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


@component
def Validate(examples: InputArtifact[Examples], anomalies: OutputArtifact[ExampleAnomalies]) -> None:
    """Finds nothing, as ExampleValidator writes that."""
    anomalies.split_names = encode_split_names(["train", "eval"])
    for split in ("train", "eval"):
        folder = Path(anomalies.uri, f"Split-{split}")
        folder.mkdir(parents=True)
        (folder / names.ANOMALIES_FILE).touch()


@component
def Listen(
    examples: InputArtifact[Examples],
    report: OutputArtifact[TrafficReport],
    max_skew: Parameter[float],
    max_drift: Parameter[float],
    min_served_accuracy: Parameter[float],
    min_requests: Parameter[int],
) -> None:
    report.set_int_custom_property("requests", 240)
    report.set_int_custom_property("served_rows", 120)
    report.set_float_custom_property("served_accuracy", 0.81)
    report.set_float_custom_property("skew:unseen_words", 0.31)
    report.set_float_custom_property("drift:label", 0.04)
    report.set_string_custom_property("note", "240 titles asked on the night, 90 before, in <requests.jsonl>")
    report.set_string_custom_property("alarm", "unseen_words of the night's requests is 0.310 from the window")


@component
def Search(
    best_hyperparameters: OutputArtifact[HyperParameters],
    tuner_results: OutputArtifact[TunerResults],
    night: Parameter[str],
) -> None:
    if not night:
        raise RuntimeError("none of 3 trials came to an end; raise TUNING_MINUTES")
    best_hyperparameters.set_string_custom_property("night", night)
    best_hyperparameters.set_int_custom_property("trials", 2)
    best_hyperparameters.set_string_custom_property("objective", "log_loss")
    best_hyperparameters.set_float_custom_property("score", 0.4321)
    best_hyperparameters.set_string_custom_property("hyperparameters", '{"dropout": 0.25, "epochs": 7}')
    rows = [{"trial_id": "1", "score": 0.4321, "dropout": 0.25}, {"trial_id": "0", "score": 0.5, "dropout": 0.1}]
    Path(tuner_results.uri, "tuner_results.json").write_text(json.dumps(rows))


@component
def ReadUnlabelled(examples: OutputArtifact[Examples]) -> None:
    examples.set_int_custom_property(f"rows:{FIRST}", 5)
    examples.set_int_custom_property(f"quarantined:{FIRST}", 2)
    examples.set_string_custom_property(f"files:{FIRST}", '["unlabelled.csv"]')


@component
def Score(examples: InputArtifact[Examples], scores: OutputArtifact[Scores], version: Parameter[str]) -> None:
    scores.set_string_custom_property("version", version)
    scores.set_int_custom_property(f"rows:{FIRST}", 5)
    scores.set_string_custom_property(f"labels:{FIRST}", '{"positive": 2, "neutral": 3}')
    scores.set_string_custom_property(f"file:{FIRST}", f"/scores/{FIRST}/{version}.csv")


class MeasuredNights:
    """Writes drops, and runs nights, a search and a scoring on them."""

    def __init__(self, settings: Settings) -> None:
        """Takes where lineage, artifacts and drops are."""
        self._settings = settings

    def deliver(self, night: str, first: int, size: int = 200, relabel: dict[str, str] | None = None) -> None:
        """A drop with titles that no other night has, unless it begins at the same number."""
        folder = self._settings.drops_dir / night
        folder.mkdir(parents=True)
        with (folder / "headlines.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("title", "sentiment"))
            for number in range(first, first + size):
                label = LABELS[number % len(LABELS)]
                writer.writerow((_PHRASES[label].format(_spell(number)), (relabel or {}).get(label, label)))
        (folder / names.SUCCESS_MARKER).touch()

    def nodes(self, night: str, **limits: Any) -> list[BaseNode]:
        """From the drop to the gate, and the live traffic behind it."""
        settings = self._settings.model_copy(update=limits)
        read = HeadlineExampleGen(drops_dir=str(settings.drops_dir), night=night, rules=settings.drop_rules)
        validate = Validate(examples=read.outputs["examples"]).with_id("ExampleValidator")
        gate = DropGate(
            examples=read.outputs["examples"],
            quarantine=read.outputs["quarantine"],
            anomalies=validate.outputs["anomalies"],
            max_quarantined_share=settings.max_quarantined_share,
            min_headlines=settings.min_headlines,
            alarm_limits=settings.alarm_limits,
        )
        listen = Listen(
            examples=read.outputs["examples"], max_skew=0.25, max_drift=0.25, min_served_accuracy=0.7, min_requests=100
        ).with_id("LiveTraffic")
        return [read, validate, gate, listen]

    def launch(self, node: BaseNode, run: str, pipeline: str = NAME) -> None:
        launch(self._settings, node, pipeline_info=PipelineInfo(pipeline, str(self._settings.pipeline_root), run))

    def run(self, night: str, **limits: Any) -> None:
        """A run as far as the gate lets it."""
        # The gate's, as Airflow is told of it.
        with contextlib.suppress(AirflowFailException):
            for node in self.nodes(night, **limits):
                self.launch(node, f"scheduled__{night}")

    def tell(self) -> None:
        """All of it."""
        self.deliver(FIRST, 0)
        self.run(FIRST)
        self.deliver(SWAPPED, 1000, relabel=SWAP)
        self.run(SWAPPED)
        # The limits are raised, and the gate is cleared: the newest attempt's are those that were in force.
        self.deliver(CLEARED, 2000, relabel=SWAP)
        self.run(CLEARED, max_class_mix_shift=0.05)
        self.run_gate_again(CLEARED, max_swap_evidence=9.0, max_class_mix_shift=1.0, max_surprisal=99.0)
        self.deliver(FEW, 3000, size=60)
        # Beside the first night and the one that was cleared it is 0.2 away.
        self.run(FEW, max_surprisal=99.0, max_class_mix_shift=0.15)
        self.launch(Search(night=FIRST).with_id("Tuner"), f"manual__{FIRST}", "story_tuning")
        with contextlib.suppress(RuntimeError):
            self.launch(Search(night="").with_id("Tuner"), "manual__failed", "story_tuning")
        unlabelled = ReadUnlabelled()
        score = Score(examples=unlabelled.outputs["examples"], version="2022020101").with_id("ScoreWriter")
        for node in (unlabelled, score):
            self.launch(node, "dataset_triggered__1", "story_scoring")

    def run_gate_again(self, night: str, **limits: Any) -> None:
        """Clears the gate of a run, under other limits, and goes on from there."""
        for node in self.nodes(night, **limits)[2:]:
            self.launch(node, f"scheduled__{night}")
