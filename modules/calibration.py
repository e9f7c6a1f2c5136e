"""What turns logits into the probabilities of the exported model: a temperature and an offset per class.

NumPy only; no model and no file is touched here.
"""

import dataclasses

import numpy as np

TEMPERATURES = np.geomspace(0.25, 4.0, 161)


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


def fit_temperature(logits: np.ndarray, label_ids: np.ndarray, offsets: tuple[float, ...]) -> float:
    """The temperature of least log-loss beside `offsets`, in [0.25, 4].

    Args:
      logits: float [n, classes].
      label_ids: int [n].
      offsets: one number per class.
    """
    losses = [log_loss(Calibration(value, offsets).probabilities(logits), label_ids) for value in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])
