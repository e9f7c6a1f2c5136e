"""What a past night was run on, and whether it is still there: asked before anything heavy is loaded to replay it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from headlines import names
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents
from headlines.objects.addresses import download, is_object, to_path
from headlines.schedule import check_night
from lineage import ArtifactRecord, RunArtifacts, artifacts_of_run, find_finished
from retraining.local import LocalError
from retraining.settings import Settings

Artifacts = Mapping[tuple[str, str], ArtifactRecord]

EXAMPLES = (names.EXAMPLE_GEN, "examples")
# What a replay reads again of what the run made; of its verdict stays what is compared.
_COMPARED = (EXAMPLES, ("Transform", "transform_graph"), (names.TRAINER, "model"))


class ReplayError(LocalError):
    """The night cannot be replayed; the message says what is missing."""


@dataclass(frozen=True)
class PastRun:
    """The newest finished run of a night, what it read and what it made."""

    run_id: str
    artifacts: RunArtifacts


def find_past_run(settings: Settings, night: str) -> PastRun:
    """The run of a night that can be replayed.

    Raises:
      NightError: the night may not be run, nor was it.
      ReplayError: the night has no finished run, or a drop, the champion or the hyperparameters it used are gone,
        or what it made was removed.
    """
    finished = find_finished(settings, night)
    if finished is None:
        check_night(settings, night)
        raise ReplayError(
            f"night {night} has no finished run to replay; run it first: `retraining run --night {night}`"
        )
    past = PastRun(finished.run_id, artifacts_of_run(settings, finished.run_id))
    for place in _COMPARED:
        made = past.artifacts.outputs.get(place)
        if made and made.removal:
            raise ReplayError(
                f"there is nothing left to compare a replay of night {night} with: its {made.type} was {made.removal}; "
                f"to run the night again instead: `retraining run --night {night} --force`"
            )
    drops = DropsFolder(settings.drops_dir)
    for one, drop in drops_of(past.artifacts.outputs[EXAMPLES]).items():
        _find_versions(drops, one, drop["version"])
    champion = past.artifacts.inputs.get((names.EVALUATOR, names.BASELINE_MODEL))
    push = past.artifacts.inputs.get((names.EVALUATOR, names.BASELINE_PUSH))
    if champion and push and find_champion(champion, push) is None:
        raise ReplayError(
            f"the champion of that night, version {push.properties[names.PUSHED_VERSION]}, is neither at "
            f"{champion.uri} any more nor at {push.properties.get(names.PUSHED_DESTINATION)}; bring either back from a "
            "backup to replay the night"
        )
    tuned = past.artifacts.inputs.get((names.TRAINER, "hyperparameters"))
    if tuned and not to_path(tuned.uri).is_dir():
        raise ReplayError(
            f"the hyperparameters that the run used, tuned on night {tuned.properties[names.NIGHT]}, are not at "
            f"{tuned.uri} any more"
        )
    return past


def find_champion(model: ArtifactRecord, push: ArtifactRecord) -> Path | None:
    """Where a champion's SavedModel is: in its Trainer's folder, or else as it was pushed; None where it is gone."""
    pushed = push.properties.get(names.PUSHED_DESTINATION)
    places = [to_path(model.uri) / names.SERVING_FORMAT, *([to_path(pushed)] if pushed else [])]
    return next((place for place in places if (place / names.SAVED_MODEL_FILE).is_file()), None)


def stage_drops(
    drops_dir: Path, examples: ArtifactRecord, target: Path, precedents: Precedents = NO_PRECEDENTS
) -> None:
    """Copies the versions of the drops of a window, and those they replaced, to a drops folder of their own.

    Args:
      drops_dir: where drops are delivered.
      examples: names those that made it, and those that were left out of it.
      target: is made.
      precedents: with which label codes versions were first read; they go with the copy.

    Raises:
      ReplayError: a version is not there any more.
    """
    drops = DropsFolder(drops_dir)
    for night, version in _versions_of(examples).items():
        for number in _find_versions(drops, night, version):
            folder = drops.look_into(date.fromisoformat(night), number)
            copy = target / night if number == 1 else target / night / folder.path.name
            copy.mkdir(parents=True, exist_ok=True)
            for file in folder.paths:
                if is_object(file):
                    download(file, copy / file.name)
                else:
                    shutil.copy2(file, copy)
            if codes := precedents.codes.get((night, number)):
                _mark(copy / names.SUCCESS_MARKER, codes)
        # What was used was complete.
        (copy / names.SUCCESS_MARKER).touch()


def _mark(marker: Path, codes: Codes) -> None:
    """Notes label codes in the `_SUCCESS` file of a version that has none, or one that says none."""
    try:
        said = json.loads(marker.read_bytes())
    except (OSError, ValueError):
        said = None
    # Anything may be in a marker that was made by hand, and as it was delivered it may be for reading only.
    marker.unlink(missing_ok=True)
    marked = (said if isinstance(said, dict) else {}) | {names.LABEL_CODES: codes}
    marker.write_text(json.dumps(marked, ensure_ascii=False), encoding="utf-8")


def _versions_of(examples: ArtifactRecord) -> dict[str, int]:
    """The version of each drop of a window, by night, with those that were left out."""
    prefix = names.LEFT_OUT_PREFIX
    left_out = {
        name.removeprefix(prefix): int(value.partition(" ")[0])
        for name, value in examples.properties.items()
        if name.startswith(prefix)
    }
    return left_out | {night: drop["version"] for night, drop in drops_of(examples).items()}


def drops_of(examples: ArtifactRecord) -> dict[str, Any]:
    """Version and content hash of each drop of a window, by night."""
    drops = {
        name.removeprefix(names.DROP_PREFIX): json.loads(value)
        for name, value in examples.properties.items()
        if name.startswith(names.DROP_PREFIX)
    }
    return {night: {key: drop[key] for key in ("version", "sha256")} for night, drop in drops.items()}


def _find_versions(drops: DropsFolder, night: str, version: int) -> list[int]:
    """The version of a drop that was used and those it replaced, newest first."""
    versions = drops.list_versions(date.fromisoformat(night))
    if version not in versions:
        raise ReplayError(
            f"version {version} of the drop of night {night}, which the run used, is not in {drops.path} any more; put "
            "it back to replay the night"
        )
    return [number for number in versions if number <= version]
