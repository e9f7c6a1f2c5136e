"""What turns logits into the answer of the exported model: a temperature, and a decision that favours rare classes."""

import dataclasses

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

TEMPERATURES = np.geomspace(0.25, 4.0, 161)
# Breaks the tie between classes that share their probability.
_MARGIN = 1e-6


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Probabilities are softmax(logits / temperature); the label is argmax(logits / temperature - offsets).

    Where the label is not the likeliest class, it and all likelier ones share their probability equally. So the label
    is always the class of the greatest probability, and elsewhere probabilities stay as calibrated: taken off the
    logits themselves, the offsets would make every answer less true, to change the label of a few.

    Attributes:
      temperature: above 1 makes the model less sure of itself.
      offsets: one number per class, in class order.
    """

    temperature: float
    offsets: tuple[float, ...]

    def answer(self, logits: tf.Tensor) -> tf.Tensor:
        """The probabilities, float32 [n, classes], that stand for logits, float32 [n, classes]."""
        scores = logits / self.temperature
        probabilities = tf.nn.softmax(scores)
        chosen = tf.one_hot(tf.argmax(scores - tf.constant(self.offsets, tf.float32), axis=1), len(self.offsets))
        of_chosen = tf.reduce_sum(probabilities * chosen, axis=1, keepdims=True)
        sharing = tf.cast(probabilities >= of_chosen, tf.float32)
        sharers = tf.reduce_sum(sharing, axis=1, keepdims=True)
        shared = tf.reduce_sum(probabilities * sharing, axis=1, keepdims=True) / sharers
        return probabilities * (1 - sharing) + shared * sharing + _MARGIN * (chosen - sharing / sharers)


def log_loss(probabilities: NDArray[np.float32], label_ids: NDArray[np.int64]) -> float:
    """Mean negative log of the probability of the true class, in nats.

    Args:
      probabilities: float [n, classes].
      label_ids: int [n].
    """
    of_truth = probabilities[np.arange(len(label_ids)), label_ids]
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean())


def fit_temperature(logits: NDArray[np.float32], label_ids: NDArray[np.int64]) -> float:
    """The temperature of least log-loss, in [0.25, 4].

    Args:
      logits: float [n, classes].
      label_ids: int [n].
    """
    none = (0.0,) * logits.shape[1]
    losses = [log_loss(Calibration(value, none).answer(logits).numpy(), label_ids) for value in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])
