"""HeadlineEvaluator: TFX's Evaluator, whose blessing also says why, as one line and as a verdict of every check."""

import json
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from absl import logging
from tfx import types
from tfx.components.evaluator import component as stock_component
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as stock_executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.types.standard_component_specs import BASELINE_MODEL_KEY, BLESSING_KEY, EVALUATION_KEY, EXAMPLES_KEY, MODEL_KEY

from headlines import names
from headlines.bar import answered
from headlines.bar.judging import judge
from headlines.bar.tally import Answers
from headlines.bar.verdict import Limits, Verdict
from tfx_components.artifacts import Artifacts
from tfx_components.baseline import BaselineAnswers, read_answers
from tfx_components.predictions import ask, read_rows

BASELINE_PUSH_KEY = names.BASELINE_PUSH
ANSWERS_KEY = "baseline_answers"
LIMITS_KEY = "limits"


class Executor(stock_executor.Executor):
    """TFX's Evaluator executor, then the verdict."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Evaluates as TFX does, then writes the verdict to the evaluation and onto the blessing.

        Args:
          input_dict: those of TFX's Evaluator; `baseline_push`, if any, is the push that made the baseline model the
            champion; `baseline_answers`, if any, are those of LR and the majority class.
          output_dict: `evaluation` gains `verdict.json`, and `row_answers.json`, by which the model can be compared
            with others on the rows that both answered; `blessing` the custom properties `blessed` (1 or 0), `reason`,
            `champion_version`, and one `check:<name>`, `metric:<name>`, `champion_metric:<name>`,
            `lr_metric:<name>`, `majority_metric:<name>` per item.
          exec_properties: those of TFX's Evaluator, and `limits`, the fields of `verdict.Limits` as JSON.
        """
        super().Do(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict[EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        rows = read_rows(artifact_utils.get_single_instance(input_dict[EXAMPLES_KEY]), "eval")
        others: dict[str, Answers] = {}
        if champions := input_dict.get(BASELINE_MODEL_KEY):
            others[answered.CHAMPION] = ask(champions[0], rows.titles)
        if answers := input_dict.get(ANSWERS_KEY):
            others |= read_answers(Path(answers[0].uri), rows)._asdict()
        candidate = ask(artifact_utils.get_single_instance(input_dict[MODEL_KEY]), rows.titles)
        compared = {who: given for who, given in others.items() if who == answered.CHAMPION}
        answered.write(Path(evaluation.uri), rows.titles, rows.actual, {answered.CANDIDATE: candidate} | compared)
        verdict = judge(
            rows.titles,
            rows.actual,
            rows.nights,
            candidate,
            others,
            Limits.from_json(exec_properties[LIMITS_KEY]),
            _version_of(input_dict.get(BASELINE_PUSH_KEY)),
        )
        text = json.dumps(verdict.to_json(), ensure_ascii=False, allow_nan=False)
        Path(evaluation.uri, names.VERDICT_FILE).write_text(text + "\n", encoding="utf-8")
        _record(verdict, blessing)
        mark(blessing, verdict.blessed)
        logging.info("%s", verdict.tabulate())


class HeadlineEvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's EvaluatorSpec, with the limits, the push of the champion and the answers of the baselines."""

    PARAMETERS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        LIMITS_KEY: ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.EvaluatorSpec.INPUTS,
        BASELINE_PUSH_KEY: ChannelParameter(type=standard_artifacts.PushedModel, optional=True),
        ANSWERS_KEY: ChannelParameter(type=BaselineAnswers, optional=True),
    }


class HeadlineEvaluator(stock_component.Evaluator):
    """Judges a candidate, alone and beside the champion and the baselines as far as there are any, and says why."""

    SPEC_CLASS = HeadlineEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        eval_config: tfma.EvalConfig,
        limits: Limits,
        baseline_model: types.BaseChannel | None = None,
        baseline_push: types.BaseChannel | None = None,
        baseline_answers: types.BaseChannel | None = None,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          examples: raw Examples; the split `eval` is used.
          model: the candidate.
          eval_config: what TFMA writes beside the verdict; thresholds in it are not looked at.
          limits: what the candidate must show.
          baseline_model: the champion; may resolve to nothing, then nothing is compared with it.
          baseline_push: the PushedModel that made it champion, for its version.
          baseline_answers: from Baseline; without them nothing is compared with LR and the majority class.
        """
        # Not Evaluator.__init__: it makes its own spec, which would not take the further input (tensorflow/tfx#2185).
        base_beam_component.BaseBeamComponent.__init__(
            self,
            spec=HeadlineEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                baseline_push=baseline_push,
                baseline_answers=baseline_answers,
                limits=limits.to_json(),
                eval_config=eval_config,
                fairness_indicator_thresholds="null",
                example_splits="null",
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            ),
        )


def _record(verdict: Verdict, blessing: types.Artifact) -> None:
    """Puts the verdict onto the blessing, one short property per item.

    MLMD on Postgres refuses long strings (google/ml-metadata#194).
    """
    blessing.set_string_custom_property(names.REASON, verdict.reason)
    blessing.set_string_custom_property(names.CHAMPION_VERSION, verdict.champion_version)
    for check in verdict.checks:
        value = {name: getattr(check, name) for name in ("value", "limit", "passed", "low", "high")}
        blessing.set_string_custom_property(f"{names.CHECK_PREFIX}{check.name}", json.dumps(value))
    for prefix, metrics in (
        (names.METRIC_PREFIX, verdict.metrics),
        (names.CHAMPION_METRIC_PREFIX, verdict.champion_metrics),
        (names.LR_METRIC_PREFIX, verdict.lr_metrics),
        (names.MAJORITY_METRIC_PREFIX, verdict.majority_metrics),
    ):
        for name, value in metrics.items():
            if isinstance(value, float):
                blessing.set_float_custom_property(f"{prefix}{name}", value)


def _version_of(pushes: list[types.Artifact] | None) -> str:
    return pushes[0].get_string_custom_property(names.PUSHED_VERSION) if pushes else ""


def mark(blessing: types.Artifact, blessed: bool) -> None:
    """Sets what consumers of a stock ModelBlessing look at: the property and the file."""
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    files = (constants.NOT_BLESSED_FILE_NAME, constants.BLESSED_FILE_NAME)
    Path(blessing.uri, files[not blessed]).unlink(missing_ok=True)
    Path(blessing.uri, files[blessed]).touch()
