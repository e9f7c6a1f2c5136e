import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from transformed_headlines import HEADLINES, Headline, run_trainer, transform

from modules.batches import make_batches, read_rows
from modules.features import LABELS
from modules.hyperparameters import Hyperparameters
from modules.model import blend, build_network, train
from modules.preprocessing import MAX_TOKENS, NGRAM_BUCKETS

SHARES = np.array([0.2, 0.7, 0.1])
TITLES = [headline.title for headline in HEADLINES]


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
        Hyperparameters.from_overrides({"validation_percent": 0})


def make_inputs(token_ids: list[int]) -> dict[str, tf.Tensor]:
    tokens = np.zeros([1, MAX_TOKENS], np.int64)
    tokens[0, : len(token_ids)] = token_ids
    return {
        "tokens": tf.constant(tokens),
        "token_count": tf.constant([[3]], tf.int64),
        "ngrams": tf.sparse.from_dense(tf.zeros([1, NGRAM_BUCKETS])),
    }


def test_what_follows_the_last_word_is_masked_and_word_order_counts() -> None:
    keras.utils.set_random_seed(1)
    network = build_network(10, Hyperparameters(), SHARES)
    three = network(make_inputs([4, 5, 6]))["transformer"].numpy()
    np.testing.assert_allclose(network(make_inputs([4, 5, 6, 9, 9]))["transformer"].numpy(), three, atol=1e-6)
    assert np.abs(network(make_inputs([6, 5, 4]))["transformer"].numpy() - three).max() > 1e-4


def test_an_untrained_network_answers_an_empty_title_with_the_class_shares() -> None:
    network = build_network(10, Hyperparameters(), SHARES)
    inputs = {**make_inputs([]), "token_count": tf.constant([[0]], tf.int64)}
    np.testing.assert_allclose(np.exp(blend(network(inputs), 0.35).numpy()), [SHARES], rtol=1e-5)


def test_withheld_titles_and_training_titles_are_two_disjoint_parts_of_the_labelled(transformed_folder: Path) -> None:
    patterns = [str(transformed_folder / "examples*.gz")]
    kept, withheld = (read_rows(patterns, keep) for keep in (lambda bucket: bucket >= 20, lambda bucket: bucket < 20))
    assert kept.size + withheld.size == len(HEADLINES)
    assert withheld.size > len(HEADLINES) / 10
    assert not set(kept.records.as_numpy_iterator()) & set(withheld.records.as_numpy_iterator())


@pytest.fixture
def disputed_folder(tmp_path: Path) -> Path:
    """One title, as often negative with weight 1 as positive with weight 0.25, and some without a label."""
    rows = [Headline("Casa nova", "negative", None, 1.0), Headline("Casa nova", "positive", None, 0.25)] * 32
    transform([*rows, Headline("Casa nova")], tmp_path)
    return tmp_path


def test_weights_decide_between_labels_that_disagree(disputed_folder: Path) -> None:
    rows = read_rows([str(disputed_folder / "examples*.gz")], lambda bucket: bucket >= 0)
    assert rows.size == 64
    assert rows.mean_weight == pytest.approx(0.625)
    np.testing.assert_allclose(rows.class_shares, [33 / 43, 1 / 43, 9 / 43])

    spec = tft.TFTransformOutput(str(disputed_folder / "graph")).transformed_feature_spec()
    hyperparameters = Hyperparameters(epochs=1, min_steps=40, learning_rate=0.01, label_smoothing=0.0, ema_momentum=0.0)
    keras.utils.set_random_seed(3)
    network = build_network(4, hyperparameters, np.full(3, 1 / 3))
    train(network, make_batches(rows, spec, 16, shuffle_seed=3), 4, None, hyperparameters)
    inputs, _, weights = next(iter(make_batches(rows, spec, 64)))
    assert float(tf.reduce_mean(weights)) == pytest.approx(1.0)
    negative, _, positive = np.exp(blend(network(inputs, training=False), 0.5).numpy())[0]
    assert 2.5 < negative / positive < 6.0  # 4 were exact; 1 were unweighted


def test_the_same_seed_trains_the_same_model_to_the_bit(
    exported_model: Path, transformed_folder: Path, tmp_path: Path
) -> None:
    first, second = answer(exported_model), answer(run_trainer(transformed_folder, tmp_path, refit=False))
    assert first.tobytes() == second.tobytes()


def test_training_learns_logs_a_line_per_epoch_and_leaves_curves(
    transformed_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="modules.model"):
        model_dir = run_trainer(transformed_folder, tmp_path, seed=8, epochs=9)
    epochs = [record.message for record in caplog.records if record.message.startswith("Epoch")]
    # Once to measure and to calibrate, once more on all titles to export.
    assert [line.split(" ")[1] for line in epochs] == [f"{epoch}/9" for epoch in range(1, 10)] * 2
    assert ["validation wide loss" in line for line in epochs] == [True] * 9 + [False] * 9
    assert "━" not in capfd.readouterr().out
    curves = {path.relative_to(tmp_path / "run").parent.as_posix() for path in tmp_path.glob("run/*/*/events.*")}
    assert curves == {"validated/train", "validated/validation", "exported/train"}
    truth = [LABELS.index(headline.sentiment or "") for headline in HEADLINES]
    assert np.mean(answer(model_dir).argmax(axis=1) == truth) > 0.9


def test_nothing_to_train_on_is_said(tmp_path: Path, transformed_folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "graph").symlink_to(transformed_folder / "graph")
    with tf.io.TFRecordWriter(str(empty / "examples-0.gz"), "GZIP"):
        pass
    with pytest.raises(ValueError, match="no labelled headlines"):
        run_trainer(empty, tmp_path)
