"""The contract of a drop: where a night's files lie, which version of them counts, and when they are complete.

Standard library only, and no look inside a file: `rows` reads them.
"""

import logging
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

log = logging.getLogger(__name__)

SUCCESS_MARKER = "_SUCCESS"
_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")
_CORRECTION = re.compile(r"v([2-9]|[1-9]\d+)")


class DropError(ValueError):
    """A drop cannot be used as a whole; the message says what is wrong, where, and what to do."""


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
    """The nights that have a folder, oldest first; folders with other names are none. No folder is opened.

    Raises:
      DropError: `drops_dir` is not there or cannot be read.
    """
    try:
        names = [path.name for path in drops_dir.iterdir() if _NIGHT.fullmatch(path.name)]
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


def find_version(drops_dir: Path, night: date, require_success_marker: bool = False) -> DropVersion:
    """The newest complete version of a night's drop.

    A correction that is still being delivered (no CSV file yet, or no marker) does not hide the version before it.

    Args:
      drops_dir: holds a folder per night.
      night: whose drop.
      require_success_marker: whether a version without the file `_SUCCESS` is incomplete.

    Raises:
      DropError: the night has no complete version.
    """
    folder = drops_dir / night.isoformat()
    try:
        versions = [(1, folder)] + [
            (int(match[1]), path) for path in folder.iterdir() if (match := _CORRECTION.fullmatch(path.name))
        ]
        problems: list[str] = []
        for number, place in sorted(versions, reverse=True):
            files, problem = _look_into(place, require_success_marker)
            if not problem:
                if problems:
                    log.warning("Night %s: version %d counts, since %s.", night, number, "; ".join(problems))
                return DropVersion(night, number, files)
            problems.append(problem)
    except FileNotFoundError:
        raise DropError(f"night {night} has no drop: {folder} does not exist; deliver {folder}/headlines.csv") from None
    except OSError as error:
        raise DropError(
            f"the drop of night {night} cannot be read: {error.filename}: {error.strerror}; "
            "it must be a folder of CSV files that this user may read"
        ) from None
    raise DropError(f"the drop of night {night} is not complete: {'; '.join(problems)}")


def find_problem(drops_dir: str, night: str, *, require_success_marker: bool = False) -> str | None:
    """Why a night's drop cannot be read yet, or None when it is complete. Content is not checked.

    Args:
      drops_dir: holds a folder per night.
      night: `YYYY-MM-DD`.
      require_success_marker: whether a version without the file `_SUCCESS` is incomplete.
    """
    try:
        find_version(Path(drops_dir), parse_night(night), require_success_marker)
    except DropError as error:
        return str(error)
    return None


def is_temporary(name: str) -> bool:
    """Whether a file name is one that writers use while a delivery is under way."""
    return name.startswith(".") or name.endswith("~") or name.casefold().endswith((".tmp", ".part"))


def _look_into(folder: Path, require_success_marker: bool) -> tuple[tuple[Path, ...], str]:
    """The CSV files of one version, by name, and what it lacks to be complete."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files = tuple(path for path in paths if path.suffix.casefold() == ".csv" and not is_temporary(path.name))
    if not files:
        temporary = [path.name for path in paths if is_temporary(path.name)]
        if temporary:
            return (), (
                f"{folder} holds only temporary files ({', '.join(temporary[:3])}); "
                "wait for the delivery to end, or rename them to *.csv if it has"
            )
        return (), f"{folder} holds no CSV file; deliver {folder}/headlines.csv"
    if require_success_marker and not (folder / SUCCESS_MARKER).is_file():
        return (), (
            f"{folder} has no {SUCCESS_MARKER} file; create it when the delivery is whole, "
            "or set REQUIRE_SUCCESS_MARKER=false"
        )
    return files, ""
