import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf
import tensorflow_transform as tft
from sklearn.linear_model import LogisticRegression
from transformed_headlines import HEADLINES, Headline, run_trainer, transform

from modules.batches import read_rows
from modules.features import LABELS, REFERENCE_FILE
from modules.hyperparameters import Hyperparameters
from modules.model import train
from modules.network import PretrainedVectors, WidePath, build_transformer
from modules.preprocessing import MAX_TOKENS, NGRAM_BUCKETS
from modules.wide import fit_wide
from modules.word_vectors import FILE, SHA256, read_vectors, read_words

SHARES = np.array([0.2, 0.7, 0.1])
TITLES = [headline.title for headline in HEADLINES]


def spec(folder: Path) -> Any:
    return tft.TFTransformOutput(str(folder / "graph")).transformed_feature_spec()


def answer(model_dir: Path) -> np.ndarray:
    model = tf.saved_model.load(str(model_dir))
    return model.signatures["predict_text"](title=tf.constant(TITLES))["probabilities"].numpy()


def test_unknown_or_mistyped_hyperparameters_are_named() -> None:
    assert Hyperparameters.from_overrides(None) == Hyperparameters()
    assert Hyperparameters.from_overrides({"dropout": 0, "epochs": 2}) == Hyperparameters(dropout=0.0, epochs=2)
    with pytest.raises(ValueError, match=r"'layers'.*embedding_size, attention_heads"):
        Hyperparameters.from_overrides({"layers": 2})
    with pytest.raises(ValueError, match=r"epochs=2.5 must be int"):
        Hyperparameters.from_overrides({"epochs": 2.5})
    with pytest.raises(ValueError, match="embedding_size=30 is not a multiple of attention_heads=4"):
        Hyperparameters.from_overrides({"embedding_size": 30, "attention_heads": 4})
    with pytest.raises(ValueError, match="validation_percent=0"):
        Hyperparameters.from_overrides({"validation_percent": 0, "calibrate": True})


def make_inputs(token_ids: list[int], token_count: int = 3) -> dict[str, tf.Tensor]:
    """The words of a title by token id; by row of the table of vectors they are the same numbers."""
    tokens = np.zeros([1, MAX_TOKENS], np.int64)
    tokens[0, : len(token_ids)] = token_ids
    return {
        "tokens": tf.constant(tokens),
        "token_count": tf.constant([[token_count]], tf.int64),
        "words": tf.constant(tokens),
    }


@pytest.fixture(scope="module")
def vectors() -> PretrainedVectors:
    return PretrainedVectors(read_vectors())


def test_what_follows_the_last_word_is_masked_and_word_order_counts(vectors: PretrainedVectors) -> None:
    keras.utils.set_random_seed(1)
    network = build_transformer(10, vectors, Hyperparameters(), SHARES)
    three = network(make_inputs([4, 5, 6])).numpy()
    np.testing.assert_allclose(network(make_inputs([4, 5, 6, 9, 9])).numpy(), three, atol=1e-6)
    assert np.abs(network(make_inputs([6, 5, 4])).numpy() - three).max() > 1e-4


def test_an_untrained_network_answers_an_empty_title_with_the_class_shares(vectors: PretrainedVectors) -> None:
    logits = build_transformer(10, vectors, Hyperparameters(), SHARES)(make_inputs([], 0)).numpy()
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), [SHARES], rtol=1e-5)


def test_related_words_point_the_same_way_whatever_the_title_says_beside_them(vectors: PretrainedVectors) -> None:
    row = {word: row for row, word in enumerate(read_words(), start=1)}

    def mean(*words: str) -> np.ndarray:
        rows = [row[word] for word in words]
        return vectors.mean(np.array([rows + [0] * (MAX_TOKENS - len(rows))])).numpy()[0]

    np.testing.assert_allclose(np.linalg.norm(mean("vacina", "de")), 1.0, rtol=1e-5)
    assert mean("derrota") @ mean("perda") > mean("derrota") @ mean("culinaria") + 0.1
    # Rare words count more than frequent ones.
    assert mean("de", "vacina") @ mean("vacina") > 0.9 > mean("de", "vacina") @ mean("de")
    assert not vectors.mean(np.zeros([1, MAX_TOKENS], np.int64)).numpy().any()


def test_the_hash_that_the_code_names_is_that_of_the_table() -> None:
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256


def test_the_wide_path_in_the_graph_answers_as_the_regression_that_was_fitted(vectors: PretrainedVectors) -> None:
    random = np.random.default_rng(2)
    ngrams = scipy.sparse.random(60, NGRAM_BUCKETS, 5e-4, "csr", np.float32, random)
    words, label_ids = random.integers(0, 9, (60, MAX_TOKENS)), random.integers(0, 3, 60)
    features = scipy.sparse.hstack([ngrams, 0.7 * vectors.mean(words).numpy()], format="csr")
    path = WidePath(*fit_wide(features, label_ids, np.ones(60), 3, inverse_l2=2.0), vectors, vector_scale=0.7)
    cells = ngrams.tocoo()
    sparse = tf.SparseTensor(np.stack([cells.row, cells.col], axis=1).astype(np.int64), cells.data, ngrams.shape)
    expected = LogisticRegression(C=2.0, max_iter=1000, tol=1e-6).fit(features, label_ids).predict_proba(features)
    np.testing.assert_allclose(tf.nn.softmax(path(sparse, tf.constant(words))).numpy(), expected, atol=0.01)


