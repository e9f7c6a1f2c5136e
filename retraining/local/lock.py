"""One command at a time on one state folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from headlines import holding
from headlines.holding import HeldError
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
    with ExitStack() as stack:
        try:
            stack.enter_context(
                holding.hold(
                    settings.state_dir / "lock", f"{os.getpid()} retraining {' '.join(sys.argv[1:])}", wait=False
                )
            )
        except HeldError as error:
            pid, _, command = error.holder.partition(" ")
            raise LockedError(
                f"`{command}` (process {pid}) is at work on {settings.state_dir}; wait for it, or stop it with: "
                f"kill -INT {pid}"
            ) from None
        yield
