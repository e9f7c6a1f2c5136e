"""Which places are on object storage, and the path of a place wherever it is.

Whoever has the text of a setting, or the URI of an artifact, makes a path of it here, and of nothing else.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMES = ("gs", "s3")
"""Google Cloud Storage, and S3 with all that answers as it does."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_FOLDER = re.compile(rf"({'|'.join(SCHEMES)})://[A-Za-z0-9][A-Za-z0-9._-]*(/[^/]+)+/?")


def is_address(text: str) -> bool:
    """Whether a text is an address with a scheme, such as `gs://bucket/folder`, and no path of this machine."""
    return _ADDRESS.match(text) is not None


def is_object(place: str | Path) -> bool:
    """Whether a place is on object storage."""
    return str(place).startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def check_folder(text: str) -> str:
    """An address as it is, if it is one of a folder in a bucket.

    Raises:
      ValueError: it is none.
    """
    if not _FOLDER.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ValueError(f"{text} is no folder on object storage; write it as s3://bucket/folder or gs://bucket/folder")
    return text


def to_path(text: str | Path) -> Path:
    """The path of a place: on object storage, or else of this machine, where nothing is at any other address."""
    if isinstance(text, Path):
        return text
    if not is_object(text):
        return Path(text)
    # Late: a service on one box has no use for it.
    from headlines.objects.paths import PATHS

    return PATHS[text.partition(":")[0]](text)


@contextmanager
def fetch(place: Path, scratch: Path | None = None) -> Iterator[Path]:
    """A folder as one of this machine for as long as the block lasts: itself, or a copy of one on object storage.

    Args:
      place: the folder.
      scratch: in which a copy is made. Default: where temporary files are.

    Raises:
      OSError: it cannot be read.
    """
    if not is_object(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=scratch) as folder:
        yield download(place, Path(folder, place.name))


def download(place: Path, target: Path) -> Path:
    """Copies a folder on object storage, or one file there, to this machine.

    Returns:
      `target`; where nothing is at `place` it is not there either.

    Raises:
      OSError: it cannot be read or written.
    """
    for source in [place] if place.is_file() else sorted(place.rglob("*")):
        if ".." in source.parts:
            raise OSError(errno.EINVAL, "it is no path of a file below a folder; remove it", str(source))
        if source.is_file():
            file = target / source.relative_to(place) if source != place else target
            file.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as content, file.open("wb") as copied:
                shutil.copyfileobj(content, copied)
    return target


def upload(source: Path, place: Path) -> None:
    """Copies all files of a folder of this machine to a folder on object storage, in the order of their names.

    Raises:
      OSError: a file cannot be read or written.
    """
    for folder, folders, files in os.walk(source):
        folders.sort()
        for file in (Path(folder, name) for name in sorted(files)):
            upload_file(file, place / file.relative_to(source))


def upload_file(source: Path, place: Path) -> None:
    """Copies a file of this machine to object storage, in one step.

    Raises:
      OSError: it cannot be read or written.
    """
    from headlines.objects.paths import ObjectPath

    assert isinstance(place, ObjectPath), place
    place.upload(source)
