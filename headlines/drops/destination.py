"""Where a file is to be delivered: what it becomes there, and why it is not, or need not be, delivered at all."""

import dataclasses
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion
from headlines.drops.rules import Rules
from headlines.drops.rulings import Precedents
from headlines.drops.version_folder import VersionFolder
from headlines.names import HEADLINES_FILE, SUCCESS_MARKER


def check_file(file: Path) -> None:
    """Refuses what is no plain file, before anything else is said of it.

    Raises:
      DropError: it is none, or nobody can look.
    """
    try:
        if file.is_file():
            return
        is_folder, is_there, is_link = file.is_dir(), file.exists(), file.is_symlink()
    except OSError as error:
        raise DropError(f"{file} cannot be read: {error.strerror}; let this user read it") from None
    if is_folder:
        raise DropError(f"{file} is a folder; give one file")
    if is_there:
        raise DropError(f"{file} is no plain file, and it is read more than once; save it as one, and give that")
    if is_link:
        raise DropError(f"{file} is a link that leads to no file; give the file itself")
    raise DropError(f"{file} does not exist; check the name")


def make_drops_folder(path: Path) -> Iterator[str]:
    """Makes the drops folder where it is not there, and says so: its name may be a slip.

    Raises:
      DropError: it cannot be made.
    """
    try:
        if path.is_dir():
            return
        path.mkdir(parents=True)
    except OSError as error:
        raise DropError(f"the drops folder {path} cannot be made ({error.strerror}); correct DROPS_DIR") from None
    yield f"the drops folder {path} was not there and has been made, so there are no other nights in it"


def tell_early(night: date, start_date: str, window_nights: int) -> Iterator[str]:
    """That no run is made for a night, since it is before the first one, if it is.

    Args:
      night: which.
      start_date: the first night that may be run, `YYYY-MM-DD`.
      window_nights: how many nights a run reads; 0 for all so far.

    Raises:
      DropError: nor does any run read it in its window.
    """
    days = (date.fromisoformat(start_date) - night).days
    if days > 0 and 0 < window_nights <= days:
        raise DropError(
            f"night {night} is before START_DATE={start_date} and before the window of every run, so that no run would "
            "read it; correct --night, or START_DATE"
        )
    if days > 0:
        yield (
            f"no run is made for night {night}, which is before START_DATE={start_date}; later nights read it in their "
            "windows"
        )


def tell_ahead(night: date, timezone: str, now: datetime) -> Iterator[str]:
    """That a night has not begun, if it has not.

    Args:
      night: which.
      timezone: of the dates of nights.
      now: with a time zone.
    """
    today = now.astimezone(ZoneInfo(timezone)).date()
    if night > today:
        yield f"night {night} has not begun: in {timezone} it is {today}; correct --night"


def tell_repeated(drops_dir: Path, version: DropVersion, rules: Rules, precedents: Precedents) -> Iterator[str]:
    """That a correction is the version that it corrects once more, if it is: the same bytes, read alike."""
    drops, passed_over = DropsFolder(drops_dir), dict[int, str]()
    before = drops.find_earlier_version(version, passed_over=passed_over)
    if not before or passed_over or len(before.files) > 1:
        return
    if drops.look_into(before.night, before.number).find_lack(rules.require_success_marker):
        return  # It is rightly delivered again as it is.
    try:
        is_same = before.files[0].read_bytes() == version.files[0].read_bytes()
    except OSError:
        return  # That it cannot be read is told where the file is not compared with it.
    if is_same and precedents.choose_codes(before, rules.label_codes) == version.label_codes:
        yield (
            f"version {before.number} of the drop of night {version.night} has the same bytes and label codes; this "
            "would correct nothing"
        )


def choose_version(drops_dir: Path, night: date, correct: bool, file: Path) -> DropVersion:
    """What a file is delivered as: the first version of a night, or its next one.

    Raises:
      DropError: the night has a drop and `correct` is not set, or the reverse; or what lies there already would keep
        the version from being complete.
    """
    folder = drops_dir / night.isoformat()
    drops = DropsFolder(drops_dir)
    versions = drops.list_versions(night) if folder.exists() else []
    delivered = [number for number in versions if drops.look_into(night, number).csv_files]
    if correct and not delivered:
        raise DropError(f"night {night} has no drop to correct in {drops_dir}; deliver it without --correct")
    if delivered and not correct:
        raise DropError(
            f"night {night} has version {delivered[0]} of its drop already, and a drop never changes in place; "
            "deliver a correction with --correct"
        )
    number = versions[0] + 1 if correct else 1
    beside = drops.look_into(night, 1) if versions and not correct else VersionFolder(folder / f"v{number}", ())
    delivered_beside = (*beside.paths, beside.path / HEADLINES_FILE, beside.path / SUCCESS_MARKER)
    if lack := dataclasses.replace(beside, paths=delivered_beside).find_lack(require_success_marker=True):
        raise DropError(f"the drop of night {night} would not be complete: {lack}")
    strays = drops.list_passed_over(night, 1) if versions else ()
    if correct:
        # Files beside the version that is corrected were passed over with it; folders may have been corrections too.
        strays = tuple(name for name in strays if name.endswith("/"))
    return DropVersion(night, number, (file,), passed_over=strays)
