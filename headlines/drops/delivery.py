"""Checks a file as the nightly run would, and delivers it as a drop so that nobody ever reads half of it.

The rules are the reader's own; what is shown of an inspection is in retraining/cli/inspection.py.
"""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

from headlines.drops.alarms import Limits, Quarantined, find_alarms, tell_too_few
from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion
from headlines.drops.figures import Figures
from headlines.drops.quarantine import SetAside
from headlines.drops.rows import read_files
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents
from headlines.drops.version_folder import is_csv, is_unlabelled
from headlines.drops.window import read_window, tell_left_out, tell_other_codes
from headlines.durable import copy_file, stage, sync
from headlines.holding import hold
from headlines.names import HEADLINES_FILE, LABEL_CODES, SUCCESS_MARKER


class Demands(Protocol):
    """What a drop is held to and where it goes, as the settings of the same names say."""

    @property
    def drops_dir(self) -> Path: ...  # noqa: D102
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
      problems: why the run would stop.
      compared_with: how many earlier nights of the window it was compared with.
      remark: what kept it from being compared with them; else empty.
      notices: which drops of the window are left out, and which are read with other label codes.
    """

    version: DropVersion
    rows: int
    used: int
    quarantined: list[SetAside]
    folded: list[SetAside]
    figures: Figures
    problems: list[str]
    compared_with: int
    remark: str
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
      DropError: the file cannot be read as a whole; or the night has a drop and `correct` is not set, or the reverse.
    """
    settings.drops_dir.mkdir(parents=True, exist_ok=True)
    codes = settings.drop_rules.label_codes if label_codes is None else label_codes
    version = dataclasses.replace(_choose_version(settings.drops_dir, night, correct, file), label_codes=codes)
    return inspect_version(settings, version, precedents)


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
    read_files(version.files, settings.drop_rules.unbalanced_quotes)
    # Nights still to be delivered are no fault of this file.
    rules = dataclasses.replace(settings.drop_rules, max_missing_nights=10**6)
    drops, remark = DropsFolder(settings.drops_dir), ""
    try:
        window = read_window(drops, night, rules, version, precedents)
    except DropError as error:
        remark = str(error)
        window = read_window(drops, night, dataclasses.replace(rules, window_nights=1), version, precedents)
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
    problems = [
        *find_alarms(window.figures, settings.alarm_limits, bad_rows, drop.label_codes),
        *tell_too_few(len(window.headlines), len(window.drops), settings.min_headlines),
    ]
    return Inspection(
        version,
        drop.rows_in,
        drop.rows_used,
        quarantined,
        folded,
        window.figures,
        problems,
        len(earlier),
        remark,
        [*tell_left_out(window.left_out), *tell_other_codes(earlier, rules)],
    )


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
    marker = folder / SUCCESS_MARKER
    try:
        night.mkdir(parents=True, exist_ok=True)
        with hold(night, is_folder=True):
            if _choose_version(settings.drops_dir, version.night, version.number > 1, source) != version:
                raise DropError(
                    f"{folder} or a newer version was delivered meanwhile; nothing was overwritten, run this again"
                )
            if version.number > 1:
                folder.mkdir()
            marked: dict[str, Any] = {"delivered": datetime.now(UTC).isoformat(timespec="seconds")}
            if version.label_codes is not None:
                marked[LABEL_CODES] = version.label_codes
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
            sync(folder)
    except FileExistsError as error:
        place = error.filename2 or error.filename
        raise DropError(f"{place} was delivered meanwhile; nothing was overwritten, run this again") from None
    except OSError as error:
        raise DropError(f"{target} cannot be delivered: {error.strerror}; let this user write there") from None
    return target


def _rename(source: Path) -> str:
    """What a file is called whose own name no reader takes for a drop's; packed it stays."""
    return f"{HEADLINES_FILE}{source.suffix.casefold()}" if source.suffix.casefold() == ".gz" else HEADLINES_FILE


def _choose_version(drops_dir: Path, night: date, correct: bool, file: Path) -> DropVersion:
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
    strays = drops.list_passed_over(night, 1) if versions else ()
    if correct:
        # Files beside the version that is corrected were passed over with it; folders may have been corrections too.
        strays = tuple(name for name in strays if name.endswith("/"))
    return DropVersion(night, versions[0] + 1 if correct else 1, (file,), passed_over=strays)
