"""Which versions of which drops the window of a night reads, what for, and with which label codes.

A run for night D never reads a drop of a later night.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Generic

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion, hash_files, unreadable
from headlines.drops.rows import File, FileRecord
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents, Ruling

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Content(Generic[File]):
    """A version of a drop, its files as they were read, and the label codes that it is read with."""

    version: DropVersion
    files: tuple[File, ...]
    codes: Codes


@dataclass(frozen=True, slots=True)
class LeftOut(Content[File]):
    """A drop of the window that was refused, and so is neither trained on nor compared with."""

    refusal: Ruling

    @property
    def sha256(self) -> str:
        """Hash of the names and contents of its files."""
        return hash_contents(self.files)


@dataclass(frozen=True, slots=True)
class Sources(Generic[File]):
    """What a run for a night reads: `missing`, `drops` and `left_out` oldest first, the night's own drop last.

    `corrected` is the version that the night's own corrects, if it can be read; `not_compared` are those that cannot,
    by number and with why.
    """

    missing: tuple[date, ...]
    drops: tuple[Content[File], ...]
    left_out: tuple[LeftOut[File], ...]
    corrected: Content[File] | None
    not_compared: Mapping[int, str] = field(default_factory=dict)


def find_sources(
    drops: DropsFolder,
    night: date,
    rules: Rules,
    read: Callable[[Sequence[Path]], tuple[File, ...]],
    see_replaced: Callable[[Content[File]], None],
    newest: DropVersion | None = None,
    precedents: Precedents = NO_PRECEDENTS,
    unread: dict[date, DropError] | None = None,
) -> Sources[File]:
    """Finds and reads the newest complete version of every drop in the window of `night`.

    Args:
      drops: where they are.
      night: whose window.
      rules: how long it is, and which versions are complete.
      read: reads the files of a version, or raises a DropError.
      see_replaced: is given each version of an earlier night that another replaces, unless it cannot be read or stands
        refused.
      newest: taken for the night's own drop, when it is not to be looked for.
      precedents: which drops of earlier nights are left out, and with which label codes versions were read.
      unread: for a look beside a window that is not whole yet: where it is given, earlier nights whose drop cannot be
        read are left out and put into it. A run never gives it.

    Raises:
      DropError: a night of the window has a folder whose drop cannot be read, or too many nights have none.
    """
    versions, missing = find_versions(drops, night, rules, newest, unread)
    contents: list[Content[File]] = []
    left_out: list[LeftOut[File]] = []
    for version in versions:
        with _leave_out(version.night, unread if version.night < night else None):
            files = read(version.files)
            if version.night < night:
                for replaced in _read_replaced(drops, version, rules, read, precedents):
                    see_replaced(replaced)
        if unread and version.night in unread:
            continue
        codes = precedents.choose_codes(version, rules.label_codes)
        refusal = precedents.find_refusal(version, hash_contents(files)) if version.night < night else None
        if refusal:
            left_out.append(LeftOut(version, files, codes, refusal))
        else:
            contents.append(Content(version, files, codes))
    not_compared: dict[int, str] = {}
    corrected = next(_read_replaced(drops, versions[-1], rules, read, precedents, not_compared), None)
    for number, why in not_compared.items():
        log.warning("Night %s: version %d is passed over, since %s", night, number, why)
    return Sources(missing, tuple(contents), tuple(left_out), corrected, not_compared)


def list_files(drops: DropsFolder, night: date, rules: Rules) -> list[Path]:
    """Every file that `find_sources` may read, also of versions that others replace.

    Raises:
      DropError: as `find_sources` says.
    """
    versions, _ = find_versions(drops, night, rules)
    return [
        path for version in versions for one in (version, *list_replaced(drops, version, rules)) for path in one.files
    ]


def list_replaced(drops: DropsFolder, version: DropVersion, rules: Rules) -> Iterator[DropVersion]:
    """The versions that a version replaces, newest first, without those whose label codes cannot be read."""
    earlier = drops.find_earlier_version(version, rules.known_by, {})
    while earlier:
        yield earlier
        earlier = drops.find_earlier_version(earlier, rules.known_by, {})


def _read_replaced(
    drops: DropsFolder,
    version: DropVersion,
    rules: Rules,
    read: Callable[[Sequence[Path]], tuple[File, ...]],
    precedents: Precedents,
    passed_over: dict[int, str] | None = None,
) -> Iterator[Content[File]]:
    """Each version that a version replaces, newest first, but for those that stand refused.

    Those that cannot be read are put into `passed_over` by number and with why, or else told in the log.
    """
    earlier = drops.find_earlier_version(version, rules.known_by, passed_over)
    while earlier:
        try:
            files = read(earlier.files)
        except DropError as error:
            # It may well be what was corrected.
            if passed_over is None:
                log.warning("Night %s: version %d is passed over, since %s", earlier.night, earlier.number, error)
            else:
                passed_over[earlier.number] = str(error)
        else:
            if not precedents.find_refusal(earlier, hash_contents(files)):
                yield Content(earlier, files, precedents.choose_codes(earlier, rules.label_codes))
        earlier = drops.find_earlier_version(earlier, rules.known_by, passed_over)


def find_versions(
    drops: DropsFolder,
    night: date,
    rules: Rules,
    newest: DropVersion | None = None,
    unread: dict[date, DropError] | None = None,
) -> tuple[list[DropVersion], tuple[date, ...]]:
    """Which version of which drop the window of `night` reads, and the nights that have none, oldest first.

    Args:
      drops: where they are.
      night: whose window.
      rules: how long it is, and which versions are complete.
      newest: taken for the night's own drop, when it is not to be looked for.
      unread: see `find_sources`.

    Raises:
      DropError: a night of the window has a folder whose drop cannot be read, or too many nights have none.
    """

    def find(other: date) -> DropVersion:
        return drops.find_version(other, rules.require_success_marker, rules.drop_settle_seconds, rules.known_by)

    newest = newest or find(night)
    earlier, missing = choose_earlier_nights(drops, night, rules)
    versions = []
    for other in earlier:
        with _leave_out(other, unread):
            versions.append(find(other))
    return [*versions, newest], missing


def hash_versions(versions: Iterable[DropVersion]) -> list[tuple[DropVersion, str]]:
    """Versions, each with the hash of the names and contents of its files.

    Raises:
      DropError: a file cannot be read.
    """
    try:
        return [(version, hash_files((path.name, hash_file(path)) for path in version.files)) for version in versions]
    except OSError as error:
        raise unreadable(error, f"{error.filename} cannot be read: {error.strerror}; let this user read it") from None


def hash_file(path: Path) -> str:
    """The SHA-256 of a file of any size.

    Raises:
      OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(drops: Iterable[tuple[DropVersion, str]], precedents: Precedents = NO_PRECEDENTS) -> str:
    """Hash of which versions a window has, oldest first, of their contents, and of how they are read.

    Args:
      drops: with those that are left out.
      precedents: by which they are read.
    """
    named = "".join(f"{version.night} {version.number} {sha256} {version.label_codes}\n" for version, sha256 in drops)
    return hashlib.sha256((named + precedents.to_json()).encode()).hexdigest()


