"""`retraining lineage`, asked of what the real launcher wrote."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from click.testing import Result
from launching import launch
from lineage_story import nodes as story_nodes
from ml_metadata import MetadataStore
from status_server import StatusServer, run_status_server
from tfx.orchestration.data_types import PipelineInfo
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from typer.testing import CliRunner

import lineage
from lineage import LineageError
from retraining.cli import lineage_commands as commands
from retraining.cli.main import app
from retraining.local import service
from retraining.settings import Settings

FIRST, SECOND = "2022-02-01", "2022-02-02"


@pytest.fixture
def server() -> Iterator[StatusServer]:
    """The model server, which has loaded what should serve."""
    with run_status_server() as made:
        made.states = {2022020201: "AVAILABLE", 2022020101: "AVAILABLE"}
        yield made


@pytest.fixture
def ask(settings: Settings, monkeypatch: pytest.MonkeyPatch, server: StatusServer) -> Callable[..., Result]:
    """Runs a question against two nights of the nightly pipeline's name."""
    settings = settings.model_copy(update={"serving_urls": (server.url,)})
    monkeypatch.setattr(commands.Settings, "from_env", classmethod(lambda cls: settings))
    for night, drops in ((FIRST, {FIRST: 1}), (SECOND, {FIRST: 1, SECOND: 1})):
        for node in story_nodes(night, drops):
            info = PipelineInfo(lineage.OURS.pipeline, str(settings.pipeline_root), f"scheduled__{night}")
            launch(settings, node, pipeline_info=info)

    def run(*words: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(commands.app, list(words))
        if not isinstance(result.exception, LineageError):
            assert result.exit_code == exit_code, result.output
        return result

    return run


def test_every_question_has_a_table_and_json_of_one_shape(ask: Callable[..., Result]) -> None:
    for words, shown, field in (
        (["serving"], "version 2022020201 of night 2022-02-02", "drops"),
        (["model", SECOND], "champion before: 2022020101", "metrics"),
        (["drop", FIRST], "2022020201", "taints"),
        (["night", SECOND], "ChampionResolver", "runs"),
        (["models"], "2022020101", "models"),
        (["models", "--state", "pushed"], "1 of 1 shown", "models"),
        (["compare", FIRST, SECOND], "On the same rows, 60 rows: all evaluation rows of 2022020201", "data"),
        (["history", "accuracy"], "2022020201", "points"),
        (["history", "accuracy", "--check"], "Must be: at least 0.750.", "points"),
        (["gaps"], "Every night from the first to the last came to a verdict", "nights"),
        (["graph", "--night", FIRST], "drop of 2022-02-01, version 1", "edges"),
    ):
        assert shown in ask(*words).output
        told = json.loads(ask(*words, "--json").output)
        assert (told["version"], told["question"]) == (1, words[0])
        assert told["answer"][field] is not None


def test_what_answers_is_told_beside_what_should_serve_and_exits_with_3_when_they_differ(
    ask: Callable[..., Result], server: StatusServer
) -> None:
    shown = " ".join(ask("serving").output.split())
    assert "Version 2022020201 of night 2022-02-02 serves, since" in shown
    assert f"{server.url} answers 2022020201" in shown
    told = json.loads(ask("serving", "--json").output)
    assert (told["observed"]["state"], told["observed"]["expected"]["version"]) == ("agrees", 2022020201)
    before = told["answer"]

    server.states, server.errors = {2022020201: "END", 2022020101: "AVAILABLE"}, {2022020201: "the weights end early"}
    shown = " ".join(ask("serving", exit_code=3).output.split())
    assert "should serve since" in shown and "no model server answers with it" in shown
    assert f"{server.url} answers 2022020101: it cannot load 2022020201: the weights end early" in shown
    told = json.loads(ask("serving", "--json", exit_code=3).output)
    assert (told["answer"], told["observed"]["state"]) == (before, "differs")


def test_status_and_doctor_tell_the_same_of_what_answers_as_lineage_serving(
    ask: Callable[..., Result], server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = dict.fromkeys(("postgres", "scheduler", "serving", "watch"), "healthy")
    known = create_autospec(service.health, side_effect=lambda settings: service.Health(dict(programs)))
    monkeypatch.setattr(service, "health", known)

    def status(*words: str) -> Result:
        return CliRunner().invoke(app, ["status", *words])

    document = json.loads(status("--json").output)
    assert document["is_well"] is True
    assert document["observed"] == json.loads(ask("serving", "--json").output)["observed"]
    assert [night["night"] for night in document["nights"]] == [FIRST, SECOND]
    shown = status()
    assert shown.exit_code == 0, shown.output
    assert f"{server.url} answers 2022020201" in " ".join(shown.output.split())
    checked = " ".join(CliRunner().invoke(app, ["doctor"]).output.split())
    assert "ok model servers version 2022020201 of night 2022-02-02 serves, since" in checked

    server.states, server.errors = {2022020201: "END"}, {2022020201: "the weights end early"}
    found = status("--json")
    assert (found.exit_code, json.loads(found.output)["is_well"]) == (1, False)
    fault = f"{server.url} answers nothing: it cannot load 2022020201: the weights end early"
    assert fault in json.loads(found.output)["observed"]["text"]
    shown = status()
    assert shown.exit_code == 1
    assert fault in " ".join(shown.output.split())
    assert "should serve since" in shown.output
    checked = CliRunner().invoke(app, ["doctor"])
    assert checked.exit_code == 1
    assert "fail model servers" in " ".join(checked.output.split())
    assert fault in " ".join(checked.output.split())


def test_recall_exits_with_3_when_a_tainted_model_serves(ask: Callable[..., Result]) -> None:
    output = " ".join(ask("recall", FIRST, exit_code=3).output.split())
    assert "Version 2022020201, which serves now, was made from this drop." in output
    for way in ("trained-on", "vocabulary", "judged-against"):
        assert way in output
    assert json.loads(ask("recall", FIRST, "--json", exit_code=3).output)["answer"]["is_serving"] is True


def test_the_graph_is_printed_for_graphviz(ask: Callable[..., Result]) -> None:
    dot = ask("graph", "--model", SECOND, "--dot").output
    assert dot.startswith("digraph lineage {")
    assert '"drop:2022-02-01:1" -> ' in dot


def test_what_is_not_there_is_an_error_that_names_what_is(ask: Callable[..., Result]) -> None:
    for words, known in (
        (["model", "2029010101"], "2022020201 of night 2022-02-02"),
        (["recall", "2021-01-01"], "2022-02-01 to 2022-02-02"),
        (["history", "fame"], "there are accuracy"),
        (["history", "fame", "--check"], "there are accuracy"),
    ):
        error = ask(*words).exception
        assert isinstance(error, LineageError)
        assert known in str(error)
    for line in ("night yesterday", "gaps --from yesterday", "graph --night 2022-2-1", "drop 20220201"):
        assert "such as 2022-02-01" in " ".join(ask(*line.split(), exit_code=2).output.replace("│", "").split())


def test_an_unknown_metric_is_an_error_also_before_the_first_verdict(tmp_path: Path) -> None:
    path = tmp_path / "mlmd.sqlite"
    MetadataStore(sqlite_metadata_connection_config(str(path)))
    error = CliRunner().invoke(commands.app, ["--sqlite", str(path), "history", "nosuch"]).exception
    assert isinstance(error, LineageError)
    assert "no night has a metric 'nosuch'; none has been judged yet" in str(error)


def test_a_span_of_nights_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    for words in (["history", "accuracy"], ["gaps"]):
        told = CliRunner().invoke(commands.app, [*words, "--from", SECOND, "--to", FIRST])
        assert told.exit_code == 2
        assert f"{SECOND}, is after the last, {FIRST}" in " ".join(told.output.replace("│", "").split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_answer_fits_the_terminal_and_loses_no_word(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    questions = ["serving", f"model {SECOND}", f"drop {FIRST}", f"recall {FIRST}", f"night {SECOND}"]
    questions += [f"compare {FIRST} {SECOND}", "history accuracy", "gaps", f"graph --night {FIRST}"]
    for question in questions:
        code = 3 if question.startswith("recall") else 0
        whole = ask(*question.split(), exit_code=code).output
        with monkeypatch.context() as narrow:
            narrow.setattr(commands.console, "_width", width)
            shown = ask(*question.split(), exit_code=code).output
        assert max(map(len, shown.splitlines())) <= width, question
        # Longer words, such as paths, may be broken.
        told = " ".join(word for word in whole.split() if "/" not in word)
        words = {word for word in re.findall(r"\w+", told) if len(word) < 20}
        assert words <= set(re.findall(r"\w+", shown)), question


def test_of_another_lineage_no_model_server_of_ours_is_asked(
    ask: Callable[..., Result], server: StatusServer, tmp_path: Path
) -> None:
    file = tmp_path / "mlmd.sqlite"
    MetadataStore(sqlite_metadata_connection_config(str(file)), enable_upgrade_migration=True)
    server.asked.clear()
    told = json.loads(ask("--sqlite", str(file), "serving", "--json").output)
    assert (told["answer"], told["observed"], server.asked) == (None, None, [])


def test_an_sqlite_file_is_read_instead(tmp_path: Path) -> None:
    error = CliRunner().invoke(commands.app, ["--sqlite", str(tmp_path / "none.sqlite"), "serving"]).exception
    assert isinstance(error, LineageError)
    assert "there is no MLMD file" in str(error)
