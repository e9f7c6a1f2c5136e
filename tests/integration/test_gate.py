"""DropGate: what stops a run, and what its message tells."""

import csv
import logging
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types.artifact import Artifact
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import ExampleAnomalies, Examples
from tfx.v1.components import ExampleValidator, ImportSchemaGen, StatisticsGen

from headlines.drops.alarms import find_alarms
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rules import Rules
from headlines.drops.window import read_window
from retraining.engines.arguments import list_arguments
from retraining.settings import CHECKOUT, Settings
from tfx_components.gate import BadDropError, DropGate, Executor
from tfx_components.headline_example_gen.component import HeadlineExampleGen, Quarantine
from tfx_components.headline_example_gen.executor import Executor as ExampleGenExecutor

Deliver = Callable[..., Path]
LIMITS = Settings.from_env().alarm_limits
KINDS = ["negative"] * 4 + ["neutral"] * 15 + ["positive"]
# Words, since titles that differ in their numbers alone are one headline.
NAMES = [first + second for first in "bcdfghjklmnpqrstvxz" for second in "aeiou"]
GOOD = "".join(f"Prefeitura anuncia obra no bairro {name},{KINDS[number % 20]}\n" for number, name in enumerate(NAMES))
BAD = "".join(f"Título ruim {number},bom\n" for number in range(5)) + ",neutral\n"


class Night(NamedTuple):
    examples: Artifact
    quarantine: Artifact
    anomalies: Artifact

    def add_anomaly(self, split: str, feature: str = "", **texts: str) -> None:
        path = Path(get_split_uri([self.anomalies], split)) / "SchemaDiff.pb"
        found = anomalies_pb2.Anomalies.FromString(path.read_bytes())
        info = found.anomaly_info[feature] if feature else found.dataset_anomaly_info
        info.reason.add(**texts)
        path.write_bytes(found.SerializeToString())

    def judge(self, max_quarantined_share: float = 0.05, min_headlines: int = 10) -> None:
        Executor().Do(
            {"examples": [self.examples], "quarantine": [self.quarantine], "anomalies": [self.anomalies]},
            {},
            {
                "max_quarantined_share": max_quarantined_share,
                "min_headlines": min_headlines,
                "alarm_limits": LIMITS.to_json(),
            },
        )

    def complaint(self, **limits: Any) -> str:
        with pytest.raises(BadDropError) as caught:
            self.judge(**limits)
        return str(caught.value)


@pytest.fixture
def ingest(drops_dir: Path, tmp_path: Path, drop_rules: dict[str, Any]) -> Callable[[str], Night]:
    """Runs HeadlineExampleGen; the anomalies are those of a validator that found none."""

    def ingest(night: str) -> Night:
        made = Night(Examples(), Quarantine(), ExampleAnomalies())
        for name, artifact in made._asdict().items():
            artifact.uri = str(tmp_path / name)
        properties = HeadlineExampleGen(
            drops_dir=str(drops_dir), night=night, rules=Rules(**drop_rules)
        ).exec_properties
        ExampleGenExecutor().Do({}, {"examples": [made.examples], "quarantine": [made.quarantine]}, properties)
        made.anomalies.splits = ["train", "eval"]
        for split in made.anomalies.splits:
            folder = Path(get_split_uri([made.anomalies], split))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "SchemaDiff.pb").touch()
        return made

    return ingest


def test_a_good_night_passes_with_one_line(
    deliver: Deliver, ingest: Callable[[str], Night], caplog: pytest.LogCaptureFixture
) -> None:
    deliver("2022-02-01", GOOD)
    night = ingest("2022-02-01")
    caplog.clear()
    with caplog.at_level(logging.INFO):
        night.judge()
    [record] = [record for record in caplog.records if record.name == "tfx_components.gate"]
    assert record.getMessage() == (
        "Night 2022-02-01 passes: 95 headlines of 1 nights, 0 of the night's 95 rows quarantined, no anomalies."
    )


def test_too_many_bad_rows_stop_the_run_and_are_shown(deliver: Deliver, ingest: Callable[[str], Night]) -> None:
    deliver("2022-02-01", GOOD + BAD)
    night = ingest("2022-02-01")
    complaint = night.complaint()
    assert "the data of night 2022-02-01 are not fit to train on" in complaint
    assert "6 of the 101 rows of the night's drop are quarantined, 5.9%, at most 5.0% may be" in complaint
    assert "unknown label 5, missing or blank title 1" in complaint
    assert "'bom' (5 rows) is neither a label nor one of the codes 0, 1, 2; a code is declared by" in complaint
    assert "Correct the labels, or declare what is a code; give every row its title. Then deliver the" in complaint
    assert f"All of them are in {night.quarantine.uri}/quarantine.csv" in complaint
    assert "headlines.csv line 97, unknown label (label 'bom'): Título ruim 0,bom" in complaint
    night.judge(max_quarantined_share=0.06)


def test_the_share_is_that_of_the_night_s_own_drop(deliver: Deliver, ingest: Callable[[str], Night]) -> None:
    deliver("2022-02-01", "Vento,bom\n" * 50)
    deliver("2022-02-02", GOOD)
    night = ingest("2022-02-02")
    night.judge(max_quarantined_share=0.0)


def test_bad_rows_of_earlier_nights_are_not_counted_among_the_night_s(
    deliver: Deliver, ingest: Callable[[str], Night]
) -> None:
    deliver("2022-02-01", "Lua,bom\n" + GOOD)
    deliver("2022-02-02", "Vento,bom\n")
    complaint = ingest("2022-02-02").complaint()
    assert (
        "1 of the 1 row of the night's drop" in complaint and "unknown label 1." in complaint and "Lua" not in complaint
    )


