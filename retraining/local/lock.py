"""One command at a time on one state folder."""

import os
import sys
from contextlib import AbstractContextManager

from headlines import holding
from retraining.local import LocalError
from retraining.settings import Settings


class LockedError(LocalError):
    """Another command is at work on the same state; the message names its process."""


def hold(settings: Settings) -> AbstractContextManager[None]:
    """Holds the state folder for this process.

    Raises:
      LockedError: another process holds it.
      SettingsError: it cannot be made.
    """
    settings.make_state_dir()

    def refuse(holder: str) -> LockedError:
        pid, _, command = holder.partition(" ")
        return LockedError(
            f"`{command}` (process {pid}) is at work on {settings.state_dir}; wait for it, or stop it with: "
            f"kill -INT {pid}"
        )

    return holding.hold(settings.state_dir / "lock", f"{os.getpid()} retraining {' '.join(sys.argv[1:])}", refuse)


def find_holder(settings: Settings) -> int | None:
    """The process of the command that held the state folder last, or holds it still."""
    try:
        return int((settings.state_dir / "lock").read_text().split(" ", 1)[0])
    except (OSError, ValueError):
        return None
