"""What of a bucket is kept on the disk: whole copies of versions, and its config file, for all servers of one machine.

A copy is a folder `<version>-<digest>`; the digest is that of its objects as they were listed, so that one of that name
is right as it is. What is under way is `.incoming-…`, and becomes a copy by a rename. Whoever reads or writes one has a
lock on its folder, which ends with the process; what nobody holds may be removed by anybody.
"""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from serving.settings import CONFIG_FILE

_COPY = re.compile(r"([0-9]+)-[0-9a-f]{16}")
_INCOMING, _GONE = ".incoming-", ".gone-"
# So long another process that copies is waited for; one that hangs must not hold up this one.
_TURN_SECONDS, _LOOK_SECONDS = 60.0, 0.2


class Cache:
    """The copies of one place in a bucket."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder.

        Args:
          folder: of these copies and no others; who may write to it decides what is served.

        Raises:
          OSError: it cannot be made, or written to.
        """
        self.folder = folder
        self._turn_file = folder / ".turn"
        self._make_folder()
        self._turn_file.touch()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def name_copy(self, version: int, digest: str) -> Path:
        """Where the copy of a version is, or would be."""
        return self.folder / f"{version}-{digest[:16]}"

    def find_copies(self) -> dict[int, Path]:
        """The copy of each version that has one, the last that was made of it."""
        made = []
        for version, copy in self._list_copies():
            # Another process may remove it just now.
            with contextlib.suppress(FileNotFoundError):
                made.append((copy.stat().st_mtime, version, copy))
        return {version: copy for _, version, copy in sorted(made)}

    def has(self, copy: Path) -> bool:
        """Whether a copy is there, or is held all the same though somebody has removed it."""
        with self._lock:
            return copy.name in self._held or copy.exists()

    def hold(self, copy: Path) -> bool:
        """Keeps a copy from being removed by anybody, until `keep` lets go of it; returns whether it is there."""
        with self._lock:
            if copy.name in self._held:
                return True
            descriptor = _open_locked(copy, fcntl.LOCK_SH)
            if descriptor is not None:
                self._held[copy.name] = descriptor
            return descriptor is not None

    def make_copy(self, copy: Path, size: int, fill: Callable[[Path], None]) -> None:
        """Makes a copy, or waits for another process to.

        Args:
          copy: where.
          size: of all its files, in bytes.
          fill: writes them into a folder.

        Raises:
          OSError: the disk is full, or cannot be written to.
        """
        with self._have_turn():
            if copy.exists():
                return
            free = shutil.disk_usage(self.folder).free
            if free < size:
                raise OSError(f"{size >> 20} MB are to be copied to {self.folder}, and {free >> 20} MB are free")
            version = copy.name.partition("-")[0]
            incoming = Path(tempfile.mkdtemp(prefix=f"{_INCOMING}{version}-{os.getpid()}-", dir=self.folder))
            descriptor = _open_locked(incoming, fcntl.LOCK_EX)
            try:
                fill(incoming)
                _write_through(incoming)
                try:
                    incoming.rename(copy)
                except OSError:
                    # Another process, which was not waited for, may have made it: that one stands.
                    if not copy.exists():
                        raise
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
                if descriptor is not None:
                    os.close(descriptor)

    def release(self, copy: Path) -> None:
        """Lets go of a copy that was held."""
        with self._lock:
            if copy.name in self._held:
                os.close(self._held.pop(copy.name))

    def remove(self, copy: Path) -> None:
        """Lets go of a copy and removes it, unless another process reads it."""
        self.release(copy)
        descriptor = _open_locked(copy, fcntl.LOCK_EX)
        if descriptor is None:
            return
        gone = copy.with_name(f"{_GONE}{copy.name}-{os.getpid()}")
        with contextlib.suppress(OSError):
            copy.rename(gone)
        os.close(descriptor)
        shutil.rmtree(gone, ignore_errors=True)

    def keep(self, copies: Collection[Path]) -> None:
        """Removes all other copies that nobody reads, and what ended processes have left."""
        names = {copy.name for copy in copies}
        for name in [name for name in list(self._held) if name not in names]:
            self.release(self.folder / name)
        for _, copy in self._list_copies():
            if copy.name not in names:
                self.remove(copy)
        # What cannot be removed waits for the next time: somebody copies, or the folder may not be written to, which is
        # told when a version is to be copied.
        with contextlib.suppress(OSError), self._have_turn(seconds=0):
            for left in [*self.folder.glob(f"{_INCOMING}*"), *self.folder.glob(f"{_GONE}*")]:
                if (descriptor := _open_locked(left, fcntl.LOCK_EX)) is not None:
                    shutil.rmtree(left, ignore_errors=True)
                    os.close(descriptor)

    def read_config(self) -> tuple[bytes | None, float]:
        """The config file as it was when the bucket was last read, None if there was none; and when it was written."""
        path = self.folder / CONFIG_FILE
        try:
            return path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            return None, 0.0

    def write_config(self, content: bytes | None) -> None:
        """Keeps the config file for a start without the bucket; None if there is none.

        Raises:
          OSError: the disk is full, or cannot be written to.
        """
        path = self.folder / CONFIG_FILE
        if content is None:
            path.unlink(missing_ok=True)
        elif self.read_config()[0] != content:
            self._make_folder()
            incoming = path.with_name(f".{CONFIG_FILE}-{os.getpid()}")
            incoming.write_bytes(content)
            incoming.rename(path)

    def _make_folder(self) -> None:
        # At each use: what tidies up folders of temporary files knows nothing of this one.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _list_copies(self) -> list[tuple[int, Path]]:
        matches = [(_COPY.fullmatch(path.name), path) for path in self.folder.glob("*-*")]
        return [(int(match[1]), path) for match, path in matches if match]

    @contextlib.contextmanager
    def _have_turn(self, seconds: float = _TURN_SECONDS) -> Iterator[None]:
        """Waits until no other process copies, so long.

        Raises:
          BlockingIOError: one does, and `seconds` is 0.
        """
        deadline = time.monotonic() + seconds
        self._make_folder()
        with self._turn_file.open("a") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not seconds:
                        raise
                    if time.monotonic() > deadline:
                        break
                    time.sleep(_LOOK_SECONDS)
            yield


def _open_locked(folder: Path, kind: int) -> int | None:
    """A descriptor that holds a lock on a folder; None if that is not there, or another has a lock against it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        # It may have been removed, and another made, since it was opened.
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _write_through(folder: Path) -> None:
    """Lets the files be on the disk before their folder has its name: a copy is believed by its name."""
    for path in [folder, *folder.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