def test_too_few_headlines_stop_the_run(deliver: Deliver, ingest: Callable[[str], Night]) -> None:
    deliver("2022-02-01", GOOD)
    night = ingest("2022-02-01")
    assert "only 95 usable headlines in the window of 1 night, at least 96 are needed" in night.complaint(
        min_headlines=96
    )
    night.judge(min_headlines=95)


def test_every_anomaly_and_every_other_problem_is_in_the_message(
    deliver: Deliver, ingest: Callable[[str], Night]
) -> None:
    deliver("2022-02-01", GOOD + BAD)
    night = ingest("2022-02-01")
    night.add_anomaly("train", "sentiment", short_description="Unexpected string values", description="bom (~3%)")
    night.add_anomaly("eval", "title", short_description="Column dropped", description="Column is absent")
    night.add_anomaly("eval", short_description="Low num examples", description="0 < 1")
    complaint = night.complaint(min_headlines=1000)
    assert "anomaly in split train, feature sentiment: Unexpected string values: bom (~3%)" in complaint
    assert "anomaly in split eval, feature title: Column dropped: Column is absent" in complaint
    assert "anomaly in split eval, the whole split: Low num examples: 0 < 1" in complaint
    assert "quarantined, 5.9%" in complaint and "only 95 usable" in complaint


def relabel(source: Path, target: Path, changes: dict[str, str]) -> None:
    with source.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file)
    target.parent.mkdir(exist_ok=True)
    with target.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([header, *([row[0], changes.get(row[1], row[1]), *row[2:]] for row in rows)])


def test_swapped_label_codes_stop_the_run_until_they_are_corrected(
    drops_dir: Path, twelve_nights: Path, ingest: Callable[[str], Night]
) -> None:
    for number in range(1, 8):
        shutil.copytree(twelve_nights / f"2022-02-{number:02}", drops_dir / f"2022-02-{number:02}")
    right, delivered = (folder / "2022-02-07" / "headlines.csv" for folder in (twelve_nights, drops_dir))
    swap = {"negative": "positive", "positive": "negative"}
    relabel(right, delivered, swap)
    assert "- the labels negative and positive look swapped: " in ingest("2022-02-07").complaint()
    # Many labels change, but for the better.
    relabel(right, delivered.parent / "v2" / "headlines.csv", {})
    ingest("2022-02-07").judge()
    # And now for the worse again: the same titles with other labels than in the earlier version.
    relabel(right, delivered.parent / "v3" / "headlines.csv", swap)
    complaint = ingest("2022-02-07").complaint()
    assert "titles seen before (in the window, or in the earlier version of this drop) have another label" in complaint
    assert "negative->positive" in complaint and complaint.count("the labels negative and positive look swapped") == 2


def test_none_of_the_twelve_nights_raises_an_alarm(twelve_nights: Path, drop_rules: dict[str, Any]) -> None:
    limits = LIMITS
    for number in range(1, 13):
        window = read_window(DropsFolder(twelve_nights), date(2022, 2, number), Rules(**drop_rules))
        assert list(find_alarms(window.figures, limits)) == [], number


def test_a_row_over_the_limit_of_a_csv_field_in_the_quarantine_breaks_no_gate(
    deliver: Deliver, ingest: Callable[[str], Night]
) -> None:
    """A row of a drop is one cell of the quarantine, and bytes that are not UTF-8 are longer there."""
    long = b"a" * 60_000 + b"\xe7" * 60_000
    deliver("2022-02-01", f"title,sentiment\n{GOOD}".encode() + b"x,y," + long + b"\n")
    night = ingest("2022-02-01")
    night.judge()
    assert "undecodable row 1" in night.complaint(max_quarantined_share=0.0)
    rows = Path(night.quarantine.uri, "quarantine.csv").read_text(encoding="utf-8-sig")
    assert len(rows) > 131_072
    deliver("2022-02-02", GOOD.replace("Prefeitura", "Governo"))
    ingest("2022-02-02").judge()


@pytest.mark.parametrize("content", [GOOD, "Vento,bom\n,neutral\n"], ids=["good", "nothing usable"])
def test_behind_statistics_and_validator_the_gate_decides(
    tmp_path: Path, drops_dir: Path, deliver: Deliver, drop_rules: dict[str, Any], content: str
) -> None:
    """The real chain, on a good night and on one that leaves nothing to compute statistics of."""
    deliver("2022-02-01", content)
    example_gen = HeadlineExampleGen(drops_dir=str(drops_dir), night="2022-02-01", rules=Rules(**drop_rules))
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = ImportSchemaGen(schema_file=str(CHECKOUT / "modules" / "schema.pbtxt"))
    validator = ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"])
    gate = DropGate(
        examples=example_gen.outputs["examples"],
        quarantine=example_gen.outputs["quarantine"],
        anomalies=validator.outputs["anomalies"],
        max_quarantined_share=0.05,
        min_headlines=10,
        alarm_limits=LIMITS,
    )
    pipeline = Pipeline(
        "gate",
        str(tmp_path / "root"),
        components=[example_gen, statistics_gen, schema_gen, validator, gate],
        metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "mlmd.sqlite")),
        beam_pipeline_args=list_arguments(Settings.from_env()),
    )
    if content == GOOD:
        LocalDagRunner().run(pipeline)
    else:
        with pytest.raises(BadDropError, match=r"2 of the 2 rows of the night's drop are quarantined, 100\.0%"):
            LocalDagRunner().run(pipeline)
