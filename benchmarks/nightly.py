"""`make bench`: one night on a warm service, beside the same pipeline in one process and the same DAG as TFX has it.

Every figure is measured in this run, on this machine, in services of its own below a temporary folder.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.samples import write_samples
from headlines.names import NIGHTLY_DAG, WAIT_FOR_DROP
from headlines.schedule import find_logical_date
from retraining.local.api import Api
from retraining.settings import CHECKOUT, Settings

console = Console(width=100)
RETRAINING = [sys.executable, "-m", "retraining"]
# No preload, Beam's default runner, and a DAG with module_file.
STOCK = {
    "PRELOAD": "false",
    "BEAM": "args",
    "BEAM_RUNNER_ARGS": "--runner=DirectRunner",
    "DAGS_DIR": str(CHECKOUT / "benchmarks" / "stock"),
}
# Arguments of `retraining` -> how many seconds it may take.
COMMANDS = {"status": 1.0, "--help": 1.0, "lineage --help": 0.5}


@dataclass(frozen=True)
class Node:
    """One task of a run: seconds from queued to start, of running, and of running before its driver began."""

    name: str
    queued: float
    running: float
    importing: float


@dataclass(frozen=True)
class Run:
    """One DAG run: seconds from its start to its end, and its nodes."""

    total: float
    nodes: list[Node]


@contextmanager
def service(place: Path, drops: Path, first_port: int, **more: str) -> Iterator[dict[str, str]]:
    """The environment of a service of its own, stopped on the way out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {
        "STATE_DIR": str(place),
        "DROPS_DIR": str(drops),
        "POSTGRES_PORT": str(first_port),
        "WEBSERVER_PORT": str(first_port + 1),
        "SUPERVISOR_PORT": str(first_port + 2),
        "SERVING_PORT": str(first_port + 3),
        "SERVING_GRPC_PORT": str(first_port + 4),
        "RETRIES": "0",
        **more,
    }
    try:
        yield environment
    finally:
        subprocess.run([*RETRAINING, "down"], env=environment, cwd=CHECKOUT, capture_output=True, check=False)