@pytest.mark.parametrize("present", [[1], [0, 2]])
def test_a_class_that_never_occurs_is_next_to_never_answered_by_the_wide_path(present: list[int]) -> None:
    label_ids = np.array(present * 4)
    features = scipy.sparse.csr_matrix(np.eye(3)[label_ids])
    kernel, bias = fit_wide(features, label_ids, np.ones(len(label_ids)), 3, inverse_l2=10.0)
    logits = features @ kernel + bias
    assert logits.argmax(axis=1).tolist() == label_ids.tolist()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert probabilities[:, [i for i in range(3) if i not in present]].max() < 0.001


def test_withheld_titles_and_training_titles_are_two_disjoint_parts_of_the_labelled(transformed_folder: Path) -> None:
    rows = read_rows([str(transformed_folder / "examples*.gz")], spec(transformed_folder))
    kept, withheld = rows.choose(rows.buckets >= 20), rows.choose(rows.buckets < 20)
    assert sorted(title.decode() for title in [*kept.titles, *withheld.titles]) == sorted(TITLES)
    assert len(withheld.titles) > len(HEADLINES) / 10
    assert not set(kept.titles) & set(withheld.titles)
    assert kept.weights.mean() == withheld.weights.mean() == pytest.approx(1.0)


@pytest.fixture
def disputed_folder(tmp_path: Path) -> Path:
    """One title, as often negative with weight 1 as positive with weight 0.25, and some without a label."""
    rows = [Headline("Casa nova", "negative", None, 1.0), Headline("Casa nova", "positive", None, 0.25)] * 32
    transform([*rows, Headline("Casa nova")], tmp_path)
    return tmp_path


def test_weights_decide_between_labels_that_disagree(disputed_folder: Path, vectors: PretrainedVectors) -> None:
    rows = read_rows([str(disputed_folder / "examples*.gz")], spec(disputed_folder))
    assert len(rows.label_ids) == 64
    np.testing.assert_allclose(rows.class_shares, [(51.2 + 1) / 67, 1 / 67, (12.8 + 1) / 67])

    hyperparameters = Hyperparameters(
        epochs=1, min_steps=40, batch_size=16, learning_rate=0.01, label_smoothing=0.0, ema_momentum=0.0
    )
    keras.utils.set_random_seed(3)
    network = build_transformer(4, vectors, hyperparameters, np.full(3, 1 / 3))
    train(network, rows, None, hyperparameters, seed=3)
    negative, _, positive = np.exp(network(rows.choose(rows.label_ids == 0).sequences, training=False).numpy())[0]
    assert 2.5 < negative / positive < 6.0  # 4 were exact; 1 were unweighted


def test_the_same_seed_trains_the_same_model_to_the_bit(
    exported_model: Path, transformed_folder: Path, tmp_path: Path
) -> None:
    first, second = answer(exported_model), answer(run_trainer(transformed_folder, tmp_path))
    assert first.tobytes() == second.tobytes()


def test_training_learns_logs_a_line_per_epoch_and_leaves_curves(
    transformed_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="modules.model"):
        model_dir = run_trainer(transformed_folder, tmp_path, seed=8, epochs=9)
    epochs = [record.message for record in caplog.records if record.message.startswith("Epoch")]
    assert [line.split(" ")[1] for line in epochs] == [f"{epoch}/9" for epoch in range(1, 10)]
    assert all("validation loss" in line for line in epochs)
    assert "━" not in capfd.readouterr().out
    curves = {path.relative_to(tmp_path / "run").parent.as_posix() for path in tmp_path.glob("run/*/events.*")}
    assert curves == {"train", "validation"}
    truth = [LABELS.index(headline.sentiment or "") for headline in HEADLINES]
    assert np.mean(answer(model_dir).argmax(axis=1) == truth) > 0.9


def test_what_the_model_says_in_training_lies_beside_it_and_is_what_it_says_when_loaded(exported_model: Path) -> None:
    said = json.loads((exported_model.parent / REFERENCE_FILE).read_text(encoding="utf-8"))
    assert 50 < len(said) <= len(TITLES) and {row["title"] for row in said} <= set(TITLES)
    model = tf.saved_model.load(str(exported_model))
    served = model.signatures["predict_text"](title=tf.constant([row["title"] for row in said]))["probabilities"]
    np.testing.assert_allclose(served.numpy(), [row["probabilities"] for row in said], rtol=0, atol=1e-5)


def test_nothing_to_train_on_is_said(tmp_path: Path, transformed_folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "graph").symlink_to(transformed_folder / "graph")
    with tf.io.TFRecordWriter(str(empty / "examples-0.gz"), "GZIP"):
        pass
    with pytest.raises(ValueError, match="no labelled headlines"):
        run_trainer(empty, tmp_path)
