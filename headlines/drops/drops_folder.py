"""The contract of a drop: where a night's files lie, and which version of them counts.

Standard library only, and no look inside a CSV file: `rows` reads them. `version_folder` tells which are complete.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from headlines.drops.version_folder import (
    SUCCESS_MARKER,
    UNLABELLED_PREFIX,
    VersionFolder,
    is_csv,
    is_unlabelled,
)

log = logging.getLogger(__name__)

# How often a caller that waits looks again at files that keep growing.
_LOOKS_WHILE_GROWING = 6
_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
_CORRECTION = re.compile(r"v([2-9]|[1-9]\d+)")


class DropError(ValueError):
    """A drop cannot be used as a whole; the message says what is wrong, where, and what to do."""


class GrowingDropError(DropError):
    """A drop is complete but for its age: its files changed a moment ago."""


@dataclass(frozen=True, slots=True)
class DropVersion:
    """One delivery of a night: the plain files are version 1, `v2/` and on are corrections."""

    night: date
    number: int
    files: tuple[Path, ...]


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


def list_nights(drops_dir: Path) -> list[date]:
    """The nights that have a folder, oldest first; folders with other names, or with unlabelled files alone, are none.

    Raises:
      DropError: `drops_dir` is not there or cannot be read.
    """
    try:
        names = [
            path.name
            for path in drops_dir.iterdir()
            if _NIGHT.fullmatch(path.name) and not _holds_only_unlabelled(path)
        ]
    except OSError as error:
        raise DropError(
            f"the drops folder {drops_dir} cannot be read ({error.strerror}); create it or correct DROPS_DIR"
        ) from None
    nights = []
    for name in names:
        try:
            nights.append(date.fromisoformat(name))
        except ValueError:
            continue  # 2022-02-31
    return sorted(nights)


def list_versions(drops_dir: Path, night: date) -> list[tuple[int, Path]]:
    """The number and folder of each version of a night that has a folder, complete or not, newest first.

    Raises:
      DropError: the night has no folder, or it cannot be read.
    """
    folder = drops_dir / night.isoformat()
    try:
        corrections = [
            (int(match[1]), path) for path in folder.iterdir() if (match := _CORRECTION.fullmatch(path.name))
        ]
    except FileNotFoundError:
        raise DropError(f"night {night} has no drop: {folder} does not exist; deliver {folder}/headlines.csv") from None
    except OSError as error:
        raise _unreadable(night, error) from None
    return sorted([(1, folder), *corrections], reverse=True)


def find_version(
    drops_dir: Path,
    night: date,
    require_success_marker: bool = False,
    settle_seconds: float = 0,
    known_by: datetime | None = None,
) -> DropVersion:
    """The newest complete version of a night's drop.

    A correction that is still being delivered (no CSV file yet, or no marker, or a file under a temporary name, or one
    that changed a moment ago) does not hide the version before it.

    Args:
      drops_dir: holds a folder per night.
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
        for number, folder in list_versions(drops_dir, night):
            if known_by and (delivered := find_delivery(folder)) and delivered > known_by:
                problems.append(f"version {number} was delivered at {delivered:%Y-%m-%d %H:%M %Z} only")
                continue
            found = VersionFolder.look_into(folder)
            problem = found.find_lack(require_success_marker)
            if not problem and (problem := found.find_growth(settle_seconds)):
                growing = True
            if not problem:
                if problems:
                    log.warning("Night %s: version %d counts, since %s.", night, number, "; ".join(problems))
                return DropVersion(night, number, found.csv_files)
            problems.append(problem)
    except OSError as error:
        raise _unreadable(night, error) from None
    as_known = f" as known on {known_by:%Y-%m-%d %H:%M %Z}" if known_by else ""
    kind = GrowingDropError if growing else DropError
    raise kind(f"the drop of night {night} is not complete{as_known}: {'; '.join(problems)}")


def list_csv_files(folder: Path) -> tuple[Path, ...]:
    """The CSV files in the folder of one version, by name, whether it is complete or not."""
    return VersionFolder.look_into(folder).csv_files


