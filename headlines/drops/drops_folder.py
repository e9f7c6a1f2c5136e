"""The contract of a drop: where a night's files lie, and which version of them counts."""

import hashlib
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path

from headlines.drops.version_folder import UNLABELLED_PREFIX, VersionFolder, is_csv, is_unlabelled, measure_age
from headlines.errors import HeadlinesError
from headlines.names import HEADLINES_FILE, SUCCESS_MARKER
from headlines.objects.addresses import is_object, to_path

log = logging.getLogger(__name__)

# How often a caller that waits looks again at files that keep growing.
_LOOKS_WHILE_GROWING = 6
_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
_CORRECTION = re.compile(r"v([2-9]|[1-9]\d+)")


class DropError(HeadlinesError, ValueError):
    """A drop cannot be used as a whole; the message says what is wrong, where, and what to do."""


class GrowingDropError(DropError):
    """A drop is complete but for its age: its files changed a moment ago, or while they were read."""

    may_pass = True


class UnreachableDropError(DropError):
    """The disk or the network below a drop does not answer."""

    may_pass = True


@dataclass(frozen=True, slots=True)
class DropVersion:
    """One delivery of a night: the plain files are version 1, `v2/` and on are corrections.

    `passed_over` names, from the night's folder on, what lay there beside its files and is not read.
    `label_codes` are those that were delivered with it; None where its `_SUCCESS` file says none.
    """

    night: date
    number: int
    files: tuple[Path, ...]
    passed_over: tuple[str, ...] = field(default=(), compare=False)
    label_codes: dict[str, str] | None = field(default=None, compare=False)


def parse_night(text: str) -> date:
    """The date a night is named by.

    Raises:
      DropError: `text` is not a date written `YYYY-MM-DD`.
    """
    try:
        if not _NIGHT.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise DropError(f"night {text!r} is not a date; write it as YYYY-MM-DD, such as 2022-02-01") from None


