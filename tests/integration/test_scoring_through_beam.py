"""Scoring's nodes through Beam leave what they leave in one process: examples, quarantine, scores and counts."""

import csv
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types.artifact import Artifact
from tfx.types.artifact_utils import get_split_uri
from tfx.types.standard_artifacts import Examples, Model

from headlines.drops import pieces
from headlines.drops.drops_folder import DropError
from headlines.drops.rules import Rules
from modules.features import LABELS, PROBABILITIES
from retraining.engines.accounting import ScoreWriterExecutor, UnlabelledExampleGenExecutor
from retraining.engines.arguments import LOCAL
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.recording.store import storable
from retraining.settings import Settings
from tfx_components import scoring_through_beam
from tfx_components.headline_example_gen.component import Quarantine
from tfx_components.score_writer import Scores, ScoreWriter
from tfx_components.scoring_through_beam import ScoresExecutor, UnlabelledExecutor
from tfx_components.unlabelled_example_gen import UnlabelledExampleGen

NIGHTS = ("2022-02-01", "2022-02-03")
CONTEXT = BaseBeamExecutor.Context(beam_pipeline_args=list(LOCAL))
Way = tuple[str, Any, Any]
WAYS: list[Way] = [
    ("alone", UnlabelledExampleGen.EXECUTOR_SPEC.executor_class(), ScoreWriter.EXECUTOR_SPEC.executor_class()),
    ("beam", UnlabelledExecutor(CONTEXT), ScoresExecutor(CONTEXT)),
]


def make(kind: type[Artifact], place: Path) -> Artifact:
    artifact = kind()
    artifact.uri = str(place)
    place.mkdir(parents=True)
    return artifact


def tell(artifact: Artifact) -> dict[str, str]:
    return {name: str(value) for name, value in artifact.mlmd_artifact.custom_properties.items()}


def read(artifact: Artifact, split: str) -> list[bytes]:
    files = sorted(str(path) for path in Path(get_split_uri([artifact], split)).glob("*"))
    return list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())


@pytest.fixture
def delivered(drops_dir: Path, deliver: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 200)
    monkeypatch.setattr(scoring_through_beam, "LINES_PER_RANGE", 7)
    for night in NIGHTS:
        for name in ("unlabelled-b.csv", "unlabelled-a.csv"):
            rows = [f'"{name} {night}, número {number}\nem duas linhas"' for number in range(40)]
            rows[7:9] = ['""', "\ufffd partido"]
            deliver(night, ("title\n" + "\n".join(rows) + "\n").encode(), name)
    return drops_dir


def read_both(drops_dir: Path, place: Path, rules: Rules) -> dict[str, tuple[Artifact, Artifact]]:
    made = {}
    for name, executor, _ in WAYS:
        outputs = make(Examples, place / name / "examples"), make(Quarantine, place / name / "quarantine")
        properties = {"drops_dir": str(drops_dir), "nights": ",".join(NIGHTS), "rules": rules.to_json()}
        executor.Do({}, {"examples": [outputs[0]], "quarantine": [outputs[1]]}, properties)
        made[name] = outputs
    return made


def predict(examples: Artifact, place: Path, files: int, order: random.Random | None) -> Artifact:
    """What BulkInferrer leaves of examples, in so many files and in their order, or in none."""
    predictions = make(Examples, place)
    predictions.split_names = examples.split_names
    for split in examples.splits:
        records = read(examples, split)
        if order:
            order.shuffle(records)
        folder = Path(get_split_uri([predictions], split))
        folder.mkdir(parents=True)
        for number in range(files):
            with tf.io.TFRecordWriter(str(folder / f"p-{number}.gz"), "GZIP") as writer:
                for record in records[number::files] if order else records:
                    example = tf.train.Example.FromString(record)
                    seed = sum(example.features.feature["title"].bytes_list.value[0])
                    chances = np.random.default_rng(seed).dirichlet([1.0] * len(LABELS))
                    example.features.feature[PROBABILITIES].float_list.value.extend(chances)
                    writer.write(example.SerializeToString())
    return predictions


