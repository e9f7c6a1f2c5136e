import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import Artifact
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, ModelEvaluation, PushedModel
from tfx.utils import proto_utils
from tiny_model import save_tiny_model, write_examples

from headlines.bar import answered
from headlines.bar.checks import Check
from headlines.bar.tally import METRICS
from headlines.bar.verdict import Verdict
from modules.features import LABELS
from retraining.engines.arguments import list_arguments
from retraining.pipelines.evaluation import eval_config
from retraining.settings import Settings
from tfx_components.baseline import BaselineAnswers, read_answers, take, write_answers
from tfx_components.evaluator import Executor, HeadlineEvaluator, mark
from tfx_components.predictions import read_rows

# The tiny model knows `ruim` and `bom`: it gets 70 of 80 right, and misses positives that say neither.
ROWS = [
    *[("o dia foi ruim", "negative", "2022-02-01")] * 20,
    *[("saiu o boletim", "neutral", "2022-02-01")] * 25,
    *[("saiu o boletim", "neutral", "2022-02-02")] * 15,
    *[("o dia foi bom", "positive", "2022-02-02")] * 10,
    *[("vitória enfim", "positive", "2022-02-02")] * 10,
]

LIMITS = {"min_accuracy": 0.6, "min_macro_f1": 0.4, "max_accuracy_drop": 0.02, "max_macro_f1_drop": 0.03}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    artifact = Examples()
    artifact.uri = str(write_examples(tmp_path_factory.mktemp("examples"), ROWS))
    artifact.split_names = '["train", "eval"]'
    return artifact


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    uri = tmp_path_factory.mktemp("sound")
    save_tiny_model(uri)
    return uri


