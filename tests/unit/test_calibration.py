import numpy as np
import pytest
import tensorflow as tf

from modules.calibration import Calibration, fit_temperature, log_loss

RANDOM = np.random.default_rng(5)
CLASS_SHARES = np.array([0.25, 0.7, 0.05])
NONE = (0.0, 0.0, 0.0)


def draw(rows: int, sureness: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities `sureness` times too sure, and labels drawn from what they should have been."""
    honest = (RANDOM.normal(size=(rows, 3)) + np.log(CLASS_SHARES)).astype(np.float32)
    probabilities = Calibration(1.0, NONE).answer(honest).numpy()
    label_ids = (probabilities.cumsum(axis=1) < RANDOM.random((rows, 1))).sum(axis=1)
    return honest * np.float32(sureness), np.minimum(label_ids, 2)


@pytest.mark.parametrize("sureness", [0.5, 1.0, 2.0])
def test_temperature_undoes_logits_that_are_too_sure_or_not_sure_enough(sureness: float) -> None:
    logits, label_ids = draw(20_000, sureness)
    assert fit_temperature(logits, label_ids) == pytest.approx(sureness, rel=0.06)


def test_without_offsets_the_answer_is_the_softmax_at_the_temperature() -> None:
    logits, _ = draw(100, 1.0)
    np.testing.assert_allclose(Calibration(2.0, NONE).answer(logits), tf.nn.softmax(logits / 2), atol=1e-7)


def test_offsets_choose_the_label_and_change_no_other_answer() -> None:
    logits, _ = draw(2_000, 1.0)
    offsets = (0.5 * np.log(CLASS_SHARES)).astype(np.float32)
    plain = Calibration(1.5, NONE).answer(logits).numpy()
    answer = Calibration(1.5, tuple(map(float, offsets))).answer(logits).numpy()
    np.testing.assert_array_equal(answer.argmax(axis=1), (logits / 1.5 - offsets).argmax(axis=1))
    np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-6)
    moved = answer.argmax(axis=1) != plain.argmax(axis=1)
    assert 0.02 < moved.mean() < 0.5 and (answer.argmax(axis=1) == 2).sum() > (plain.argmax(axis=1) == 2).sum()
    np.testing.assert_allclose(answer[~moved], plain[~moved], atol=1e-7)
    # What shares is equal; what was less likely than the label keeps its own.
    np.testing.assert_allclose(np.sort(answer[moved], axis=1)[:, 1], answer[moved].max(axis=1), atol=1e-5)
    kept = answer[moved] < answer[moved].max(axis=1, keepdims=True) - 1e-4
    np.testing.assert_allclose(answer[moved][kept], plain[moved][kept], atol=1e-7)


def test_log_loss_agrees_with_its_definition() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    assert log_loss(probabilities, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
