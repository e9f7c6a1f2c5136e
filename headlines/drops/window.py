"""The window of a night: which drops it reads, and the split and weight of every headline in it.

A run for night D never reads a drop of a later night.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta

from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion, hash_files, unreadable
from headlines.drops.figures import Figures, compare
from headlines.drops.quarantine import Headline, SetAside, Sifted, sift
from headlines.drops.rows import DropFile, read_files
from headlines.drops.rules import Rules
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents, Ruling, tell_codes
from headlines.names import LABEL_CODES
from modules.features import LABELS

log = logging.getLogger(__name__)

SPLITS = ("train", "eval")
# A part of `eval` once more, so that no model was ever trained on it: what no earlier night of the window had.
FRESH_SPLIT = "fresh"
# Weights stay positive whatever the age: the schema refuses a weight of nothing, and this is as good as nothing.
_MIN_WEIGHT = 1e-6
_NIGHTS_LISTED = 6


@dataclass(frozen=True, slots=True)
class Drop:
    """A drop that was read, and where its rows went; `label_codes` is empty where its labels are names alone."""

    version: DropVersion
    files: tuple[DropFile, ...]
    rows_used: int
    rows_quarantined: int
    duplicates_folded: int
    label_codes: Codes = field(default_factory=dict)

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What lay beside its files and was not read, and those of its files that have no rows."""
        empty = (f"{file.name} (no rows)" for file in self.files if not file.rows)
        return (*self.version.passed_over, *empty)

    @property
    def rows_in(self) -> int:
        """Rows delivered."""
        return sum(len(file.rows) for file in self.files)

    @property
    def sha256(self) -> str:
        """Hash of the names and contents of its files."""
        return _hash_contents(self.files)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A drop of the window that was refused, and so is neither trained on nor compared with."""

    version: DropVersion
    files: tuple[DropFile, ...]
    refusal: Ruling

    @property
    def sha256(self) -> str:
        """Hash of the names and contents of its files."""
        return _hash_contents(self.files)


@dataclass(frozen=True, slots=True)
class Window:
    """All that a run for `night` reads: `drops`, `headlines` and `missing` oldest first, bad rows newest first.

    `left_out` are drops of earlier nights that stand refused, oldest first; the night's own is never one. `figures`
    compare the night's own drop with the rest. `fresh` are the headlines for evaluation that the night has and no
    earlier night of the window, in no version of its drop; nights before the window are not looked into, nor is a
    version that was refused. `not_compared` are the versions, by number, that the night's own corrects and that cannot
    be read, with why: nothing tells what is lost of those.
    """

    night: date
    missing: tuple[date, ...]
    left_out: tuple[LeftOut, ...]
    drops: tuple[Drop, ...]
    headlines: list[Headline]
    fresh: list[Headline]
    quarantined: list[SetAside]
    folded: list[SetAside]
    figures: Figures
    not_compared: Mapping[int, str] = field(default_factory=dict)


def read_window(
    drops: DropsFolder,
    night: date,
    rules: Rules,
    newest: DropVersion | None = None,
    precedents: Precedents = NO_PRECEDENTS,
    unread: dict[date, DropError] | None = None,
) -> Window:
    """Reads the newest complete version of every drop in the window of `night` and judges all rows together.

    Args:
      drops: where they are.
      night: whose window.
      rules: how long it is, and what a row is held to.
      newest: taken for the night's own drop, when it is not to be looked for.
      precedents: which drops of earlier nights are left out, and with which label codes versions were read.
      unread: for a look beside a window that is not whole yet: where it is given, earlier nights whose drop cannot be
        read are left out and put into it. A run never gives it.

    Raises:
      DropError: a night of the window has a folder whose drop cannot be read, or too many nights have none.
    """
    versions, missing = find_versions(drops, night, rules, newest, unread)
    contents, left_out = [], []
    earlier_keys: set[str] = set()
    for version in versions:
        with _leave_out(version.night, unread if version.night < night else None):
            files = read_files(version.files, rules.unbalanced_quotes)
            if version.night < night:
                for replaced in _read_replaced(drops, version, rules, precedents):
                    earlier_keys.update(headline.key for headline in replaced)
        if unread and version.night in unread:
            continue
        refusal = precedents.find_refusal(version, _hash_contents(files)) if version.night < night else None
        if refusal:
            left_out.append(LeftOut(version, files, refusal))
        else:
            contents.append((version, files, precedents.choose_codes(version, rules.label_codes)))
    sifted = _sift_files(contents, rules)
    rows_used, rows_quarantined, rows_folded = (
        Counter(entry.night for entry in entries) for entries in (sifted.used, sifted.quarantined, sifted.folded)
    )
    read_drops = tuple(
        Drop(
            version,
            files,
            rows_used[version.night],
            rows_quarantined[version.night],
            rows_folded[version.night],
            codes if _has_codes(files) else {},
        )
        for version, files, codes in contents
    )
    headlines = sorted(sifted.used, key=lambda headline: headline.night)
    # Readable rows come newest night first.
    before = [headline for headline in reversed(sifted.readable) if headline.night < night]
    earlier_keys.update(headline.key for headline in before)
    fresh = [
        headline
        for headline in headlines
        if headline.night == night
        and headline.key not in earlier_keys
        and split_of(headline.key, rules.eval_percent) == "eval"
    ]
    if left_out and not before:
        log.warning("Night %s is compared with no other: every drop of its window was refused.", night)
    not_compared: dict[int, str] = {}
    figures = compare(
        [headline for headline in sifted.readable if headline.night == night],
        before,
        next(_read_replaced(drops, versions[-1], rules, precedents, not_compared), []),
        rules.expected_class_mix,
        [entry for entry in sifted.quarantined if entry.night == night],
        _sift_files(
            [(one.version, one.files, precedents.choose_codes(one.version, rules.label_codes)) for one in left_out],
            rules,
        ).readable,
    )
    for number, why in not_compared.items():
        log.warning("Night %s: version %d is passed over, since %s", night, number, why)
    return Window(
        night,
        missing,
        tuple(left_out),
        read_drops,
        headlines,
        fresh,
        sifted.quarantined,
        sifted.folded,
        figures,
        not_compared,
    )


def _sift_files(contents: Sequence[tuple[DropVersion, tuple[DropFile, ...], Codes]], rules: Rules) -> Sifted:
    """Judges the rows of versions together, each with its files and the label codes that it is read with."""
    return sift(
        (
            (version.night, version.number, [row for file in files for row in file.rows])
            for version, files, _ in contents
        ),
        rules,
        {(version.night, version.number): codes for version, _, codes in contents},
    )


def tell_left_out(left_out: Iterable[LeftOut]) -> Iterator[str]:
    """Which drops a window leaves out, each with why and what to do."""
    for one in left_out:
        night, number = one.version.night, one.version.number
        yield (
            f"version {number} of the drop of night {night} is left out of the window: {one.refusal.by} refused it on "
            f"{one.refusal.at:%Y-%m-%d %H:%M} UTC ({one.refusal.why}). Deliver a corrected drop with `retraining drop "
            f"FILE --night {night} --correct`, or accept it as it is with `retraining drop --accept {night} --reason "
            "TEXT`"
        )


def tell_other_codes(drops: Iterable[Drop], rules: Rules) -> Iterator[str]:
    """Which drops are read with other label codes than LABEL_CODES says, those of the same codes together."""
    nights_of: dict[str, list[str]] = {}
    for drop in drops:
        if drop.label_codes and drop.label_codes != rules.label_codes:
            nights_of.setdefault(tell_codes(drop.label_codes), []).append(str(drop.version.night))
    for codes, nights in nights_of.items():
        listed = _list_nights(nights)
        which = f"drop of night {listed} is" if len(nights) == 1 else f"drops of the nights {listed} are"
        yield (
            f"the {which} read with the label codes {codes}, as when delivered or first used; "
            f"{LABEL_CODES.upper()}={tell_codes(rules.label_codes)} is for new deliveries"
        )


def tell_unread(unread: Mapping[date, DropError]) -> Iterator[str]:
    """Which nights of a window nothing is compared with, since their drops cannot be read, and what a run does then."""
    for night, error in sorted(unread.items()):
        then = "waits for it" if error.may_pass else "stops at it"
        yield f"night {night} is left out of the comparison, and the run {then}: {error}"


def tell_missing(missing: Sequence[date], most: int) -> Iterator[str]:
    """That more nights of a window have no drop than may, if so: the run will not read that window."""
    if len(missing) > most:
        have = "night of the window has" if len(missing) == 1 else "nights of the window have"
        yield (
            f"{len(missing)} {have} no drop, at most {most} may: the run stops until they are delivered, or "
            f"MAX_MISSING_NIGHTS is raised ({_list_nights(missing)})"
        )


def _list_nights(nights: Sequence[date | str]) -> str:
    if len(nights) <= _NIGHTS_LISTED:
        return ", ".join(map(str, nights))
    return f"{nights[0]} to {nights[-1]} ({len(nights)})"


def _has_codes(files: Iterable[DropFile]) -> bool:
    """Whether a label is written otherwise than by its name."""
    return any(row.label.strip().casefold() not in ("", *LABELS) for file in files for row in file.rows)


def _hash_contents(files: Iterable[DropFile]) -> str:
    return hash_files((file.name, file.sha256) for file in files)


@contextmanager
def _leave_out(night: date, unread: dict[date, DropError] | None) -> Iterator[None]:
    """Puts a night whose drop cannot be read into `unread`, where that is given."""
    try:
        yield
    except DropError as error:
        if unread is None:
            raise
        unread[night] = error


def _read_replaced(
    drops: DropsFolder,
    version: DropVersion,
    rules: Rules,
    precedents: Precedents,
    passed_over: dict[int, str] | None = None,
) -> Iterator[list[Headline]]:
    """The readable rows of each version that a version replaces, newest first, but for those that stand refused.

    Those that cannot be read are put into `passed_over` by number and with why, or else told in the log.
    """
    earlier = drops.find_earlier_version(version, rules.known_by, passed_over)
    while earlier:
        try:
            files = read_files(earlier.files, rules.unbalanced_quotes)
        except DropError as error:
            # It may well be what was corrected.
            if passed_over is None:
                log.warning("Night %s: version %d is passed over, since %s", earlier.night, earlier.number, error)
            else:
                passed_over[earlier.number] = str(error)
        else:
            if not precedents.find_refusal(earlier, _hash_contents(files)):
                yield _sift_files(
                    [(earlier, files, precedents.choose_codes(earlier, rules.label_codes))], rules
                ).readable
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
      unread: see `read_window`.

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
        return [
            (version, hash_files((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in version.files))
            for version in versions
        ]
    except OSError as error:
        raise unreadable(error, f"{error.filename} cannot be read: {error.strerror}; let this user read it") from None


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


def split_of(key: str, eval_percent: int) -> str:
    """The split of a normalised title: the same on every night and in every version of a drop."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % 100
    return "eval" if bucket < eval_percent else "train"


def weigh(age_nights: int, half_life_nights: float) -> float:
    """What a headline counts in training: 1 on its night, halved by every half-life; always 1 when that is 0."""
    return max(_MIN_WEIGHT, 0.5 ** (age_nights / half_life_nights)) if half_life_nights else 1.0


def check_nothing_lost(drops: Iterable[Drop]) -> None:
    """Checks that every row delivered was used, quarantined or folded.

    Raises:
      RuntimeError: rows of a drop are unaccounted for.
    """
    for drop in drops:
        accounted = drop.rows_used + drop.rows_quarantined + drop.duplicates_folded
        if drop.rows_in != accounted:
            raise RuntimeError(
                f"rows of night {drop.version.night} were lost or invented: {drop.rows_in} came in, but "
                f"{drop.rows_used} used + {drop.rows_quarantined} quarantined + "
                f"{drop.duplicates_folded} folded = {accounted}. Nothing was trained. "
                "This is a defect in HeadlineExampleGen: keep the drop and report it"
            )
