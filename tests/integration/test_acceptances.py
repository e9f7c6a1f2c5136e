"""A refused drop under Airflow's launcher, with lineage in Postgres, accepted by command or on its page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.exceptions import AirflowFailException
from launching import launch
from lineage_story import NAME, NAMES
from pages_server import PagesServer, show
from refused_nights import SWAPPED, Nights, data_nodes, name
from tfx.orchestration.data_types import PipelineInfo
from typer.testing import CliRunner

import lineage
from headlines.drops.rules import Rules
from retraining.cli import drop_commands
from retraining.cli.lineage_tables import render_night
from retraining.cli.main import app
from retraining.recording.acceptances import AcceptanceError, accept_drop
from retraining.settings import Settings

GOOD, BAD, NEXT = name(1), name(2), name(3)
Run = Callable[[str], None]


@pytest.fixture
def nights(settings: Settings, twelve_nights: Path, tmp_path: Path, drop_rules: dict[str, Any]) -> Nights:
    """A good night's drop, one with two labels swapped, and a good one again."""
    nights = Nights(twelve_nights, tmp_path, drop_rules)
    for number, labels in ((1, None), (2, SWAPPED), (3, None)):
        nights.deliver(number, labels)
        (nights.drops_dir / name(number) / "_SUCCESS").touch()
    return nights


@pytest.fixture
def service(settings: Settings, nights: Nights) -> Settings:
    return settings.model_copy(update={"drops_dir": nights.drops_dir, "drop_settle_seconds": 0, "min_headlines": 10})


@pytest.fixture
def run(service: Settings, nights: Nights) -> Run:
    def run(night: str) -> None:
        for node in data_nodes(service, nights.drops_dir, night, Rules(**nights.rules)):
            info = PipelineInfo(NAME, str(service.pipeline_root), f"run of {night}")
            launch(service, node, pipeline_info=info)

    return run


@pytest.fixture
def refused(run: Run) -> None:
    run(GOOD)
    with pytest.raises(AirflowFailException, match="stays out of the windows of later nights"):
        run(BAD)


def night(settings: Settings, asked: str) -> lineage.NightDetail:
    with lineage.open_lineage(settings, NAMES) as reader:
        return lineage.night_detail(reader, asked)


def test_lineage_tells_what_was_refused_and_what_was_left_out(service: Settings, refused: None, run: Run) -> None:
    detail = night(service, BAD)
    assert detail.refusal is not None and detail.refusal in detail.rulings
    assert (detail.refusal.version, detail.refusal.by) == (1, f"DropGate in run run of {BAD}")
    assert "look swapped" in detail.refusal.why
    assert night(service, GOOD).rulings == ()
    run(NEXT)
    report = night(service, NEXT).report
    assert report is not None
    assert [(one.night, one.version) for one in report.left_out] == [(BAD, 1)]
    assert report.drops == {GOOD: 1, NEXT: 1}
    shown = "\n".join(str(part) for part in render_night(night(service, NEXT)).renderables)
    assert f"left out of the window: {BAD} v1, " in shown
    shown = "\n".join(str(part) for part in render_night(detail).renderables)
    assert f"v1 refused by DropGate in run run of {BAD}" in shown
    assert f"retraining drop --accept {BAD} --reason TEXT" in shown


def test_an_accepted_drop_is_on_record_and_passes(service: Settings, refused: None, run: Run) -> None:
    done = accept_drop(service, BAD, "the desk\nwants it so", "ana", NAME)
    assert (done.night, done.version, done.ruled, done.why) == (BAD, 1, "accepted", "the desk wants it so")
    run(BAD)
    run(NEXT)
    detail = night(service, BAD)
    assert [(one.ruled, one.by) for one in detail.rulings] == [("accepted", "ana"), ("refused", detail.rulings[1].by)]
    assert detail.refusal is None
    assert night(service, NEXT).report.left_out == ()  # type: ignore[union-attr]
    with lineage.open_lineage(service, NAMES) as reader:
        found = lineage.orphans(reader)
        assert "Ruling" not in {one.type for one in (*found.artifacts, *found.executions)}
        assert "Ruling" not in {node.type for node in lineage.graph(reader, full=True).nodes}


