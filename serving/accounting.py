"""What is kept of each answer that a model gave, over every protocol alike: metrics, and the log of requests."""

import time
from collections import Counter

from serving.metrics import Metrics
from serving.model import Model, Signature
from serving.request_log import RequestLog
from serving.tensors import Tensors, is_long
from serving.turns import do_in_turn


class Accounting:
    """Counts answers, and hands them to the log of requests where one is kept."""

    def __init__(self, metrics: Metrics) -> None:
        """Counts in these series; keeps no log until `request_log` is set."""
        self.request_log: RequestLog | None = None
        self._metrics = metrics

    async def add(self, model: Model, signature: Signature, inputs: Tensors, outputs: Tensors, started: float) -> None:
        """Counts one answer, of many rows in its turn.

        Args:
          model: the one that answered.
          signature: what was run of it.
          inputs: what it was run on.
          outputs: what it gave.
          started: `time.perf_counter()` when the request's head had come.

        Raises:
          ServingError: the time is up, or the client has gone.
        """
        await do_in_turn(is_long(outputs), self._add, model, signature, inputs, outputs, started)

    def _add(self, model: Model, signature: Signature, inputs: Tensors, outputs: Tensors, started: float) -> None:
        version = str(model.version)
        self._metrics.seconds.labels(signature.name, version).observe(time.perf_counter() - started)
        label = outputs.get("label")
        if label is not None and label.dtype == object:
            for name, count in Counter(label.ravel().tolist()).items():
                self._metrics.predictions.labels(name.decode("utf-8", "replace"), version).inc(count)
        if self.request_log:
            self.request_log.keep(model.version, signature.name, inputs, outputs)