class DropsFolder:
    """What lies in a drops folder: night -> versions -> files. Each folder in it is listed once, when it is needed.

    Attributes:
      path: where it is; it holds a folder per night.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[date, list[Path]] = {}
        self._listed: dict[str, list[Path]] = {}
        self._versions: dict[tuple[date, int], VersionFolder] = {}

    @cached_property
    def nights(self) -> list[date]:
        """The nights that have a folder, oldest first; one with another name, or with unlabelled files alone, is none.

        Raises:
          DropError: the drops folder is not there or cannot be read.
        """
        try:
            names = list(filter(_NIGHT.fullmatch, self._list_names()))
        except OSError as error:
            raise unreadable(
                error, f"the drops folder {self.path} cannot be read ({error.strerror}); create it or correct DROPS_DIR"
            ) from None
        nights = []
        for name in names:
            try:
                nights.append(date.fromisoformat(name))
            except ValueError:
                continue  # 2022-02-31
        return sorted(night for night in nights if not self._holds_only_unlabelled(night))

    def list_versions(self, night: date) -> list[int]:
        """The numbers of the versions of a night that have a folder, complete or not, newest first.

        Raises:
          DropError: the night has no folder, or it cannot be read.
        """
        try:
            names = [path.name for path in self._list(night)]
        except FileNotFoundError:
            folder = self.path / night.isoformat()
            raise DropError(
                f"night {night} has no drop: {folder} does not exist; deliver {folder / HEADLINES_FILE}"
            ) from None
        except OSError as error:
            raise _unreadable(night, error) from None
        return sorted([1, *(int(match[1]) for name in names if (match := _CORRECTION.fullmatch(name)))], reverse=True)

    def look_into(self, night: date, number: int) -> VersionFolder:
        """The folder of a version.

        Raises:
          DropError: it is none, or cannot be read.
        """
        if (night, number) not in self._versions:
            folder = self.path / night.isoformat()
            try:
                if number == 1:
                    entries = (path for path in self._list(night) if not _CORRECTION.fullmatch(path.name))
                    self._versions[night, number] = VersionFolder.sort(folder, entries)
                else:
                    self._versions[night, number] = VersionFolder.look_into(folder / f"v{number}")
            except OSError as error:
                raise _unreadable(night, error) from None
        return self._versions[night, number]

    def list_passed_over(self, night: date, number: int) -> tuple[str, ...]:
        """What lies beside the files of a version and is not read, as it is named from the night's folder on.

        Raises:
          DropError: a folder cannot be read.
        """
        names = self.look_into(night, number).passed_over
        if number == 1:
            return names
        # Of what lies beside the version that was corrected, folders may have been meant as corrections of it.
        folders = [name for name in self.look_into(night, 1).passed_over if name.endswith("/")]
        return (*folders, *(f"v{number}/{name}" for name in names))

    def find_version(
        self,
        night: date,
        require_success_marker: bool = False,
        settle_seconds: float = 0,
        known_by: datetime | None = None,
    ) -> DropVersion:
        """The newest complete version of a night's drop.

        A correction that is still being delivered (no CSV file yet, or no marker, or a file under a temporary name, or
        one that changed a moment ago) does not hide the version before it.

        Args:
          night: whose drop.
          require_success_marker: whether a version without the file `_SUCCESS` is incomplete.
          settle_seconds: how long the files of a version without `_SUCCESS` must have been left alone.
          known_by: versions delivered after this moment are not looked at.

        Raises:
          GrowingDropError: the night has no complete version, and its newest files changed a moment ago.
          DropError: the night has no complete version.
        """
        problems: list[str] = []
        growing = False
        try:
            for number in self.list_versions(night):
                folder = self.look_into(night, number)
                if known_by and (delivered := folder.delivered) and delivered > known_by:
                    problems.append(f"version {number} was delivered at {delivered:%Y-%m-%d %H:%M %Z} only")
                    continue
                problem = folder.find_lack(require_success_marker)
                if not problem and (problem := folder.find_growth(settle_seconds)):
                    growing = True
                if not problem:
                    if problems:
                        log.warning("Night %s: version %d counts, since %s.", night, number, "; ".join(problems))
                    if passed_over := self.list_passed_over(night, number):
                        log.warning(
                            "Night %s: %s passed over: of a drop *.csv and *.tsv are read, also with .gz, and "
                            "corrections of it from v2, v3, ...",
                            night,
                            ", ".join(passed_over),
                        )
                    return DropVersion(night, number, folder.csv_files, passed_over, _read_label_codes(folder))
                problems.append(problem)
        except OSError as error:
            raise _unreadable(night, error) from None
        as_known = f" as known on {known_by:%Y-%m-%d %H:%M %Z}" if known_by else ""
        kind = GrowingDropError if growing else DropError
        raise kind(f"the drop of night {night} is not complete{as_known}: {'; '.join(problems)}")

    def find_earlier_version(
        self, version: DropVersion, known_by: datetime | None = None, passed_over: dict[int, str] | None = None
    ) -> DropVersion | None:
        """The version before a version of the same night, as known then; None when it is the first that has files.

        One whose `_SUCCESS` file says label codes that are none is passed over: it may well be what was corrected. It
        is put into `passed_over` by number and with why, or else told in the log.
        """
        if version.number == 1:
            return None
        for number in self.list_versions(version.night):
            folder = self.look_into(version.night, number)
            if not (number < version.number and folder.csv_files and folder.was_known(known_by)):
                continue
            try:
                return DropVersion(version.night, number, folder.csv_files, label_codes=_read_label_codes(folder))
            except DropError as error:
                if passed_over is None:
                    log.warning("Night %s: version %d is passed over, since %s", version.night, number, error)
                else:
                    passed_over[number] = str(error)
        return None

    def was_known(self, night: date, known_by: datetime | None) -> bool:
        """Whether a night that has a folder had a drop, of whatever version, by a moment; always when that is None."""
        if known_by is None:
            return True
        deliveries = [self.look_into(night, number).delivered for number in self.list_versions(night)]
        return any(delivered <= known_by for delivered in deliveries if delivered)

    def _list_names(self) -> list[str]:
        if not is_object(self.path):
            return [path.name for path in self.path.iterdir()]
        # One listing tells of all nights; one of each night's folder would be a request each.
        found: dict[str, list[Path]] = {}
        for path in self.path.rglob("*"):
            night, *within = path.relative_to(self.path).parts
            entries = found.setdefault(night, [])
            if len(within) == 1:
                entries.append(path)
        self._listed = {night: sorted(entries) for night, entries in found.items()}
        return list(found)

    def _list(self, night: date) -> list[Path]:
        if night not in self._entries:
            listed = self._listed.get(night.isoformat())
            self._entries[night] = listed or sorted((self.path / night.isoformat()).iterdir())
        return self._entries[night]

    def _holds_only_unlabelled(self, night: date) -> bool:
        """Whether a night's folder has files to be scored and nothing else; what cannot be looked into is not that."""
        try:
            names = [path.name for path in self._list(night) if path.name != SUCCESS_MARKER]
        except OSError:
            return False
        return bool(names) and all(map(is_unlabelled, names))