def call(environment: dict[str, str], *arguments: str) -> str:
    """Runs the `retraining` command; its output is shown when it fails."""
    done = subprocess.run(
        [*RETRAINING, *arguments], env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        console.print(done.stdout + done.stderr, markup=False)
        raise SystemExit(f"retraining {' '.join(arguments)} failed; the output is above")
    return done.stdout


def read_settings(environment: dict[str, str]) -> Settings:
    """The settings of a service."""
    os.environ.update(environment)
    return Settings.from_env()


def measure_run(settings: Settings, night: str) -> Run:
    """A night's run, as Airflow recorded it."""
    api = Api(settings, NIGHTLY_DAG)
    run = find_run(api, settings, night)
    logs = settings.airflow_home / "logs" / f"dag_id={NIGHTLY_DAG}" / f"run_id={run['dag_run_id']}"
    nodes = []
    for task in api.get_tasks(run["dag_run_id"]):
        if task["state"] != "success" or task["task_id"] == WAIT_FOR_DROP:
            continue
        queued, start, end = (at(task[moment]) for moment in ("queued_when", "start_date", "end_date"))
        nodes.append(Node(task["task_id"], start - queued, end - start, importing(logs, task["task_id"], start)))
    return Run(at(run["end_date"]) - at(run["start_date"]), nodes)


def find_run(api: Api, settings: Settings, night: str) -> dict[str, Any]:
    """The fields of a night's run in Airflow's API."""
    run = api.find_run(find_logical_date(settings, night))
    assert run is not None, night
    return run


def at(moment: str) -> float:
    """Seconds since the epoch of a moment in Airflow's API."""
    return datetime.fromisoformat(moment).timestamp()


def importing(logs: Path, task: str, start: float) -> float:
    """Seconds from a task's start to its driver's first word, which is what it spends on imports and DAG parsing."""
    text = "\n".join(path.read_text() for path in sorted((logs / f"task_id={task}").glob("*.log")))
    driver = re.search(r"\[(\S+)\] .*Running driver for", text)
    return max(0.0, at(driver.group(1)) - start) if driver else 0.0


def measure_first_start(environment: dict[str, str], night: str) -> float:
    """Seconds from `retraining up` on an empty folder to the first task of a run that was asked for at once."""
    begun = time.time()
    call(environment, "up")
    call(environment, "run", "--night", night)
    settings = read_settings(environment)
    api = Api(settings, NIGHTLY_DAG)
    run = find_run(api, settings, night)
    return min(at(task["start_date"]) for task in api.get_tasks(run["dag_run_id"]) if task["start_date"]) - begun


def measure_one_process(environment: dict[str, str], nights: list[str]) -> float:
    """Seconds of the last of `nights` under LocalDagRunner in one process, imports left out."""
    script = (
        "import json, sys, time\n"
        "from retraining.local.airflow import compute_as_the_service; compute_as_the_service()\n"
        "from retraining.nights.in_process import run_locally\n"
        "from retraining.settings import Settings\n"
        "settings = Settings.from_env()\n"
        "for night in sys.argv[1:]:\n"
        "    begun = time.monotonic(); run_locally(settings, night)\n"
        "print(json.dumps(time.monotonic() - begun))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *nights],
        env=environment,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the pipeline failed in one process:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_parse(environment: dict[str, str]) -> float:
    """Seconds that a fork of the warm scheduler takes to read the DAG file: the median of five forks."""
    script = (
        "import importlib.util, json, os, sys, time\n"
        "from airflow.jobs.job import Job\n"
        "from airflow.models.dagbag import DagBag\n"
        "spec = importlib.util.spec_from_file_location('preload_listener', 'plugins/preload_listener.py')\n"
        "listener = importlib.util.module_from_spec(spec); sys.modules['preload_listener'] = listener\n"
        "spec.loader.exec_module(listener); listener.on_starting(Job(job_type='SchedulerJob'))\n"
        "times = []\n"
        "for _ in range(5):\n"
        "    reader, writer = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        begun = time.monotonic()\n"
        "        bag = DagBag('dags/headline_retraining.py', include_examples=False)\n"
        "        assert not bag.import_errors, bag.import_errors\n"
        "        os.write(writer, str(time.monotonic() - begun).encode()); os._exit(0)\n"
        "    os.close(writer); times.append(float(os.read(reader, 100))); os.wait()\n"
        "print(json.dumps(sorted(times)[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "retraining", "exec", "python", "-c", script, "scheduler"],
        env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def measure_command(environment: dict[str, str], *arguments: str) -> float:
    """Seconds of one `retraining` command: the median of five."""
    times = []
    for _ in range(5):
        begun = time.monotonic()
        subprocess.run([*RETRAINING, *arguments], env=environment, cwd=CHECKOUT, capture_output=True, check=False)
        times.append(time.monotonic() - begun)
    return statistics.median(times)


def show(ours: Run, stock: Run | None) -> None:
    """Prints the table per task."""
    table = Table(
        "node", "queued s", "running s", "of it imports", "stock queued s", "stock running s", "of it imports"
    )
    beside = {node.name: node for node in stock.nodes} if stock else {}
    for node in ours.nodes:
        other = beside.get(node.name)
        table.add_row(node.name, *row(node), *(row(other) if other else ("-", "-", "-")))
    console.print(table)


def row(node: Node) -> tuple[str, str, str]:
    """A node's figures as text."""
    share = node.importing / node.running if node.running else 0.0
    return f"{node.queued:.2f}", f"{node.running:.1f}", f"{share:.0%}"


def main() -> None:
    """Measures, prints, and exits with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drops", type=Path, help="folder of drops; default: this project's samples")
    parser.add_argument("--skip-stock", action="store_true", help="leave the slow stock run out")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    drops: Path = (options.drops or place / "drops").absolute()
    if not options.drops:
        write_samples(drops)
    try:
        targets = measure(place, drops, options.skip_stock)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    missed = [name for name, (value, limit, more) in targets.items() if (value < limit if more else value > limit)]
    line = "; ".join(
        f"{name} {value:.2f} (target {'>=' if more else '<='} {limit:g})"
        for name, (value, limit, more) in targets.items()
    )
    console.print(f"{'MISSED ' + ', '.join(missed) if missed else 'ok'}: {line}", soft_wrap=True, highlight=False)
    sys.exit(bool(missed))


def measure(place: Path, drops: Path, skip_stock: bool) -> dict[str, tuple[float, float, bool]]:
    """Takes every figure and prints the tables."""
    with service(place / "ours", drops, 26000) as environment:
        before, night = map(str, DropsFolder(drops).nights[-2:])
        first_start = measure_first_start(environment, before)
        call(environment, "run", "--night", night)
        ours = measure_run(read_settings(environment), night)
        commands = {name: measure_command(environment, *name.split()) for name in COMMANDS}
        parse = measure_parse(environment)
    # The service is down: nothing else runs while the others are measured.
    one_process = measure_one_process(environment, [before, night])
    stock = None
    if not skip_stock:
        with service(place / "stock", drops, 26010, **STOCK) as environment:
            call(environment, "up")
            for each in (before, night):
                call(environment, "run", "--night", each)
            stock = measure_run(read_settings(environment), night)
    show(ours, stock)
    queued = [node.queued for node in ours.nodes]
    console.print(
        f"whole run: ours {ours.total:.1f} s, one process {one_process:.1f} s, "
        f"stock {f'{stock.total:.1f} s' if stock else 'left out'}"
    )
    targets = {
        "run / one process": (ours.total / one_process, 1.2, False),
        "queue-to-start median s": (statistics.median(queued), 0.5, False),
        "queue-to-start worst s": (max(queued), 1.5, False),
        "warm DAG parse s": (parse, 0.1, False),
        "first start to first task s": (first_start, 40.0, False),
        **{f"retraining {name} s": (value, COMMANDS[name], False) for name, value in commands.items()},
    }
    if stock:
        targets["stock / run"] = (stock.total / ours.total, 2.5, True)
    return targets


if __name__ == "__main__":
    main()
