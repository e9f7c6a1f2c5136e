"""The folder of pushed models: which versions are there, and whether a version's files have changed."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR
from typing import Protocol

from serving.model import is_saved_model
from serving.policy import ConfigText, read_config

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


class Source(Protocol):
    """Where versions are pushed to; PushedFolder is one, and Bucket of serving/bucket.py.

    Attributes:
      name: as people know it, with the name of the model at its end.
      config_name: the same of TensorFlow Serving's model config file.
    """

    name: str
    config_name: str

    def look(self) -> Folder:
        """Looks which versions are there."""

    def read_config(self) -> ConfigText:
        """The config file, read after the last look.

        Raises:
          FileNotFoundError: there is none.
          OSError: it cannot be read.
          ValueError: it is no text.
        """

    def stamp(self, path: Path) -> object:
        """What changes when the files of a version do."""

    def fetch(self, path: Path) -> None:
        """Makes sure that a version that a look has shown is where that said, before it is loaded.

        Raises:
          LoadError: it cannot be had.
        """

    def keep(self, versions: Collection[int]) -> None:
        """Lets go of all that was fetched for other versions."""


class PushedFolder:
    """Where versions are pushed to, on a disk: a Source."""

    def __init__(self, folder: Path, config_file: Path) -> None:
        """Looks at nothing yet.

        Args:
          folder: with a folder per version.
          config_file: TensorFlow Serving's model config file; it may be missing.
        """
        self.name, self.config_name = str(folder), str(config_file)
        self._folder, self._config_file = folder, config_file

    def look(self) -> Folder:
        """Looks which versions are there; see Source."""
        return look_into(self._folder)

    def read_config(self) -> ConfigText:
        """The config file; see Source."""
        return read_config(self._config_file)

    def stamp(self, path: Path) -> object:
        """What changes when the files of a version do; see Source."""
        return stamp(path)

    def fetch(self, path: Path) -> None:
        """Does nothing: it is there."""

    def keep(self, versions: Collection[int]) -> None:
        """Does nothing: nothing was fetched."""


def look_into(folder: Path) -> Folder:
    """Looks which versions are there: folders that are named by a number and hold a SavedModel."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return _unread(folder, "does not exist: make it, or set SERVING_DIR to the folder of the pushed versions")
    except NotADirectoryError:
        return _unread(folder, "is no folder: set SERVING_DIR to the folder that holds a folder per pushed version")
    except OSError as error:
        return _unread(folder, f"cannot be read ({error.strerror}): let user {os.geteuid()} list it")
    may_be = (name for name in names if _NUMBER.fullmatch(name) and _may_hold_model(folder / name))
    present, remarks = number_versions(may_be, lambda name: str(folder / name))
    problem = "" if present else f"SERVING_DIR={folder} holds no version: push one, or correct SERVING_DIR"
    return Folder({version: folder / name for version, name in present.items()}, problem, remarks=remarks)


def number_versions(names: Iterable[str], locate: Callable[[str], str]) -> tuple[dict[int, str], tuple[str, ...]]:
    """Which names are versions.

    Args:
      names: of what holds a SavedModel.
      locate: says where one of a name is.

    Returns:
      The name of each version, and what was passed over though somebody may have meant it.
    """
    present: dict[int, str] = {}
    remarks = []
    for name in sorted(names):
        number = _NUMBER.fullmatch(name)
        if not number:
            continue
        version = int(number[1])
        if version > _MAX_VERSION:
            remarks.append(f"{locate(name)} is no version: its number is greater than {_MAX_VERSION}")
            continue
        if version in present:
            # The last in order, of those that TensorFlow Serving keeps sorted: IndexChildrenByVersion in
            # file_system_storage_path_source.cc.
            remarks.append(f"{locate(present[version])} is passed over: {locate(name)} is version {version} as well")
        present[version] = name
    return present, tuple(remarks)


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
