import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from transformed_headlines import HEADLINES, Headline, serialize

from modules.features import LABELS, UNKNOWN_LABEL_ID

TITLES = [headline.title for headline in HEADLINES]
ODD_TITLES = ["", "   ", b"\xff\xfe\x80", "😀🔥", "Привет 你好 مرحبا casa", "de a o", "a" * 10_000, "palavra " * 1_250]


@pytest.fixture(scope="module")
def signatures(exported_model: Path) -> Any:
    # The model must be held: its signatures alone do not keep its variables (tensorflow/tensorflow#46708).
    model = tf.saved_model.load(str(exported_model))
    return {**model.signatures, "model": model}


def test_signatures_have_the_names_and_shapes_that_others_rely_on(signatures: Any) -> None:
    answers = {
        "probabilities": tf.TensorSpec([None, 3], tf.float32),
        "label": tf.TensorSpec([None], tf.string),
        "confidence": tf.TensorSpec([None], tf.float32),
    }
    for name, argument in (("serving_default", "examples"), ("predict_text", "title")):
        inputs = signatures[name].structured_input_signature[1]
        assert {key: (spec.shape.as_list(), spec.dtype) for key, spec in inputs.items()} == {
            argument: ([None], tf.string)
        }
        outputs = signatures[name].structured_outputs
        assert {key: (spec.shape.as_list(), spec.dtype) for key, spec in outputs.items()} == {
            key: (spec.shape.as_list(), spec.dtype) for key, spec in answers.items()
        }
    assert list(signatures["transform_features"].structured_input_signature[1]) == ["examples"]


def test_label_and_confidence_are_those_of_the_likeliest_class(signatures: Any) -> None:
    answer = {name: value.numpy() for name, value in signatures["predict_text"](title=tf.constant(TITLES)).items()}
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1.0, atol=1e-6)
    assert [label.decode() for label in answer["label"]] == [LABELS[i] for i in answer["probabilities"].argmax(axis=1)]
    np.testing.assert_array_equal(answer["confidence"], answer["probabilities"].max(axis=1))
    assert len(set(answer["label"])) == 3


def test_an_example_is_answered_as_its_title_whatever_else_it_holds(signatures: Any) -> None:
    of_title = signatures["predict_text"](title=tf.constant(TITLES))["probabilities"].numpy()
    for examples in (
        HEADLINES,
        [Headline(title) for title in TITLES],
        [Headline(title, "positive") for title in TITLES],
    ):
        records = tf.constant([serialize(example) for example in examples])
        of_example = signatures["serving_default"](examples=records)["probabilities"].numpy()
        np.testing.assert_array_equal(of_example, of_title)


def test_bulk_inferrer_is_answered_with_probabilities_alone(signatures: Any) -> None:
    records = tf.constant([serialize(Headline(title)) for title in TITLES])
    answer = signatures["score_examples"](examples=records)
    assert list(answer) == ["probabilities"]
    whole = signatures["serving_default"](examples=records)
    np.testing.assert_array_equal(answer["probabilities"].numpy(), whole["probabilities"].numpy())


def test_odd_titles_are_answered_and_a_batch_is_answered_as_its_titles_alone(signatures: Any) -> None:
    titles = tf.constant([*ODD_TITLES, *TITLES])
    together = signatures["predict_text"](title=titles)["probabilities"].numpy()
    assert np.isfinite(together).all()
    alone = [signatures["predict_text"](title=titles[i : i + 1])["probabilities"].numpy()[0] for i in range(30)]
    np.testing.assert_allclose(together[:30], alone, atol=1e-6)


def test_nothing_asked_is_nothing_answered_and_an_empty_example_is_an_empty_title(signatures: Any) -> None:
    nothing = tf.constant([], tf.string)
    assert signatures["predict_text"](title=nothing)["probabilities"].shape == (0, 3)
    assert signatures["serving_default"](examples=nothing)["label"].shape == (0,)
    empty_example = signatures["serving_default"](examples=tf.constant([b""]))["probabilities"].numpy()
    empty_title = signatures["predict_text"](title=tf.constant([""]))["probabilities"].numpy()
    np.testing.assert_array_equal(empty_example, empty_title)


def test_transform_features_gives_label_ids_and_minus_1_for_none(signatures: Any) -> None:
    examples = [*HEADLINES[:6], Headline("Sem rótulo"), Headline("Rótulo estranho", "unheard-of")]
    answer = signatures["transform_features"](examples=tf.constant([serialize(example) for example in examples]))
    expected = [LABELS.index(example.sentiment or "") for example in HEADLINES[:6]] + [UNKNOWN_LABEL_ID] * 2
    assert answer["sentiment_xf"].numpy().tolist() == [[label_id] for label_id in expected]
    assert answer["sentiment_xf"].dtype == tf.int64
    assert answer["weight_xf"].numpy()[-2:].tolist() == [[1.0], [1.0]]


def test_a_process_with_nothing_but_tensorflow_gives_the_same_answers(exported_model: Path, signatures: Any) -> None:
    program = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
print(model.signatures["predict_text"](title=tf.constant(sys.argv[2:]))["probabilities"].numpy().tobytes().hex())
assert not {"keras.src.models.model", "tensorflow_transform", "modules"} & set(sys.modules) - {"keras.src.models.model"}
"""
    command = [sys.executable, "-c", program, str(exported_model), *TITLES[:5]]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    here = signatures["predict_text"](title=tf.constant(TITLES[:5]))["probabilities"].numpy()
    np.testing.assert_allclose(
        np.frombuffer(bytes.fromhex(done.stdout.strip()), np.float32).reshape(5, 3), here, atol=1e-6
    )


def test_loaders_of_tensorflow_1_can_read_the_model(exported_model: Path, signatures: Any) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported_model))
        signature = graph.signature_def["serving_default"]
        records = [serialize(headline) for headline in HEADLINES]
        there = session.run(signature.outputs["probabilities"].name, {signature.inputs["examples"].name: records})
    here = signatures["serving_default"](examples=tf.constant(records))["probabilities"].numpy()
    np.testing.assert_allclose(there, here, atol=1e-6)


def test_warm_up_requests_are_ones_the_model_answers(exported_model: Path, signatures: Any) -> None:
    file = exported_model / "assets.extra" / "tf_serving_warmup_requests"
    requests = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        for record in tf.data.TFRecordDataset(str(file))
    ]
    assert {len(request.inputs["title"].string_val) for request in requests} == {1, 32}
    for request in requests:
        titles = tf.constant(tf.make_ndarray(request.inputs["title"]))
        answer = signatures[request.model_spec.signature_name](title=titles)
        assert len(answer["label"]) == len(titles)
