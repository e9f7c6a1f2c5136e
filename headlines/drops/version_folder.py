"""The folder of one version of a drop: which of its files are the drop's, and what it lacks to be complete."""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from headlines.display import show_bytes
from headlines.names import LABEL_CODES, SUCCESS_MARKER
from modules.features import LABELS

# Files of this name hold headlines to be scored, not to be learnt from: `unlabelled*.csv` is no part of a drop.
UNLABELLED_PREFIX = "unlabelled"
_SUFFIXES = (".csv", ".tsv")
_TEMPORARY_SUFFIXES = (".tmp", ".part", ".partial", ".filepart")
# Backups, locks and swap files of editors, and what macOS keeps beside a file: they may lie there for ever.
_LEFT_BY_OTHERS = re.compile(r".*~|\.~lock\..*#|\.#.*|\._.*\.csv|\..*\.sw[a-p]", re.IGNORECASE | re.DOTALL)
_FILES_NAMED = 3
_MOST_BYTES_OF_CODES = 1000


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """What lay in the folder when it was looked into: a marker that comes later vouches for files not seen here.

    Attributes:
      path: of the folder.
      paths: its files.
      others: what is no file in it: folders, links that lead nowhere.
    """

    path: Path
    paths: tuple[Path, ...]
    others: tuple[Path, ...] = ()

    @classmethod
    def look_into(cls, path: Path) -> Self:
        """Lists what is in a folder, by name.

        Raises:
          OSError: it is not there, is no folder, or cannot be read.
        """
        return cls.sort(path, path.iterdir())

    @classmethod
    def sort(cls, path: Path, entries: Iterable[Path]) -> Self:
        """Takes what is in a folder for files or for something else.

        Raises:
          OSError: an entry cannot be looked at.
        """
        paths: list[Path] = []
        others: list[Path] = []
        for entry in sorted(entries):
            (paths if entry.is_file() else others).append(entry)
        return cls(path, tuple(paths), tuple(others))

    @property
    def csv_files(self) -> tuple[Path, ...]:
        """The CSV files of the drop, whether it is complete or not."""
        return tuple(path for path in self.paths if is_csv(path) and not is_unlabelled(path.name))

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What lies there and is no part of the drop, though it may have been meant to be; folders end in `/`."""
        parts = {path.name for path in self.csv_files}
        # By a custom that Hadoop began, who reads data passes over what begins with `_` or `.`.
        strays = [
            path.name
            for path in self.paths
            if path.name not in parts
            and not is_unlabelled(path.name)
            and (_is_csv_under_way(path.name) or not (path.name.startswith("_") or _is_temporary(path.name)))
            and not _LEFT_BY_OTHERS.fullmatch(path.name)
        ]
        strays += [
            f"{path.name}/" if path.is_dir() else path.name
            for path in self.others
            if not path.name.startswith(("_", "."))
        ]
        return tuple(map(show_bytes, sorted(strays)))

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

    def read_label_codes(self) -> dict[str, str] | None:
        """The label codes that its `_SUCCESS` file says it is written in; None where it says none.

        Raises:
          ValueError: what it says are none.
          OSError: it cannot be read.
        """
        try:
            marked = json.loads((self.path / SUCCESS_MARKER).read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValueError):
            return None  # no marker, or one that was written by hand and says nothing
        codes = marked.get(LABEL_CODES) if isinstance(marked, dict) else None
        if isinstance(codes, dict) and (problem := find_codes_problem(codes)):
            raise ValueError(f"{self.path / SUCCESS_MARKER} says {LABEL_CODES} that cannot be kept: {problem}")
        if codes is not None and not (isinstance(codes, dict) and all(label in LABELS for label in codes.values())):
            raise ValueError(
                f"{self.path / SUCCESS_MARKER} says {LABEL_CODES} {json.dumps(codes, ensure_ascii=False)}; it must be "
                f'an object such as {{"0": "{LABELS[0]}"}}, of codes and the labels {", ".join(LABELS)}'
            )
        return codes

    def was_known(self, known_by: datetime | None) -> bool:
        """Whether it had been delivered by a moment; always when that is None, or when nobody can tell."""
        return known_by is None or (delivered := self.delivered) is None or delivered <= known_by

    def find_lack(self, require_success_marker: bool) -> str:
        """What it lacks to be complete, whatever the age of its files; empty when nothing."""
        if problem := next(filter(None, map(find_name_problem, self.csv_files)), ""):
            return problem
        links = (path for path in self.others if path.is_symlink() and is_csv(path))
        if broken := self._name_some(lambda name: not is_unlabelled(name), links):
            return f"{self.path} holds links that lead to no file ({broken}); put the files there, or delete the links"
        if not self.csv_files:
            if temporary := self._name_some(_is_temporary):
                return (
                    f"{self.path} holds only temporary files ({temporary}); "
                    "wait for the delivery to end, or rename them to *.csv if it has"
                )
            strays = f", only {', '.join(self.passed_over[:_FILES_NAMED])}" if self.passed_over else ""
            return f"{self.path} holds no CSV file{strays}; deliver {self.path}/headlines.csv"
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
        age = measure_age(self.csv_files)
        # A clock that is ahead by more than this, on another machine, is no reason to wait for it.
        if abs(age) >= settle_seconds:
            return ""
        return (
            f"{self.path} changed {max(age, 0):.0f} s ago and may still be growing; it is read when it has been "
            f"left alone for {settle_seconds:g} s, or at once when it holds a {SUCCESS_MARKER} file"
        )

    def _name_some(self, which: Callable[[str], bool], paths: Iterable[Path] | None = None) -> str:
        named = [show_bytes(path.name) for path in (self.paths if paths is None else paths) if which(path.name)]
        return ", ".join(named[:_FILES_NAMED])


def measure_age(paths: Iterable[Path]) -> float:
    """How many seconds ago the youngest of some files was written, or arrived; negative for a clock that is ahead.

    When it was written says nothing of a file that was moved here, unpacked, or copied with its times: its inode
    changed then, or that of a link to it.
    """
    stats = [stat for path in paths for stat in (path.stat(), path.lstat())]
    return min((time.time() - moment for stat in stats for moment in (stat.st_mtime, stat.st_ctime)), key=abs)


def find_name_problem(path: Path) -> str:
    """That the name of a file, or of a folder above it, is not UTF-8, so that nothing can record it; empty if it is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return f"the name {show_bytes(str(path))} is not UTF-8; rename it"
    return ""


