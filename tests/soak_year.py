"""What a compressed year holds, night by night, and what it must come to: plain data, without a service."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Literal

FIRST = date(2022, 2, 1)
PROGRAMS = ("scheduler", "postgres", "serving", "webserver", "watch", "triggerer")
FAULTS = (*(f"kill {program}" for program in PROGRAMS), "kill a task", "reboot")
DROPS = ("late", "bad", "missing")
WEEKLY = ("prune",)
ONCE = ("backup, restore elsewhere, go on there", "upgrade")

Drop = Literal["in time", "late", "bad", "missing"]

_FAULTY_SHARE, _ODD_SHARE, _CORRECTED_SHARE, _RESTARTED_SHARE = 0.4, 0.15, 0.05, 0.05
_DISK_FROM, _MEMORY_FROM = 24, 12
"""Nights from which on it can be seen whether the disk is bounded and memory flat."""
_MOST_GROWTH = 1.25


@dataclass(frozen=True)
class Night:
    """What happens on one night.

    Attributes:
      night: `YYYY-MM-DD`.
      drop: how its drop comes; `bad` has labels that are none, and is corrected on the next day.
      fault: what is done to the service while the night is at work; None for nothing.
      corrects: an earlier night whose drop is delivered again, before this one's.
      steps: what a person or a clock does to the service before it, in order.
    """

    night: str
    drop: Drop = "in time"
    fault: str | None = None
    corrects: str | None = None
    steps: tuple[str, ...] = ()


SHORT = (
    Night("2022-02-01", fault="kill scheduler"),
    Night("2022-02-02", "bad", steps=("prune", "backup, restore elsewhere, go on there")),
    Night("2022-02-03", "late", fault="reboot", corrects="2022-02-02", steps=("upgrade",)),
    Night("2022-02-04", "missing"),
)
"""Of what may happen in a year as much as four nights hold."""


def plan(count: int, seed: int) -> list[Night]:
    """So many nights; the same seed gives the same, and every fault comes before one comes twice."""
    random = Random(seed)
    faults = _deal(random, FAULTS, count, _FAULTY_SHARE)
    drops = _deal(random, DROPS, count, _ODD_SHARE)
    nights: list[Night] = []
    for index in range(count):
        night = (FIRST + timedelta(days=index)).isoformat()
        steps = [*WEEKLY] if index % 7 == 6 else []
        steps += ["restart"] if index and random.random() < _RESTARTED_SHARE else []
        once = zip(ONCE, (count // 2, 3 * count // 4), strict=True)
        steps += [step for step, place in once if 0 < index == place]
        corrects = None
        if nights and nights[-1].drop == "bad":
            corrects = nights[-1].night
        elif index > 2 and random.random() < _CORRECTED_SHARE:
            corrects = nights[random.randrange(max(0, index - 6), index)].night
        # The first two make a champion for the others to be judged against; what never came is not corrected.
        drop = drops.get(index, "in time") if index > 1 else "in time"
        missing = {one.night for one in nights if one.drop == "missing"}
        fault = faults.get(index) if index else None
        nights.append(Night(night, drop, fault, None if corrects in missing else corrects, tuple(steps)))
    return nights


def _deal(random: Random, kinds: tuple[str, ...], count: int, share: float) -> dict[int, str]:
    """Which of some kinds comes on which of so many nights."""
    places = sorted(random.sample(range(count), round(count * share)))
    deck: list[str] = []
    while len(deck) < len(places):
        deck += random.sample(kinds, len(kinds))
    return dict(zip(places, deck, strict=False))


@dataclass
class Tally:
    """What came of it so far; sizes are taken after each night, when nothing runs."""

    nights: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    rows_delivered: int = 0
    rows_lost: int = 0
    wrong_pushes: list[str] = field(default_factory=list)
    running: int = 0
    disk_mb: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def find_misses(self, planned: list[Night]) -> list[str]:
        """What a year must come to and did not, in words; nothing for a good one."""
        misses = []
        if self.nights < len(planned):
            misses.append(f"{len(planned) - self.nights} nights were never run")
        if unsettled := self.verdicts["none"]:
            misses.append(f"{unsettled} nights came to no verdict")
        if self.recovered < sum(self.faults.values()):
            misses.append(f"{sum(self.faults.values()) - self.recovered} faults needed a person")
        if self.rows_lost:
            misses.append(f"{self.rows_lost} rows were lost")
        if self.wrong_pushes:
            misses.append(f"wrongly pushed: {', '.join(self.wrong_pushes)}")
        if self.running:
            misses.append(f"{self.running} executions stayed RUNNING")
        if not is_flat(self.disk_mb, _DISK_FROM):
            misses.append(f"the disk is not bounded: {self.disk_mb[-1]:.0f} MB in the end")
        if not is_flat(self.memory_mb, _MEMORY_FROM):
            misses.append(f"memory is not flat: {self.memory_mb[-1]:.0f} MB in the end")
        return misses


def is_flat(sizes: list[float], from_count: int) -> bool:
    """Whether sizes stay about what they were in the second third; too few of them say nothing."""
    third = len(sizes) // 3
    if len(sizes) < from_count:
        return True
    return statistics.median(sizes[-third:]) <= _MOST_GROWTH * statistics.median(sizes[third : 2 * third])
