"""Removing pushed versions: which are gone, since when, and that none comes back under the same number.

Which may go is decided elsewhere (retraining/retention/needed.py). A file beside the models remembers them, as it does
rollbacks: a night that is run again must not give another model the number of one that is gone.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from headlines.durable import replace_file
from headlines.names import AT, BY, REMOVED_FILE
from headlines.pushes.versions import kept_in


def read(serving_dir: Path) -> dict[int, str]:
    """Every version that was removed, each with when and by whom in words."""
    return {version: tell(datetime.fromisoformat(one[AT]), one[BY]) for version, one in _read(serving_dir).items()}


def tell(at: datetime, by: str) -> str:
    """That something was removed, in words: the same on every page and for every command."""
    return f"removed on {at:%Y-%m-%d} by {by}"


def hide(serving_dir: Path, versions: Iterable[int], at: datetime, by: str) -> dict[int, Path]:
    """Takes versions out of the serving directory, while it is held (`Versions.hold`).

    They are remembered first, then renamed, or on object storage their markers removed: a process that dies in between
    leaves a version that serves as before.

    Returns:
      Of each version that was there the folder that nobody reads any more, and that is left to be removed.

    Raises:
      OSError: the folder cannot be written.
    """
    chosen = [version for version in versions if (serving_dir / str(version)).is_dir()]
    if chosen:
        known = _read(serving_dir) | {version: {AT: at.isoformat(timespec="seconds"), BY: by} for version in chosen}
        text = json.dumps({str(version): known[version] for version in sorted(known)}, indent=1, ensure_ascii=False)
        replace_file(serving_dir.parent / REMOVED_FILE, text + "\n")
    return kept_in(serving_dir).hide(serving_dir, chosen)


def _read(serving_dir: Path) -> dict[int, dict[str, str]]:
    path = serving_dir.parent / REMOVED_FILE
    if not path.is_file():
        return {}
    return {int(version): one for version, one in json.loads(path.read_text(encoding="utf-8")).items()}
