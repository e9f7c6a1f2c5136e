"""The copy that an upgrade makes before it changes anything, in `STATE_DIR/upgrades`, and what it says of itself."""

import json
from collections.abc import Container
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from headlines.disk import find_disk
from headlines.durable import replace_file
from headlines.names import POLICY_FILE, ROLLBACKS_FILE
from headlines.pushes.versions import kept_in
from retraining.settings import ENV_FILE, Settings
from retraining.upkeep import UpgradeError, databases

_SAYS = "upgrade.json"
_BESIDE = (ROLLBACKS_FILE, POLICY_FILE)
_FREE_SHARE = 1.5
"""A copy is packed, so that it takes less than the databases; new data of another Postgres comes to the same again."""


@dataclass(frozen=True)
class Copy:
    """A copy of both databases and of `.env`.

    Attributes:
      from_version: which version of this project ran the state until then.
      to_version: which made the copy.
      made_at: when, in UTC.
      major: of the embedded Postgres then; empty where it stayed the same, and for other servers.
      has_stamp: whether the state said which version ran it.
    """

    from_version: str
    to_version: str
    made_at: str
    major: str
    has_stamp: bool

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What a folder says of itself.

        Raises:
          UpgradeError: it holds no copy.
        """
        try:
            return cls(**json.loads((folder / _SAYS).read_text()))
        except (OSError, ValueError, TypeError):
            raise UpgradeError(
                f"{folder} holds no copy of an upgrade; they are in the folder `upgrades` of STATE_DIR"
            ) from None

    def write(self, folder: Path) -> None:
        """Says it, when everything else is there: what has no such file is half a copy."""
        replace_file(folder / _SAYS, json.dumps(asdict(self), indent=1) + "\n")


def make_folder(settings: Settings) -> Path:
    """A new folder, named by the moment, which others may not look into."""
    folder = settings.state_dir / "upgrades" / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
    folder.mkdir(mode=0o700, parents=True)
    return folder


def check_room(settings: Settings, database_bytes: int, has_other_major: bool) -> None:
    """Raises UpgradeError where the copy, and new data where the Postgres changes, may not fit the disk."""
    needed = int(database_bytes * (_FREE_SHARE + 1 if has_other_major else _FREE_SHARE))
    free = find_disk(settings.state_dir).free_bytes
    if free < needed:
        raise UpgradeError(
            f"{settings.state_dir} has {free / 2**20:,.0f} MB free, and the copy of the databases may take "
            f"{needed / 2**20:,.0f} MB; free some, and try again"
        )


def keep_env(folder: Path) -> Path:
    """Where `.env` is kept as it was."""
    return folder / "env"


def keep_files(settings: Settings, folder: Path) -> None:
    """Copies the two files beside the pushed versions: what was rolled back, and what the model servers load."""
    for name in _BESIDE:
        if (path := settings.serving_dir.parent / name).is_file():
            replace_file(folder / name, path.read_bytes())


def put_files_back(settings: Settings, folder: Path, on_record: Container[int]) -> list[Path]:
    """Puts `.env` and the two files back, and moves versions aside that no record speaks of: they must not serve.

    Returns:
      Where those are now.
    """
    for name in _BESIDE:
        path = settings.serving_dir.parent / name
        if (folder / name).is_file():
            replace_file(path, (folder / name).read_bytes())
        else:
            path.unlink(missing_ok=True)
    _put_env_back(folder)
    moved = []
    for version in sorted(settings.serving_dir.glob("[0-9]*")):
        if version.name.isdecimal() and int(version.name) not in on_record:
            target = folder / "pushed" / version.name
            target.parent.mkdir(exist_ok=True)
            kept_in(settings.serving_dir).move(version, target)
            moved.append(target)
    return moved


def _put_env_back(folder: Path) -> None:
    if keep_env(folder).is_file():
        mode = ENV_FILE.stat().st_mode & 0o777 if ENV_FILE.is_file() else 0o600
        replace_file(ENV_FILE, keep_env(folder).read_bytes(), mode=mode)


def is_whole(folder: Path) -> bool:
    """Whether a folder holds both databases and says so."""
    return (folder / _SAYS).is_file() and all(
        databases.copy_path(folder, name).is_file() for name in databases.PREFIXES
    )
