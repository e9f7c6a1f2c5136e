"""Checks a file as the nightly run would, and delivers it as a drop so that nobody ever reads half of it.

The rules are the reader's own; what is shown of an inspection is in retraining/cli/inspection.py.
"""

import dataclasses
import errno
import json
import os
import secrets
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from headlines import disk
from headlines.drops.alarms import Limits, Quarantined, find_alarms, tell_too_few
from headlines.drops.destination import (
    check_file,
    choose_version,
    make_drops_folder,
    tell_ahead,
    tell_early,
    tell_repeated,
)
from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion
from headlines.drops.figures import Figures
from headlines.drops.quarantine import SetAside
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents, tell_codes
from headlines.drops.version_folder import is_csv, is_unlabelled
from headlines.drops.window import Drop, read_window, tell_left_out, tell_missing, tell_other_codes, tell_unread
from headlines.durable import copy_file, stage, sync
from headlines.holding import hold
from headlines.names import HEADLINES_FILE, LABEL_CODES, SUCCESS_MARKER
from headlines.objects.addresses import is_object
from modules.features import LABELS

_LEFT_SECONDS = 900.0
"""A marker on object storage without a file is this old when the delivery that made it is not at work any more."""


class Demands(Protocol):
    """What a drop is held to and where it goes, as the settings of the same names say."""

    @property
    def drops_dir(self) -> Path: ...  # noqa: D102
    @property
    def start_date(self) -> str: ...  # noqa: D102
    @property
    def timezone(self) -> str: ...  # noqa: D102
    @property
    def drop_rules(self) -> Rules: ...  # noqa: D102
    @property
    def alarm_limits(self) -> Limits: ...  # noqa: D102
    @property
    def max_quarantined_share(self) -> float: ...  # noqa: D102
    @property
    def min_headlines(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a run of the night would make of a file.

    Attributes:
      version: what it would be delivered as; its only file is the file that was inspected.
      rows: how many it has.
      used: how many of them would be used.
      quarantined: its bad rows.
      folded: its duplicates.
      figures: the night beside the window.
      problems: why it is not to be delivered: above all why the run would stop.
      compared_with: how many earlier nights of the window it was compared with.
      label_codes: the codes that its labels are read by; empty where they are names.
      notices: what else is to be known, such as which nights it is not compared with, and with which label codes it
        and they are read.
    """

    version: DropVersion
    rows: int
    used: int
    quarantined: list[SetAside]
    folded: list[SetAside]
    figures: Figures
    problems: list[str]
    compared_with: int
    label_codes: Codes
    notices: list[str]


def inspect(
    settings: Demands,
    file: Path,
    night: date,
    correct: bool,
    label_codes: Codes | None = None,
    precedents: Precedents = NO_PRECEDENTS,
) -> Inspection:
    """Reads a file as the drop of a night, beside the window that a run of that night reads.

    Nothing is delivered; only the drops folder is made when it is not there.

    Args:
      settings: where drops are and what they are held to.
      file: a CSV file, wherever it is.
      night: whose drop it is to be.
      correct: whether it corrects a drop that was delivered.
      label_codes: that its labels are written in; None for those of the settings.
      precedents: what was decided of the drops of the window.

    Raises:
      DropError: the file is none, or cannot be read as a whole; the night has a drop and `correct` is not set, or the
        reverse; or no run would ever read it, for its night or for what lies beside it.
    """
    check_file(file)
    early = [*tell_early(night, settings.start_date, settings.drop_rules.window_nights)]
    made = [*make_drops_folder(settings.drops_dir)]
    codes = settings.drop_rules.label_codes if label_codes is None else label_codes
    version = dataclasses.replace(choose_version(settings.drops_dir, night, correct, file), label_codes=codes)
    inspection = inspect_version(settings, version, precedents)
    against = [
        *tell_ahead(night, settings.timezone, datetime.now(UTC)),
        *tell_repeated(settings.drops_dir, version, settings.drop_rules, precedents),
    ]
    return dataclasses.replace(
        inspection, problems=[*against, *inspection.problems], notices=[*made, *early, *inspection.notices]
    )


def inspect_version(settings: Demands, version: DropVersion, precedents: Precedents = NO_PRECEDENTS) -> Inspection:
    """Reads a version as the drop of its night, wherever its files are, beside the window that a run reads.

    Args:
      settings: where the other drops are and what they are held to.
      version: the night, and the files of its drop.
      precedents: what was decided of the drops of the window.

    Raises:
      DropError: a file cannot be read as a whole.
    """
    night = version.night
    # Nights still to be delivered are no fault of this file.
    rules = dataclasses.replace(settings.drop_rules, max_missing_nights=10**6)
    unread: dict[date, DropError] = {}
    window = read_window(DropsFolder(settings.drops_dir), night, rules, version, precedents, unread)
    *earlier, drop = window.drops
    quarantined, folded = (
        [entry for entry in entries if entry.night == night] for entries in (window.quarantined, window.folded)
    )
    bad_rows = Quarantined(
        bad=drop.rows_quarantined,
        delivered=drop.rows_in,
        max_share=settings.max_quarantined_share,
        reasons=Counter(entry.reason.value for entry in quarantined),
    )
    too_many_missing = [*tell_missing(window.missing, settings.drop_rules.max_missing_nights)]
    # Of a window that no run will read, nobody knows how many headlines it will have.
    too_few = (
        []
        if unread or too_many_missing
        else tell_too_few(len(window.headlines), len(window.drops), settings.min_headlines)
    )
    problems = [*find_alarms(window.figures, settings.alarm_limits, bad_rows, drop.label_codes), *too_few]
    codes = _find_codes(drop)
    return Inspection(
        version,
        drop.rows_in,
        drop.rows_used,
        quarantined,
        folded,
        window.figures,
        problems,
        len(earlier),
        codes,
        [
            *([f"labels are codes, read as {tell_codes(codes)}"] if codes else []),
            *too_many_missing,
            *tell_unread(unread),
            *(
                f"not compared with version {number}, which it corrects: {why}"
                for number, why in window.not_compared.items()
            ),
            *tell_left_out(window.left_out),
            *tell_other_codes(earlier, rules),
        ],
    )


def _find_codes(drop: Drop) -> Codes:
    """The codes that a drop is read with, if any of its labels is one."""
    written = {label for file in drop.files for label in file.labels}
    codes = {code.casefold() for code in drop.label_codes} - set(LABELS)
    return drop.label_codes if written & codes else {}


def deliver(settings: Demands, version: DropVersion) -> Path:
    """Copies the file of an inspected version to its place, marked as whole; both or nothing is there to be read.

    Returns:
      The delivered file.

    Raises:
      DropError: something was delivered there meanwhile, or nothing can be written there.
    """
    [source] = version.files
    night = settings.drops_dir / version.night.isoformat()
    folder = night if version.number == 1 else night / f"v{version.number}"
    target = folder / (source.name if is_csv(source) and not is_unlabelled(source.name) else _rename(source))
    try:
        night.mkdir(parents=True, exist_ok=True)
        with nullcontext() if is_object(night) else hold(night, is_folder=True):
            if choose_version(settings.drops_dir, version.night, version.number > 1, source) != version:
                raise DropError(
                    f"{folder} or a newer version was delivered meanwhile; nothing was overwritten, run this again"
                )
            if version.number > 1:
                folder.mkdir()
            marked: dict[str, Any] = {"delivered": datetime.now(UTC).isoformat(timespec="seconds")}
            if version.label_codes is not None:
                marked[LABEL_CODES] = version.label_codes
            put = _put_objects if is_object(target) else _link_files
            put(source, target, folder / SUCCESS_MARKER, marked)
    except FileExistsError as error:
        place = error.filename2 or error.filename
        raise DropError(f"{place} was delivered meanwhile; nothing was overwritten, run this again") from None
    except OSError as error:
        full = disk.tell_full(error, [target])
        remedy = f"{full}; free some there" if full else "let this user write there"
        raise DropError(f"{target} cannot be delivered: {error.strerror}; {remedy}") from None
    return target


def _link_files(source: Path, target: Path, marker: Path, marked: dict[str, Any]) -> None:
    """Puts a file and its marker into a folder that is held."""
    with stage(target) as whole, stage(marker) as whole_marker:
        whole_marker.write_text(json.dumps(marked, ensure_ascii=False), encoding="utf-8")
        copy_file(source, whole)
        sync(whole_marker)
        # A marker alone marks nothing, also one that was left here: the drop is there when its file is.
        whole_marker.replace(marker)
        try:
            # Unlike a rename, a link never replaces what is there.
            target.hardlink_to(whole)
        except OSError:
            marker.unlink()
            raise
    sync(target.parent)


def _put_objects(source: Path, target: Path, marker: Path, marked: dict[str, Any]) -> None:
    """Puts a file and its marker on object storage, where nothing can be held: who makes the marker may deliver.

    A marker alone marks nothing: the drop is there when its file is, in one step. One that a delivery left which was
    killed is taken over when it is old.
    """
    from headlines.objects.paths import ObjectPath

    assert isinstance(marker, ObjectPath)
    if marker.is_file() and time.time() - marker.stat().st_mtime > _LEFT_SECONDS:
        marker.unlink()
    mine = json.dumps(marked | {"delivery": secrets.token_hex(8)}, ensure_ascii=False).encode()
    marker.write_bytes(mine, must_be_new=True)
    assert isinstance(target, ObjectPath)
    try:
        target.upload(source, must_be_new=True)
    except OSError:
        # Not that of a delivery which has taken over meanwhile.
        if marker.read_bytes() == mine:
            marker.unlink()
        raise
    # Of two that take the same old marker over, the one that was later has made the marker that is there.
    if not marker.is_file() or marker.read_bytes() != mine:
        target.unlink()
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(marker))


def _rename(source: Path) -> str:
    """What a file is called whose own name no reader takes for a drop's; packed it stays."""
    return f"{HEADLINES_FILE}{source.suffix.casefold()}" if source.suffix.casefold() == ".gz" else HEADLINES_FILE
