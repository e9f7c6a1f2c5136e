"""Which disk a folder is on, how much of it is free, and which disk it was that was full."""

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headlines.errors import HeadlinesError
from headlines.objects.addresses import is_object

# As the C library, and so every library, says it.
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
# As `mdextend` in src/backend/storage/smgr/md.c says it, of a file below the server's own data folder.
_POSTGRES_FULL = "could not extend file"
_SHARED_MEMORY = Path("/dev/shm")
_MOUNTS = Path("/proc/self/mounts")
_PATH = re.compile(r"/[^\s'\":;,()\[\]]+")
_ESCAPED = re.compile(r"\\(\d{3})")


class LowDiskError(HeadlinesError):
    """Less of a disk is free than a night needs; the message names the disk, and says what to do."""


@dataclass(frozen=True)
class Disk:
    """A file system, as one folder on it shows it.

    Attributes:
      mount: where it is mounted.
      device: what is mounted there, such as `/dev/sda1`; empty where Linux does not say.
      size_bytes: of all of it.
      free_bytes: what this user may still write.
      free_files: how many files may still be made; None where that has no limit.
    """

    mount: Path
    device: str
    size_bytes: int
    free_bytes: int
    free_files: int | None

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be written, or no file be made."""
        return self.free_bytes <= 0 or self.free_files == 0

    def is_low(self, least_gb: float) -> bool:
        """Whether less is free, in GB of 2**30 bytes."""
        return self.free_bytes < least_gb * 2**30 or self.is_full

    @property
    def name(self) -> str:
        """Where it is mounted, and what it is."""
        return f"the disk at {self.mount}" + (f" ({self.device})" if self.device else "")

    @property
    def free(self) -> str:
        """How much of it is free."""
        if self.free_files == 0:
            return "not one file"
        return f"{self.free_bytes >> 20} MB" if self.free_bytes < 2**30 else f"{self.free_bytes / 2**30:.1f} GB"

    def __str__(self) -> str:
        return f"{self.free} free on {self.name}"


def is_on_disk(place: Path) -> bool:
    """Whether a place is on a disk, and not on object storage, which nobody has seen full."""
    return not is_object(place)


def find_disk(path: Path) -> Disk:
    """The disk of a file or folder, or of where it would be made.

    Raises:
      OSError: the disk does not answer.
    """
    there = path.absolute()
    while not os.path.lexists(there):
        there = there.parent
    there = there.resolve()
    while not there.exists():
        there = there.parent
    usage = os.statvfs(there)
    mount = there
    device = there.stat().st_dev
    while mount != mount.parent and mount.parent.stat().st_dev == device:
        mount = mount.parent
    # Some file systems, such as btrfs, count no files.
    files = usage.f_favail if usage.f_files else None
    unit = usage.f_frsize
    return Disk(mount, _find_device(mount), usage.f_blocks * unit, usage.f_bavail * unit, files)


def find_low(places: Iterable[Path], least_gb: float) -> list[Disk]:
    """The disks of some places, each once, of which less is free, in GB of 2**30 bytes; a bucket is on none."""
    disks = {disk.mount: disk for disk in map(find_disk, filter(is_on_disk, places))}
    return [disk for disk in disks.values() if disk.is_low(least_gb)]


def check_room(places: Iterable[Path], least_gb: float, remedy: str) -> None:
    """Refuses to begin what would run out of space.

    Args:
      places: where it writes.
      least_gb: what must be free on the disk of each, in GB of 2**30 bytes.
      remedy: what to do when some is free again.

    Raises:
      LowDiskError: less is.
    """
    if low := find_low(places, least_gb):
        raise LowDiskError(f"{tell_low(low, least_gb)}; free some there, then {remedy}")


def tell_low(low: Iterable[Disk], least_gb: float) -> str:
    """What is said of disks of which too little is free."""
    return f"{' and '.join(map(str, low))}, less than MIN_FREE_GB={least_gb:g}"


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk is full, or a quota used up."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL_NUMBERS) or any(full in str(one) for full in _FULL)
        for one in _chain(error)
    )


def tell_full(error: BaseException, places: Iterable[Path]) -> str:
    """Which disk it was that was full, and how much of it is free by now; empty for another error.

    It is that of the file which the error names; where it names none, the one of the places' on which least is free,
    since whatever wrote there may have removed what it had written.

    Args:
      error: what was raised.
      places: where that may have been written.
    """
    if not is_full_disk(error):
        return ""
    texts = [str(one) for one in _chain(error)]
    if any(_POSTGRES_FULL in text for text in texts):
        return "the disk of the Postgres server was full"
    try:
        # What was on its way to object storage lay in the folder for temporary files.
        on_disk = [*filter(is_on_disk, places)] or [Path(tempfile.gettempdir())]
        disk = _find_named(error) or min(map(find_disk, on_disk), key=lambda one: (not one.is_full, one.free_bytes))
    except OSError as problem:
        return f"which disk was full is not known ({problem})"
    kind = "a quota was used up on" if any(_FULL[1] in text for text in texts) else "there was no space left on"
    return f"{kind} {disk.name}, of which {disk.free} is free by now"


def _find_named(error: BaseException) -> Disk | None:
    """The disk of the file that an error names, or that its text does."""
    for one in _chain(error):
        if "shared memory" in str(one):
            # Postgres and Python name a segment as if it lay in the root folder.
            return find_disk(_SHARED_MEMORY)
        named = [one.filename2, one.filename] if isinstance(one, OSError) else []
        # In a text there may be other paths before the one that the error is about.
        for name in [*named, *reversed(_PATH.findall(str(one)))]:
            if name and (path := Path(os.fsdecode(name))).is_absolute() and _is_somewhere(path):
                return find_disk(path)
    return None


def _is_somewhere(path: Path) -> bool:
    """Whether a path leads somewhere; what it names, and the folder of that, may have been removed again."""
    return any(parent.exists() for parent in path.parents if parent != Path(path.anchor)) or path.exists()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, also what a copy of a folder has gathered."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _find_device(mount: Path) -> str:
    try:
        lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    # The last mount at a place hides those before it; blanks in names are written in octal (fstab(5)).
    for line in reversed(lines):
        device, place, *_ = line.split(" ")
        if _ESCAPED.sub(lambda match: chr(int(match[1], 8)), place) == str(mount):
            return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), device)
    return ""
