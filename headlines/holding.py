"""What one process at a time may hold; the kernel lets go when the process ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


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
