"""`make soak`: a compressed year of a real service, by the clock, with whatever happens to one.

Every night is begun by the schedule of a real scheduler, whose clock is moved on (moved_clock.py); drops are tiny and
training is small. tests/soak_year.py says what happens when, by SEED, and what it must come to; this drives it, and
exits with 1 when something is missed.
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import psutil
from driving import CHECKOUT, SMALL_TRAINING, Service, make_environment, query
from moved_clock import MovedClock, find_library
from soak_year import FIRST, PROGRAMS, Night, Tally, plan
from waiting import wait_until

import lineage
from headlines.drops.samples import write_samples
from retraining.local import LocalError, supervisor

DAG = "headline_retraining"
ROWS = 80
"""Of a drop; the least with which every label is in every split."""
NIGHT_SECONDS, FAULT_SECONDS = 1200, 20
"""The longest a night may take, and when after its begin at the latest something happens to it."""
SETTINGS = {
    **SMALL_TRAINING,
    "MIN_HEADLINES": "20",
    "WINDOW_NIGHTS": "3",
    "EXPECTED_CLASS_MIX": "none",
    "MAX_SURPRISAL": "100",
    "MAX_CLASS_MIX_SHIFT": "1",
    "MAX_QUARANTINED_SHARE": "0.5",
    "MAX_UNSEEN_WORD_EXCESS": "1",
    "TUNING_SCHEDULE": "none",
    # As much less than by default as its nights are fewer than those of three years.
    "KEEP_ARTIFACT_NIGHTS": "5",
    "KEEP_SERVED_VERSIONS": "3",
    "KEEP_LOG_DAYS": "7",
}


class Soak:
    """The service of a year, and what came of it so far."""

    def __init__(self, place: Path, nights: list[Night], seed: int) -> None:
        """Makes drops and a clock in a place; nothing is started yet."""
        self.place, self.nights, self.random, self.tally = place, nights, Random(seed), Tally()
        library = find_library()
        assert library is not None, "no clock to move; on Linux on x86-64: pip install libfaketime==3.0.1"
        noon = datetime(FIRST.year, FIRST.month, FIRST.day, 12, tzinfo=ZoneInfo("America/Sao_Paulo"))
        self.clock = MovedClock(library, place, noon)
        self.samples = place / "samples"
        write_samples(self.samples, nights=len(nights))
        dags = Path(shutil.copytree(CHECKOUT / "dags", place / "dags", ignore=shutil.ignore_patterns("__pycache__")))
        for file in dags.iterdir():
            # A DAG that is changed later than now is parsed without end (apache/airflow#18674).
            os.utime(file, (0, noon.timestamp() - 86_400))
        (place / "drops").mkdir()
        self.service = Service(
            make_environment(place / "state", place / "drops", DAGS_DIR=str(dags), **SETTINGS, **self.clock.environment)
        )
        self.rows: dict[tuple[str, int], int] = {}
        """Of each version of a drop, by night and version."""

    def run(self) -> list[str]:
        """Lives through the year; returns what was missed."""
        self.service("up")
        try:
            self.wait_until(self.has_dag, 300, "the DAG is there")
            self.service.api("PATCH", f"dags/{DAG}", json={"is_paused": False})
            for night in self.nights:
                begun = time.monotonic()
                self.live_through(night)
                print(f"{self.tell(night)}; {time.monotonic() - begun:.0f} s", flush=True)
            self.tally.running = len(query(self.service, "SELECT id FROM execution WHERE last_known_state = 2"))
        finally:
            self.service("down", check=False)
            self.clock.close()
        return self.tally.find_misses(self.nights)

    def live_through(self, night: Night) -> None:
        for step in night.steps:
            self.take(step)
        if night.corrects:
            self.deliver(night.corrects, is_correction=True)
        if night.drop in ("in time", "bad"):
            self.deliver(night.night, is_bad=night.drop == "bad")
        self.wait_until(self.is_quiet, 600, "nothing runs")
        due = datetime.fromisoformat(f"{date.fromisoformat(night.night) + timedelta(days=1)}T02:00")
        self.clock.jump_to(due.replace(tzinfo=ZoneInfo("America/Sao_Paulo")) - timedelta(seconds=5))
        self.wait_until(lambda: self.find_run(night.night) is not None, 600, f"the schedule begins night {night.night}")
        if night.drop == "late":
            self.deliver(night.night)
        if night.fault:
            time.sleep(self.random.uniform(0, FAULT_SECONDS))
            self.do_harm(night.fault)
        if night.drop == "missing":
            # Until the drop is waited for no more.
            self.clock.jump_to(self.clock.now() + timedelta(hours=7))
        came_to = self.wait_for_verdict(night)
        self.tally.nights += 1
        self.tally.verdicts[came_to] += 1
        # Nobody did anything but what starts a machine's services at its boot.
        self.tally.recovered += bool(night.fault) and came_to != "none"
        self.look(night)

    def take(self, step: str) -> None:
        """Does what a person or a clock does to a service between two nights."""
        STEPS[step](self)

    def restart(self) -> None:
        self.service("down")
        self.service("up")

    def move(self) -> None:
        """Goes on from a backup, in another place; the old one is gone."""
        old, new, file = self.service.settings.state_dir, self.place / "another state", self.place / "backup"
        self.service("backup", str(file))
        self.service("down")
        shutil.rmtree(old)
        self.service.environment |= {"STATE_DIR": str(new)}
        self.service("restore", str(file))
        self.service("up")

    def do_harm(self, fault: str) -> None:
        """Kills something of the service as the kernel does, or all of it."""
        self.tally.faults[fault] += 1
        if fault == "reboot":
            for process in self.service.find_processes():
                with suppress(psutil.Error):
                    process.kill()
            self.service("up")
            return
        victims = [supervisor.states(self.service.settings).get(program, {}).get("pid") for program in PROGRAMS]
        chosen = dict(zip(PROGRAMS, victims, strict=True)).get(fault.removeprefix("kill "))
        tasks = [process for process in self.service.find_processes() if is_task(process)]
        with suppress(psutil.Error):
            if fault == "kill a task" and tasks:
                self.random.choice(tasks).kill()
            elif chosen:
                psutil.Process(chosen).kill()

    def deliver(self, night: str, is_correction: bool = False, is_bad: bool = False) -> None:
        """Delivers a night's drop, or its next version; a bad one has labels that are none."""
        folder = self.service.settings.drops_dir / night
        version = 1
        if is_correction:
            version = 1 + max(number for named, number in self.rows if named == night)
            folder /= f"v{version}"
        folder.mkdir(parents=True)
        [source] = (self.samples / night).glob("*.csv")
        # A sample has a line of another encoding now and then.
        how = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
        with source.open(**how) as stream:
            header, *rows = list(csv.reader(stream))[: ROWS + 1]
        label = header.index("sentiment")
        for row in rows if is_bad else ():
            # A bad row may have no such cell.
            row[label : label + 1] = ["?"] * len(row[label : label + 1])
        rows = rows[: ROWS - version]
        partial = folder / ".headlines.csv"
        with partial.open("w", **how) as stream:
            csv.writer(stream).writerows([header, *rows])
        delivered = self.clock.now().timestamp() - 60
        os.utime(partial, (delivered, delivered))
        partial.rename(folder / "headlines.csv")
        self.rows[night, version] = len(rows)

    def wait_for_verdict(self, night: Night) -> str:
        """What the night came to: `pushed`, `refused`, `blocked` by its drop, `skipped` without one, or `none`."""
        ends = {"bad": "failed", "missing": "success"}.get(night.drop)
        try:
            self.wait_until(lambda: self.state_of(night.night) in ("success", "failed"), NIGHT_SECONDS, "it ends")
        except TimeoutError as error:
            print(f"night {night.night}: {error}", file=sys.stderr)
            return "none"
        if ends:
            return {"failed": "blocked", "success": "skipped"}[ends] if self.state_of(night.night) == ends else "none"
        states = [report.state for report in lineage.nights(self.service.settings, night.night, night.night)]
        return states[-1] if states and states[-1] in lineage.VERDICTS else "none"

    def look(self, night: Night) -> None:
        """Counts what must never be, and takes sizes, when nothing runs."""
        self.wait_until(self.is_quiet, 600, "nothing runs")
        settings = self.service.settings
        pushed = lineage.pushed_versions(settings)
        self.tally.wrong_pushes += [version for version in self.service.versions() if int(version) not in pushed]
        for report in lineage.nights(settings, night.night, night.night):
            if night.drop in ("bad", "missing") and report.pushed_version:
                self.tally.wrong_pushes.append(report.pushed_version)
            drops = lineage.drops_of_model(settings, f"#{report.model_id}") if report.model_id else ()
            for drop in drops:
                kept = (drop.rows_used or 0) + (drop.rows_quarantined or 0) + (drop.duplicates_folded or 0)
                self.tally.rows_delivered += self.rows[drop.night, drop.version]
                self.tally.rows_lost += abs(self.rows[drop.night, drop.version] - kept)
        reign = lineage.serving_version(settings)
        if reign:
            self.service.wait_until_served(str(reign.version), 300)
        self.date_files()
        used_kb = subprocess.run(["du", "-sk", settings.state_dir], capture_output=True, text=True, check=False).stdout
        self.tally.disk_mb.append(int(used_kb.split()[0]) / 1024)
        self.tally.memory_mb.append(sum(find_memory(process) for process in self.service.find_processes()) / 2**20)

    def date_files(self) -> None:
        """Gives what was written since the last call the time of the moved clock, for files have the system's own."""
        now, settings = self.clock.now().timestamp(), self.service.settings
        for place in (settings.airflow_home / "logs", settings.pipeline_root, settings.serving_dir):
            for path in place.rglob("*"):
                with suppress(FileNotFoundError):
                    if path.lstat().st_mtime > now:
                        os.utime(path, (now, now), follow_symlinks=False)

    def has_dag(self) -> bool:
        return DAG in [dag["dag_id"] for dag in self.service.api("GET", "dags")["dags"]]

    def is_quiet(self) -> bool:
        return not self.service.api("GET", "dags/~/dagRuns?state=queued&state=running")["dag_runs"]

    def find_run(self, night: str) -> dict[str, Any] | None:
        runs = self.service.api("GET", f"dags/{DAG}/dagRuns?order_by=-execution_date&limit=5")["dag_runs"]
        for run in runs:
            moment = datetime.fromisoformat(run["logical_date"]).astimezone(ZoneInfo("America/Sao_Paulo"))
            if moment.date().isoformat() == night:
                return dict(run)
        return None

    def state_of(self, night: str) -> str:
        return (self.find_run(night) or {}).get("state", "")

    def wait_until(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        """Looks every two seconds; what cannot be answered just now is asked again.

        Raises:
          TimeoutError: it does not come.
        """
        unanswered = (httpx.HTTPError, LocalError, lineage.LineageError)
        wait_until(is_so, what, seconds, every=2, unanswered=unanswered)

    def tell(self, night: Night) -> str:
        correction = f"corrects {night.corrects}" if night.corrects else None
        happened = [*night.steps, night.drop, *filter(None, [correction, night.fault])]
        sizes = f"{self.tally.disk_mb[-1]:.0f} MB on disk, {self.tally.memory_mb[-1]:.0f} MB in memory"
        return f"{night.night}  {', '.join(happened)}: {dict(self.tally.verdicts)}; {sizes}"


STEPS: dict[str, Callable[[Soak], object]] = {
    "restart": Soak.restart,
    "prune": lambda soak: soak.service("prune"),
    "backup, restore elsewhere, go on there": Soak.move,
    "upgrade": lambda soak: soak.service("upgrade"),
}


def is_task(process: psutil.Process) -> bool:
    """Whether it is an Airflow task at work."""
    try:
        return "task runner" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def find_memory(process: psutil.Process) -> int:
    """Memory that is a process' own: what forked ones share is counted once, in their parent."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def main() -> int:
    """Lives through NIGHTS nights by SEED, and says what they came to.

    Returns:
      The exit code: 1 when something was missed.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        # What runs for hours runs in the background, where a shell has interrupts ignored.
        signal.signal(number, signal.default_int_handler)
    place = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(place, plan(options.nights, options.seed), options.seed)
    tally = soak.tally
    try:
        misses = soak.run()
    except (AssertionError, KeyboardInterrupt, TimeoutError) as error:
        misses = [f"it ended early: {error or type(error).__name__}", *tally.find_misses(soak.nights)]
    print(f"\nnights {tally.nights}, of them {dict(tally.verdicts)}")
    print(f"faults {sum(tally.faults.values())} {dict(tally.faults)}, recovered without a person {tally.recovered}")
    print(f"rows delivered to windows {tally.rows_delivered}, lost {tally.rows_lost}")
    print(f"wrong pushes {len(tally.wrong_pushes)}, RUNNING {tally.running}")
    for name, sizes in (("disk", tally.disk_mb), ("memory", tally.memory_mb)):
        curve = " ".join(f"{size:.0f}" for size in sizes[:: max(1, len(sizes) // 10)])
        print(f"{name}, MB, after every tenth of the nights: {curve}")
    for miss in misses:
        print(f"MISSED: {miss}")
    if misses:
        print(f"what it left is in {place}")
        return 1
    shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main())