def list_unlabelled(drops_dir: Path, settle_seconds: float = 0) -> dict[date, tuple[Path, ...]]:
    """The files `<night>/unlabelled*.csv` of every night that has some, oldest first.

    Args:
      drops_dir: holds a folder per night.
      settle_seconds: a night with a file that changed more recently is left out: it may still be growing.

    Raises:
      DropError: `drops_dir` or a file in it cannot be read.
    """
    found: dict[date, list[Path]] = {}
    try:
        for path in sorted(drops_dir.glob(f"*/{UNLABELLED_PREFIX}*")):
            if _NIGHT.fullmatch(path.parent.name) and is_csv(path):
                found.setdefault(parse_night(path.parent.name), []).append(path)
        return {
            night: tuple(files)
            for night, files in found.items()
            if all(abs(time.time() - path.stat().st_mtime) >= settle_seconds for path in files)
        }
    except OSError as error:
        raise DropError(f"{error.filename} cannot be read: {error.strerror}; let this user read it") from None


def find_earlier_version(drops_dir: Path, version: DropVersion, known_by: datetime | None = None) -> DropVersion | None:
    """The version before a version of the same night, as known then; None when it is the first that has files."""
    if version.number == 1:
        return None
    for number, folder in list_versions(drops_dir, version.night):
        if number < version.number and (files := list_csv_files(folder)):
            delivered = find_delivery(folder)
            if not known_by or not delivered or delivered <= known_by:
                return DropVersion(version.night, number, files)
    return None


def find_delivery(folder: Path) -> datetime | None:
    """When a version was delivered: as its `_SUCCESS` file tells, else when its newest CSV file was last written."""
    try:
        delivered = datetime.fromisoformat(json.loads((folder / SUCCESS_MARKER).read_bytes())["delivered"])
        return delivered if delivered.tzinfo else delivered.replace(tzinfo=UTC)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no marker, or one that was written by hand and says nothing
    written = [path.stat().st_mtime for path in list_csv_files(folder)]
    return datetime.fromtimestamp(max(written), UTC) if written else None


def was_known(drops_dir: Path, night: date, known_by: datetime | None) -> bool:
    """Whether a night that has a folder had a drop, of whatever version, by a moment; always when that is None."""
    if known_by is None:
        return True
    deliveries = [find_delivery(folder) for _, folder in list_versions(drops_dir, night)]
    return any(delivered <= known_by for delivered in deliveries if delivered)


def find_problem(
    drops_dir: str,
    night: str,
    *,
    require_success_marker: bool = False,
    settle_seconds: float = 0,
    wait_while_growing: bool = False,
) -> str | None:
    """Why a night's drop cannot be read yet, or None when it is complete. Content is not checked.

    Args:
      drops_dir: holds a folder per night.
      night: `YYYY-MM-DD`.
      require_success_marker: whether a version without the file `_SUCCESS` is incomplete.
      settle_seconds: how long the files of a version without `_SUCCESS` must have been left alone.
      wait_while_growing: whether to wait, a few times `settle_seconds` at most, for files that changed a moment ago.
    """
    problem = None
    for _ in range(_LOOKS_WHILE_GROWING):
        try:
            find_version(Path(drops_dir), parse_night(night), require_success_marker, settle_seconds)
            return None
        except GrowingDropError as error:
            problem = str(error)
            if not wait_while_growing:
                break
            time.sleep(settle_seconds)
        except DropError as error:
            return str(error)
    return problem


def hash_files(files: Iterable[tuple[str, str]]) -> str:
    """The content hash of a version, from the name and the SHA-256 of each of its files, in their order."""
    return hashlib.sha256("".join(f"{name}\0{sha256}\n" for name, sha256 in files).encode()).hexdigest()


def _holds_only_unlabelled(folder: Path) -> bool:
    """Whether a night's folder has files to be scored and nothing else; what cannot be looked into is not that."""
    try:
        names = [path.name for path in folder.iterdir() if path.name != SUCCESS_MARKER]
    except OSError:
        return False
    return bool(names) and all(map(is_unlabelled, names))


def _unreadable(night: date, error: OSError) -> DropError:
    return DropError(
        f"the drop of night {night} cannot be read: {error.filename}: {error.strerror}; "
        "it must be a folder of CSV files that this user may read"
    )