def list_unlabelled(drops_dir: Path, settle_seconds: float = 0) -> dict[date, tuple[Path, ...]]:
    """The files `<night>/unlabelled*.csv` of every night that has some, oldest first.

    Args:
      drops_dir: holds a folder per night.
      settle_seconds: a night with a file that changed more recently is left out: it may still be growing.

    Raises:
      DropError: `drops_dir` or a file in it cannot be read.
    """
    files_of: dict[date, list[Path]] = {}
    try:
        for path in sorted(drops_dir.glob(f"*/{UNLABELLED_PREFIX}*")):
            if _NIGHT.fullmatch(path.parent.name) and is_csv(path):
                files_of.setdefault(parse_night(path.parent.name), []).append(path)
        return {night: tuple(files) for night, files in files_of.items() if abs(measure_age(files)) >= settle_seconds}
    except OSError as error:
        raise unreadable(error, f"{error.filename} cannot be read: {error.strerror}; let this user read it") from None


def find_problem(
    drops_dir: str,
    night: str,
    *,
    require_success_marker: bool = False,
    settle_seconds: float = 0,
    wait_while_growing: bool = False,
) -> str | None:
    """Why a night's drop cannot be read yet, or None when it is complete; see `check_drop`."""
    try:
        check_drop(
            drops_dir,
            night,
            require_success_marker=require_success_marker,
            settle_seconds=settle_seconds,
            wait_while_growing=wait_while_growing,
        )
    except DropError as error:
        return str(error)
    return None


def check_drop(
    drops_dir: str,
    night: str,
    *,
    require_success_marker: bool = False,
    settle_seconds: float = 0,
    wait_while_growing: bool = False,
) -> None:
    """Looks whether a night's drop is complete. Content is not checked.

    Args:
      drops_dir: holds a folder per night.
      night: `YYYY-MM-DD`.
      require_success_marker: whether a version without the file `_SUCCESS` is incomplete.
      settle_seconds: how long the files of a version without `_SUCCESS` must have been left alone.
      wait_while_growing: whether to wait, a few times `settle_seconds` at most, for files that changed a moment ago.

    Raises:
      DropError: it is not, or cannot be read.
    """
    for look in range(1, _LOOKS_WHILE_GROWING + 1):
        try:
            DropsFolder(to_path(drops_dir)).find_version(parse_night(night), require_success_marker, settle_seconds)
            return
        except GrowingDropError:
            if not wait_while_growing or look == _LOOKS_WHILE_GROWING:
                raise
            time.sleep(settle_seconds)


def hash_files(files: Iterable[tuple[str, str]]) -> str:
    """The content hash of a version, from the name and the SHA-256 of each of its files, in their order."""
    return hashlib.sha256("".join(f"{name}\0{sha256}\n" for name, sha256 in files).encode()).hexdigest()


def _read_label_codes(folder: VersionFolder) -> dict[str, str] | None:
    try:
        return folder.read_label_codes()
    except ValueError as error:
        raise DropError(str(error)) from None
    except OSError as error:
        place = folder.path / SUCCESS_MARKER
        raise unreadable(error, f"{place} cannot be read: {error.strerror}; let this user read it") from None


def unreadable(error: OSError, message: str) -> DropError:
    """The error of a drop that cannot be read: who is missing or not let in is no other at the next look."""
    lasts = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError)
    return (DropError if lasts else UnreachableDropError)(message)


def _unreadable(night: date, error: OSError) -> DropError:
    return unreadable(
        error,
        f"the drop of night {night} cannot be read: {error.filename}: {error.strerror}; "
        "it must be a folder of CSV files that this user may read",
    )
