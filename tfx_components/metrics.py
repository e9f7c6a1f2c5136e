"""TFMA metrics of the most probable label: accuracy, macro-F1, and precision and recall of each class.

No limit lives here. TFMA's own precision and F1 cut each class at 0.5, which is not how a label is served.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorflow_model_analysis.metrics import metric_types, metric_util, multi_class_confusion_matrix_metrics
from tensorflow_model_analysis.proto import config_pb2

from modules.features import LABELS

# Counts [actual, predicted], in the order of LABELS.
Matrix = npt.NDArray[np.float64]
Statistic = Callable[[Matrix], float]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _accuracy(matrix: Matrix) -> float:
    return _ratio(matrix.trace(), matrix.sum())


def _majority_accuracy(matrix: Matrix) -> float:
    return _ratio(matrix.sum(axis=1).max(), matrix.sum())


def _macro_f1(matrix: Matrix) -> float:
    # As scikit-learn does, a class that neither occurs nor is predicted does not count.
    occurs, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    scores = [2 * matrix[i, i] / (occurs[i] + predicted[i]) for i in range(len(matrix)) if occurs[i] + predicted[i]]
    return float(np.mean(scores)) if scores else 0.0


def _precision(index: int) -> Statistic:
    return lambda matrix: _ratio(matrix[index, index], matrix[:, index].sum())


def _recall(index: int) -> Statistic:
    return lambda matrix: _ratio(matrix[index, index], matrix[index].sum())


STATISTICS: dict[str, Statistic] = {
    "accuracy": _accuracy,
    "majority_accuracy": _majority_accuracy,
    "macro_f1": _macro_f1,
    **{f"precision_{label}": _precision(index) for index, label in enumerate(LABELS)},
    **{f"recall_{label}": _recall(index) for index, label in enumerate(LABELS)},
}


class TopLabel(metric_types.Metric):
    """One of STATISTICS, chosen by its name; all of them share one confusion matrix per slice and model."""

    def __init__(self, name: str) -> None:
        super().__init__(metric_util.merge_per_key_computations(_computations), name=name)


def _computations(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    matrices = multi_class_confusion_matrix_metrics.multi_class_confusion_matrices(
        thresholds=[0.0],
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    matrices_key = matrices[-1].keys[-1]
    key = metric_types.MetricKey(
        name=name, model_name=model_name, output_name=output_name, example_weighted=example_weighted
    )

    def result(metrics: dict[metric_types.MetricKey, Any]) -> dict[metric_types.MetricKey, float]:
        matrix = np.zeros((len(LABELS), len(LABELS)))
        for cell, count in metrics[matrices_key][0.0].items():
            matrix[cell.actual_class_id, cell.predicted_class_id] += count
        return {key: STATISTICS[name](matrix)}

    return [*matrices, metric_types.DerivedMetricComputation(keys=[key], result=result)]
