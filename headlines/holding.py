"""What one process at a time may hold; the kernel lets go when the process ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from headlines.errors import HeadlinesError


class HeldError(HeadlinesError):
    """Another process holds it; `holder` is what that process said of itself."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by {holder or 'another process'}; wait until it has ended, or end it")
        self.holder = holder


@contextlib.contextmanager
def hold(path: Path, holder: str = "", wait: bool = True) -> Iterator[None]:
    """Holds a file, which is made if it is missing, or a folder.

    Args:
      path: the file or folder.
      holder: what this process says of itself, which is written into the file.
      wait: whether to wait for as long as another holds it, or to fail.

    Raises:
      HeldError: another process holds it, and `wait` is false.
      OSError: it cannot be opened, or a file cannot be locked.
    """
    is_folder = path.is_dir()
    opened = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(path, os.pread(opened, 4096, 0).decode()) from None
        except OSError:
            # Linux cannot lock a folder on NFS.
            if not is_folder:
                raise
        if holder:
            os.truncate(opened, 0)
            os.pwrite(opened, holder.encode(), 0)
        yield
    finally:
        os.close(opened)
