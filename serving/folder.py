"""The folder of pushed models: which versions are there, and whether a version's files have changed."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR

from serving.model import is_saved_model

# As TensorFlow's safe_strto64 (numbers.cc) reads a name, for ParseVersionNumber in TensorFlow Serving 2.16.1's
# file_system_storage_path_source.cc: zeros before it and blanks around it are no matter. (After 2.16.1 it is
# absl::SimpleAtoi.) A minus sign, which both take, makes no version here: no request could name it.
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([0-9]+)[ \t\n\v\f\r]*")
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True)
class Folder:
    """What one look at the folder has shown.

    Attributes:
      present: folders by version.
      problem: why it could not be read, or why it cannot be the one that is meant; empty if neither.
      is_read: whether it could be read.
      remarks: what was passed over though somebody may have meant it.
    """

    present: Mapping[int, Path] = field(default_factory=dict)
    problem: str = ""
    is_read: bool = True
    remarks: tuple[str, ...] = ()


def look_into(folder: Path) -> Folder:
    """Looks which versions are there: folders that are named by a number and hold a SavedModel."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return _unread(folder, "does not exist: make it, or set SERVING_DIR to the folder of the pushed versions")
    except NotADirectoryError:
        return _unread(folder, "is no folder: set SERVING_DIR to the folder that holds a folder per pushed version")
    except OSError as error:
        return _unread(folder, f"cannot be read ({error.strerror}): let user {os.geteuid()} list it")
    present: dict[int, Path] = {}
    remarks = []
    for name in names:
        number = _NUMBER.fullmatch(name)
        if not number or not _may_hold_model(folder / name):
            continue
        version = int(number[1])
        if version > _MAX_VERSION:
            remarks.append(f"{folder / name} is no version: its number is greater than {_MAX_VERSION}")
            continue
        if version in present:
            # The last in order, of those that TensorFlow Serving keeps sorted: IndexChildrenByVersion in
            # file_system_storage_path_source.cc.
            remarks.append(f"{present[version]} is passed over: {folder / name} is version {version} as well")
        present[version] = folder / name
    problem = "" if present else f"SERVING_DIR={folder} holds no version: push one, or correct SERVING_DIR"
    return Folder(present, problem, remarks=tuple(remarks))


def _unread(folder: Path, problem: str) -> Folder:
    return Folder(problem=f"SERVING_DIR={folder} {problem}", is_read=False)


def _may_hold_model(path: Path) -> bool:
    try:
        return is_saved_model(path)
    except OSError:
        # Loading it says what is wrong.
        return True


def stamp(path: Path) -> object:
    """Changes when a file or folder of a version does: its contents, its times, who may read it, or what hinders it."""
    entries: list[object] = []
    seen = set()
    waiting = [path]
    while waiting:
        one = waiting.pop()
        try:
            stat = one.stat()
            key = (stat.st_dev, stat.st_ino)
            entries.append((str(one), *key, stat.st_mode, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            # Links may lead in a circle.
            if S_ISDIR(stat.st_mode) and key not in seen:
                seen.add(key)
                waiting.extend(sorted(one.iterdir()))
        except OSError as error:
            entries.append((str(one), error.errno))
    return tuple(entries)
