"""HeadlinePusher: TFX's Pusher with one version per night; how it is published is in headlines/pushes/publishing.py."""

import json
from datetime import date
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import component as stock_component
from tfx.components.pusher import executor as stock_executor
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types import standard_component_specs as specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.utils import proto_utils

from headlines import names
from headlines.objects.addresses import to_path
from headlines.pushes.publishing import RefusedError, publish
from tfx_components.artifacts import Artifacts
from tfx_components.related_index import RelatedHeadlines

NIGHT_KEY = names.NIGHT
RELATED_INDEX_KEY = "related_index"


class Executor(stock_executor.Executor):
    """TFX's Pusher executor, with versions by night."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Publishes the model if all its blessings allow it, and records what was done and why.

        Args:
          input_dict: `model`, `model_blessing` (whose `champion_version` says what the model was compared with),
            `infra_blessing` and, if there is one, `related_index`.
          output_dict: `pushed_model` gains the custom properties `pushed` (1 or 0), `pushed_version`,
            `pushed_destination`, `night`, `model_id` and `reason`. Its folder stays empty: the Trainer keeps the model.
          exec_properties: `push_destination` (JSON of PushDestination) and `night`, `YYYY-MM-DD`.

        Raises:
          ValueError: the night is not a date.
          PushError: the serving directory could not be written.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        night = date.fromisoformat(exec_properties[NIGHT_KEY])
        push = artifact_utils.get_single_instance(output_dict[specs.PUSHED_MODEL_KEY])
        push.set_string_custom_property(names.NIGHT, night.isoformat())
        push.set_int_custom_property(names.MODEL_ID, artifact_utils.get_single_instance(input_dict[specs.MODEL_KEY]).id)
        refusal = find_refusal(input_dict)
        if refusal:
            self._refuse(push, refusal)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[specs.PUSH_DESTINATION_KEY], destination)
        blessing = artifact_utils.get_single_instance(input_dict[specs.MODEL_BLESSING_KEY])
        try:
            publication = publish(
                Path(self.GetModelPath(input_dict)),
                to_path(destination.filesystem.base_directory),
                night,
                blessing.get_string_custom_property(names.CHAMPION_VERSION),
                describe(artifact_utils.get_single_instance(input_dict[specs.MODEL_KEY]), blessing, night),
                Path(input_dict[RELATED_INDEX_KEY][0].uri) if input_dict.get(RELATED_INDEX_KEY) else None,
            )
        except RefusedError as error:
            self._refuse(push, str(error))
            return
        self._MarkPushed(push, str(publication.path), str(publication.version))
        push.set_string_custom_property(names.REASON, publication.reason)
        logging.info("Pushed: %s, in %s", publication.reason, publication.path)

    def _refuse(self, push: types.Artifact, reason: str) -> None:
        self._MarkNotPushed(push)
        push.set_string_custom_property(names.REASON, reason)
        logging.warning("Not pushed: %s", reason)


class HeadlinePusherSpec(specs.PusherSpec):
    """TFX's PusherSpec with the night and the related headlines."""

    PARAMETERS = {  # noqa: RUF012
        **specs.PusherSpec.PARAMETERS,
        NIGHT_KEY: ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        **specs.PusherSpec.INPUTS,
        RELATED_INDEX_KEY: ChannelParameter(type=RelatedHeadlines, optional=True),
    }


class HeadlinePusher(stock_component.Pusher):
    """Publishes a model that both blessings allow, as `<serving_dir>/<night as a number * 100 + revision>`."""

    SPEC_CLASS = HeadlinePusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        serving_dir: str,
        night: str,
        related_index: types.BaseChannel | None = None,
    ) -> None:
        """Places the component in a pipeline.

        Args:
          model: the candidate.
          model_blessing: the Evaluator's.
          infra_blessing: the InfraCheck's.
          serving_dir: folder with one numbered folder per version, as TensorFlow Serving reads it.
          night: `YYYY-MM-DD`, or a template that is rendered to it at run time.
          related_index: of the headlines the model was taught, to travel with it.
        """
        # Not Pusher.__init__: it makes its own spec, which would not take the night (tensorflow/tfx#2185).
        base_component.BaseComponent.__init__(
            self,
            spec=HeadlinePusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                related_index=related_index,
                push_destination=pusher_pb2.PushDestination(
                    filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
                ),
                night=night,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            ),
        )


def find_refusal(input_dict: Artifacts) -> str:
    """The reason, in one line, why a model may not be pushed; empty if both blessings allow it."""
    for key, is_blessed in (
        (specs.MODEL_BLESSING_KEY, model_utils.is_model_blessed),
        (specs.INFRA_BLESSING_KEY, model_utils.is_infra_validated),
    ):
        blessing = artifact_utils.get_single_instance(input_dict[key])
        if not is_blessed(blessing):
            return (
                blessing.get_string_custom_property(names.REASON)
                or f"refused: {key} is not blessed, see {blessing.uri}"
            )
    return ""


def describe(model: types.Artifact, blessing: types.Artifact, night: date) -> dict[str, Any]:
    """Where a model comes from, for whoever asks the model server.

    Args:
      model: says of itself what `code`, `data` and `settings` it was made with.
      blessing: the verdict.
      night: it was trained for.
    """
    verdict = {
        name.removeprefix(names.CHECK_PREFIX): json.loads(value.string_value)
        for name, value in sorted(blessing.mlmd_artifact.custom_properties.items())
        if name.startswith(names.CHECK_PREFIX)
    }
    return {
        "night": night.isoformat(),
        names.MODEL_ID: model.id,
        **{name: model.get_string_custom_property(name) for name in (names.CODE, names.DATA, names.SETTINGS)},
        "verdict": {"reason": blessing.get_string_custom_property(names.REASON), "checks": verdict},
    }