def test_examples_are_the_same_in_the_order_of_delivery(
    delivered: Path, tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    made = read_both(delivered, tmp_path, Rules(**drop_rules))
    (alone, bad_alone), (beam, bad_beam) = made["alone"], made["beam"]
    for night in NIGHTS:
        assert len(read(alone, night)) == 76
        assert read(beam, night) == read(alone, night)
        assert len(list(Path(get_split_uri([beam], night)).iterdir())) > 4
    assert tell(beam) == tell(alone) and tell(bad_beam) == tell(bad_alone)
    left = [sorted(path.name for path in Path(one.uri).iterdir()) for one in (bad_alone, bad_beam)]
    assert left == [["quarantine.csv"]] * 2
    wrong = [(Path(one.uri) / "quarantine.csv").read_bytes() for one in (bad_alone, bad_beam)]
    assert wrong[0] == wrong[1] and wrong[0].count(b"broken text") == 4


def test_scores_are_the_same_file_whatever_the_order_of_predictions(
    delivered: Path, tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    examples, _ = read_both(delivered, tmp_path, Rules(**drop_rules))["beam"]
    written = {}
    for name, _, executor in WAYS:
        order = random.Random(3) if name == "beam" else None
        predictions = predict(examples, tmp_path / name / "predictions", 3 if order else 1, order)
        scores = make(Scores, tmp_path / name / "scores")
        inputs = {"examples": [examples], "predictions": [predictions], "model": [make(Model, tmp_path / name / "m")]}
        executor.Do(inputs, {"scores": [scores]}, {"scores_dir": str(tmp_path / name / "out"), "version": "2022020101"})
        said = {key: value for key, value in tell(scores).items() if not key.startswith("file:")}
        files = [(tmp_path / name / "out" / night / "2022020101.csv").read_bytes() for night in NIGHTS]
        written[name] = said, files, sorted(path.name for path in Path(scores.uri).iterdir())
    assert written["beam"] == written["alone"]


def test_scores_need_no_more_of_the_names_of_files_than_mlmd_keeps(
    drops_dir: Path, deliver: Callable[..., Path], tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    names = [f"unlabelled-part-{number:05d}-of-00064.csv" for number in range(64)] + ['unlabelled-"aspas".csv']
    for name in names:
        deliver(NIGHTS[0], f"title\nSol em {name}\nChuva em {name}\n".replace('"', "").encode(), name)
    examples = make(Examples, tmp_path / "examples")
    properties = {"drops_dir": str(drops_dir), "nights": NIGHTS[0], "rules": Rules(**drop_rules).to_json()}
    outputs = {"examples": [examples], "quarantine": [make(Quarantine, tmp_path / "quarantine")]}
    WAYS[0][1].Do({}, outputs, properties)
    kept = examples.mlmd_artifact.custom_properties[f"files:{NIGHTS[0]}"]
    kept.string_value, whole = storable(kept.string_value), kept.string_value
    assert kept.string_value != whole
    written = []
    for name, _, executor in WAYS:
        order = random.Random(3) if name == "beam" else None
        predictions = predict(examples, tmp_path / name, 3 if order else 1, order)
        inputs = {"examples": [examples], "predictions": [predictions], "model": [make(Model, tmp_path / f"m{name}")]}
        scores = {"scores": [make(Scores, tmp_path / f"s{name}")]}
        executor.Do(inputs, scores, {"scores_dir": str(tmp_path / f"o{name}"), "version": "2022020101"})
        written.append((tmp_path / f"o{name}" / NIGHTS[0] / "2022020101.csv").read_text(encoding="utf-8"))
    assert written[1] == written[0]
    assert [row["file"] for row in csv.DictReader(io.StringIO(written[1]))][::2] == sorted(names)


def test_a_prediction_that_is_missing_leaves_no_file(
    delivered: Path, tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    examples, _ = read_both(delivered, tmp_path, Rules(**drop_rules))["beam"]
    predictions = predict(examples, tmp_path / "predictions", 1, None)
    lost = Path(get_split_uri([predictions], NIGHTS[0])) / "p-0.gz"
    records = list(tf.data.TFRecordDataset(str(lost), "GZIP").as_numpy_iterator())
    with tf.io.TFRecordWriter(str(lost), "GZIP") as writer:
        for record in records[1:]:
            writer.write(record)
    inputs = {"examples": [examples], "predictions": [predictions], "model": [make(Model, tmp_path / "model")]}
    advices = []
    for name, _, executor in WAYS:
        outputs = {"scores": [make(Scores, tmp_path / f"scores-{name}")]}
        with pytest.raises(RuntimeError, match="has 76 headlines to score, but 75 predictions were read") as refused:
            executor.Do(inputs, outputs, {"scores_dir": str(tmp_path / "out"), "version": "2022020101"})
        advices.append(str(refused.value).partition("nothing was written for it. ")[2])
    assert advices == [
        "Clear BulkInferrer to predict again",
        "The runner lost a part of ScoreWriter's own work: use another engine, or BEAM=local",
    ]
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_a_prediction_that_comes_twice_in_the_place_of_another_leaves_no_file(
    delivered: Path, tmp_path: Path, drop_rules: dict[str, Any]
) -> None:
    examples, _ = read_both(delivered, tmp_path, Rules(**drop_rules))["beam"]
    predictions = predict(examples, tmp_path / "predictions", 1, None)
    path = Path(get_split_uri([predictions], NIGHTS[0])) / "p-0.gz"
    first, _, *others = tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for record in (first, first, *others):
            writer.write(record)
    inputs = {"examples": [examples], "predictions": [predictions], "model": [make(Model, tmp_path / "model")]}
    outputs = {"scores": [make(Scores, tmp_path / "scores")]}
    words = f"of the lines of unlabelled-a.csv of night {NIGHTS[0]}, 2 came twice"
    with pytest.raises(RuntimeError, match=words):
        ScoresExecutor(CONTEXT).Do(inputs, outputs, {"scores_dir": str(tmp_path / "out"), "version": "2022020101"})
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_a_title_that_gets_lost_fails_the_node(
    delivered: Path, tmp_path: Path, drop_rules: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_piece = pieces.read_piece
    monkeypatch.setattr(scoring_through_beam, "read_piece", lambda piece: list(read_piece(piece))[1:])
    with pytest.raises(RuntimeError, match="rows of night 2022-02-01 were lost or invented: 80 came in"):
        read_both(delivered, tmp_path, Rules(**drop_rules))


def test_files_that_cannot_be_read_are_told_in_the_same_words(
    delivered: Path, tmp_path: Path, deliver: Callable[..., Path], drop_rules: dict[str, Any]
) -> None:
    deliver(NIGHTS[1], b"titulo\nSol\n", "unlabelled-c.csv")
    said = []
    for name, executor, _ in WAYS:
        outputs = {
            "examples": [make(Examples, tmp_path / name)],
            "quarantine": [make(Quarantine, tmp_path / f"q{name}")],
        }
        properties = {"drops_dir": str(delivered), "nights": ",".join(NIGHTS), "rules": Rules(**drop_rules).to_json()}
        with pytest.raises(DropError) as caught:
            executor.Do({}, outputs, properties)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("beam", "expected"),
    [
        ("local", [UnlabelledExampleGen.EXECUTOR_SPEC.executor_class, ScoreWriter.EXECUTOR_SPEC.executor_class]),
        ("args", [UnlabelledExampleGenExecutor, ScoreWriterExecutor]),
    ],
)
def test_an_engine_runs_the_nodes_through_beam_and_one_box_does_not(
    settings: Settings, beam: str, expected: list[type]
) -> None:
    arguments = {"beam": beam, "beam_runner_args": LOCAL if beam == "args" else ()}
    pipeline = create_scoring_pipeline(settings.model_copy(update=arguments), NIGHTS[0], "2022020101")
    classes = {
        node.id: node.executor_spec.executor_class for node in pipeline.components if hasattr(node, "executor_spec")
    }
    assert [classes["UnlabelledExampleGen"], classes["ScoreWriter"]] == expected
