"""The folder of one version of a drop: which of its files are the drop's, and what it lacks to be complete."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from headlines.names import SUCCESS_MARKER

# Files of this name hold headlines to be scored, not to be learnt from: `unlabelled*.csv` is no part of a drop.
UNLABELLED_PREFIX = "unlabelled"
_TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".filepart")
# Backups, locks and swap files of editors, and what macOS keeps beside a file: they may lie there for ever.
_LEFT_BY_OTHERS = re.compile(r".*~|\.~lock\..*#|\.#.*|\._.*\.csv|\..*\.sw[a-p]", re.IGNORECASE | re.DOTALL)
_FILES_NAMED = 3


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """What lay in the folder when it was looked into: a marker that comes later vouches for files not seen here."""

    path: Path
    paths: tuple[Path, ...]

    @classmethod
    def look_into(cls, path: Path) -> Self:
        """Lists the files in a folder, by name.

        Raises:
          OSError: it is not there, is no folder, or cannot be read.
        """
        return cls(path, tuple(sorted(file for file in path.iterdir() if file.is_file())))

    @property
    def csv_files(self) -> tuple[Path, ...]:
        """The CSV files of the drop, whether it is complete or not."""
        return tuple(path for path in self.paths if is_csv(path) and not is_unlabelled(path.name))

    @property
    def is_marked(self) -> bool:
        """Whether whoever delivered it says that it is whole."""
        return any(path.name == SUCCESS_MARKER for path in self.paths)

    @property
    def delivered(self) -> datetime | None:
        """When it was delivered: as its `_SUCCESS` file tells, else when its newest CSV file was last written."""
        try:
            delivered = datetime.fromisoformat(json.loads((self.path / SUCCESS_MARKER).read_bytes())["delivered"])
            return delivered if delivered.tzinfo else delivered.replace(tzinfo=UTC)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no marker, or one that was written by hand and says nothing
        moments = [path.stat().st_mtime for path in self.csv_files]
        return datetime.fromtimestamp(max(moments), UTC) if moments else None

    def was_known(self, known_by: datetime | None) -> bool:
        """Whether it had been delivered by a moment; always when that is None, or when nobody can tell."""
        return known_by is None or (delivered := self.delivered) is None or delivered <= known_by

    def find_lack(self, require_success_marker: bool) -> str:
        """What it lacks to be complete, whatever the age of its files; empty when nothing."""
        if not self.csv_files:
            if temporary := self._name_some(_is_temporary):
                return (
                    f"{self.path} holds only temporary files ({temporary}); "
                    "wait for the delivery to end, or rename them to *.csv if it has"
                )
            return f"{self.path} holds no CSV file; deliver {self.path}/headlines.csv"
        if self.is_marked:
            return ""
        if require_success_marker:
            return (
                f"{self.path} has no {SUCCESS_MARKER} file; create it when the delivery is whole, "
                "or set REQUIRE_SUCCESS_MARKER=false"
            )
        if under_way := self._name_some(_is_csv_under_way):
            return (
                f"{self.path} holds what may be files still under way ({under_way}); wait for the delivery to end, or "
                f"if it has, rename them to *.csv, delete them, or create {self.path / SUCCESS_MARKER}"
            )
        return ""

    def find_growth(self, settle_seconds: float) -> str:
        """That its newest CSV file is too young to be believed; empty when all is settled."""
        if not settle_seconds or self.is_marked:
            return ""
        age = min((time.time() - path.stat().st_mtime for path in self.csv_files), key=abs)
        # A clock that is ahead by more than this, on another machine, is no reason to wait for it.
        if abs(age) >= settle_seconds:
            return ""
        return (
            f"{self.path} changed {max(age, 0):.0f} s ago and may still be growing; it is read when it has been "
            f"left alone for {settle_seconds:g} s, or at once when it holds a {SUCCESS_MARKER} file"
        )

    def _name_some(self, which: Callable[[str], bool]) -> str:
        return ", ".join([path.name for path in self.paths if which(path.name)][:_FILES_NAMED])


def is_csv(path: Path) -> bool:
    """Whether a file is a CSV file by its name, and one that is whole."""
    return path.suffix.casefold() == ".csv" and not _is_temporary(path.name)


def is_unlabelled(name: str) -> bool:
    """Whether a file, be it under way, holds headlines to be scored."""
    return name.lstrip(".").startswith(UNLABELLED_PREFIX)


def _is_temporary(name: str) -> bool:
    """Whether a file name is one that writers use while a delivery is under way."""
    return name.startswith(".") or name.endswith("~") or name.casefold().endswith(_TEMPORARY_SUFFIXES)


def _is_csv_under_way(name: str) -> bool:
    """Whether a file name is one that a CSV file of a drop has until it is whole."""
    looks_so = _is_temporary(name) and ".csv" in name.casefold()
    return looks_so and not is_unlabelled(name) and not _LEFT_BY_OTHERS.fullmatch(name)
