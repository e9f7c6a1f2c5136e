import numpy as np
import pytest

from modules.calibration import Calibration, fit_temperature, log_loss

RANDOM = np.random.default_rng(5)
CLASS_SHARES = np.array([0.25, 0.7, 0.05])


def draw(rows: int, sureness: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities `sureness` times too sure, and labels drawn from what they should have been."""
    honest = RANDOM.normal(size=(rows, 3)) + np.log(CLASS_SHARES)
    probabilities = Calibration(1.0, (0.0, 0.0, 0.0)).probabilities(honest)
    label_ids = (probabilities.cumsum(axis=1) < RANDOM.random((rows, 1))).sum(axis=1)
    return honest * sureness, label_ids


@pytest.mark.parametrize("sureness", [0.5, 1.0, 2.0])
def test_temperature_undoes_logits_that_are_too_sure_or_not_sure_enough(sureness: float) -> None:
    logits, label_ids = draw(20_000, sureness)
    assert fit_temperature(logits, label_ids, (0.0,) * 3) == pytest.approx(sureness, rel=0.06)


def test_offsets_of_log_shares_favour_the_rare_class_and_the_temperature_makes_up_for_them() -> None:
    logits, label_ids = draw(20_000, 1.0)
    offsets = tuple(0.5 * np.log(CLASS_SHARES))
    plain, favouring = Calibration(1.0, (0.0,) * 3), Calibration(1.0, offsets)
    assert (favouring.probabilities(logits)[:, 2] > plain.probabilities(logits)[:, 2]).all()
    fitted = Calibration(fit_temperature(logits, label_ids, offsets), offsets)
    assert log_loss(plain.probabilities(logits), label_ids) < log_loss(fitted.probabilities(logits), label_ids)
    assert log_loss(fitted.probabilities(logits), label_ids) < log_loss(favouring.probabilities(logits), label_ids)


def test_measures_agree_with_their_definitions() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    assert log_loss(probabilities, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
