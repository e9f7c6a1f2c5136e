"""What is fitted to logits after training: a temperature, and an adjustment in favour of rare classes.

NumPy only; no model and no file is touched here.
"""

import dataclasses

import numpy as np

TEMPERATURES = np.geomspace(0.25, 4.0, 161)
ADJUSTMENT_STEPS = 21


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Probabilities are softmax(logits / temperature - offsets).

    Attributes:
      temperature: above 1 makes the model less sure of itself.
      offsets: one number per class, in class order.
    """

    temperature: float
    offsets: tuple[float, ...]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated probabilities [n, classes] of logits [n, classes]."""
        scores = logits / self.temperature - np.asarray(self.offsets)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)


def log_loss(probabilities: np.ndarray, label_ids: np.ndarray) -> float:
    """Mean negative log of the probability given to the true class, in nats."""
    chosen = probabilities[np.arange(len(label_ids)), label_ids]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def macro_f1(predicted_ids: np.ndarray, label_ids: np.ndarray, classes: int) -> float:
    """Mean over classes of F1; a class that is neither there nor predicted counts 0."""
    scores = []
    for class_id in range(classes):
        hits = np.sum((predicted_ids == class_id) & (label_ids == class_id))
        total = np.sum(predicted_ids == class_id) + np.sum(label_ids == class_id)
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def fit_temperature(logits: np.ndarray, label_ids: np.ndarray) -> float:
    """The temperature of least log-loss, in [0.25, 4].

    Args:
      logits: float [n, classes].
      label_ids: int [n].
    """
    none = (0.0,) * logits.shape[1]
    losses = [log_loss(Calibration(temperature, none).probabilities(logits), label_ids) for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def fit_offsets(
    logits: np.ndarray, label_ids: np.ndarray, class_shares: np.ndarray, temperature: float, max_strength: float
) -> tuple[float, ...]:
    """Offsets strength * log(class share) of the greatest macro-F1; the smallest such strength in [0, max_strength].

    Args:
      logits: float [n, classes].
      label_ids: int [n].
      class_shares: float [classes], positive: shares of the classes in training.
      temperature: what the logits are divided by first.
      max_strength: 1 assumes classes equally likely.
    """
    log_shares = np.log(class_shares)
    candidates = [tuple(strength * log_shares) for strength in np.linspace(0.0, max_strength, ADJUSTMENT_STEPS)]
    scores = [
        macro_f1(Calibration(temperature, offsets).probabilities(logits).argmax(axis=1), label_ids, logits.shape[1])
        for offsets in candidates
    ]
    return tuple(float(offset) for offset in candidates[int(np.argmax(scores))])
