"""Publishing a model: a new version in the serving directory, whole or not at all.

Which model deserves it is decided before; which version is champion for a night is headlines/pushes/champion.py's.
"""

import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from headlines import disk
from headlines.errors import HeadlinesError
from headlines.names import find_versions_of, revision_of, version_of
from headlines.objects.addresses import fetch, is_object
from headlines.pushes import removals, rollbacks
from headlines.pushes.champion import Rollback, choose_champion, find_withdrawn
from headlines.pushes.model_hash import hash_model
from headlines.pushes.versions import kept_in


class PushError(HeadlinesError):
    """A model could not be published; what was served before is untouched."""

    may_pass = True


class FutilePushError(PushError):
    """A model could not be published, nor can it be until somebody mends something."""

    may_pass = False


class RefusedError(PushError):
    """The model may not be published after all; the message is the reason that is recorded."""

    may_pass = False


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
    revision. Nothing is ever replaced, and no number is given twice, even if its model was removed since. An older
    night gets a smaller number than the newer ones. Files are linked, and copied only where that cannot be. Model
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
    kept = kept_in(serving_dir)
    try:
        serving_dir.mkdir(parents=True, exist_ok=True)
        with kept.hold(serving_dir) as check_held:
            kept.clear(serving_dir)
            present = kept.find_versions(serving_dir)
            served = rollbacks.find_served(serving_dir)
            history = rollbacks.read(serving_dir)
            _check_champion(champion_version, present, history, night, serving_dir)
            mine = find_versions_of(night, present)
            digest = hash_model(model_path)
            _check_rollbacks(mine, digest, find_withdrawn(history), serving_dir)
            if mine and _hash_version(serving_dir / str(mine[-1])) == digest:
                version = mine[-1]
                reason = f"kept {version}: the night was run again and made the same model"
            else:
                used = find_versions_of(night, {*present, *removals.read(serving_dir)})
                try:
                    version = version_of(night, revision_of(used[-1]) + 1 if used else 1)
                except ValueError:
                    problem = f"{night} has used up its revisions with {used[-1]}; remove the last ones"
                    raise FutilePushError(problem) from None
                reason = f"pushed as {version}" + (f": it differs from {mine[-1]} of the same night" if mine else "")
                note = (about or {}) | {
                    "version": str(version),
                    "reason": reason,
                    "pushed_at": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                kept.appear(model_path, serving_dir / str(version), note, related_index, check_held)
            rollbacks.tell_servers(serving_dir)
    except OSError as error:
        raise PushError(_explain(error, model_path, serving_dir)) from error
    except rollbacks.ConfigError as error:
        raise FutilePushError(f"{error}, and clear this task") from error
    if served and served > version:
        reason += f"; the newer {served} keeps serving"
    elif served and served < present[-1]:
        reason += f"; it takes over from {served}, which was rolled back to"
    return Publication(version, serving_dir / str(version), reason)


def _check_champion(
    compared_with: str, present: list[int], history: list[Rollback], night: date, serving_dir: Path
) -> None:
    """Compares the champion of the verdict with what is published now, while nobody else can publish.

    Only a greater version, or a rollback, means that the champion has changed: older ones may have been cleaned up
    meanwhile.
    """
    if int(compared_with or 0) in find_withdrawn(history, night):
        raise ChampionChangedError(
            f"refused: the model was compared with champion {compared_with}, which was rolled back since; run the "
            "night again to compare it with the one as of its night"
        )
    champion = choose_champion(present, history, night)
    if champion and champion > int(compared_with or 0):
        compared = f"champion {compared_with}" if compared_with else "no champion"
        raise ChampionChangedError(
            f"refused: the model was compared with {compared}, but the champion as of its night is {champion} by "
            f"now; run the night again to compare it with that one (if lineage knows no push of {champion}, clear "
            f"the Pusher of its night, or move it out of {serving_dir})"
        )


def _check_rollbacks(mine: list[int], digest: str, withdrawn: dict[int, Rollback], serving_dir: Path) -> None:
    """Looks whether a model is one of its night's that were rolled back."""
    for version in mine:
        if version in withdrawn and _hash_version(serving_dir / str(version)) == digest:
            rollback = withdrawn[version]
            raise RolledBackError(
                f"refused: the night made the same model again as {version}, which {rollback.by} rolled back at "
                f"{rollback.at.isoformat()} ({rollback.reason}); to serve it after all: "
                f'`retraining rollback --to {version} --reason "..."`'
            )


def _hash_version(path: Path) -> str:
    with fetch(path) as folder:
        return hash_model(folder)


def _explain(error: OSError, model_path: Path, serving_dir: Path) -> str:
    # copytree goes on after a failed file and gathers what went wrong: the first of it tells enough.
    cause = error.args[0][0][2] if isinstance(error, shutil.Error) else error
    size = sum(file.stat().st_size for file in model_path.rglob("*") if file.is_file()) / 1e6
    full = disk.tell_full(OSError(str(cause)), [serving_dir])
    remedy = f"{full}; free some there" if full else "free space or correct the permissions there"
    if is_object(serving_dir):
        remedy = full or "correct SERVING_DIR, or what the environment says of object storage (docs/object-storage.md)"
    return (
        f"{model_path} ({size:.1f} MB) could not be published in {serving_dir}: {cause}; {remedy}, then clear this "
        "task. What was served before still is."
    )
