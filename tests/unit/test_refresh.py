"""How soon a page looks again by itself."""

import importlib
from typing import Any

import pytest

from lineage import NightDetail, NightSummary, ScheduledRun
from retraining.web import pages
from retraining.web.page import find_refresh

NIGHT = "2022-02-02"


def make_night(state: Any, runs: tuple[str, ...]) -> NightDetail:
    scheduled = tuple(ScheduledRun(NIGHT, f"run {one}", "scheduled", one, None, None, ()) for one in runs)
    summary = NightSummary(NIGHT, "run", 1, state) if state else None
    return NightDetail(NIGHT, None, (), (), None, None, (), scheduled, summary)


@pytest.mark.parametrize(
    ("states", "seconds"),
    [
        (["pushed", "running", "waiting"], 15),
        (["pushed", "waiting"], 60),
        # Somebody is mending it elsewhere.
        (["pushed", "stuck"], 60),
        (["pushed", "refused", "failed", "blocked", "skipped", "missing"], None),
        ([], None),
    ],
)
def test_a_page_looks_again_until_all_is_over(states: list[str], seconds: int | None) -> None:
    assert find_refresh(states) == seconds


@pytest.mark.parametrize(
    ("state", "runs", "seconds"),
    [
        ("running", ("running",), 15),
        ("waiting", ("running",), 60),
        ("stuck", ("running",), 60),
        ("pushed", ("success",), None),
        # Cards and announcements are written behind the verdict.
        ("pushed", ("success", "running"), 15),
        ("failed", ("failed",), None),
        (None, (), None),
    ],
)
def test_a_night_is_looked_at_again_until_the_last_of_its_runs_has_ended(
    state: str | None, runs: tuple[str, ...], seconds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By its name: the package has a function of the same one.
    module = importlib.import_module("retraining.web.pages.night")
    monkeypatch.setattr(module, "_night_detail", lambda reader, name: make_night(state, runs))
    monkeypatch.setattr(module.lineage, "scores", lambda reader, name: ())
    assert pages.night(object(), NIGHT)["refresh_seconds"] == seconds  # type: ignore[arg-type]