def find_codes_problem(codes: Mapping[str, str]) -> str:
    """Why label codes cannot be kept with the drops that are read with them; empty if they can."""
    written = json.dumps(codes, ensure_ascii=False)
    # MLMD on Postgres takes neither a backslash (no issue known) nor a long string (google/ml-metadata#194).
    if "\\" in written:
        return "a code has a quote, a backslash or a control character; leave it out"
    if len(written.encode("utf-8", "replace")) > _MOST_BYTES_OF_CODES:
        return f"they are longer than {_MOST_BYTES_OF_CODES} bytes; write fewer or shorter ones"
    return ""


def is_csv(path: Path) -> bool:
    """Whether a file is a CSV file by its name, be it with tabs or packed, and one that is whole."""
    return path.name.casefold().removesuffix(".gz").endswith(_SUFFIXES) and not _is_temporary(path.name)


def is_unlabelled(name: str) -> bool:
    """Whether a file, be it under way, holds headlines to be scored."""
    return name.lstrip(".").startswith(UNLABELLED_PREFIX)


def _is_temporary(name: str) -> bool:
    """Whether a file name is one that writers use while a delivery is under way."""
    return name.startswith(".") or name.endswith("~") or name.casefold().endswith(_TEMPORARY_SUFFIXES)


def _is_csv_under_way(name: str) -> bool:
    """Whether a file name is one that a CSV file of a drop has until it is whole."""
    looks_so = _is_temporary(name) and any(suffix in name.casefold() for suffix in _SUFFIXES)
    return looks_so and not is_unlabelled(name) and not _LEFT_BY_OTHERS.fullmatch(name)