def choose_earlier_nights(drops: DropsFolder, night: date, rules: Rules) -> tuple[list[date], tuple[date, ...]]:
    """The nights before `night` in its window that have a drop, and those that have none, oldest first.

    The window is `(night - window_nights, night]`, or all nights so far when `window_nights` is 0. Nights before the
    very first delivery are not missing.

    Raises:
      DropError: more than `max_missing_nights` have no folder.
    """
    past = [delivered for delivered in drops.nights if delivered < night and drops.was_known(delivered, rules.known_by)]
    first = past[0] if past else night
    if rules.window_nights:
        first = max(first, night - timedelta(days=rules.window_nights - 1))
    nights = [delivered for delivered in past if delivered >= first]
    all_nights = (first + timedelta(days=day) for day in range((night - first).days))
    missing = tuple(sorted(set(all_nights) - set(nights)))
    if missing:
        names = ", ".join(map(str, missing))
        if len(missing) > rules.max_missing_nights:
            raise DropError(
                f"{len(missing)} nights of the window {first}..{night} have no drop, at most "
                f"{rules.max_missing_nights} may: {names}; deliver them to {drops.path} or raise MAX_MISSING_NIGHTS"
            )
        log.warning("Nights of the window %s..%s without a drop: %s.", first, night, names)
    return nights, missing


@contextmanager
def _leave_out(night: date, unread: dict[date, DropError] | None) -> Iterator[None]:
    """Puts a night whose drop cannot be read into `unread`, where that is given."""
    try:
        yield
    except DropError as error:
        if unread is None:
            raise
        unread[night] = error


def hash_contents(files: Iterable[FileRecord]) -> str:
    """Hash of the names and contents of files."""
    return hash_files((file.name, file.sha256) for file in files)
