"""Files that are there whole or not at all, also across a power cut."""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headlines.objects.addresses import is_object, upload_file

_LEFT_SECONDS = 24 * 3600


def replace_file(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Replaces a file, or an object, in one step: whoever reads it sees the old content or the new one.

    Args:
      path: of the file; its folder must be there.
      content: text is written as UTF-8.
      mode: of the file, less what the umask takes.

    Raises:
      OSError: it could not be written; the old content is untouched.
    """
    if is_object(path):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return
    with stage(path) as aside:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        sync(aside)
        aside.replace(path)
    # The new content is there; a file system that cannot sync a folder, as some networks' cannot, is no reason to fail.
    with contextlib.suppress(OSError):
        sync(path.parent)


def create_file(path: Path, content: str) -> None:
    """Makes a file, or an object, in one step, however many try.

    Args:
      path: of the file; its folder must be there.
      content: is written as UTF-8.

    Raises:
      FileExistsError: it is there.
      OSError: it could not be written.
    """
    if is_object(path):
        path.write_bytes(content.encode(), must_be_new=True)  # type: ignore[call-arg]
        return
    with stage(path) as aside:
        aside.write_text(content, encoding="utf-8")
        sync(aside)
        try:
            # Unlike a rename, a link never replaces what is there.
            path.hardlink_to(aside)
        except FileExistsError:
            raise
        except OSError:
            # A file system, or the kernel, may forbid links (see `link_file`).
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            aside.replace(path)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the name of a file to write, which takes the place of another, or of an object, when the block has ended.

    Where the block ends with an error nothing has changed.

    Raises:
      OSError: the new content could not be put there.
    """
    if is_object(path):
        with tempfile.TemporaryDirectory() as folder:
            aside = Path(folder, path.name)
            yield aside
            upload_file(aside, path)
        return
    with stage(path) as aside:
        yield aside
        # Before the rename, or a power cut could leave the new name with an empty file.
        sync(aside)
        aside.rename(path)


@contextlib.contextmanager
def stage(path: Path) -> Iterator[Path]:
    """Gives the name of a file beside another, which is removed again unless it was renamed.

    It ends in `.tmp`, begins with a dot, and no reader of ours, nor a model server, takes it for anything.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        # A process that was killed left it behind; one that is at work may be done with it at this moment.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                left.unlink()
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copies a file's content so that it is on the disk, and not only on its way there."""
    shutil.copyfile(source, target)
    sync(Path(target))


def link_file(source: str | Path, target: str | Path) -> None:
    """Gives a file a second name, so that its content is stored once; where that cannot be, copies it.

    It cannot be on another file system, and where the file system or the kernel forbids it. Neither of the two may be
    changed in place from then on, only replaced.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # EXDEV, EPERM, EMLINK and others (link(2)): what keeps it from being linked need not keep it from being copied.
        copy_file(source, target)
    else:
        sync(Path(target))


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
