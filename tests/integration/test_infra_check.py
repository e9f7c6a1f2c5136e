import io
import json
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model
from tiny_model import save_tiny_model, write_examples

from modules.features import REFERENCE_FILE
from tfx_components.infra_check import Executor
from tfx_components.serving_probe import probe

ROWS = [
    ("título antigo", "neutral", "2022-02-01"),
    ("bom dia", "positive", "2022-02-02"),
    ("ruim", "negative", "2022-02-02"),
]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    artifact = Examples()
    artifact.uri = str(write_examples(tmp_path_factory.mktemp("examples"), ROWS))
    artifact.split_names = '["train", "eval"]'
    return artifact


LIMITS = {"sample_rows": 50, "max_latency_ms": 1000, "max_memory_mb": 5000}


def check(model_uri: Path, examples: Examples, tmp_path: Path, **limits: int) -> InfraBlessing:
    model, blessing = Model(), InfraBlessing()
    model.uri, blessing.uri = str(model_uri), str(tmp_path / "blessing")
    Path(blessing.uri).mkdir()
    Executor().Do(
        {"model": [model], "examples": [examples]},
        {"blessing": [blessing]},
        {"timeout_seconds": 120, **LIMITS, **limits},
    )
    return blessing


def requests(blessing: InfraBlessing) -> list[str]:
    lines = Path(blessing.uri, "report.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["request"] for line in map(json.loads, lines) if "request" in line]


def test_a_sound_model_is_blessed_with_what_it_cost(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    blessing = check(tmp_path / "model", examples, tmp_path)
    assert blessing.get_int_custom_property("blessed") == 1, blessing.get_string_custom_property("reason")
    assert blessing.get_string_custom_property("reason") == "blessed: 41 requests answered as promised"
    assert {path.name for path in Path(blessing.uri).iterdir()} == {"INFRA_BLESSED", "report.jsonl"}
    assert 0 < blessing.get_float_custom_property("latency_ms") < 1000
    assert 0 < blessing.get_float_custom_property("load_seconds") < 60
    assert 100 < blessing.get_float_custom_property("peak_memory_mb") < 5000


def test_hard_titles_and_the_newest_nights_rows_go_through_every_signature(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    asked = requests(check(tmp_path / "model", examples, tmp_path))
    for signature in ("serving_default", "predict_text", "score_examples", "transform_features"):
        of_signature = [name.partition(", ")[2] for name in asked if name.startswith(f"{signature},")]
        assert {"empty", "10 kB", "emoji", "only stop words", "mixed scripts", "256 at once"} < set(of_signature)
        # Two of the three rows are of the newest night.
        assert [name for name in of_signature if name.startswith("eval")] == ["eval row 0", "eval row 1"]


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("nan", "serving_default, empty: the probabilities are [nan, nan, nan]"),
        ("unnormalised", "serving_default, empty: the probabilities sum to 0.9"),
        ("two_classes", "serving_default, empty: the shapes are {'confidence': (1,), 'label': (1,), 'prob"),
        ("unknown_label", "serving_default, empty: the label is 'so-so', not one of"),
        ("label_not_argmax", "serving_default, empty: the label is 'negative', but the probabilities"),
        ("batch_dependent", "serving_default, 256 at once: confidence is [0.9"),
        ("signatures_disagree", "serving_default and predict_text: label is [b'negative'] for empty as a text, but"),
        ("scores_disagree", "serving_default and score_examples: probabilities is [["),
        (
            "no_predict_text",
            "predict_text: the model has no such signature, only ['score_examples', 'serving_default', 'transform",
        ),
        ("refuses_long", "serving_default, 10 kB: INVALID_ARGUMENT: "),
        ("trained_otherwise", "predict_text, reference: probabilities are [0.0"),
        ("label_shifted", "transform_features, eval row 0: sentiment_xf is [[1]], not [[2]]"),
    ],
)
def test_the_first_request_that_a_broken_model_fails_is_named_with_the_reason(
    flaw: str, reason: str, examples: Examples, tmp_path: Path
) -> None:
    report = io.StringIO()
    files = [str(path) for path in Path(examples.uri, "Split-eval").iterdir()]
    model_path = str(save_tiny_model(tmp_path / "model", flaw))
    probe(model_path, str(tmp_path / "model" / REFERENCE_FILE), files, report=report, **LIMITS)
    told = [json.loads(line) for line in report.getvalue().splitlines()]
    assert told[-1].get("reason", "").startswith(reason), told[-1]
    assert "\n" not in told[-1]["reason"]


def assert_refused(blessing: InfraBlessing, reason: str) -> None:
    assert blessing.get_string_custom_property("reason").startswith(reason)
    assert "\n" not in blessing.get_string_custom_property("reason")
    assert blessing.get_int_custom_property("blessed") == 0
    assert {path.name for path in Path(blessing.uri).iterdir()} == {"INFRA_NOT_BLESSED", "report.jsonl"}


def test_a_model_that_fails_a_request_is_not_blessed(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", "refuses_long")
    blessing = check(tmp_path / "model", examples, tmp_path)
    assert_refused(blessing, "refused: serving_default, 10 kB: INVALID_ARGUMENT: ")
    assert "this title is too long" in blessing.get_string_custom_property("reason")


def test_a_model_that_brings_the_process_down_is_not_blessed(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", "aborts")
    assert_refused(check(tmp_path / "model", examples, tmp_path), "refused: load: the process was ended by SIGABRT")


def test_a_model_that_never_answers_is_killed_and_not_blessed(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", "hangs")
    blessing = check(tmp_path / "model", examples, tmp_path, timeout_seconds=15)
    assert blessing.get_int_custom_property("blessed") == 0
    assert ": no answer within 15 s" in blessing.get_string_custom_property("reason")


def test_a_model_that_cannot_be_loaded_is_not_blessed(examples: Examples, tmp_path: Path) -> None:
    path = save_tiny_model(tmp_path / "model")
    (path / "saved_model.pb").write_bytes(b"half a file")
    assert_refused(check(tmp_path / "model", examples, tmp_path), "refused: load: ")


def test_a_model_that_fails_its_own_warm_up_is_not_blessed_as_no_server_takes_it(
    examples: Examples, tmp_path: Path
) -> None:
    requests = save_tiny_model(tmp_path / "model") / "assets.extra" / "tf_serving_warmup_requests"
    requests.parent.mkdir()
    with tf.io.TFRecordWriter(str(requests)) as writer:
        writer.write(b"no request")
    assert_refused(check(tmp_path / "model", examples, tmp_path), "refused: load: INTERNAL: DecodeError: ")


@pytest.mark.parametrize(
    ("limit", "reason"),
    [("max_latency_ms", "refused: budget: one title takes "), ("max_memory_mb", "refused: budget: the process held ")],
)
def test_a_model_beyond_its_budget_is_not_blessed(limit: str, reason: str, examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    assert_refused(check(tmp_path / "model", examples, tmp_path, **{limit: 0}), reason)


def test_a_model_without_what_it_said_in_training_is_not_blessed(examples: Examples, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    (tmp_path / "model" / REFERENCE_FILE).write_text("[]")
    blessing = check(tmp_path / "model", examples, tmp_path)
    assert_refused(blessing, "refused: predict_text, reference: ")
    assert "holds no answers to compare with" in blessing.get_string_custom_property("reason")
