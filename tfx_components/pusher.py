"""HeadlinePusher: TFX's Pusher with one version per night, published whole or not at all.

Which model deserves it is decided upstream; which version is champion for a night is decided by who reads the record.
"""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import component as stock_component
from tfx.components.pusher import executor as stock_executor
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter
from tfx.types.standard_component_specs import (
    INFRA_BLESSING_KEY,
    MODEL_BLESSING_KEY,
    MODEL_KEY,
    PUSH_DESTINATION_KEY,
    PUSHED_MODEL_KEY,
)
from tfx.utils import proto_utils

from headlines.pushes import rollbacks
from headlines.pushes.model_hash import ABOUT_FILE, EXTRAS, RELATED_FOLDER, hash_model
from tfx_components.related_index import RelatedHeadlines

NIGHT_KEY = "night"
RELATED_INDEX_KEY = "related_index"
# A version is its night's number times this, plus a revision from 1: the greatest version is the newest night's.
REVISIONS = 100

# Never a number, so no model server takes it for a version.
_INCOMING = ".incoming-"


class PushError(RuntimeError):
    """A model could not be published; what was served before is untouched."""


class RefusedError(PushError):
    """The model may not be published after all; the message is the reason that is recorded."""


class ChampionChangedError(RefusedError):
    """The model was compared with a champion that is no longer the one as of its night, so its blessing is stale."""


class RolledBackError(RefusedError):
    """It is the same model again that somebody rolled back."""


@dataclass(frozen=True)
class Publication:
    """Where a model is served from now on, and why as this version."""

    version: int
    path: Path
    reason: str


