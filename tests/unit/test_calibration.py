import numpy as np
import pytest

from modules.calibration import Calibration, fit_offsets, fit_temperature, log_loss, macro_f1

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
    assert fit_temperature(logits, label_ids) == pytest.approx(sureness, rel=0.06)


def test_offsets_favour_the_rare_class_and_raise_macro_f1() -> None:
    logits, label_ids = draw(5_000, 1.0)
    offsets = fit_offsets(logits, label_ids, CLASS_SHARES, temperature=1.0, max_strength=1.0)
    assert offsets[2] < offsets[0] < offsets[1] <= 0

    def score(offsets: tuple[float, ...]) -> float:
        return macro_f1(Calibration(1.0, offsets).probabilities(logits).argmax(axis=1), label_ids, 3)

    assert score(offsets) > score((0.0, 0.0, 0.0)) + 0.02


def test_no_strength_gives_no_offsets() -> None:
    logits, label_ids = draw(100, 1.0)
    assert not any(fit_offsets(logits, label_ids, CLASS_SHARES, temperature=1.0, max_strength=0.0))


def test_measures_agree_with_their_definitions() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    assert log_loss(probabilities, np.array([0, 1])) == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert macro_f1(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3) == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
