"""`retraining lineage`, asked of what the real launcher wrote."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from launching import launch
from lineage_story import nodes as story_nodes
from tfx.orchestration.data_types import PipelineInfo
from typer.testing import CliRunner

import lineage
from lineage import LineageError
from retraining.cli import lineage_commands as commands
from retraining.settings import Settings

FIRST, SECOND = "2022-02-01", "2022-02-02"


@pytest.fixture
def ask(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a question against two nights of the nightly pipeline's name."""
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
    for words in (["night", "yesterday"], ["gaps", "--from", "yesterday"], ["graph", "--night", "2022-2-1"]):
        assert "write it as 2022-02-01" in " ".join(ask(*words, exit_code=2).output.replace("│", "").split())


def test_an_sqlite_file_is_read_instead(tmp_path: Path) -> None:
    error = CliRunner().invoke(commands.app, ["--sqlite", str(tmp_path / "none.sqlite"), "serving"]).exception
    assert isinstance(error, LineageError)
    assert "there is no MLMD file" in str(error)