class Executor(stock_executor.Executor):
    """TFX's Pusher executor, with versions by night."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
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
        push = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        push.set_string_custom_property("night", night.isoformat())
        push.set_int_custom_property("model_id", artifact_utils.get_single_instance(input_dict[MODEL_KEY]).id)
        refusal = find_refusal(input_dict)
        if refusal:
            self._refuse(push, refusal)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[PUSH_DESTINATION_KEY], destination)
        blessing = artifact_utils.get_single_instance(input_dict[MODEL_BLESSING_KEY])
        try:
            publication = publish(
                Path(self.GetModelPath(input_dict)),
                Path(destination.filesystem.base_directory),
                night,
                blessing.get_string_custom_property("champion_version"),
                describe(artifact_utils.get_single_instance(input_dict[MODEL_KEY]), blessing, night),
                Path(input_dict[RELATED_INDEX_KEY][0].uri) if input_dict.get(RELATED_INDEX_KEY) else None,
            )
        except RefusedError as error:
            self._refuse(push, str(error))
            return
        self._MarkPushed(push, str(publication.path), str(publication.version))
        push.set_string_custom_property("reason", publication.reason)
        logging.info("Pushed: %s, in %s", publication.reason, publication.path)

    def _refuse(self, push: types.Artifact, reason: str) -> None:
        self._MarkNotPushed(push)
        push.set_string_custom_property("reason", reason)
        logging.warning("Not pushed: %s", reason)


class HeadlinePusherSpec(standard_component_specs.PusherSpec):
    """TFX's PusherSpec with the night and the related headlines."""

    PARAMETERS = {  # noqa: RUF012
        **standard_component_specs.PusherSpec.PARAMETERS,
        NIGHT_KEY: ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        **standard_component_specs.PusherSpec.INPUTS,
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
        """Args.

        model: the candidate.
        model_blessing: the Evaluator's.
        infra_blessing: the InfraCheck's.
        serving_dir: folder with one numbered folder per version, as TensorFlow Serving reads it.
        night: `YYYY-MM-DD`, or a template that is rendered to it at run time.
        related_index: of the headlines the model was taught, to travel with it.
        """
        # Not Pusher.__init__: it makes its own spec, which would not take the night.
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


def find_refusal(input_dict: dict[str, list[types.Artifact]]) -> str:
    """The reason, in one line, why a model may not be pushed; empty if both blessings allow it."""
    for key, is_blessed in (
        (MODEL_BLESSING_KEY, model_utils.is_model_blessed),
        (INFRA_BLESSING_KEY, model_utils.is_infra_validated),
    ):
        blessing = artifact_utils.get_single_instance(input_dict[key])
        if not is_blessed(blessing):
            return blessing.get_string_custom_property("reason") or f"refused: {key} is not blessed, see {blessing.uri}"
    return ""


def describe(model: types.Artifact, blessing: types.Artifact, night: date) -> dict[str, Any]:
    """Where a model comes from, for whoever asks the model server.

    Args:
      model: says of itself what `code`, `data` and `settings` it was made with.
      blessing: the verdict.
      night: it was trained for.
    """
    verdict = {
        name.removeprefix("check:"): json.loads(value.string_value)
        for name, value in sorted(blessing.mlmd_artifact.custom_properties.items())
        if name.startswith("check:")
    }
    return {
        "night": night.isoformat(),
        "model_id": model.id,
        **{name: model.get_string_custom_property(name) for name in ("code", "data", "settings")},
        "verdict": {"reason": blessing.get_string_custom_property("reason"), "checks": verdict},
    }


def publish(
    model_path: Path,
    serving_dir: Path,
    night: date,
    champion_version: str = "",
    about: dict[str, Any] | None = None,
    related_index: Path | None = None,
) -> Publication:
    """Makes a model appear, complete, as the night's version in the serving directory.

    The newest revision of the same night is kept if it is the same model; otherwise the model becomes the next
    revision. Nothing is ever replaced or removed, and an older night gets a smaller number than the newer ones. Model
    servers that a rollback holds at an earlier version move on to this one if it is newer.

    Args:
      model_path: a SavedModel.
      serving_dir: made if missing.
      night: the night the model was trained for.
      champion_version: what the model was compared with; empty if there was no champion.
      about: what is written down beside a new version, with the version, the reason and the time.
      related_index: folder of an index of the headlines that the model was taught, which a new version gets a copy of.

    Returns:
      The version now holding the model.

    Raises:
      ChampionChangedError: the champion as of the night is not the version any more that the model was compared with.
      RolledBackError: the night made a model again that was rolled back.
      PushError: the disk is full, the folder may not be written, the model servers' config file is none, or the night
        has used up its revisions.
    """
    number = int(f"{night:%Y%m%d}")
    try:
        serving_dir.mkdir(parents=True, exist_ok=True)
        with rollbacks.hold(serving_dir):
            for abandoned in serving_dir.glob(f"{_INCOMING}*"):
                shutil.rmtree(abandoned)
            present = rollbacks.find_versions(serving_dir)
            served = rollbacks.find_served(serving_dir)
            history = rollbacks.read(serving_dir)
            _check_champion(
                present, number, champion_version, set(rollbacks.find_withdrawn(history, night)), serving_dir
            )
            mine = [version for version in present if version // REVISIONS == number]
            digest = hash_model(model_path)
            _check_rollbacks(mine, digest, rollbacks.find_withdrawn(history), serving_dir)
            if mine and hash_model(serving_dir / str(mine[-1])) == digest:
                version = mine[-1]
                reason = f"kept {version}: the night was run again and made the same model"
            else:
                version = mine[-1] + 1 if mine else number * REVISIONS + 1
                reason = f"pushed as {version}" + (f": it differs from {mine[-1]} of the same night" if mine else "")
                if version // REVISIONS != number:
                    raise PushError(f"{night} has used up its revisions with {mine[-1]}; remove the last ones")
                noted = (about or {}) | {
                    "version": str(version),
                    "reason": reason,
                    "pushed_at": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                _appear(model_path, serving_dir / str(version), noted, related_index)
            rollbacks.tell_servers(serving_dir)
    except OSError as error:
        raise PushError(_explain(error, model_path, serving_dir)) from error
    except rollbacks.ConfigError as error:
        raise PushError(f"{error}, and clear this task") from error
    if served and served > version:
        reason += f"; the newer {served} keeps serving"
    elif served and served < present[-1]:
        reason += f"; it takes over from {served}, which was rolled back to"
    return Publication(version, serving_dir / str(version), reason)


def _check_champion(
    present: list[int], number: int, champion_version: str, withdrawn: set[int], serving_dir: Path
) -> None:
    """Compares the champion of the verdict with what is published now, while nobody else can publish.

    Only a greater version, or a rollback, means that the champion has changed: older ones may have been cleaned up
    meanwhile.
    """
    if int(champion_version or 0) in withdrawn:
        raise ChampionChangedError(
            f"refused: the model was compared with champion {champion_version}, which was rolled back since; run the "
            "night again to compare it with the one as of its night"
        )
    earlier = [version for version in present if version // REVISIONS < number and version not in withdrawn]
    if earlier and earlier[-1] > int(champion_version or 0):
        compared = f"champion {champion_version}" if champion_version else "no champion"
        raise ChampionChangedError(
            f"refused: the model was compared with {compared}, but the champion as of its night is {earlier[-1]} by "
            f"now; run the night again to compare it with that one (if lineage knows no push of {earlier[-1]}, clear "
            f"the Pusher of its night, or move it out of {serving_dir})"
        )


def _check_rollbacks(mine: list[int], digest: str, withdrawn: dict[int, rollbacks.Rollback], serving_dir: Path) -> None:
    """Looks whether a model is one of its night's that were rolled back."""
    for version in mine:
        if version in withdrawn and hash_model(serving_dir / str(version)) == digest:
            rollback = withdrawn[version]
            raise RolledBackError(
                f"refused: the night made the same model again as {version}, which {rollback.by} rolled back at "
                f"{rollback.at} ({rollback.reason}); to serve it after all: retraining rollback --to {version}"
            )


def _appear(source: Path, target: Path, about: dict[str, Any], related_index: Path | None) -> None:
    """Copies under a name no server reads, then renames: whoever sees `target` sees all of it."""
    incoming = target.with_name(f"{_INCOMING}{target.name}")
    try:
        shutil.copytree(source, incoming, copy_function=_copy_durably)
        extras = incoming / EXTRAS
        extras.mkdir(exist_ok=True)
        with (extras / ABOUT_FILE).open("w", encoding="utf-8") as stream:
            json.dump(about, stream, ensure_ascii=False, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        if related_index is not None:
            shutil.copytree(related_index, extras / RELATED_FOLDER, copy_function=_copy_durably)
        incoming.rename(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _copy_durably(source: str, target: str) -> None:
    # Synced before the rename, or a power cut could leave the new name with empty files.
    shutil.copyfile(source, target)
    with Path(target).open("rb") as stream:
        os.fsync(stream.fileno())


def _explain(error: OSError, model_path: Path, serving_dir: Path) -> str:
    # copytree goes on after a failed file and gathers what went wrong: the first of it tells enough.
    cause = error.args[0][0][2] if isinstance(error, shutil.Error) else error
    size = sum(file.stat().st_size for file in model_path.rglob("*") if file.is_file()) / 1e6
    return (
        f"{model_path} ({size:.1f} MB) could not be published in {serving_dir}: {cause}; "
        "free space or correct the permissions there, then clear this task. What was served before still is."
    )
