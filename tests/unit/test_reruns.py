"""Which nights that were run want to be run again, and what the user is told."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rulings import NO_PRECEDENTS, Precedents, Ruled, Ruling
from headlines.drops.sources import hash_versions
from lineage import LeftOut, NightReport, Reign
from retraining.nights import reruns
from retraining.nights.reruns import find_changes
from retraining.settings import Settings

NIGHTS = ("2022-02-01", "2022-02-02", "2022-02-03")
ROW = "Chove,neutral\n"
CHAMPION = Reign(2022020201, 1, NIGHTS[1], datetime(2022, 2, 3, tzinfo=UTC), None)


@pytest.fixture
def settings(drops_dir: Path, deliver: Callable[..., Path]) -> Settings:
    for night in NIGHTS:
        deliver(night, ROW)
    return Settings.from_env(drops_dir=drops_dir, state_dir=drops_dir.parent, drop_settle_seconds=0)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[NightReport]:
    """Runs of the third night, in their order; the champion as of it is 2022020201."""
    reports: list[NightReport] = []
    # Where lineage itself asks for them; by its name: the package has a function of the same one.
    module = importlib.import_module("lineage.runs")
    monkeypatch.setattr(module, "runs_of_night", lambda settings, night: reports)
    monkeypatch.setattr(reruns.lineage, "champion_as_of", lambda settings, night: CHAMPION)
    monkeypatch.setattr(reruns.lineage, "find_precedents", lambda *asked: NO_PRECEDENTS)
    return reports


def run(state: str = "pushed", champion: str = "2022020201", **drops: int) -> NightReport:
    versions = dict.fromkeys(NIGHTS, 1) | {name.replace("_", "-").removeprefix("n"): v for name, v in drops.items()}
    return NightReport(NIGHTS[2], "r", state, drops=versions, champion_version=champion)


def test_a_night_whose_drops_and_champion_are_the_same_is_left_alone(
    settings: Settings, known: list[NightReport]
) -> None:
    known.append(run())
    assert find_changes(settings, NIGHTS[2]) == []


def test_a_correction_anywhere_in_the_window_is_named(
    settings: Settings, known: list[NightReport], deliver: Callable[..., Path]
) -> None:
    known.append(run("refused"))
    deliver(NIGHTS[0], ROW, "v2/headlines.csv")
    [change] = find_changes(settings, NIGHTS[2])
    assert change == "the drop of night 2022-02-01 was version 1 then and is version 2 now"


def test_a_drop_that_came_late_is_named(settings: Settings, known: list[NightReport]) -> None:
    report = run()
    del report.drops[NIGHTS[1]]
    known.append(report)
    [change] = find_changes(settings, NIGHTS[2])
    assert change == "the drop of night 2022-02-02 was missing then and is version 1 now"


def test_a_drop_that_was_refused_or_accepted_since_is_named(
    settings: Settings, known: list[NightReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own drop of a night is never left out."""
    [(_, sha256)] = hash_versions([DropsFolder(settings.drops_dir).find_version(date(2022, 2, 1))])
    at = datetime(2022, 2, 3, tzinfo=UTC)
    refused = tuple(Ruling(1, night, 1, sha256, Ruled.REFUSED, "swapped", "DropGate", at) for night in NIGHTS)
    known.append(replace(run(), left_out=(LeftOut(NIGHTS[0], 1, "swapped"),)))
    del known[0].drops[NIGHTS[0]]
    monkeypatch.setattr(reruns.lineage, "find_precedents", lambda *asked: Precedents(refused[1:]))
    assert find_changes(settings, NIGHTS[2]) == [
        "the drop of night 2022-02-01 was version 1, which was refused and is left out, then and is version 1 now",
        "the drop of night 2022-02-02 was version 1 then and is version 1, which was refused and is left out, now",
    ]
    monkeypatch.setattr(reruns.lineage, "find_precedents", lambda *asked: Precedents((refused[0], refused[2])))
    assert find_changes(settings, NIGHTS[2]) == []


def test_another_champion_is_named(settings: Settings, known: list[NightReport]) -> None:
    known.append(run(champion=""))
    assert find_changes(settings, NIGHTS[2]) == ["the champion as of the night was none then and is 2022020201 now"]


def test_the_newest_finished_run_counts_and_later_nights_do_not(
    settings: Settings, known: list[NightReport], deliver: Callable[..., Path]
) -> None:
    assert find_changes(settings, NIGHTS[2]) == []
    known.append(run("failed", champion="1"))
    assert find_changes(settings, NIGHTS[2]) == []
    known[:] = [run(champion="1"), run(), run("failed", champion="1")]
    deliver("2022-02-04", ROW)
    deliver("2022-02-04", ROW, "v2/headlines.csv")
    assert find_changes(settings, NIGHTS[2]) == []


def test_a_window_that_cannot_be_read_any_more_is_run_again_so_that_the_run_says_so(
    settings: Settings, known: list[NightReport]
) -> None:
    known.append(run())
    (settings.drops_dir / NIGHTS[0] / "headlines.csv").unlink()
    [change] = find_changes(settings, NIGHTS[2])
    assert "2022-02-01 is not complete" in change


def test_a_drop_that_may_not_be_read_is_named(
    settings: Settings, known: list[NightReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    known.append(run())

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    [change] = find_changes(settings, NIGHTS[2])
    assert "cannot be read: Permission denied" in change


def test_rulings_are_looked_at_as_known_on_the_moment_of_the_run(
    settings: Settings, known: list[NightReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def find(*words: object) -> Precedents:
        asked.extend(words)
        return NO_PRECEDENTS

    known.append(run())
    monkeypatch.setattr(reruns.lineage, "find_precedents", find)
    later = settings.model_copy(update={"as_known_on": "2122-01-01T00:00:00+00:00"})
    assert find_changes(later, NIGHTS[2]) == []
    assert asked[-1] == later.drop_rules.known_by is not None
