"""Lineage that others wrote: pipelines without nights, TFX's own components, LocalDagRunner, any MLMD in Postgres."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from launching import launch
from lineage_story import accidents
from lineage_story import nodes as story_nodes
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from penguin_pipeline import NAME, penguin, run_locally
from tfx.orchestration.data_types import PipelineInfo
from tfx.orchestration.pipeline import Pipeline
from typer.testing import CliRunner

import lineage
from headlines.names import NIGHTLY_DAG
from lineage import LineageError, UnknownError, open_lineage
from retraining.cli import lineage_commands as commands
from retraining.nights import in_process
from retraining.nights.in_process import run_locally as run_night_locally
from retraining.recording.launcher import UnsupportedPipelineError, airflow_pipeline_config
from retraining.recording.store import connection_config
from retraining.settings import Settings

NIGHT = "2022-02-01"


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs: refused by Cond, pushed, failed twice, refused by the Pusher, and one that pushes nothing."""
    place = tmp_path_factory.mktemp("penguins")
    for how in ({"blessed": False}, {}, {"broken": True}, {"unfounded": True},
                {"blessed": False, "conditional": False}, {"pushes": False}):  # fmt: skip
        file = run_locally(place, **how)
    return file


def ask(*words: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(commands.app, list(words))
    if not isinstance(result.exception, LineageError):
        assert result.exit_code == exit_code, result.output
    return result


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_runs_of_a_pipeline_without_nights_are_listed_with_what_each_came_to(penguins: Path) -> None:
    names = lineage.find_names(penguins)
    with open_lineage(penguins, names) as told:
        runs = [one.report for one in lineage.runs(told)][::-1]
        assert [one.state for one in runs] == ["refused", "pushed", "failed", "failed", "refused", "complete"]
        assert [one.failed_node for one in runs] == [None, None, "PenguinTrainer", "Pusher", None, None]
        why = "Evaluator did not bless the model"
        assert [one.reason for one in runs] == [f"{why}; Pusher was not run", "", "", "", why, "Pusher was not run"]
        # LocalDagRunner leaves no word of what an executor raises, but for inputs that cannot be found.
        assert runs[2].error == "it says no reason"
        assert runs[3].error is not None
        assert runs[3].error.startswith("Error while resolving inputs for Pusher: Failed to resolve placeholder")
        assert [one.run_id for one in runs] == sorted(one.run_id for one in runs)
        assert all(one.ended_at and one.began_at <= one.ended_at for one in lineage.runs(told))
        assert [one.report.state for one in lineage.runs(told, 1)] == ["complete"]


def test_what_the_nodes_of_a_pipeline_are_called_is_found_by_what_they_made(penguins: Path) -> None:
    names = lineage.find_names(penguins)
    assert (names.pipeline, names.example_gen, names.trainer, names.evaluator, names.pusher, names.sensor) == (
        NAME, "CsvExampleGen", "PenguinTrainer", "Evaluator", "Pusher", None,
    )  # fmt: skip


def test_every_question_answers_without_a_night_and_says_so(penguins: Path) -> None:
    with open_lineage(penguins, lineage.find_names(penguins)) as told:
        serving = lineage.serving_now(told)
        assert serving is not None and serving.model is not None
        model = serving.model
        assert {node.type for node in serving.path.nodes} == {"Examples", "Model", "ModelBlessing", "PushedModel"}
        assert (lineage.calendar(told), lineage.gaps(told), lineage.drops(told)) == ((), (), ())
        assert {node.run_id for node in lineage.graph(told, full=True).nodes} >= {model.run_id}
        assert lineage.model_detail(told, f"#{model.id}").class_mix == {}
        with pytest.raises(UnknownError, match="the runs of penguin name no nights"):
            lineage.night_detail(told, NIGHT)
    shown = {
        words: flat(ask("--sqlite", str(penguins), *words).output)
        for words in (("serving",), ("runs",), ("gaps",), ("graph", "--full"), ("model", f"#{model.id}"),
                      ("compare", f"#{model.id}", str(serving.version)))
    }  # fmt: skip
    assert f"version {serving.version} of run {model.run_id}" in shown["serving",]
    assert "refused" in shown["runs",]
    assert "No run names a night" in shown["gaps",]
    for text in shown.values():
        assert "of night" not in text
    error = ask("--sqlite", str(penguins), "model", NIGHT).exception
    assert f"{serving.version} of run {model.run_id}" in str(error)


def test_the_one_pipeline_of_a_file_is_asked_about_and_of_several_one_is_chosen(tmp_path: Path) -> None:
    file = run_locally(tmp_path)
    only = ask("--sqlite", str(file), "serving")
    assert "Of pipeline penguin, the only one there is." in flat(only.stderr)
    assert json.loads(ask("--sqlite", str(file), "runs", "--json").stdout)["answer"][0]["report"]["state"] == "pushed"
    run_locally(tmp_path, "emperor", pushes=False)
    error = str(ask("--sqlite", str(file), "serving").exception)
    assert f"{file} holds no pipeline {NIGHTLY_DAG}" in error
    assert "it holds emperor (1 run, 1 model), penguin (1 run, 1 model): choose one with --pipeline NAME" in error
    assert "emperor has pushed no version" in flat(
        ask("--sqlite", str(file), "--pipeline", "emperor", "serving").output
    )
    assert "holds no pipeline adelie" in str(ask("--sqlite", str(file), "--pipeline", "adelie", "runs").exception)
    held = json.loads(ask("--sqlite", str(file), "pipelines", "--json").output)
    assert [(one["name"], one["runs"], one["models"]) for one in held["answer"]] == [
        ("emperor", 1, 1),
        ("penguin", 1, 1),
    ]


def test_any_mlmd_in_postgres_is_read_by_its_address(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for node in penguin(tmp_path, conditional=False).components:
        launch(settings, node, pipeline_info=PipelineInfo(NAME, str(tmp_path), "manual__1"))
    place = settings.mlmd
    server = f"{place.host}:{place.port}/{place.name}"
    whole = f"postgresql://{place.user}:{place.password}@{server}"
    runs = json.loads(ask("--mlmd", whole, "runs", "--json").stdout)["answer"]
    assert [(one["report"]["run_id"], one["report"]["state"]) for one in runs] == [("manual__1", "pushed")]
    monkeypatch.setenv("PGPASSWORD", str(place.password))
    assert "version" in ask("--mlmd", f"postgresql://{place.user}@{server}", "--pipeline", NAME, "serving").output
    error = str(ask("--mlmd", f"postgresql://{place.user}:wrong-one@{server}", "runs").exception)
    assert f"does not let user {place.user} in" in error
    assert "wrong-one" not in error
    both = ask("--mlmd", whole, "--sqlite", "x", "runs", exit_code=2)
    assert "not both" in flat(both.output.replace("│", " "))
    # Of the service's own database another pipeline is asked about without the service's schedule.
    monkeypatch.setattr(commands.Settings, "from_env", classmethod(lambda cls: settings))
    assert json.loads(ask("--pipeline", NAME, "gaps", "--json").output)["answer"]["nights"] == []


def test_a_stock_component_without_a_custom_config_is_launched(settings: Settings, tmp_path: Path) -> None:
    pipeline = penguin(tmp_path, conditional=False)
    for node in pipeline.components:
        launch(settings, node)
    [pusher] = MetadataStore(connection_config(settings)).get_executions_by_type(
        "tfx.components.pusher.component.Pusher"
    )
    assert pusher.properties["custom_config"].string_value == "null"
    assert len(list((tmp_path / "serving").iterdir())) == 1


def test_a_pusher_inside_cond_is_refused_where_the_dag_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedPipelineError, match=r"pipeline penguin says:\nPusher: inside Cond\(\.\.\.\), it would"
    ):
        airflow_pipeline_config({}, penguin(tmp_path))
    assert airflow_pipeline_config({}, penguin(tmp_path, conditional=False)).supported_launcher_classes


def test_a_local_run_that_failed_says_why_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLMD_PASSWORD", raising=False)
    settings = Settings.from_env(state_dir=tmp_path)

    def create(settings: Settings, night: str, **config: Any) -> Pipeline:
        return Pipeline(NIGHTLY_DAG, str(settings.pipeline_root), components=story_nodes(night, {night: 1}), **config)

    monkeypatch.setattr(in_process, "create_pipeline", create)
    accidents.append("Trainer")
    with pytest.raises(OSError, match="the network under Trainer is down"):
        run_night_locally(settings, NIGHT)
    file = str(tmp_path / "local" / "mlmd.sqlite")
    [gap] = json.loads(ask("--sqlite", file, "gaps", "--json").output)["answer"]["nights"]
    assert (gap["kind"], "the network under Trainer is down" in gap["reason"]) == ("failed", True)
    [run] = json.loads(ask("--sqlite", file, "night", NIGHT, "--json").output)["answer"]["runs"]
    failed = run["executions"][-1]
    assert "the network under Trainer is down" in failed["error"]
    assert 0 < failed["seconds"] < 60
    run_night_locally(settings, NIGHT)
    assert json.loads(ask("--sqlite", file, "gaps", "--json").output)["answer"]["nights"] == []


def test_a_local_run_that_was_ended_in_its_driver_is_not_running_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLMD_PASSWORD", raising=False)
    settings = Settings.from_env(state_dir=tmp_path)
    config = in_process.sqlite_in(tmp_path / "local")
    store = MetadataStore(config)
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(in_process, "create_pipeline", lambda *args, **how: interrupt(store))
        run_night_locally(settings, NIGHT)
    monkeypatch.setattr(in_process, "create_pipeline", lambda *args, **how: penguin(tmp_path, **how))
    run_night_locally(settings, NIGHT)
    [lost] = store.get_executions_by_type("Lost")
    assert "ended before it did" in lost.custom_properties["error"].string_value


def interrupt(store: MetadataStore) -> None:
    """Leaves behind what a process leaves that is killed inside a driver, and ends."""
    kind = store.put_execution_type(mlmd.ExecutionType(name="Lost"))
    store.put_executions([mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.RUNNING)])
    raise KeyboardInterrupt
