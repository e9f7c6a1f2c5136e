"""A compressed year is the same for the same seed, holds every fault, and says what it missed."""

from collections import Counter
from itertools import pairwise

import pytest
import soak_year
from soak_year import FAULTS, ONCE, Tally, is_flat, plan


def test_a_year_is_the_same_for_the_same_seed_and_holds_everything() -> None:
    year = plan(365, seed=1)
    assert year == plan(365, seed=1) != plan(365, seed=2)
    assert {night.fault for night in year} == {None, *FAULTS}
    assert {night.drop for night in year} == {"in time", "late", "bad", "missing"}
    steps = Counter(step for night in year for step in night.steps)
    assert {step: steps[step] for step in ONCE} == dict.fromkeys(ONCE, 1)
    assert steps["prune"] == 52
    assert steps["restart"] > 5
    assert len({night.night for night in year}) == 365


def test_what_was_bad_is_corrected_on_the_next_night_and_what_never_came_is_not() -> None:
    year = plan(365, seed=3)
    drops = {night.night: night.drop for night in year}
    for before, night in pairwise(year):
        if before.drop == "bad":
            assert night.corrects == before.night
        if night.corrects:
            assert night.corrects < night.night
            assert drops[night.corrects] != "missing"


def test_a_short_one_holds_every_kind_of_fault_from_twenty_nights_on() -> None:
    assert {night.fault for night in plan(20, seed=1)} == {None, *FAULTS}


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ({"nights": 1}, "1 nights were never run"),
        ({"verdicts": Counter(none=1)}, "1 nights came to no verdict"),
        ({"recovered": 0}, "1 faults needed a person"),
        ({"rows_lost": 3}, "3 rows were lost"),
        ({"wrong_pushes": ["2022020101"]}, "wrongly pushed: 2022020101"),
        ({"running": 2}, "2 executions stayed RUNNING"),
        ({"disk_mb": [float(size) for size in range(1, 61)]}, "the disk is not bounded: 60 MB in the end"),
        ({"memory_mb": [100.0] * 8 + [200.0] * 4}, "memory is not flat: 200 MB in the end"),
    ],
)
def test_whatever_is_missed_is_said(spoilt: dict[str, object], told: str) -> None:
    good = {"nights": 2, "verdicts": Counter(pushed=2), "faults": Counter({"reboot": 1}), "recovered": 1}
    assert Tally(**good).find_misses(plan(2, seed=1)) == []  # type: ignore[arg-type]
    assert Tally(**(good | spoilt)).find_misses(plan(2, seed=1)) == [told]  # type: ignore[arg-type]


def test_sizes_are_judged_by_their_middle_and_only_when_there_are_enough() -> None:
    assert is_flat([1.0, 9.0], from_count=3)
    assert is_flat([1.0, 5.0, 100.0, 5.0, 5.0, 6.0, 6.0, 90.0, 6.0], from_count=9)
    assert not is_flat([1.0, 1.0, 2.0], from_count=3)
    assert soak_year.FIRST.isoformat() == plan(1, seed=1)[0].night
