"""Pages, their JSON and the command, asked about the same lineage: of each night, model and version they say the same.

Nights that were pushed, refused, blocked, corrected, rolled back, failed before a node began, or never run; by MLMD and
by Airflow's tables.
"""

import html
import json
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from lineage_story import Story
from obedient_airflow import ObedientAirflow
from pages_server import PagesServer
from postgres_server import Server
from rich.console import Console
from typer.testing import CliRunner

import lineage
from retraining.cli import lineage_commands as commands
from retraining.cli.summary import render_nights
from retraining.local import postgres as embedded
from retraining.recording.rollback import roll_back
from retraining.settings import Settings
from retraining.watching import deadlines

NEWEST = (datetime.now(ZoneInfo("America/Sao_Paulo")) - timedelta(hours=2, minutes=3)).date() - timedelta(days=1)
FAILED, MISSING = (str(NEWEST - timedelta(days=ago)) for ago in (1, 0))
STATES = {
    "2022-02-01": "pushed",
    "2022-02-02": "pushed",
    "2022-02-03": "blocked",
    "2022-02-04": "pushed",
    "2022-02-05": "pushed",
    "2022-02-06": "missing",
    "2022-02-07": "pushed",
    "2022-02-08": "refused",
    FAILED: "failed",
    MISSING: "missing",
}
"""How each night stands. The drop of the second was corrected; the version of the seventh was rolled back."""

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def settings(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    place, name = tmp_path_factory.mktemp("truth"), f"truth_{secrets.token_hex(4)}"
    port = postgres.settings.postgres_port
    made = Settings.from_env(
        state_dir=place,
        postgres_port=port,
        postgres_password=postgres.settings.postgres_password,
        mlmd_host="127.0.0.1",
        mlmd_port=port,
        mlmd_database=name,
        mlmd_user=name,
        mlmd_password="right",
        airflow_db_host="127.0.0.1",
        airflow_db_port=port,
        airflow_db_database=f"airflow_{name}",
        airflow_db_user=f"airflow_{name}",
        airflow_db_password="right",
        pipeline_root=place / "pipelines",
        drops_dir=place / "drops",
        serving_dir=place / "serving" / "headlines",
        scheduled_from=FAILED,
    )
    embedded.make_databases(made)
    Story(made, lineage.OURS.pipeline).tell()
    for version in (2022020101, 2022020202, 2022020401, 2022020501, 2022020701, 2022020702):
        folder = made.serving_dir / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    roll_back(made, "swapped labels", "ana", 2022020501)
    airflow = ObedientAirflow(made, place / "airflow")
    airflow.do("hear", "SchedulerJob", 1)
    airflow.do("read_dag", lineage.OURS.pipeline)
    run = airflow.do("begin", lineage.OURS.pipeline, FAILED)
    airflow.do("work", lineage.OURS.pipeline, run, "wait_for_drop", "fail the drops folder is gone", last=True)
    airflow.do("end", lineage.OURS.pipeline, run, "failed")
    airflow.stop()
    return made


@pytest.fixture(scope="module")
def browser(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = PagesServer(tmp_path_factory.mktemp("pages"), port, lineage.OURS.pipeline)
    told = {name: getattr(settings, name) for name in type(settings).model_fields if name in _TOLD}
    server.read(
        **{name: str(value) for name, value in told.items()},
        mlmd_password=settings.secret("mlmd_password"),
        airflow_db_password=settings.secret("airflow_db_password"),
    )
    client = server.log_in("admin")
    yield client
    client.close()
    server.stop()


_TOLD = {
    "mlmd_host", "mlmd_port", "mlmd_database", "mlmd_user", "airflow_db_host", "airflow_db_port",
    "airflow_db_database", "airflow_db_user", "drops_dir", "serving_dir", "scheduled_from",
}  # fmt: skip


@pytest.fixture
def page(browser: httpx.Client) -> Ask:
    """The JSON of a page."""

    def ask(address: str) -> dict[str, Any]:
        answer = browser.get(f"/headlines/api/{address}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    return ask


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `retraining lineage` prints, in one line."""
    monkeypatch.setattr(commands.Settings, "from_env", classmethod(lambda cls: settings))

    def run(*words: str) -> str:
        result = CliRunner().invoke(commands.app, list(words))
        assert result.exit_code in (0, 3), result.output
        return untyped(result.output)

    return run


def untyped(text: str) -> str:
    """A text in one line, with the command by its bare name, however it is typed where the text is read."""
    return re.sub(r"(?<=`)[^\s`]*/retraining\b", "retraining", " ".join(text.split()))


def shown(browser: httpx.Client, address: str) -> str:
    """The text of a page as a person reads it, in one line."""
    answer = browser.get(f"/headlines/{address}")
    assert answer.status_code == 200
    body = answer.text[answer.text.index('class="hl"') :]
    return untyped(html.unescape(re.sub(r"<[^>]+>", " ", body)))


def answer(command: Callable[..., str], *words: str) -> Any:
    """The JSON of a question."""
    return json.loads(command(*words, "--json"))["answer"]


@pytest.mark.parametrize("night", STATES)
def test_how_a_night_stands_and_why_is_the_same_everywhere(
    night: str, settings: Settings, browser: httpx.Client, page: Ask, command: Callable[..., str]
) -> None:
    own = page(f"night/{night}")["night"]
    [cell] = [
        cell
        for month in page(f"nights?year={night[:4]}")["months"]
        for cell in month["nights"]
        if cell and cell["night"] == night
    ]
    gaps = {gap["night"]: gap for gap in answer(command, "gaps", "--from", night, "--to", night)["nights"]}
    by_command = answer(command, "night", night)
    with lineage.open_lineage(settings) as reader:
        [report] = [one for one in lineage.latest(reader) if one.night == night] or [None]
    by_source = {
        "night page": own["report"]["state"],
        "calendar": cell["state"],
        "gaps": gaps[night]["kind"] if night in gaps else cell["state"],
        "lineage night": by_command["report"]["state"],
        "status": report.state if report else STATES[night],
    }
    assert set(by_source.values()) == {STATES[night]}, by_source
    assert (night in gaps) == (STATES[night] not in lineage.VERDICTS)
    why = own["report"]["why"]
    assert by_command["report"]["why"] == why
    assert why and cell["reason"] in ("", why)
    assert gaps.get(night, {"reason": why})["reason"] == why
    assert report is None or report.why == why
    assert own["drop"] == by_command["drop"]
    # And as a person reads it.
    text = shown(browser, f"night/{night}")
    assert f"{night} {STATES[night]}" in text
    assert " ".join(why.split()) in text
    assert f"{STATES[night]}: {' '.join(why.split())}" in command("night", night)
    assert f"{night}: {STATES[night]}" in browser.get(f"/headlines/nights?year={night[:4]}").text


def test_the_summary_of_status_says_of_each_night_what_its_page_says(settings: Settings, page: Ask) -> None:
    survey = deadlines.survey(settings, datetime.now(UTC), newest=20)
    console = Console(width=200, record=True, file=None)
    with console.capture() as captured:
        console.print(render_nights(survey.nights))
    text = untyped(captured.get())
    for report in survey.nights:
        own = page(f"night/{report.night}")["night"]
        assert (own["report"]["state"], own["report"]["why"]) == (report.state, report.why)
        told = text[text.rindex(f"{report.night} ") :]
        assert " ".join(report.why.split()) in told
        row = next(line for line in captured.get().splitlines() if line.strip().startswith(report.night))
        assert report.state in row.split(), row
        assert report.pushed_version is None or report.pushed_version in row


@pytest.mark.parametrize("night", ["2022-02-01", "2022-02-02", "2022-02-08"])
def test_the_rows_of_a_drop_are_counted_alike(
    night: str, page: Ask, command: Callable[..., str], browser: httpx.Client
) -> None:
    drop = page(f"night/{night}")["night"]["drop"]
    run = answer(command, "night", night)["runs"][-1]
    assert drop["rows_quarantined"] == run["report"]["rows_quarantined"] == 8
    assert f"{drop['rows_used']} of {drop['rows_in']} rows, 8 quarantined" in command("night", night)


@pytest.mark.parametrize("model", ["2022020101", "2022020501", "2022020701", "2022020702", "2022-02-08"])
def test_a_model_has_one_verdict_and_one_set_of_figures(
    model: str, page: Ask, command: Callable[..., str], browser: httpx.Client
) -> None:
    own, by_command = page(f"model/{model}")["model"], answer(command, "model", model)
    assert own == by_command
    text, printed = shown(browser, f"model/{model}"), command("model", model)
    for check in own["report"]["checks"]:
        assert check["name"] in text and check["name"] in printed
    assert own["report"]["reason"] in text and own["report"]["reason"] in printed


def test_what_serves_after_a_rollback_is_one_version(
    page: Ask, command: Callable[..., str], browser: httpx.Client, settings: Settings
) -> None:
    own, by_command = page("serving")["serving"], answer(command, "serving")
    assert own["version"] == by_command["version"] == 2022020501
    assert own["rollback"]["reason"] == by_command["rollback"]["reason"] == "swapped labels"
    assert own["since"] == by_command["since"]
    assert "version 2022020501 of night 2022-02-05" in command("serving")
    text = shown(browser, "")
    assert "2022020501" in text
    assert "swapped labels" in text
    assert page("model/2022020501")["model"]["is_serving"] is answer(command, "model", "2022020501")["is_serving"]
    assert page("model/2022020501")["model"]["is_serving"] is True
    recalled, by_command = page("recall?drop=2022-02-05")["recall"], answer(command, "recall", "2022-02-05")
    assert recalled == by_command
    assert recalled["is_serving"] is True


def test_two_models_compared_are_one_comparison(page: Ask, command: Callable[..., str]) -> None:
    own = page("compare?a=2022020101&b=2022020702")["comparison"]
    assert own == answer(command, "compare", "2022020101", "2022020702")


@pytest.mark.parametrize("metric", ["accuracy"])
def test_a_history_is_one_history(metric: str, page: Ask, command: Callable[..., str]) -> None:
    points = page(f"serving?metric={metric}&nights=5000")["history"]["points"]
    assert points == answer(command, "history", metric)["points"]
    assert [point["night"] for point in points if point["blessed"] is False] == ["2022-02-08"]


def test_lineage_answers_a_night_that_nobody_knows_as_such_in_both(
    browser: httpx.Client, command: Callable[..., str], settings: Settings
) -> None:
    with pytest.raises(lineage.UnknownError, match="was never run"):
        lineage.night_detail(settings, "2019-01-01")
    assert browser.get("/headlines/night/2019-01-01").status_code == 200
    assert "No run of this night" in shown(browser, "night/2019-01-01")
