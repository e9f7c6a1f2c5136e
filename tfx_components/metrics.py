"""The metrics of a tally as TFMA metrics, so that TFMA's slices and the verdict count the same answers the same way.

TFMA's own precision and F1 cut each class at 0.5, which is not how a label is served.
"""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from headlines.bar.tally import METRICS, WIDTH, Floats, count_rows, decide

_OUTPUT = "label"


class Tallied(metric_types.Metric):
    """One of METRICS, chosen by its name; all of them share one tally per slice and model."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


def _computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    def key(metric: str) -> metric_types.MetricKey:
        return metric_types.MetricKey(
            name=metric, model_name=model_name, output_name=output_name, example_weighted=example_weighted
        )

    # TFMA leaves names with an underscore out of what it writes (no issue known).
    tally_key = key("_tally")

    def result(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        return {key(name): float(METRICS[name](metrics[tally_key]))}

    return [
        metric_types.MetricComputation(
            keys=[tally_key], preprocessors=None, combiner=_Tally(tally_key, eval_config, model_name)
        ),
        metric_types.DerivedMetricComputation(keys=[key(name)], result=result),
    ]


class _Tally(beam.CombineFn):
    """Adds up the rows of a slice."""

    def __init__(self, key: metric_types.MetricKey, eval_config: config_pb2.EvalConfig | None, model_name: str) -> None:
        self._key = key
        self._eval_config = eval_config
        self._model_name = model_name

    def create_accumulator(self) -> Floats:
        return np.zeros(WIDTH)

    def add_input(self, tally: Floats, element: metric_types.StandardMetricInputs) -> Floats:
        outputs = element.get_by_key("predictions", self._model_name)
        for actual, probabilities, _ in metric_util.to_label_prediction_example_weight(
            element, eval_config=self._eval_config, model_name=self._model_name, flatten=False
        ):
            answers = decide(probabilities, np.atleast_1d(outputs[_OUTPUT]))
            tally = tally + count_rows(np.ravel(actual).astype(int), answers).sum(axis=0)
        return tally

    def merge_accumulators(self, tallies: Iterable[Floats]) -> Floats:
        return sum(tallies, np.zeros(WIDTH))

    def extract_output(self, tally: Floats) -> dict[metric_types.MetricKey, Floats]:
        return {self._key: tally}