def test_what_was_not_refused_or_was_accepted_before_is_not_accepted(service: Settings, refused: None) -> None:
    for asked, reason, by, message in (
        (GOOD, "why", "ana", f"version 1 of the drop of night {GOOD} was not refused, so there is nothing to accept"),
        (BAD, " ", "ana", "takes a reason"),
        (BAD, "x" * 501, "ana", "has 501 characters and may have 500"),
        (BAD, "why", " ", "says who wrote it"),
    ):
        with pytest.raises(AcceptanceError, match=message):
            accept_drop(service, asked, reason, by, NAME)
    accept_drop(service, BAD, "why", "ana", NAME)
    with pytest.raises(AcceptanceError, match=r"was accepted before, by ana on \d{4}-\d\d-\d\d: why"):
        accept_drop(service, BAD, "again", "rui", NAME)


def test_a_correction_that_was_never_judged_is_not_accepted_for_the_version_before_it(
    service: Settings, nights: Nights, refused: None
) -> None:
    nights.deliver(2)
    with pytest.raises(AcceptanceError, match=f"version 1 of .* {BAD} was not refused.*refused with other files"):
        accept_drop(service, BAD, "why", "ana", NAME)
    nights.deliver(2, SWAPPED, version=2)
    with pytest.raises(AcceptanceError, match=f"version 2 of .* {BAD} was not refused.*version 1 was"):
        accept_drop(service, BAD, "why", "ana", NAME)
    with pytest.raises(AcceptanceError, match=f"version 2 of .* {BAD} is there now, and you were shown version 1"):
        accept_drop(service, BAD, "why", "ana", NAME, seen=1)


def test_the_command_accepts_and_compares_a_file_with_the_window_that_its_run_would_read(
    service: Settings, nights: Nights, refused: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_commands.Settings, "from_env", classmethod(lambda cls, **changes: service))
    file = nights.right / name(4) / "headlines.csv"

    def drop(*words: object) -> str:
        result = CliRunner().invoke(app, ["drop", *map(str, words)])
        told = str(result.exception if result.exit_code == 1 and result.exception else result.output)
        return " ".join(told.replace("│", " ").split())

    def ask() -> dict[str, Any]:
        result = CliRunner().invoke(app, ["drop", str(file), "--night", name(4), "--anyway", "--json"])
        (nights.drops_dir / name(4) / "headlines.csv").unlink()
        answer: dict[str, Any] = json.loads(result.stdout)["answer"]
        return answer

    told = ask()
    assert told["compared_with"] == 2
    [notice] = told["notices"]
    assert notice.startswith(f"version 1 of the drop of night {BAD} is left out of the window: DropGate in run")
    done = drop("--accept", BAD, "--reason", "the desk wants it so", "--by", "ana")
    assert f"Version 1 of the drop of night {BAD} is accepted by ana. Now run the night again:" in done
    told = ask()
    assert (told["compared_with"], told["notices"]) == (3, [])
    assert "give neither FILE nor --night" in drop(file, "--accept", BAD)
    assert "which are for a delivery" in " ".join(drop("--accept", BAD, "--json").split())
    assert "a delivery takes a FILE and its --night" in drop(file)


def test_the_page_accepts_in_the_name_of_who_pressed_the_button(
    server: PagesServer, clients: dict[str, httpx.Client], service: Settings, refused: None
) -> None:
    show(server, service)
    address, action = f"/headlines/night/{BAD}", f"/headlines/night/{BAD}/accept"
    page = clients["admin"].get(address).text
    [token] = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
    assert "Accept this drop" in page and "look swapped" in page
    seen = clients["reader"].get(address).text
    assert "Accept this drop" not in seen and "left out of the windows of later nights" in seen
    assert '<input type="hidden" name="version" value="1">' in page
    form = {"reason": "<b>rótulos</b> certos", "version": "1"}
    assert clients["admin"].post(action, data=form).status_code == 400
    own = re.search(r"csrfToken = '([^']+)'", seen)
    assert own
    assert clients["reader"].post(action, data={**form, "csrf_token": own[1]}).status_code == 403
    empty = clients["admin"].post(action, data={"reason": " ", "csrf_token": token})
    assert (empty.status_code, "takes a reason" in empty.text) == (409, True)
    done = clients["admin"].post(action, data={**form, "csrf_token": token})
    assert done.status_code == 302, done.text
    shown = clients["admin"].get(done.headers["location"]).text
    assert "&lt;b&gt;rótulos&lt;/b&gt; certos" in shown and "Accept this drop" not in shown
    answer = clients["reader"].get(f"/headlines/api/night/{BAD}").json()["night"]
    newest = answer["rulings"][0]
    assert (newest["ruled"], newest["by"]) == ("accepted", "admin")
    assert answer["refusal"] is None
