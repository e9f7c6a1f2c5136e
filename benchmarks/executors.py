"""`make bench-executors`: a night by the scheduler's own processes, and by Celery workers, warm and cold.

Every figure is measured in this run, on this machine, in services of its own below a temporary folder; workers share
its cores, so that what is seen is what Celery costs, not what more machines give.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import conclude
from benchmarks.nightly import Run, call, measure_run, read_settings, service
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.samples import write_samples

console = Console(width=100)
CELERY = {"EXECUTOR": "celery", "WORKERS": "2", "WORKER_SLOTS": "1"}
FORMS = {"scheduler's own": {}, "two Celery workers": CELERY, "the same, cold": {**CELERY, "PRELOAD": "false"}}
# How many times as long a night takes on workers; and from queued to start at the median, in seconds.
TARGETS = {"run": 1.5, "queued": 1.0}


def find_memory(state: Path) -> float:
    """GB that all processes of a service hold, what they share counted once."""
    held = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"STATE_DIR={state}\0".encode() in process.joinpath("environ").read_bytes():
                rollup = process.joinpath("smaps_rollup").read_text()
                held += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError, PermissionError, StopIteration):
            # It has ended meanwhile.
            continue
    return held * 1024 / 1e9


def measure(place: Path, drops: Path, first_port: int, form: dict[str, str]) -> tuple[Run, float]:
    """The last of the drops' nights after the one before it, and what the service holds afterwards in GB."""
    before, night = map(str, DropsFolder(drops).nights[-2:])
    with service(place, drops, first_port, **form) as environment:
        call(environment, "up")
        for each in (before, night):
            call(environment, "run", "--night", each)
        return measure_run(read_settings(environment), night), find_memory(place)


def main() -> None:
    """Measures, prints, and exits with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drops", type=Path, help="folder of drops; default: this project's samples")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    drops: Path = (options.drops or place / "drops").absolute()
    if not options.drops:
        write_samples(drops)
    try:
        found = {
            name: measure(place / str(number), drops, 26100 + 10 * number, form)
            for number, (name, form) in enumerate(FORMS.items())
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)
    table = Table("tasks run by", "whole night s", "queued to start s, median", "at most", "service holds GB")
    for name, (run, memory) in found.items():
        queued = [node.queued for node in run.nodes]
        table.add_row(
            name, f"{run.total:.1f}", f"{statistics.median(queued):.2f}", f"{max(queued):.2f}", f"{memory:.1f}"
        )
    console.print(table)
    (own, _), (warm, _), _ = found.values()
    ratio, median = warm.total / own.total, statistics.median(node.queued for node in warm.nodes)
    misses = [
        *([f"a night on workers takes {ratio:.2f} times as long"] if ratio > TARGETS["run"] else []),
        *([f"{median:.2f} s from queued to start"] if median > TARGETS["queued"] else []),
    ]
    conclude(
        console,
        misses,
        f"on workers a night takes {ratio:.2f} times as long (target <= {TARGETS['run']:g}), from queued to start "
        f"{median:.2f} s at the median (target <= {TARGETS['queued']:g})",
    )


if __name__ == "__main__":
    main()
