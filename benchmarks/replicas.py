"""`make bench-replicas`: answers by several processes, and by three replicas behind nginx while things befall them.

Every figure is measured in this run; clients, proxy and servers share the machine's cores.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measurement import conclude
from benchmarks.proxy import run_proxy
from benchmarks.serving import CLIENTS, find_model, free_port, push, read_titles, server
from benchmarks.serving_load import Load, apply_load
from modules.features import MODEL_NAME
from retraining.settings import Settings

console = Console(width=100)
PATH = f"/v1/models/{MODEL_NAME}:predict"
DRAIN_SECONDS = 3
# How much faster several processes are than one, at the least; and until all answer with one version, in seconds, while
# every core is busy: a quarter of the minute after which Now serving calls one that does not `differs`.
TARGETS = {"workers": 1.0, "agree_seconds": 15.0}
_POLICY = (
    'model_config_list {{ config {{ name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
    "model_version_policy {{ {} }} }} }}"
)


class Replica:
    """One model server, a process of its own with its ports."""

    def __init__(self, folder: Path, stack: ExitStack, workers: int = 1, ports: tuple[int, int] | None = None) -> None:
        self.ports = ports or (free_port(), free_port())
        self.base = f"http://127.0.0.1:{self.ports[0]}"
        variables = {
            "SERVING_DIR": str(folder),
            "SERVING_PORT": str(self.ports[0]),
            "SERVING_GRPC_PORT": str(self.ports[1]),
            "SERVING_WORKERS": str(workers),
            "SERVING_DRAIN_SECONDS": str(DRAIN_SECONDS),
        }
        self.pid = stack.enter_context(server([sys.executable, "-m", "serving"], f"{self.base}/readyz", **variables))

    def version(self) -> str:
        """What it answers with."""
        with urllib.request.urlopen(f"{self.base}/version", timeout=10) as answer:
            return str(json.load(answer)["version"])


async def agree(replicas: list[Replica], version: str) -> float:
    """Seconds until each of them answers with a version."""
    began = time.monotonic()
    while any([await asyncio.to_thread(one.version) != version for one in replicas]):
        if time.monotonic() - began > 60:
            raise SystemExit(f"not all replicas answer with version {version} after a minute")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def measure_workers(folder: Path, bodies: list[bytes], count: int) -> dict[str, Load]:
    """The load that one process takes, and as many as there are cores."""
    loads = {}
    for workers in (1, max(2, len(os.sched_getaffinity(0)))):
        with ExitStack() as stack:
            replica = Replica(folder, stack, workers)
            await apply_load(replica.ports[0], PATH, bodies, CLIENTS, count // 2)
            loads[f"{workers} process{'es' * (workers > 1)}"] = await apply_load(
                replica.ports[0], PATH, bodies, CLIENTS, count
            )
    return loads


async def measure_replicas(folder: Path, place: Path, bodies: list[bytes], count: int) -> dict[str, tuple[Load, str]]:
    """The load on three replicas behind nginx, calm and while each thing befalls them, and what is to be said of it."""
    found: dict[str, tuple[Load, str]] = {}
    with ExitStack() as stack:
        replicas = [Replica(folder, stack) for _ in range(3)]
        port = free_port()
        place.mkdir()
        stack.enter_context(run_proxy(place, port, free_port(), [one.ports for one in replicas]))
        await apply_load(port, PATH, bodies, CLIENTS, count // 2)
        found["calm"] = (await apply_load(port, PATH, bodies, CLIENTS, count), "")

        async def amid(name: str, event: Callable[[], Awaitable[str]]) -> None:
            load = asyncio.create_task(apply_load(port, PATH, bodies, CLIENTS, 4 * count))
            await asyncio.sleep(0.5)
            said = await event()
            found[name] = (await load, said)

        async def swap() -> str:
            await asyncio.to_thread(push, folder / "1", folder, 2)
            return f"{await agree(replicas, '2'):.1f} s until all agree"

        async def roll_back() -> str:
            (folder.parent / "models.config").write_text(_POLICY.format("specific { versions: 1 }"))
            return f"{await agree(replicas, '1'):.1f} s until all agree"

        async def kill() -> str:
            os.kill(replicas[2].pid, signal.SIGKILL)
            return "two are left"

        async def end() -> str:
            os.kill(replicas[1].pid, signal.SIGTERM)
            return f"after {DRAIN_SECONDS} s one is left"

        await amid("a new version", swap)
        await amid("a rollback", roll_back)
        await amid("one is killed", kill)
        await amid("one is told to stop", end)
    return found


async def measure(arguments: argparse.Namespace, place: Path, titles: list[str], model: Path) -> None:
    """Runs both parts and prints the tables; exits with 1 if a target is missed."""
    folder = place / "models" / MODEL_NAME
    folder.mkdir(parents=True)
    push(model, folder, 1)
    bodies = [
        json.dumps({"signature_name": "predict_text", "instances": [title]}, ensure_ascii=False).encode()
        for title in titles
    ]
    workers = await measure_workers(folder, bodies, arguments.requests)
    replicas = await measure_replicas(folder, place / "nginx", bodies, arguments.requests)
    table = Table(
        "",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "slowest ms",
        "failed",
        "",
        title=f"{CLIENTS} clients; three: behind nginx",
    )
    for name, load in workers.items():
        table.add_row(name, *_describe(load), "")
    for name, (load, said) in replicas.items():
        table.add_row(f"three, {name}", *_describe(load), said)
    console.print(table)
    one, several = workers.values()
    failed = sum(load.failed for load in [*workers.values(), *(load for load, _ in replicas.values())])
    agreed = max(float(said.split()[0]) for _, said in replicas.values() if "until all" in said)
    ratio = several.rate / one.rate
    misses = [
        *([f"{failed} requests failed"] if failed else []),
        *([f"several processes answer {ratio:.2f} times as many"] if ratio < TARGETS["workers"] else []),
        *([f"{agreed:.1f} s until all answer with one version"] if agreed > TARGETS["agree_seconds"] else []),
    ]
    conclude(
        console,
        misses,
        f"{failed} requests failed (target 0); several processes answer {ratio:.2f} times as many as one (target >= "
        f"{TARGETS['workers']:g}); {agreed:.1f} s until all answer with one version (target <= "
        f"{TARGETS['agree_seconds']:g})",
    )


def _describe(load: Load) -> list[str]:
    return [f"{load.rate:.0f}", *(f"{load.quantile_ms(share):.1f}" for share in (0.5, 0.99, 1)), str(load.failed)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="SavedModel to serve (default: the newest pushed)")
    parser.add_argument("--drops", type=Path, help="where titles come from (default: DROPS_DIR, else samples)")
    parser.add_argument("--requests", type=int, default=4000, help="requests of each measured load")
    arguments = parser.parse_args()
    settings = Settings.from_env(**({"drops_dir": arguments.drops} if arguments.drops else {}))
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        titles = read_titles(settings, place / "samples")
        asyncio.run(measure(arguments, place, titles, arguments.model or find_model(settings)))


if __name__ == "__main__":
    main()
