"""HeadlineTuner: TFX's Tuner, whose best hyperparameters say which night they were found on, and how."""

import json
from typing import Any

from tfx import types
from tfx.components.tuner import component as stock_component
from tfx.components.tuner import executor as stock_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.types.standard_component_specs import BEST_HYPERPARAMETERS_KEY, CUSTOM_CONFIG_KEY

from headlines.errors import HeadlinesError
from headlines.names import CODE, HYPERPARAMETERS, NIGHT, OBJECTIVE, SCORE, TRIALS
from tfx_components.artifacts import Artifacts
from tfx_components.trainer import SOURCE_KEY, describe_origin


class SearchError(HeadlinesError):
    """A search found nothing; the message says what to raise."""


class Executor(stock_executor.Executor):
    """TFX's Tuner executor, then a note on the best hyperparameters of how they were found."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Searches as TFX does, and records where the result comes from.

        Args:
          input_dict: those of TFX's Tuner; `source_examples` are the examples before Transform, which name the night.
          output_dict: `best_hyperparameters` gains the custom properties `night`, `trials` (int, finished ones),
            `objective`, `score` (float), `hyperparameters` (JSON of the values), `code`, `data` (see `hash_drops`) and
            `library:<name>`.
          exec_properties: those of TFX's Tuner.

        Raises:
          SearchError: no trial came to an end.
        """
        tuner = stock_executor.search(input_dict, exec_properties, self._get_tmp_dir(), print_tuning_summary=False)
        trials = tuner.oracle.trials.values()
        finished = [trial for trial in tuner.oracle.get_best_trials(len(trials)) if trial.score is not None]
        if not finished:
            failed = "".join(trial.message or "" for trial in trials)
            raise SearchError(f"none of {len(trials)} trials came to an end; raise TUNING_MINUTES\n{failed}")
        stock_executor.write_best_hyperparameters(tuner, output_dict)
        best = artifact_utils.get_single_instance(output_dict[BEST_HYPERPARAMETERS_KEY])
        examples = artifact_utils.get_single_instance(input_dict[SOURCE_KEY])
        origin = {
            NIGHT: examples.get_string_custom_property(NIGHT),
            OBJECTIVE: tuner.oracle.objective.name,
            HYPERPARAMETERS: json.dumps(finished[0].hyperparameters.values, ensure_ascii=False, sort_keys=True),
            CODE: json.loads(exec_properties[CUSTOM_CONFIG_KEY])["code"],
            **describe_origin(examples),
        }
        for name, value in origin.items():
            best.set_string_custom_property(name, value)
        best.set_int_custom_property(TRIALS, len(finished))
        best.set_float_custom_property(SCORE, float(finished[0].score))


class HeadlineTunerSpec(standard_component_specs.TunerSpec):
    """TFX's TunerSpec, with the examples before Transform as one more input."""

    INPUTS = {  # noqa: RUF012
        **standard_component_specs.TunerSpec.INPUTS,
        SOURCE_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }


class HeadlineTuner(stock_component.Tuner):
    """Searches for better hyperparameters."""

    SPEC_CLASS = HeadlineTunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        tuner_fn: str,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        source_examples: types.BaseChannel,
        custom_config: dict[str, Any],
    ) -> None:
        """Places the component in a pipeline.

        Args:
          tuner_fn: dotted path of the function that makes the tuner.
          examples: transformed; the split `train` is trained and measured on.
          transform_graph: of the examples.
          source_examples: the examples before Transform.
          custom_config: what `tuner_fn` is given; `code` is recorded with the result.
        """
        # Not Tuner.__init__: it makes its own spec, which would not take the further input (tensorflow/tfx#2185).
        base_component.BaseComponent.__init__(
            self,
            spec=HeadlineTunerSpec(
                tuner_fn=tuner_fn,
                examples=examples,
                transform_graph=transform_graph,
                source_examples=source_examples,
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                custom_config=json.dumps(custom_config, ensure_ascii=False, sort_keys=True),
                best_hyperparameters=types.Channel(type=standard_artifacts.HyperParameters),
                tuner_results=types.Channel(type=standard_artifacts.TunerResults),
            ),
        )
