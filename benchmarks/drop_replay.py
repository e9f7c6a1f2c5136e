"""`make bench-drops`: what catches each fault of a drop on every night of a folder, and what honest nights raise.

Every fault of `benchmarks.drop_faults` befalls every night in turn, after the nights before it as they were delivered,
and is judged by what judges a drop before its delivery and in DropGate. The rules are those of the settings.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.drop_faults import CATALOGUE, NAMED, REFUSED, Fault
from benchmarks.measurement import conclude
from benchmarks.spoiling import Case, Files, Night
from headlines.drops import measures
from headlines.drops.delivery import Inspection, inspect_version
from headlines.drops.drops_folder import DropError, DropsFolder, DropVersion
from headlines.drops.rulings import Precedents, Ruled, Ruling
from headlines.drops.samples import write_samples
from headlines.drops.sources import hash_versions
from headlines.drops.window import read_window
from headlines.names import NIGHT_ROWS_IN, NIGHT_ROWS_QUARANTINED
from retraining.settings import Settings

_PROCESSES = 2
# What is refused here, before anything is judged by it.
_REFUSED_AT = datetime(2022, 2, 1, tzinfo=UTC)
console = Console(width=300)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a night.

    Attributes:
      caught_by: measures beyond their limits, reasons of the quarantine, `REFUSED`, `NAMED`.
      stops: why the night would be stopped; empty when it would not.
      quarantined: how many rows, by reason.
      used: how many rows.
    """

    caught_by: frozenset[str]
    stops: tuple[str, ...]
    quarantined: Counter[str] = field(default_factory=Counter)
    used: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a fault on one night.

    Attributes:
      is_right: whether it was caught as it should be; of an honest night, whether nothing was.
      outcome: of the night.
    """

    is_right: bool
    outcome: Outcome


def read_nights(drops_dir: Path, settings: Settings) -> list[Night]:
    """The nights of a folder, as they are, each with the rows that a run of it would use.

    Raises:
      DropError: the folder or the drop of a night cannot be read.
    """
    drops, rules = DropsFolder(drops_dir), settings.drop_rules
    nights = []
    for night in drops.nights:
        # Nobody delivers while something is measured.
        version = drops.find_version(night, rules.require_success_marker, known_by=rules.known_by)
        used = read_window(drops, night, rules, version).headlines
        nights.append(
            Night(
                night,
                {path.name: path.read_bytes() for path in version.files},
                [(headline.title, headline.label) for headline in used if headline.night == night],
            )
        )
    return nights


def list_cases(fault: Fault, nights: Sequence[Night]) -> Iterator[Case]:
    """Every night of a folder on which a fault can be told, as often as it is to be tried there."""
    for index in range(fault.from_night - 1, len(nights)):
        for draw in range(fault.draws):
            yield Case(nights, index, Random(f"{fault.name} {index} {draw}"))


def try_fault(fault: Fault, case: Case, settings: Settings) -> Trial:
    """Has a fault befall a night, and judges it beside the nights before."""
    folders = dict(zip((night.date for night in case.nights), fault.make(case), strict=False))
    with tempfile.TemporaryDirectory() as place:
        for night, files in folders.items():
            _write(Path(place) / night.isoformat(), files)
        settings = settings.model_copy(update={"drops_dir": Path(place)})
        refusals: list[Ruling] = []
        for night in list(folders)[-fault.judged :]:
            try:
                version = DropsFolder(Path(place)).find_version(night)
                outcome = _tell(inspect_version(settings, version, Precedents(tuple(refusals))), settings)
            except DropError as error:
                outcome = Outcome(frozenset({REFUSED}), (str(error),))
            else:
                if outcome.stops:
                    refusals.append(_refuse(version, outcome.stops[0]))
    return Trial(_is_right(fault, case, outcome), outcome)


def _refuse(version: DropVersion, why: str) -> Ruling:
    """As DropGate does."""
    [(_, sha256)] = hash_versions([version])
    return Ruling(0, version.night.isoformat(), version.number, sha256, Ruled.REFUSED, why, "DropGate", _REFUSED_AT)


def _tell(inspection: Inspection, settings: Settings) -> Outcome:
    quarantined = Counter(entry.reason.value for entry in inspection.quarantined)
    counts = {NIGHT_ROWS_IN: inspection.rows, NIGHT_ROWS_QUARANTINED: len(inspection.quarantined)}
    limits = asdict(settings.alarm_limits) | {"max_quarantined_share": settings.max_quarantined_share}
    missed = measures.find_missed(inspection.figures.to_properties() | counts, limits)
    named = {NAMED} if inspection.version.passed_over else set()
    causes = frozenset(missed | set(quarantined) | named)
    return Outcome(causes, tuple(inspection.problems), quarantined, inspection.used)


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def _is_right(fault: Fault, case: Case, outcome: Outcome) -> bool:
    if fault.is_honest:
        return not outcome.stops and outcome.used >= fault.used * len(case.rows)
    if fault.rows:
        rows = sum(count for reason, count in outcome.quarantined.items() if reason in fault.caught_by)
        return not outcome.stops and rows == fault.rows == outcome.quarantined.total()
    is_noticed = bool(outcome.stops) or NAMED in outcome.caught_by
    return is_noticed and bool(outcome.caught_by & fault.caught_by) and fault.says in " ".join(outcome.stops)


def try_everywhere(name: str, nights: Sequence[Night], settings: Settings) -> list[Trial]:
    """What becomes of a fault on every night of a folder on which it can be told."""
    fault = CATALOGUE[name]
    return [try_fault(fault, case, settings) for case in list_cases(fault, nights)]


def tabulate(results: dict[str, list[Trial]], honest: bool) -> Table:
    """A row per fault, or per honest night, as Markdown."""
    columns = ("honest nights", "stopped", "raised") if honest else ("fault", "caught", "by")
    table = Table(*columns, box=MARKDOWN)
    for name, trials in results.items():
        if CATALOGUE[name].is_honest is honest:
            right = sum(trial.is_right for trial in trials)
            causes = Counter(cause for trial in trials for cause in sorted(trial.outcome.caught_by))
            table.add_row(
                CATALOGUE[name].description,
                f"{len(trials) - right if honest else right} of {len(trials)}",
                # On all nights where no number is given.
                ", ".join(
                    cause if count == len(trials) else f"{cause} {count}" for cause, count in causes.most_common()
                ),
            )
    return table


def judge_all(results: dict[str, list[Trial]]) -> tuple[list[str], str]:
    """What was missed, and how many faults were caught and honest nights stopped, beside the targets."""
    misses, caught, raised = [], Counter[bool](), Counter[bool]()
    for name, trials in results.items():
        wrong = sum(not trial.is_right for trial in trials)
        (raised if CATALOGUE[name].is_honest else caught).update(trial.is_right for trial in trials)
        if wrong:
            misses.append(f"{name} {wrong} of {len(trials)}")
    summary = (
        f"{caught[True]} of {caught.total()} faulty nights are caught (target: all), {raised[False]} of "
        f"{raised.total()} honest nights are stopped (target: none)"
    )
    return misses, summary


def main() -> None:
    """Tries every fault, prints the tables, and exits with 1 when one passes or an honest night is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drops", type=Path, help="folder of drops (default: samples)")
    parser.add_argument("--fault", action="append", choices=CATALOGUE, help="only this, and others that are named so")
    arguments = parser.parse_args()
    settings = Settings.from_env(drop_settle_seconds=0)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.drops is None:
            write_samples(Path(scratch))
        try:
            nights = read_nights(arguments.drops or Path(scratch), settings)
        except DropError as error:
            sys.exit(str(error))
    names = arguments.fault or list(CATALOGUE)
    with ProcessPoolExecutor(_PROCESSES) as pool:
        trials = pool.map(partial(try_everywhere, nights=nights, settings=settings), names)
        results = dict(zip(names, trials, strict=True))
    for honest in sorted({CATALOGUE[name].is_honest for name in names}):
        console.print(tabulate(results, honest))
    conclude(console, *judge_all(results))


if __name__ == "__main__":
    main()
