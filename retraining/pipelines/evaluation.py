"""What TFMA writes of a candidate and the champion: metrics and slices; what is judged is headlines/bar/'s."""

import tensorflow_model_analysis as tfma

from headlines.bar.tally import METRICS
from modules.features import DEFAULT_SIGNATURE, LABEL, NIGHT, PROBABILITIES, TRANSFORM_SIGNATURE, transformed_name

# Kept few: TFMA computes every metric on every slice, of both models. The verdict holds the slices of the titles.
SLICES = ((), (LABEL,), (NIGHT,))


def eval_config() -> tfma.EvalConfig:
    """The evaluation that TFMA writes of a candidate and, when there is one, of the champion.

    It has no thresholds: TFMA would hold one model's figures against a number, while the bar compares row by row. Rows
    weigh the same: the age that training weighs by says nothing about how good an answer is.

    It has no intervals: TFMA's deal the rows out by chance (`evaluators/jackknife.py`, `poisson_bootstrap.py`), so that
    an engine that computes a stage twice, as Spark does for two stages that need it, counts a row twice or never.

    Returns:
      A config with one model, for TFX's Evaluator, which adds the champion as a second.
    """
    metrics = [
        tfma.MetricConfig(class_name="Tallied", module="tfx_components.metrics", config=f'{{"name": "{name}"}}')
        for name in METRICS
    ]
    metrics.append(
        tfma.MetricConfig(class_name="MultiClassConfusionMatrixAtThresholds", config='{"thresholds": [0.0]}')
    )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=DEFAULT_SIGNATURE,
                prediction_key=PROBABILITIES,
                label_key=transformed_name(LABEL),
                preprocessing_function_names=[TRANSFORM_SIGNATURE],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(feature_keys=keys) for keys in SLICES],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
