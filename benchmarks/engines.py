"""`make bench-engines`: HeadlineExampleGen over one large night, in one process and on Flink with 1 and 2 slots.

The cluster is one job manager and task managers of one slot each, as processes of this machine, from what Maven has;
the headlines are made up on the spot. Memory is that of the largest process, as the kernel counts what is resident.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from engine_clusters import FlinkCluster, find_or_fetch_job_server
from rich.console import Console
from rich.table import Table

from benchmarks.ingest import FIRST_NIGHT, write_drops
from headlines.names import ROWS_USED

_SECONDS_BETWEEN_LOOKS = 0.25
console = Console(width=110)


def run_one(drops_dir: str, output: Path) -> int:
    """Runs HeadlineExampleGen on the engine that the environment names; returns how many rows it used."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types.standard_artifacts import Examples

    from retraining.engines.accounting import HeadlineExampleGenExecutor
    from retraining.engines.arguments import list_arguments
    from retraining.settings import Settings
    from tfx_components.headline_example_gen.component import HeadlineExampleGen, Quarantine
    from tfx_components.headline_example_gen.executor import Executor

    settings = Settings.from_env()
    rules = replace(settings.drop_rules, window_nights=1)
    properties = HeadlineExampleGen(drops_dir, FIRST_NIGHT.isoformat(), rules).exec_properties
    examples, quarantine = Examples(), Quarantine()
    examples.uri, quarantine.uri = str(output / "examples"), str(output / "quarantine")
    context = BaseBeamExecutor.Context(beam_pipeline_args=list_arguments(settings))
    executor = Executor() if settings.beam == "local" else HeadlineExampleGenExecutor(context)
    started = time.perf_counter()
    executor.Do({}, {"examples": [examples], "quarantine": [quarantine]}, properties)
    rows: int = examples.get_int_custom_property(ROWS_USED)
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - started}))
    return rows


def measure(
    drops_dir: Path, variables: Mapping[str, str], pool: int | None = None, engine: Sequence[int] = ()
) -> dict[str, float]:
    """Runs it in a process of its own; returns rows, seconds, and megabytes of the largest processes.

    Args:
      drops_dir: of the night.
      variables: by which an engine is named.
      pool: the process whose children do the work, where there is one.
      engine: the engine's own processes.
    """
    largest = {"driver": 0, "worker": 0, "engine": 0}
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.engines", "--run", str(drops_dir), output]
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True)
        while process.poll() is None:
            for name, looked_at in (("driver", [process.pid]), ("worker", _list_children(pool)), ("engine", engine)):
                largest[name] = max([largest[name], *(_measure_resident(pid) for pid in looked_at)])
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    measured: dict[str, float] = json.loads(said.splitlines()[-1])
    return measured | {name: size / 2**20 for name, size in largest.items()}


def _list_children(pid: int | None) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)] if pid else []
    except psutil.NoSuchProcess:
        return []


def _measure_resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@contextmanager
def run_flink(slots: int) -> Iterator[FlinkCluster]:
    """A cluster with so many slots."""
    with tempfile.TemporaryDirectory() as place:
        cluster = FlinkCluster(Path(place), find_or_fetch_job_server("flink"))
        cluster.variables["BEAM_PARALLELISM"] = str(slots)
        try:
            cluster.start_pool()
            cluster.start_master()
            for number in range(1, slots + 1):
                cluster.start_worker(number)
            yield cluster
        finally:
            cluster.end()


def main() -> None:
    """Measures; exits with 1 when an engine has not all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlines", type=int, default=4_000_000)
    parser.add_argument("--ways", default="local,1,2", help="`local`, or how many slots of Flink, separated by commas")
    parser.add_argument("--drops", type=Path, help="an earlier run's drops, or where to keep them")
    parser.add_argument("--run", nargs=2, metavar=("DROPS", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_one(options.run[0], Path(options.run[1]))
        return
    with tempfile.TemporaryDirectory() as place:
        drops_dir = options.drops or Path(place) / "drops"
        if not drops_dir.exists():
            write_drops(drops_dir, 1, options.headlines)
        table = Table("engine", "headlines", "seconds", "headlines/s", "driver, MB", "worker, MB", "engine, MB")
        short = False
        for way in options.ways.split(","):
            if way == "local":
                one = measure(drops_dir, {"BEAM": "local"})
            else:
                with run_flink(int(way)) as cluster:
                    of_engine = [one.pid for name, one in cluster.running.items() if name != "pool"]
                    one = measure(drops_dir, cluster.variables, cluster.running["pool"].pid, of_engine)
            short = short or one["rows"] != options.headlines
            name = "one process (local)" if way == "local" else f"Flink, slots: {way}"
            rate = one["rows"] / one["seconds"]
            memory = (one["driver"], one["worker"], one["engine"])
            numbers = (f"{value:,.0f}" for value in (one["rows"], one["seconds"], rate, *memory))
            table.add_row(name, *numbers)
    console.print(table)
    if short:
        console.print("[red]MISSED[/] an engine has not all rows")
        sys.exit(1)


if __name__ == "__main__":
    main()
