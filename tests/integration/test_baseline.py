"""What the baselines learn from a night's rows, and what is on record of production on its fresh ones."""

from pathlib import Path

import numpy as np
import pytest
from tfx.types.standard_artifacts import Examples, Model, PushedModel
from tiny_model import save_tiny_model, write_examples

from tfx_components.baseline import ANSWERS_FILE, Baseline, BaselineAnswers, Executor, FreshScore, answer, read_answers
from tfx_components.predictions import Rows, read_rows

BEFORE = [
    *[("o dia foi ruim", "negative", "2022-02-01")] * 10,
    *[("saiu o boletim", "neutral", "2022-02-01")] * 25,
    *[("o dia foi bom", "positive", "2022-02-01")] * 10,
]
# On its own night the same words mean the opposite: only who was taught by this night knows.
OF_THE_NIGHT = [*[("o dia foi bom", "negative", "2022-02-02")] * 40, ("o dia foi ruim", "positive", "2022-02-02")]
FRESH = [
    ("tudo foi bom", "negative", "2022-02-02"),
    ("tudo foi bom", "positive", "2022-02-02"),
    ("tudo foi ruim", "negative", "2022-02-02"),
    ("veio o boletim", "neutral", "2022-02-02"),
]


def write(folder: Path, train: list, fresh: list) -> Examples:
    examples = Examples()
    examples.uri = str(folder)
    examples.split_names = '["train", "eval", "fresh"]'
    examples.set_string_custom_property("night", "2022-02-02")
    write_examples(folder, train, ["train"])
    write_examples(folder, [*BEFORE, *fresh], ["eval"])
    write_examples(folder, fresh, ["fresh"])
    return examples


def run(examples: Examples, tmp_path: Path, champion: bool) -> tuple[dict, Path]:
    """The properties of the fresh score, and the folder of the answers."""
    inputs = {"examples": [examples], "model": [], "pushed_model": []}
    if champion:
        model, push = Model(), PushedModel()
        model.uri = str(tmp_path / "champion")
        save_tiny_model(Path(model.uri))
        push.set_string_custom_property("pushed_version", "2022020101")
        inputs |= {"model": [model], "pushed_model": [push]}
    answers, score = BaselineAnswers(), FreshScore()
    answers.uri = str(tmp_path / "answers")
    Executor().Do(inputs, {"answers": [answers], "fresh_score": [score]}, {})
    properties = {
        name: getattr(value, value.WhichOneof("value")) for name, value in score.mlmd_artifact.custom_properties.items()
    }
    return properties, Path(answers.uri)


def test_production_is_scored_on_fresh_rows_as_it_was_before_the_night(tmp_path: Path) -> None:
    examples = write(tmp_path / "examples", BEFORE + OF_THE_NIGHT, FRESH)
    score, answers = run(examples, tmp_path, champion=True)
    assert (score["fresh_rows"], score["champion_version"]) == (4, "2022020101")
    assert score["fresh_champion_metric:accuracy"] == 0.75
    # LR as of last night reads `bom` as last night did, and so does the majority class.
    assert score["fresh_lr_metric:accuracy"] == 0.75
    assert score["fresh_majority_metric:accuracy"] == 0.25
    assert {"fresh_lr_metric:macro_f1", "fresh_lr_metric:log_loss", "fresh_champion_metric:log_loss"} <= score.keys()
    # Tonight's LR, beside which the candidate is judged, was taught by the night.
    rows = read_rows(examples, "eval")
    lr, majority = read_answers(answers, rows)
    assert lr.predicted[rows.titles.index("tudo foi bom")] == 0
    assert majority.predicted[0] == 0


def test_on_a_first_night_nobody_is_scored_and_the_rows_are_counted(tmp_path: Path) -> None:
    tonight = [(title, label, "2022-02-02") for title, label, _ in BEFORE]
    score, answers = run(write(tmp_path / "examples", tonight, FRESH), tmp_path, champion=False)
    assert score == {"fresh_rows": 4}
    assert (answers / ANSWERS_FILE).exists()


def test_a_night_without_fresh_rows_is_on_record_as_such(tmp_path: Path) -> None:
    score, _ = run(write(tmp_path / "examples", BEFORE, []), tmp_path, champion=True)
    assert score == {"fresh_rows": 0, "champion_version": "2022020101"}


@pytest.mark.parametrize(("heavier", "label"), [(0, 0), (1, 2)])
def test_the_baseline_learns_by_the_weights_of_the_rows(heavier: int, label: int) -> None:
    titles = ["o dia foi bom"] * 20 + ["saiu o boletim"] * 10
    weights = np.where(np.arange(30) % 2 == heavier, 4.0, 1.0)
    train = Rows(titles, np.array([0, 2] * 10 + [1] * 10), ["2022-02-01"] * 30, weights)
    lr = answer(train, ["o dia foi bom"]).lr
    assert lr.predicted.tolist() == [label]
    assert np.array_equal(lr.probabilities, answer(train, ["o dia foi bom"]).lr.probabilities)


def test_a_night_of_a_single_class_still_has_baselines() -> None:
    train = Rows(["a", "b"], np.array([1, 1]), ["2022-02-01"] * 2, np.ones(2))
    assert answer(train, ["c"]).lr.predicted.tolist() == [1]


def test_the_component_runs_also_when_no_champion_is_resolved() -> None:
    assert Baseline.SPEC_CLASS.INPUTS["model"].allow_empty
    assert Baseline.SPEC_CLASS.INPUTS["pushed_model"].allow_empty
