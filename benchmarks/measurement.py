"""A run over many headlines in a process of its own: what it took, and how a benchmark says so."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from tfx_components.peak_memory import peak_memory_mb


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    What is judged is processor time: other work on the machine is no part of it.

    Attributes:
      headlines: how many it wrote or scored.
      seconds: by the clock.
      cpu_seconds: of processor time, of all threads.
      gigabytes: the most memory that its process held.
      nodes: seconds by the clock of each of its nodes, where there are several.
    """

    headlines: int
    seconds: float
    cpu_seconds: float
    gigabytes: float
    nodes: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Headlines per second of processor time."""
        return self.headlines / self.cpu_seconds


class Clock:
    """Measures what is inside `with`, and leaves out imports and preparation."""

    def __enter__(self) -> None:
        self.seconds, self.cpu_seconds = -time.perf_counter(), -time.process_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()


def peak_gigabytes() -> float:
    """The most memory that this process has held so far, in GB."""
    return peak_memory_mb() * 2**20 / 1e9


def print_measurement(headlines: int, clock: Clock, nodes: dict[str, float] | None = None) -> None:
    """Prints what this process took, as the line that `measure` reads."""
    print(json.dumps(asdict(Measurement(headlines, clock.seconds, clock.cpu_seconds, peak_gigabytes(), nodes or {}))))


def measure(module: str, *arguments: str) -> Measurement:
    """Runs `python -m <module> --run <arguments>`, which ends with `print_measurement`."""
    command = [sys.executable, "-m", module, "--run", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr[-3000:]}")
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


def tabulate(measurements: Iterable[tuple[str, Measurement]]) -> Table:
    """A row per run, each with its name before it."""
    table = Table("", "headlines", "seconds", "of CPU", "headlines/s of CPU", "most memory")
    for name, one in measurements:
        table.add_row(
            name,
            f"{one.headlines:,}",
            f"{one.seconds:.1f}",
            f"{one.cpu_seconds:.1f}",
            f"{one.rate:,.0f}",
            f"{one.gigabytes:.2f} GB",
        )
    return table


def conclude(console: Console, misses: Sequence[str], summary: str) -> None:
    """Prints the closing line, and exits with 1 if any promise is not kept."""
    if misses:
        console.print(f"[red]MISSED[/] {'; '.join(misses)} ({summary})", highlight=False)
        sys.exit(1)
    console.print(f"[green]KEPT[/] {summary}", highlight=False)
