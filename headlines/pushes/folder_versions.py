"""Versions in a folder, where each appears and goes by being renamed."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headlines import holding
from headlines.durable import link_file, replace_file
from headlines.names import INCOMING

_REMOVED = ".removed-"
"""How the folder of a version is called from its removal until its last file is gone: no model server reads it."""
_LOCK = ".push.lock"


def find_versions(serving_dir: Path) -> list[int]:
    """See `Versions`."""
    if not serving_dir.is_dir():
        return []
    return sorted(int(path.name) for path in serving_dir.iterdir() if path.name.isdecimal())


def find_left(serving_dir: Path) -> dict[Path, str]:
    """See `Versions`."""
    return dict.fromkeys(serving_dir.glob(f"{INCOMING}*"), "its push was killed") | dict.fromkeys(
        serving_dir.glob(f"{_REMOVED}*"), "its removal was begun and not ended"
    )


def clear(serving_dir: Path) -> None:
    """See `Versions`."""
    for abandoned in serving_dir.glob(f"{INCOMING}*"):
        shutil.rmtree(abandoned)


@contextmanager
def hold(serving_dir: Path) -> Iterator[holding.Check]:
    """See `Versions`; the kernel does not take a lock away."""
    with holding.hold(serving_dir / _LOCK):
        yield lambda: None


def appear(
    source: Path, target: Path, about: dict[str, Any], related_index: Path | None, check_held: holding.Check
) -> None:
    """See `Versions`: links or copies under a name that no server reads, then renames."""
    # Late: it brings TensorFlow, and who looks which versions there are does without.
    from headlines.pushes.model_hash import ABOUT_FILE, EXTRAS, RELATED_FOLDER

    incoming = target.with_name(f"{INCOMING}{target.name}")
    try:
        shutil.copytree(source, incoming, copy_function=link_file)
        extras = incoming / EXTRAS
        extras.mkdir(exist_ok=True)
        replace_file(extras / ABOUT_FILE, json.dumps(about, ensure_ascii=False, indent=1))
        if related_index is not None:
            shutil.copytree(related_index, extras / RELATED_FOLDER, copy_function=link_file)
        check_held()
        incoming.rename(target)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def hide(serving_dir: Path, versions: Collection[int]) -> dict[int, Path]:
    """See `Versions`."""
    hidden = {version: serving_dir / f"{_REMOVED}{version}" for version in versions}
    for version, target in hidden.items():
        # Of an earlier removal, if somebody put the version back meanwhile.
        shutil.rmtree(target, ignore_errors=True)
        (serving_dir / str(version)).rename(target)
    return hidden


def move(version: Path, target: Path) -> None:
    """See `Versions`."""
    shutil.move(version, target)
