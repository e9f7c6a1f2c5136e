"""What one process at a time may hold; it is let go when the process ends, however it ends.

A file or a folder is held by the kernel. What lies on object storage cannot be: it is held by a lock that is lent by
who knows one for which every machine can ask.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

Check = Callable[[], None]
"""Raises an error where what was held is not held any more."""
Lock = Callable[[str], contextlib.AbstractContextManager[Check]]
"""Holds what has a name, for as long as the block lasts."""
_lent: ContextVar[Lock | None] = ContextVar("lent", default=None)


@contextlib.contextmanager
def hold(
    path: Path, holder: str = "", refuse: Callable[[str], Exception] | None = None, is_folder: bool = False
) -> Iterator[None]:
    """Holds a file, which is made if it is missing, or a folder.

    Args:
      path: the file or folder.
      holder: what this process says of itself, which is written into the file.
      refuse: makes the error that is raised when another process holds it, of what that one says of itself. Default:
        wait for it.
      is_folder: whether it is one.

    Raises:
      OSError: it cannot be opened, or a file cannot be locked.
    """
    opened = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB if refuse else fcntl.LOCK_EX)
        except OSError as error:
            if refuse and isinstance(error, BlockingIOError):
                raise refuse(os.pread(opened, 4096, 0).decode()) from None
            # Linux cannot lock a folder on NFS (no issue known).
            if not is_folder:
                raise
        if holder:
            os.truncate(opened, 0)
            os.pwrite(opened, holder.encode(), 0)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def lend(lock: Lock) -> Iterator[None]:
    """Lends a lock to whatever, inside the block, has to hold what lies on object storage."""
    token = _lent.set(lock)
    try:
        yield
    finally:
        _lent.reset(token)


def hold_elsewhere(place: Path) -> contextlib.AbstractContextManager[Check]:
    """Holds a place on object storage by the lock that was lent."""
    lock = _lent.get()
    assert lock is not None, f"nobody has lent a lock to hold {place}"
    return lock(str(place))
