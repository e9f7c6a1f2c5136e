"""Every fault of a drop that was thought of is caught by what should catch it, and no honest night is stopped.

Each is tried on one night here; `make bench-drops` tries it on all nights of a folder.
"""

from pathlib import Path
from random import Random

import pytest

from benchmarks.drop_faults import CATALOGUE, NAMED, REFUSED
from benchmarks.drop_replay import Outcome, Trial, judge_all, list_cases, read_nights, tabulate, try_fault
from benchmarks.spoiling import Case, Night
from headlines.drops import measures
from headlines.drops.quarantine import Reason
from retraining.settings import Settings

# Seven nights before it there is another, of the same day of the week.
NIGHT = 8


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings.from_env(drop_settle_seconds=0)


@pytest.fixture(scope="module")
def nights(twelve_nights: Path, settings: Settings) -> list[Night]:
    return read_nights(twelve_nights, settings)


@pytest.mark.parametrize("name", [name for name, fault in CATALOGUE.items() if not fault.is_honest])
def test_a_fault_is_caught_by_what_should_catch_it(name: str, nights: list[Night], settings: Settings) -> None:
    trial = try_fault(CATALOGUE[name], Case(nights, NIGHT - 1, Random(name)), settings)
    assert trial.is_right, trial.outcome
    assert all(stop.encode() for stop in trial.outcome.stops)


@pytest.mark.parametrize("name", [name for name, fault in CATALOGUE.items() if fault.is_honest])
def test_an_honest_night_is_not_stopped(name: str, nights: list[Night], settings: Settings) -> None:
    trial = try_fault(CATALOGUE[name], Case(nights, NIGHT - 1, Random(name)), settings)
    assert trial.is_right, trial.outcome


def test_what_stops_a_run_or_sets_a_row_aside_has_a_fault_that_it_catches() -> None:
    catching = {cause for fault in CATALOGUE.values() for cause in fault.caught_by}
    limited = {kind.name for kind in measures.KINDS if kind.limit}
    reasons = {reason.value for reason in Reason}
    # Too few headlines in a window are no fault of a drop, and a duplicate is none at all.
    assert (limited | reasons) - {measures.ROWS_USED, Reason.DUPLICATE} <= catching
    assert catching <= limited | reasons | {REFUSED, NAMED}


def test_a_fault_is_tried_on_every_night_on_which_it_can_be_told(nights: list[Night]) -> None:
    fault = CATALOGUE["permuted"]
    cases = list(list_cases(fault, nights))
    assert len(cases) == 12 * fault.draws
    assert [case.index for case in list_cases(CATALOGUE["yesterday-again"], nights)] == list(range(1, 12))
    # Chance falls otherwise each time, but likewise on every run.
    assert fault.make(cases[-1]) == fault.make(list(list_cases(fault, nights))[-1]) != fault.make(cases[-2])


def test_what_passes_and_what_is_falsely_raised_is_counted_and_named() -> None:
    caught = Trial(True, Outcome(frozenset({"swap_evidence"}), ("swapped",)))
    passed = Trial(False, Outcome(frozenset(), ()))
    raised = Trial(False, Outcome(frozenset({"class_mix_shift"}), ("shifted",)))
    results = {"labels-rotated": [caught, passed], "utf-16": [caught, caught], "shuffled": [passed, raised]}
    results["shuffled"][0] = Trial(True, Outcome(frozenset(), ()))
    misses, summary = judge_all(results)
    assert misses == ["labels-rotated 1 of 2", "shuffled 1 of 2"]
    assert summary == ("3 of 4 faulty nights are caught (target: all), 1 of 2 honest nights are stopped (target: none)")
    cells = [list(column.cells) for column in tabulate(results, honest=False).columns]
    assert cells == [["labels rotated", "UTF-16"], ["1 of 2", "2 of 2"], ["swap_evidence 1", "swap_evidence"]]
    assert [list(column.cells) for column in tabulate(results, honest=True).columns] == [
        ["rows in another order"], ["1 of 2"], ["class_mix_shift 1"]
    ]  # fmt: skip
