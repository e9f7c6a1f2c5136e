"""HeadlineEvaluator: TFX's Evaluator, whose blessing also says why, as one line and as a verdict of every check.

No limit lives here: they come with the EvalConfig. Whether a blessed model is pushed is the Pusher's affair.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from absl import logging
from tensorflow_model_analysis.metrics.metric_specs import metric_thresholds_from_metrics_specs
from tensorflow_model_analysis.view.view_types import EvalResult
from tfx import types
from tfx.components.evaluator import component as stock_component
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as stock_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY, BLESSING_KEY, EVALUATION_KEY

from modules.features import LABELS

BASELINE_PUSH_KEY = "baseline_push"
VERDICT_FILE = "verdict.json"

_CONFUSION = "multi_class_confusion_matrix_at_thresholds"


@dataclass(frozen=True)
class Check:
    """One limit and what was measured against it. A value that could not be computed is None and does not pass."""

    name: str
    value: float | None
    limit: float
    passed: bool

    def explain(self) -> str:
        """Says in one clause how the value stands to its limit."""
        metric = self.name.removesuffix("_change")
        if self.value is None:
            return f"{metric} could not be computed"
        if metric == self.name:
            return f"{metric} {self.value:.3f} is {'not ' if self.passed else ''}below its floor {self.limit:.3f}"
        return (
            f"{metric} is {abs(self.value):.3f} {'below' if self.value < 0 else 'above'} the champion's, "
            f"{'within' if self.passed else 'more than'} the {-self.limit:.3f} allowed"
        )


@dataclass(frozen=True)
class Verdict:
    """Every check of a candidate, and the metrics on all rows that it rests on."""

    checks: list[Check]
    metrics: dict[str, Any]
    champion_metrics: dict[str, Any]
    champion_version: str

    @property
    def blessed(self) -> bool:
        """Whether every check passed; a verdict without checks blesses nothing."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The verdict in one line."""
        if not self.checks:
            return "refused: no limit is configured, so nothing was checked"
        failed = [check.explain() for check in self.checks if not check.passed]
        if failed:
            return "refused: " + "; ".join(failed)
        against = f"champion {self.champion_version}" if self.champion_metrics else "no champion to compare with"
        return f"blessed: {len(self.checks)} of {len(self.checks)} checks passed, {against}"

    def tabulate(self) -> str:
        """The verdict as lines of text for a log: the checks, then the metrics beside the champion's."""
        lines = [self.reason, f"{'check':<22}{'value':>9}{'limit':>9}"]
        for check in self.checks:
            lines.append(
                f"{check.name:<22}{_format(check.value):>9}{_format(check.limit):>9}"
                f"  {'ok' if check.passed else 'FAILED'}"
            )
        lines.append(f"{'metric':<22}{'candidate':>9}{'champion':>9}")
        for name, value in self.metrics.items():
            if name != "confusion":
                lines.append(f"{name:<22}{_format(value):>9}{_format(self.champion_metrics.get(name)):>9}")
        lines.append(f"{'actual, predicted as':<22}" + "".join(f"{label:>9}" for label in LABELS))
        for label, row in zip(LABELS, self.metrics.get("confusion", []), strict=False):
            lines.append(f"{label:<22}" + "".join(f"{count:>9}" for count in row))
        return "\n".join(lines)


class Executor(stock_executor.Executor):
    """TFX's Evaluator executor, then the verdict."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates as TFX does, then writes the verdict to the evaluation and onto the blessing.

        Args:
          input_dict: those of TFX's Evaluator; `baseline_push`, if any, is the push that made the baseline champion.
          output_dict: `evaluation` gains `verdict.json`; `blessing` the custom properties `blessed` (1 or 0),
            `reason`, `champion_version`, and one `check:<name>`, `metric:<name>`, `champion_metric:<name>` per item.
          exec_properties: those of TFX's Evaluator.
        """
        super().Do(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        verdict = judge(
            evaluation.uri,
            has_champion=bool(input_dict.get(BASELINE_MODEL_KEY)),
            champion_version=_version_of(input_dict.get(BASELINE_PUSH_KEY)),
        )
        text = json.dumps(asdict(verdict), ensure_ascii=False, allow_nan=False)
        Path(evaluation.uri, VERDICT_FILE).write_text(text + "\n", encoding="utf-8")
        _record(verdict, blessing)
        mark(blessing, verdict.blessed)
        logging.info("%s", verdict.tabulate())


class HeadlineEvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's EvaluatorSpec, with the push of the champion as one more input."""

    INPUTS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.INPUTS,
        BASELINE_PUSH_KEY: ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
    }


