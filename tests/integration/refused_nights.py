"""Nights through HeadlineExampleGen and DropGate, with lineage in SQLite: what is refused, left out, accepted."""

import csv
import io
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import ExampleAnomalies, Examples

from headlines.drops.rules import Rules
from headlines.drops.rulings import Ruling
from headlines.names import ANOMALIES_FILE, DROP_PREFIX, LEFT_OUT_PREFIX
from retraining.settings import Settings
from tfx_components.gate import BadDropError, DropGate
from tfx_components.headline_example_gen.component import HeadlineExampleGen
from tfx_components.rulings import read_rulings

FIRST = date(2022, 2, 1)
NAME = "refusing"
SWAPPED = {"negative": "neutral", "neutral": "negative"}


@component
def FindNothing(examples: InputArtifact[Examples], anomalies: OutputArtifact[ExampleAnomalies]) -> None:
    """A validator that found no anomalies."""
    anomalies.split_names = '["train", "eval"]'
    for split in ("train", "eval"):
        folder = Path(get_split_uri([anomalies], split))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ANOMALIES_FILE).touch()


def name(number: int) -> str:
    """The night of a number, from 1."""
    return (FIRST + timedelta(days=number - 1)).isoformat()


def data_nodes(settings: Settings, drops_dir: Path, night: str, rules: Rules, **limits: Any) -> list[BaseNode]:
    """The nodes that read a night's window and judge it; `min_headlines`, and settings of alarms, may be others."""
    examples = HeadlineExampleGen(str(drops_dir), night, rules)
    anomalies = FindNothing(examples=examples.outputs["examples"])
    gate = DropGate(
        examples=examples.outputs["examples"],
        quarantine=examples.outputs["quarantine"],
        anomalies=anomalies.outputs["anomalies"],
        max_quarantined_share=0.05,
        min_headlines=limits.pop("min_headlines", 10),
        alarm_limits=settings.model_copy(update=limits).alarm_limits,
        as_known_on=rules.as_known_on,
    )
    return [examples, anomalies, gate]


@dataclass
class Nights:
    """A drops folder and a store of its own.

    Attributes:
      right: folder with the right drop of each night.
      place: where everything is written.
      rules: how drops are read.
    """

    right: Path
    place: Path
    rules: dict[str, Any]

    @property
    def drops_dir(self) -> Path:
        return self.place / "drops"

    @property
    def store(self) -> MetadataStore:
        return MetadataStore(sqlite_metadata_connection_config(str(self.place / "mlmd.sqlite")))

    def deliver(self, number: int, labels: dict[str, str] | None = None, version: int = 1) -> None:
        """Delivers the right drop of a night, its labels exchanged as `labels` say."""
        folder = self.drops_dir / name(number) / ("" if version == 1 else f"v{version}")
        folder.mkdir(parents=True, exist_ok=True)
        text = (self.right / name(number) / "headlines.csv").read_text(encoding="utf-8", errors="surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        column = header.index("sentiment")
        with (folder / "headlines.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for row in rows:
                row[column] = (labels or {}).get(row[column], row[column])
                writer.writerow(row)

    def run(self, number: int, **limits: Any) -> str:
        """Runs a night; what DropGate stopped it with, empty where it passed."""
        nodes = data_nodes(Settings.from_env(), self.drops_dir, name(number), Rules(**self.rules), **limits)
        pipeline = Pipeline(
            NAME,
            str(self.place / "root"),
            components=nodes,
            metadata_connection_config=sqlite_metadata_connection_config(str(self.place / "mlmd.sqlite")),
        )
        try:
            LocalDagRunner().run(pipeline)
        except BadDropError as error:
            return str(error)
        return ""

    def newest_examples(self) -> Artifact:
        return max(self.store.get_artifacts_by_type("Examples"), key=lambda one: int(one.id))

    def window(self) -> tuple[list[int], list[int]]:
        """By their days, the nights that the newest run read, and those that it left out."""
        properties = self.newest_examples().custom_properties
        found = (
            sorted(int(one.removeprefix(prefix)[-2:]) for one in properties if one.startswith(prefix))
            for prefix in (DROP_PREFIX, LEFT_OUT_PREFIX)
        )
        return next(found), next(found)

    def rulings(self) -> list[Ruling]:
        return read_rulings(self.store)
