"""One command at a time on one state folder.

Nothing here knows what the commands do.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retraining.local import LocalError
from retraining.settings import Settings


class LockedError(LocalError):
    """Another command is at work on the same state; the message names its process."""


@contextmanager
def hold(settings: Settings) -> Iterator[None]:
    """Holds the state folder for this process; the kernel lets go when the process ends, however it ends.

    Raises:
      LockedError: another process holds it.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(_explain(settings.state_dir, file.name)) from None
        file.truncate(0)
        file.write(f"{os.getpid()} retraining {' '.join(sys.argv[1:])}")
        file.flush()
        yield


def _explain(state_dir: Path, lock: str) -> str:
    pid, _, command = Path(lock).read_text().partition(" ")
    return f"`{command}` (process {pid}) is at work on {state_dir}; wait for it, or stop it with: kill -INT {pid}"