class HeadlineEvaluator(stock_component.Evaluator):
    """Judges a candidate, alone and against the champion if there is one, and says why."""

    SPEC_CLASS = HeadlineEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        eval_config: tfma.EvalConfig,
        baseline_model: types.BaseChannel | None = None,
        baseline_push: types.BaseChannel | None = None,
    ) -> None:
        """Args.

        examples: raw Examples; the split `eval` is used.
        model: the candidate.
        eval_config: metrics, slices and limits.
        baseline_model: the champion; may resolve to nothing, then only the floors are checked.
        baseline_push: the PushedModel that made it champion, for its version.
        """
        # Not Evaluator.__init__: it makes its own spec, which would not take the further input.
        base_beam_component.BaseBeamComponent.__init__(
            self,
            spec=HeadlineEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                baseline_push=baseline_push,
                eval_config=eval_config,
                fairness_indicator_thresholds="null",
                example_splits="null",
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            ),
        )


def judge(evaluation_uri: str, has_champion: bool, champion_version: str) -> Verdict:
    """Reads a finished TFMA evaluation back and checks each of its limits.

    Args:
      evaluation_uri: folder TFMA wrote.
      has_champion: whether a baseline was evaluated on the same rows.
      champion_version: its pushed version; empty if there is none.

    Returns:
      The verdict. What passes is what TFMA passed: values are compared there and only told here.
    """
    candidate = tfma.CANDIDATE_KEY if has_champion else None
    result = tfma.load_eval_result(evaluation_uri, model_name=candidate)
    measured = _overall(result)
    failed = {
        (failure.metric_key.name, failure.metric_key.is_diff)
        for validation in tfma.load_validation_result(evaluation_uri).metric_validations_per_slice
        for failure in validation.failures
    }
    checks = []
    for metrics_spec in result.config.metrics_specs:
        for key, slice_limits in metric_thresholds_from_metrics_specs(
            [metrics_spec], eval_config=result.config
        ).items():
            # The baseline's copy of each limit is there for the configuration's symmetry: TFMA never checks it.
            if key.model_name == tfma.BASELINE_KEY:
                continue
            value = measured.get(f"{key.name}_diff" if key.is_diff else key.name)
            for _, limit in slice_limits:
                checks.append(
                    Check(
                        name=f"{key.name}_change" if key.is_diff else key.name,
                        value=value,
                        limit=limit.absolute.value if key.is_diff else limit.lower_bound.value,
                        passed=value is not None and (key.name, key.is_diff) not in failed,
                    )
                )
    champion = tfma.load_eval_result(evaluation_uri, model_name=tfma.BASELINE_KEY) if has_champion else None
    return Verdict(
        checks=checks,
        metrics={name: value for name, value in measured.items() if not name.endswith("_diff")},
        champion_metrics=_overall(champion) if champion else {},
        champion_version=champion_version,
    )


def _overall(result: EvalResult) -> dict[str, Any]:
    """Each metric on all rows together, None if not a number; `confusion` holds the counts [actual][predicted]."""
    values: dict[str, Any] = {}
    for name, value in (result.get_metrics_for_slice() or {}).items():
        if name == _CONFUSION:
            values["confusion"] = [[0] * len(LABELS) for _ in LABELS]
            for cell in value["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]:
                # Proto JSON leaves zeros out.
                row, column = cell.get("actualClassId", 0), cell.get("predictedClassId", 0)
                values["confusion"][row][column] = int(cell.get("numWeightedExamples", 0))
        elif "doubleValue" in value:
            number = float(value["doubleValue"])
            values[name] = number if math.isfinite(number) else None
    return values


def _record(verdict: Verdict, blessing: types.Artifact) -> None:
    """Puts the verdict onto the blessing, one short property per item: MLMD on Postgres refuses long strings."""
    blessing.set_string_custom_property("reason", verdict.reason)
    blessing.set_string_custom_property("champion_version", verdict.champion_version)
    for check in verdict.checks:
        value = {"value": check.value, "limit": check.limit, "passed": check.passed}
        blessing.set_string_custom_property(f"check:{check.name}", json.dumps(value))
    for prefix, metrics in (("metric", verdict.metrics), ("champion_metric", verdict.champion_metrics)):
        for name, value in metrics.items():
            if isinstance(value, float):
                blessing.set_float_custom_property(f"{prefix}:{name}", value)


def _version_of(pushes: list[types.Artifact] | None) -> str:
    return pushes[0].get_string_custom_property("pushed_version") if pushes else ""


def mark(blessing: types.Artifact, blessed: bool) -> None:
    """Sets what consumers of a stock ModelBlessing look at: the property and the file."""
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
    files = (constants.NOT_BLESSED_FILE_NAME, constants.BLESSED_FILE_NAME)
    Path(blessing.uri, files[not blessed]).unlink(missing_ok=True)
    Path(blessing.uri, files[blessed]).touch()


def _format(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"
