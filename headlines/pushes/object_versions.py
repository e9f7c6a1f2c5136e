"""Versions on object storage, where nothing is renamed: a version is there if and only if its `saved_model.pb` is.

That file is written last, in one step and under the condition that it is not there, and removed first. What a push or a
removal left without it was never there, or is not any more: nobody is led to it, and the next push removes it.
"""

import json
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from headlines import holding
from headlines.names import SAVED_MODEL_FILE
from headlines.objects.addresses import download, upload, upload_file
from headlines.objects.paths import ObjectPath


def find_versions(serving_dir: Path) -> list[int]:
    """See `Versions`; one listing."""
    marked = (path.parent.name for path in serving_dir.glob(f"*/{SAVED_MODEL_FILE}"))
    return sorted(int(name) for name in marked if name.isdecimal())


def find_left(serving_dir: Path) -> dict[Path, str]:
    """See `Versions`; one listing."""
    files: dict[Path, set[str]] = {}
    for path in serving_dir.rglob("*"):
        version, *within = path.relative_to(serving_dir).parts
        if version.isdecimal() and within:
            files.setdefault(serving_dir / version, set()).add("/".join(within))
    left = sorted(version for version, names in files.items() if SAVED_MODEL_FILE not in names)
    return dict.fromkeys(left, "its push or its removal was not ended")


def clear(serving_dir: Path) -> None:
    """See `Versions`."""
    for left in find_left(serving_dir):
        remove(left)


def hold(serving_dir: Path) -> AbstractContextManager[holding.Check]:
    """See `Versions`; by the lock that was lent."""
    return holding.hold_elsewhere(serving_dir)


def appear(
    source: Path, target: Path, about: dict[str, Any], related_index: Path | None, check_held: holding.Check
) -> None:
    """See `Versions`; FileExistsError where the version has been made meanwhile."""
    # Late: it brings TensorFlow, and who looks which versions there are does without.
    from headlines.pushes.model_hash import ABOUT_FILE, EXTRAS, RELATED_FOLDER

    for entry in sorted(source.iterdir()):
        if entry.is_dir():
            upload(entry, target / entry.name)
        elif entry.name != SAVED_MODEL_FILE:
            upload_file(entry, target / entry.name)
    extras = target / EXTRAS
    (extras / ABOUT_FILE).write_text(json.dumps(about, ensure_ascii=False, indent=1))
    if related_index is not None:
        upload(related_index, extras / RELATED_FOLDER)
    check_held()
    marker = target / SAVED_MODEL_FILE
    assert isinstance(marker, ObjectPath)
    content = (source / SAVED_MODEL_FILE).read_bytes()
    try:
        marker.write_bytes(content, must_be_new=True)
    except FileExistsError:
        # A request whose answer was lost is made again, and then finds what it has made itself.
        if marker.read_bytes() != content:
            raise
    try:
        # The request may have hung, and another push removed meanwhile what has no marker.
        check_held()
    except BaseException:
        withdraw(target)
        raise


def hide(serving_dir: Path, versions: Collection[int]) -> dict[int, Path]:
    """See `Versions`."""
    left = {version: serving_dir / str(version) for version in versions}
    for path in left.values():
        withdraw(path)
    return left


def move(version: Path, target: Path) -> None:
    """See `Versions`."""
    download(version, target)
    remove(version)


def withdraw(path: Path) -> None:
    """Takes a version away, in one step; its files are left to `remove`.

    Raises:
      OSError: it cannot be done.
    """
    (path / SAVED_MODEL_FILE).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Removes what is left of a version.

    Raises:
      OSError: some of it cannot be removed.
    """
    withdraw(path)
    for file in path.rglob("*"):
        if file.is_file():
            file.unlink(missing_ok=True)
