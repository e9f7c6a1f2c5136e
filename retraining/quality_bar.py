"""What a candidate must show to be blessed: which metrics, on which slices, with which limits.

Only the pipeline imports this (it needs TFMA); how a verdict is reached and written is the Evaluator's.
"""

import tensorflow_model_analysis as tfma
from google.protobuf.wrappers_pb2 import DoubleValue

from modules.features import LABEL, NIGHT, transformed_name
from retraining.settings import Settings
from tfx_components.metrics import STATISTICS

# Kept small: TFMA computes every metric on every slice, of both models.
SLICES = ((), (LABEL,), (NIGHT,))


def eval_config(settings: Settings) -> tfma.EvalConfig:
    """The evaluation of a candidate and, when there is one, of the champion, with the limits of `settings`.

    Floors judge the candidate alone. Drops judge it against the champion on the same rows, and are left out when there
    is none. Both hold on all rows together, never on a slice. Rows weigh the same: the age that training weighs by
    says nothing about how good an answer is.

    Args:
      settings: `min_accuracy`, `min_macro_f1`, `max_accuracy_drop` and `max_macro_f1_drop` are read.

    Returns:
      A config with one model, for TFX's Evaluator, which adds the champion as a second.
    """
    limits = {
        "accuracy": _limit(settings.min_accuracy, settings.max_accuracy_drop),
        "macro_f1": _limit(settings.min_macro_f1, settings.max_macro_f1_drop),
    }
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(class_name="SparseCategoricalCrossentropy", config='{"name": "log_loss"}'),
        tfma.MetricConfig(class_name="MultiClassConfusionMatrixAtThresholds", config='{"thresholds": [0.0]}'),
        *(
            tfma.MetricConfig(
                class_name="TopLabel",
                module="tfx_components.metrics",
                config=f'{{"name": "{name}"}}',
                per_slice_thresholds=[limits[name]] if name in limits else [],
            )
            for name in STATISTICS
        ),
    ]
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                prediction_key="probabilities",
                label_key=transformed_name(LABEL),
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(feature_keys=keys) for keys in SLICES],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )


def _limit(floor: float, drop: float) -> tfma.PerSliceMetricThreshold:
    # A plain `threshold` would hold on every slice; an empty SlicingSpec is all rows together.
    return tfma.PerSliceMetricThreshold(
        slicing_specs=[tfma.SlicingSpec()],
        threshold=tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound=DoubleValue(value=floor)),
            change_threshold=tfma.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute=DoubleValue(value=-drop)
            ),
        ),
    )