@pytest.fixture(scope="module")
def neutral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that always says neutral: 40 of 80."""
    uri = tmp_path_factory.mktemp("neutral")
    save_tiny_model(uri, always="neutral")
    return uri


def model_at(uri: Path, identity: int) -> Model:
    model = Model()
    model.uri, model.id = str(uri), identity
    return model


def evaluate(
    candidate: Path,
    examples: Artifact,
    tmp_path: Path,
    champion: Path | None = None,
    answers: Artifact | None = None,
    **limits: Any,
) -> tuple[ModelBlessing, dict, Path]:
    """Runs the executor and returns the blessing, the verdict it wrote, and the folder of the evaluation."""
    blessing, evaluation = ModelBlessing(), ModelEvaluation()
    blessing.uri, evaluation.uri = str(tmp_path / "blessing"), str(tmp_path / "evaluation")
    inputs = {"examples": [examples], "model": [model_at(candidate, 7)], "baseline_model": [], "baseline_push": []}
    if champion:
        push = PushedModel()
        push.set_string_custom_property("pushed_version", "2022013101")
        inputs |= {"baseline_model": [model_at(champion, 3)], "baseline_push": [push]}
    if answers:
        inputs["baseline_answers"] = [answers]
    settings = Settings(**LIMITS | limits)
    context = BaseBeamExecutor.Context(beam_pipeline_args=list_arguments(settings))
    Executor(context).Do(
        inputs,
        {"evaluation": [evaluation], "blessing": [blessing]},
        {
            "eval_config": proto_utils.proto_to_json(eval_config()),
            "limits": settings.bar_limits.to_json(),
            "example_splits": "null",
        },
    )
    # Every constant that JSON does not know is an error.
    text = Path(evaluation.uri, "verdict.json").read_text(encoding="utf-8")
    return blessing, json.loads(text, parse_constant=pytest.fail), Path(evaluation.uri)


def reason(blessing: ModelBlessing) -> str:
    return blessing.get_string_custom_property("reason")


def is_blessed(blessing: ModelBlessing) -> bool:
    """What the property and the file both say."""
    blessed = blessing.get_int_custom_property("blessed") == 1
    assert [path.name for path in Path(blessing.uri).iterdir()] == ["BLESSED" if blessed else "NOT_BLESSED"]
    return blessed


def test_without_champion_and_baselines_only_the_floors_are_checked(
    sound: Path, examples: Examples, tmp_path: Path
) -> None:
    blessing, verdict, _ = evaluate(sound, examples, tmp_path)
    assert is_blessed(blessing)
    assert reason(blessing) == "blessed: 5 of 5 checks passed, no champion to compare with"
    assert [(check["name"], check["limit"], check["passed"]) for check in verdict["checks"]] == [
        ("accuracy", 0.6, True),
        ("macro_f1", 0.4, True),
        ("recall_negative", 0.3, True),
        ("recall_neutral", 0.6, True),
        ("recall_positive", 0.05, True),
    ]
    assert verdict["checks"][0]["value"] == verdict["metrics"]["accuracy"] == 70 / 80
    assert verdict["checks"][0]["low"] < 70 / 80 < verdict["checks"][0]["high"]
    assert verdict["champion_metrics"] == {}
    assert verdict["champion_version"] == ""


def test_on_the_first_night_the_baselines_are_the_measure(
    neutral: Path, sound: Path, examples: Examples, tmp_path: Path
) -> None:
    rows = read_rows(examples, "eval")
    answers = BaselineAnswers()
    answers.uri = str(tmp_path / "answers")
    write_answers(Path(answers.uri), rows, read_rows(examples, "train"))
    _, verdict, _ = evaluate(sound, examples, tmp_path / "sound", answers=answers)
    # What LR was taught is what it is asked here.
    assert verdict["lr_metrics"]["accuracy"] == 1.0
    assert verdict["majority_metrics"]["accuracy"] == 0.5
    passed = {check["name"]: check["passed"] for check in verdict["checks"]}
    assert (passed["accuracy_vs_majority"], passed["log_loss_vs_majority"]) == (True, True)
    assert (passed["accuracy_vs_lr"], passed["mcnemar_vs_lr"]) == (False, False)
    blessing, _, _ = evaluate(neutral, examples, tmp_path / "neutral", answers=answers, min_accuracy=0, min_macro_f1=0)
    assert "accuracy is 0.500 below that of the LR baseline (95 % interval -0.6" in reason(blessing)
    metrics = blessing.mlmd_artifact.custom_properties
    assert (metrics["lr_metric:accuracy"].double_value, metrics["majority_metric:accuracy"].double_value) == (1.0, 0.5)


def test_answers_to_other_rows_are_not_taken_for_those_of_the_baselines(examples: Examples, tmp_path: Path) -> None:
    rows = read_rows(examples, "eval")
    write_answers(tmp_path, rows, rows)
    with pytest.raises(ValueError, match="answers other rows"):
        read_answers(tmp_path, take(rows, list(range(40))))


def test_the_metrics_are_those_of_scikit_learn(sound: Path, examples: Examples, tmp_path: Path) -> None:
    _, verdict, evaluation = evaluate(sound, examples, tmp_path)
    actual = [LABELS.index(label) for _, label, _ in ROWS]
    predicted = [0 if "ruim" in title else 2 if "bom" in title else 1 for title, _, _ in ROWS]
    precision, recall, _, _ = precision_recall_fscore_support(actual, predicted)
    metrics = verdict["metrics"]
    assert metrics["macro_f1"] == pytest.approx(f1_score(actual, predicted, average="macro"))
    assert [metrics[f"precision_{label}"] for label in LABELS] == pytest.approx(list(precision))
    assert [metrics[f"recall_{label}"] for label in LABELS] == pytest.approx(list(recall))
    sure = np.full((len(ROWS), 3), 1 / (np.exp(3) + 2))
    sure[np.arange(len(ROWS)), predicted] = np.exp(3) / (np.exp(3) + 2)
    assert metrics["log_loss"] == pytest.approx(log_loss(actual, sure), abs=1e-5)
    assert metrics["calibration_error"] == pytest.approx(abs(np.exp(3) / (np.exp(3) + 2) - 70 / 80), abs=1e-6)
    assert metrics["majority_accuracy"] == 0.5
    assert metrics["example_count"] == 80
    assert metrics["confusion"] == verdict["confusion"]["candidate"] == [[20, 0, 0], [0, 40, 0], [0, 10, 10]]
    # TFMA's own evaluation counts the same answers.
    written = tfma.load_eval_result(str(evaluation)).get_metrics_for_slice()
    assert {name: written[name]["doubleValue"] for name in METRICS} == pytest.approx(
        {name: metrics[name] for name in METRICS}, abs=1e-6
    )


def test_an_evaluation_that_is_computed_again_is_the_same(sound: Path, examples: Examples, tmp_path: Path) -> None:
    # Where rows are dealt out by chance, an engine that computes a stage twice loses some and doubles others.
    first, second = (evaluate(sound, examples, tmp_path / name)[2] for name in ("first", "second"))
    told = [tfma.load_eval_result(str(one)).get_metrics_for_all_slices() for one in (first, second)]
    assert told[0] == told[1]
    assert len(told[0]) > 1


def test_a_candidate_below_its_floors_is_refused_with_each_reason(
    neutral: Path, examples: Examples, tmp_path: Path
) -> None:
    blessing, verdict, _ = evaluate(neutral, examples, tmp_path)
    assert not is_blessed(blessing)
    assert reason(blessing) == (
        "refused: accuracy 0.500 is below its floor 0.600; macro_f1 0.222 is below its floor 0.400; "
        "recall_negative 0.000 is below its floor 0.300"
    )
    # Of 20 positive headlines a model that finds one in twenty may miss all.
    assert [check["passed"] for check in verdict["checks"]] == [False, False, False, True, True]


def test_a_candidate_worse_than_the_champion_is_refused_though_above_its_floors(
    neutral: Path, sound: Path, examples: Examples, tmp_path: Path
) -> None:
    limits = {"min_accuracy": 0.4, "min_macro_f1": 0.2, "max_macro_f1_drop": 0.9, "max_slice_drop": 1.0}
    blessing, verdict, _ = evaluate(
        neutral, examples, tmp_path, champion=sound, min_recall={}, max_log_loss_rise=9.0, **limits
    )
    assert not is_blessed(blessing)
    assert reason(blessing).startswith("refused: accuracy is 0.375 below that of the champion (95 % interval -0.4")
    assert reason(blessing).endswith(
        ", beyond the 0.020 allowed; McNemar's test of the errors beside those of the champion gives p = 0.000, "
        "below the limit 0.050"
    )
    assert {check["name"]: (check["limit"], check["passed"]) for check in verdict["checks"]} == {
        "accuracy": (0.4, True),
        "macro_f1": (0.2, True),
        "accuracy_change": (-0.02, False),
        "macro_f1_change": (-0.9, True),
        "log_loss_change": (9.0, True),
        "mcnemar_change": (0.05, False),
        "worst_slice_change": (-1.0, True),
    }
    assert verdict["champion_version"] == "2022013101"
    assert verdict["metrics"]["accuracy"] == 0.5
    assert verdict["champion_metrics"]["accuracy"] == 70 / 80
    assert set(verdict["champion_metrics"]) == set(verdict["metrics"])


def test_a_candidate_as_good_as_the_champion_is_blessed(sound: Path, examples: Examples, tmp_path: Path) -> None:
    blessing, verdict, evaluation = evaluate(sound, examples, tmp_path, champion=sound)
    assert is_blessed(blessing)
    assert reason(blessing) == "blessed: 10 of 10 checks passed, champion 2022013101"
    # By which the two can be compared with others, row by row.
    kept = answered.read(evaluation)
    assert kept is not None and set(kept.answers) == {"candidate", "champion"}
    assert len(set(kept.rows)) == len(ROWS)
    right = (kept.answers["candidate"].predicted == kept.actual).mean()
    assert right == verdict["metrics"]["accuracy"]
    changes = {check["name"]: check["value"] for check in verdict["checks"] if check["name"].endswith("_change")}
    assert changes.pop("mcnemar_change") == 1.0
    assert set(changes.values()) == {0.0}


def test_a_limit_holds_for_all_rows_together_and_not_for_a_slice(
    sound: Path, examples: Examples, tmp_path: Path
) -> None:
    # Of the positive rows alone, half are wrong.
    blessing, _, evaluation = evaluate(sound, examples, tmp_path, min_accuracy=0.8)
    assert is_blessed(blessing)
    slices = tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices()
    assert slices[(("sentiment", "positive"),)]["accuracy"] == {"doubleValue": 0.5}
    assert slices[(("night", "2022-02-01"),)]["accuracy"] == {"doubleValue": 1.0}


def test_a_candidate_without_evaluation_rows_is_refused(sound: Path, tmp_path: Path) -> None:
    empty = Examples()
    empty.uri = str(write_examples(tmp_path / "examples", []))
    empty.split_names = '["train", "eval"]'
    blessing, _, _ = evaluate(sound, empty, tmp_path)
    assert not is_blessed(blessing)
    assert reason(blessing).startswith("refused: accuracy could not be computed; macro_f1 could not be computed; ")


def test_a_candidate_that_answers_nan_is_refused_and_the_verdict_is_still_json(
    examples: Examples, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path / "model", "nan")
    blessing, verdict, _ = evaluate(tmp_path / "model", examples, tmp_path)
    assert not is_blessed(blessing)
    assert verdict["metrics"]["log_loss"] is None


def test_the_log_shows_every_check_and_metric_beside_the_champions(
    sound: Path, examples: Examples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="absl")
    evaluate(sound, examples, tmp_path, champion=sound)
    table = next(text for text in map(str, (r.getMessage() for r in caplog.records)) if text.startswith("blessed: "))
    for name in ("accuracy_change", "macro_f1", "log_loss", "precision_positive", "negative", "night=2022-02-01"):
        assert any(line.startswith(name) for line in table.splitlines()), table


def test_the_blessing_tells_the_verdict_in_short_properties(
    sound: Path, neutral: Path, examples: Examples, tmp_path: Path
) -> None:
    blessing, verdict, _ = evaluate(sound, examples, tmp_path, champion=neutral)
    properties = blessing.mlmd_artifact.custom_properties
    for check in verdict["checks"]:
        told = json.loads(properties[f"check:{check['name']}"].string_value)
        assert told == {name: check[name] for name in ("value", "limit", "passed", "low", "high")}
    for prefix in ("metric", "champion_metric"):
        numbers = {name: value for name, value in verdict[f"{prefix}s"].items() if isinstance(value, float)}
        told = {name: value.double_value for name, value in properties.items() if name.startswith(f"{prefix}:")}
        assert told == {f"{prefix}:{name}": value for name, value in numbers.items()}
        assert f"{prefix}:macro_f1" in told
    assert properties["champion_version"].string_value == "2022013101"
    # What the database takes: no backslash, and no long string.
    for name, value in properties.items():
        assert "\\" not in value.string_value, name
        assert len(value.string_value.encode()) < 1000, name


def test_what_tfx_blessed_but_the_verdict_refuses_is_not_blessed(tmp_path: Path) -> None:
    blessing = ModelBlessing()
    blessing.uri = str(tmp_path)
    (tmp_path / "BLESSED").touch()
    blessing.set_int_custom_property("blessed", 1)
    mark(blessing, blessed=False)
    assert not is_blessed(blessing)


def test_a_verdict_without_checks_blesses_nothing() -> None:
    verdict = Verdict(checks=[], metrics={}, champion_metrics={}, champion_version="")
    assert not verdict.blessed
    assert verdict.reason.startswith("refused")


def test_a_check_without_a_value_says_so() -> None:
    assert Check("macro_f1_change", None, -0.02, passed=False).explain() == "macro_f1 could not be computed"


def test_the_component_takes_a_resolved_push_beside_the_model() -> None:
    assert HeadlineEvaluator.SPEC_CLASS.INPUTS["baseline_push"].allow_empty
    assert HeadlineEvaluator.SPEC_CLASS.INPUTS["baseline_model"].allow_empty
