"""Which nights' unlabelled headlines a model has still to score."""

from datetime import date, timedelta
from pathlib import Path

from headlines.drops.drops_folder import list_unlabelled
from headlines.names import is_before
from retraining.settings import Settings


def find_pending(settings: Settings, version: str, night: str | None = None, force: bool = False) -> list[str]:
    """The nights to score with a pushed version, oldest first.

    A night's scores are up to date when their file is newer than every unlabelled file of the night. The version scores
    its own night and later ones unless they are up to date in its own file; an earlier night only if no version's file
    of it is: what another model said then stays said.

    Args:
      settings: where headlines and scores are.
      version: as it was pushed, `YYYYMMDDRR`.
      night: look at this night alone, and score it unless this version's file of it is up to date.
      force: take what is up to date as well.

    Raises:
      DropError: the drops folder cannot be read.
    """
    pending = []
    for other, files in list_unlabelled(settings.drops_dir, settings.drop_settle_seconds).items():
        if night and other.isoformat() != night:
            continue
        own = bool(night) or is_before(int(version), other + timedelta(days=1))
        delivered = max(file.stat().st_mtime for file in files)
        if (force and own) or not _is_scored(settings.scores_dir, other, delivered, version if own else "*"):
            pending.append(other.isoformat())
    return pending


def _is_scored(scores_dir: Path, night: date, delivered: float, version: str) -> bool:
    files = (scores_dir / night.isoformat()).glob(f"{version}.csv")
    return any(file.stat().st_mtime >= delivered for file in files if not file.name.startswith("."))
