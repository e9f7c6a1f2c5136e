"""HeadlineTrainer: TFX's Trainer, whose model says what made it: night, data, code, settings, library versions."""

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.trainer import component as stock_component
from tfx.components.trainer import executor as stock_executor
from tfx.components.trainer import fn_args_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.types.standard_component_specs import CUSTOM_CONFIG_KEY, HYPERPARAMETERS_KEY, MODEL_KEY, MODEL_RUN_KEY

from headlines.names import DATA, DROP_PREFIX, HYPERPARAMETERS, LIBRARY_PREFIX, NIGHT
from tfx_components.artifacts import Artifacts

SOURCE_KEY = "source_examples"
# What `run_fn` leaves in the folder of its run: `values` by name, and why tuned ones were `left_out`.
HYPERPARAMETERS_FILE = "hyperparameters.json"
# Those whose version can change a weight or the verdict on it; one property each, named `library:<name>`.
LIBRARIES = ("keras", "numpy", "scikit-learn", "scipy", "statsmodels", "tensorflow", "tensorflow-transform", "tfx")


class Executor(stock_executor.GenericExecutor):
    """TFX's Trainer executor, then a note on the model of what made it."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Trains as TFX does, and records where the model comes from.

        Args:
          input_dict: those of TFX's Trainer; `source_examples` are the examples before Transform, which name the drops.
          output_dict: `model` gains the string custom properties `night`, `code` and `settings` (as `custom_config`
            has them), `data` (see `hash_drops`), `library:<name>`, and as JSON `hyperparameters` (all of them) and
            `hyperparameters_source` (where those that are no defaults come from).
          exec_properties: those of TFX's Trainer.
        """
        super().Do(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(output_dict[MODEL_KEY])
        config = json.loads(exec_properties[CUSTOM_CONFIG_KEY])
        origin = {name: config[name] for name in ("night", "code", "settings")}
        origin |= describe_origin(artifact_utils.get_single_instance(input_dict[SOURCE_KEY]))
        origin |= _describe_hyperparameters(input_dict, output_dict, config["hyperparameters"])
        for name, value in origin.items():
            model.set_string_custom_property(name, value)

    def _GetFnArgs(self, *args: Any) -> fn_args_utils.FnArgs:
        """As TFX gives them, with hyperparameters as plain values by name: those that were given, and tuned ones."""
        fn_args = super()._GetFnArgs(*args)
        by_setting = fn_args.custom_config["hyperparameters"]
        fn_args.custom_config["hyperparameters"] = {
            name: value for values in by_setting.values() for name, value in values.items()
        }
        # keras-tuner writes them beside the space that was searched.
        fn_args.hyperparameters = (fn_args.hyperparameters or {}).get("values")
        return fn_args


def _describe_hyperparameters(
    input_dict: Artifacts, output_dict: Artifacts, by_setting: dict[str, dict[str, Any]]
) -> dict[str, str]:
    run = Path(artifact_utils.get_single_uri(output_dict[MODEL_RUN_KEY]))
    note = json.loads((run / HYPERPARAMETERS_FILE).read_text())
    source: dict[str, str] = {}
    for tuned in input_dict.get(HYPERPARAMETERS_KEY, []):
        origin = f"tuned on night {tuned.get_string_custom_property(NIGHT)}"
        if note["left_out"]:
            source[f"left out: {origin}"] = note["left_out"]
        else:
            source |= dict.fromkeys(json.loads(tuned.get_string_custom_property(HYPERPARAMETERS)), origin)
    for setting, values in by_setting.items():
        source |= dict.fromkeys(values, setting)
    return {
        "hyperparameters": json.dumps(note["values"], ensure_ascii=False, sort_keys=True),
        "hyperparameters_source": json.dumps(source, ensure_ascii=False, sort_keys=True),
    }


class HeadlineTrainerSpec(standard_component_specs.TrainerSpec):
    """TFX's TrainerSpec, with the examples before Transform as one more input."""

    INPUTS = {  # noqa: RUF012
        **standard_component_specs.TrainerSpec.INPUTS,
        SOURCE_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }


class HeadlineTrainer(stock_component.Trainer):
    """Trains the night's candidate."""

    SPEC_CLASS = HeadlineTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        run_fn: str,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        source_examples: types.BaseChannel,
        custom_config: dict[str, Any],
        hyperparameters: types.BaseChannel | None = None,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          run_fn: dotted path of the training function.
          examples: transformed; the split `train` is trained on.
          transform_graph: of the examples.
          source_examples: the examples before Transform.
          custom_config: what `run_fn` is given; `night`, `code` and `settings` are recorded with the model. Its
            `hyperparameters` are by the setting that names them, a later one wins; `run_fn` sees them as one.
          hyperparameters: tuned ones, over which those of `custom_config` win.
        """
        # Not Trainer.__init__: it makes its own spec, which would not take the further input (tensorflow/tfx#2185).
        base_component.BaseComponent.__init__(
            self,
            spec=HeadlineTrainerSpec(
                run_fn=run_fn,
                examples=examples,
                transform_graph=transform_graph,
                source_examples=source_examples,
                hyperparameters=hyperparameters,
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                custom_config=json.dumps(custom_config, ensure_ascii=False, sort_keys=True),
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            ),
        )


def hash_drops(examples: types.Artifact) -> str:
    """The first 16 hex digits of a SHA-256 over the night, the version and the contents of each drop of the window."""
    drops = {}
    for name, value in examples.mlmd_artifact.custom_properties.items():
        if name.startswith(DROP_PREFIX):
            drop = json.loads(value.string_value)
            drops[name] = [drop["version"], drop["sha256"]]
    return hashlib.sha256(json.dumps(drops, sort_keys=True).encode()).hexdigest()[:16]


def describe_origin(examples: types.Artifact) -> dict[str, str]:
    """What is recorded with whatever is learnt from examples: `data`, and `library:<name>` for what can change it."""
    libraries = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {DATA: hash_drops(examples)} | {f"{LIBRARY_PREFIX}{name}": version for name, version in libraries.items()}
