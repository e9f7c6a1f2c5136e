"""The DAGs that Airflow sees: no import error, these nodes, these edges, these schedules."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retraining.nights.in_process import sqlite_in
from retraining.pipelines.nightly import create_pipeline
from retraining.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent

SCRIPT = """
import json, sys
from airflow.models.dagbag import DagBag
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.serialization.serialized_objects import SerializedDAG
from flask import Flask
sys.path.append("plugins")
from lineage_plugin import LineageLink, NightLink
from retraining.web.views import HeadlinesView
bag = DagBag("dags", include_examples=False)
pages = Flask("pages")
for view in (HeadlinesView.task, HeadlinesView.run):
    [(route, _)] = view._urls
    pages.add_url_rule(HeadlinesView.route_base + route, f"{HeadlinesView.__name__}.{view.__name__}")
pages.test_request_context().push()
dags = {}
for dag in bag.dags.values():
    stored = SerializedDAG.from_dict(SerializedDAG.to_dict(dag))
    tasks = {task.task_id: {
        "downstream": sorted(task.downstream_task_ids),
        "retries": task.retries,
        "backoff": task.retry_exponential_backoff,
        "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
        "notifies": bool(task.on_failure_callback),
        "told": [type(told).__name__ for told in (task.on_failure_callback, task.on_success_callback)],
        "outlets": [outlet.uri for outlet in task.outlets],
        "launcher": task.python_callable.keywords["component_launcher_class"].__name__
            if hasattr(task, "python_callable") else None,
        "link": LineageLink().get_link(
            stored.get_task(task.task_id), ti_key=TaskInstanceKey(dag.dag_id, task.task_id, "a run")
        ),
        "night": NightLink().get_link(
            stored.get_task(task.task_id), ti_key=TaskInstanceKey(dag.dag_id, task.task_id, "a run")
        ),
    } for task in dag.tasks}
    dags[dag.dag_id] = {"tasks": tasks, "schedule": dag.schedule_interval, "timezone": str(dag.timezone),
        "catchup": dag.catchup, "max_active_runs": dag.max_active_runs, "tags": sorted(dag.tags), "doc": dag.doc_md,
        "datasets": [uri for uri, _ in dag.timetable.dataset_condition.iter_datasets()],
        "paused": dag.is_paused_upon_creation,
        "params": {name: param.schema for name, param in dag.params.items() for param in [dag.params.get_param(name)]}}
print(json.dumps({"errors": bag.import_errors, "dags": dags}))
"""

EDGES = {
    "wait_for_drop": ["ChampionResolver", "HeadlineExampleGen", "HyperparametersResolver", "ImportSchemaGen"],
    "HeadlineExampleGen": [
        "Baseline",
        "DropGate",
        "Evaluator",
        "InfraCheck",
        "LiveTraffic",
        "ModelCard",
        "RelatedIndex",
        "StatisticsGen",
        "Trainer",
        "Transform",
    ],
    "StatisticsGen": ["ExampleValidator"],
    "ImportSchemaGen": ["ExampleValidator", "Transform"],
    "ExampleValidator": ["DropGate"],
    "DropGate": ["Baseline", "LiveTraffic", "Transform"],
    "LiveTraffic": [],
    "RelatedIndex": ["Pusher"],
    "Transform": ["RelatedIndex", "Trainer"],
    "Trainer": ["Evaluator", "InfraCheck", "ModelCard", "Pusher"],
    "HyperparametersResolver": ["Trainer"],
    "ChampionResolver": ["Baseline", "Evaluator"],
    "Baseline": ["Evaluator", "ModelCard"],
    "Evaluator": ["ModelCard", "Pusher"],
    "ModelCard": [],
    "InfraCheck": ["Pusher"],
    "Pusher": ["announce_push"],
    "announce_push": [],
}  # fmt: skip


TUNING_EDGES = {
    "choose_night": ["HeadlineExampleGen", "ImportSchemaGen"],
    "HeadlineExampleGen": ["DropGate", "StatisticsGen", "Transform", "Tuner"],
    "StatisticsGen": ["ExampleValidator"],
    "ImportSchemaGen": ["ExampleValidator", "Transform"],
    "ExampleValidator": ["DropGate"],
    "DropGate": ["Transform"],
    "Transform": ["Tuner"],
    "Tuner": [],
}
SCORING_EDGES = {
    "find_unlabelled": ["PushedModelResolver", "UnlabelledExampleGen"],
    "PushedModelResolver": ["BulkInferrer", "ScoreWriter"],
    "UnlabelledExampleGen": ["BulkInferrer", "ScoreWriter"],
    "BulkInferrer": ["ScoreWriter"],
    "ScoreWriter": [],
}
PLAIN_TASKS = {"wait_for_drop", "announce_push", "choose_night", "find_unlabelled", "remove_files", "clean_records"}


def load(tmp_path: Path, **environment: str) -> dict[str, Any]:
    """Reads the dags folder in a process of its own, as Airflow does, with no database at hand."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            # As long as the service gives it.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
            "STATE_DIR": str(tmp_path / "state"),
            "MLMD_PASSWORD": "secret",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return loaded


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return load(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def dag(loaded: dict[str, Any]) -> dict[str, Any]:
    assert set(loaded["dags"]) == {f"headline_{name}" for name in ("retraining", "scoring", "tuning", "housekeeping")}
    nightly: dict[str, Any] = loaded["dags"]["headline_retraining"]
    return nightly


def test_no_dag_file_has_an_import_error(loaded: dict[str, Any]) -> None:
    assert loaded["errors"] == {}


@pytest.mark.parametrize(
    ("name", "edges"),
    [("headline_retraining", EDGES), ("headline_tuning", TUNING_EDGES), ("headline_scoring", SCORING_EDGES)],
)
def test_the_nodes_and_edges_are_exactly_these(name: str, edges: dict[str, Any], loaded: dict[str, Any]) -> None:
    assert {task: its["downstream"] for task, its in loaded["dags"][name]["tasks"].items()} == edges


def test_it_runs_nightly_one_run_at_a_time_and_catches_up_only_when_told(dag: dict[str, Any]) -> None:
    assert (dag["schedule"], dag["timezone"]) == ("0 2 * * *", "America/Sao_Paulo")
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert dag["tags"] == ["headlines", "tfx"]
    assert "drop" in dag["doc"]


def test_every_tfx_node_is_launched_by_our_launcher(loaded: dict[str, Any]) -> None:
    tasks = {name: task for dag in loaded["dags"].values() for name, task in dag["tasks"].items()}
    assert {name for name, task in tasks.items() if task["launcher"] is None} == PLAIN_TASKS
    assert {task["launcher"] for name, task in tasks.items() if name not in PLAIN_TASKS} == {"HeadlineLauncher"}


def test_every_node_of_every_dag_has_a_link_to_what_it_recorded_in_its_own_pipeline(loaded: dict[str, Any]) -> None:
    for name, dag in loaded["dags"].items():
        assert {node: task["link"] for node, task in dag["tasks"].items()} == {
            node: "" if node in PLAIN_TASKS else f"/headlines/task?dag_id={name}&run_id=a+run&node={node}"
            for node in dag["tasks"]
        }


def test_every_task_of_a_run_for_a_night_has_a_link_to_it_also_the_sensor(loaded: dict[str, Any]) -> None:
    for name, dag in loaded["dags"].items():
        address = "" if name == "headline_housekeeping" else f"/headlines/run?dag_id={name}&run_id=a+run"
        assert {task["night"] for task in dag["tasks"].values()} == {address}
    assert "(/headlines/nights)" in loaded["dags"]["headline_retraining"]["doc"]


def test_every_task_is_retried_with_backoff_is_limited_in_time_and_tells_of_its_failure(loaded: dict[str, Any]) -> None:
    # The sensor has its cut-off, and a search its own time before the last trial's.
    limits = {"wait_for_drop": None, "Tuner": 2 * 3600, "remove_files": 3 * 3600}
    for dag in loaded["dags"].values():
        for name, task in dag["tasks"].items():
            assert task["retries"] == 2, name
            assert task["backoff"], name
            assert task["notifies"], name
            assert task["timeout"] == limits.get(name, 3600), name


def test_tuning_runs_every_few_weeks_and_scoring_at_every_push(loaded: dict[str, Any]) -> None:
    tuning, scoring = loaded["dags"]["headline_tuning"], loaded["dags"]["headline_scoring"]
    assert (tuning["schedule"], tuning["timezone"], tuning["datasets"]) == ("0 4 1,15 * *", "America/Sao_Paulo", [])
    assert scoring["datasets"] == ["x-headlines://champion"]
    for dag in (tuning, scoring):
        assert (dag["catchup"], dag["max_active_runs"], dag["paused"]) == (False, 1, False)
        assert dag["params"]["night"]["format"] == "date"


def test_housekeeping_runs_every_week_in_two_parts_of_which_neither_waits_for_the_other(loaded: dict[str, Any]) -> None:
    housekeeping = loaded["dags"]["headline_housekeeping"]
    assert (housekeeping["schedule"], housekeeping["timezone"]) == ("0 12 * * 0", "America/Sao_Paulo")
    assert (housekeeping["catchup"], housekeeping["max_active_runs"], housekeeping["paused"]) == (False, 1, False)
    # What one of the two cannot do keeps the other from nothing.
    assert {name: task["downstream"] for name, task in housekeeping["tasks"].items()} == {
        "remove_files": [],
        "clean_records": [],
    }
    told = [task["told"] for task in housekeeping["tasks"].values()]
    assert told == [["HousekeepingNotifier", "HousekeepingEndNotifier"]] * 2


def test_only_the_announcement_has_the_dataset_as_its_outlet(dag: dict[str, Any]) -> None:
    outlets = {name: task["outlets"] for name, task in dag["tasks"].items() if task["outlets"]}
    assert outlets == {"announce_push": ["x-headlines://champion"]}


def test_the_trigger_form_asks_for_a_night_and_for_force_with_a_json_schema(dag: dict[str, Any]) -> None:
    assert dag["params"]["night"]["type"] == ["null", "string"]
    assert dag["params"]["night"]["format"] == "date"
    assert dag["params"]["force"]["type"] == "boolean"


def test_schedule_catchup_and_retries_follow_the_settings(tmp_path: Path) -> None:
    tuning = {"TUNING_SCHEDULE": "none", "TUNING_MINUTES": "90", "HOUSEKEEPING_SCHEDULE": "none"}
    loaded = load(tmp_path, SCHEDULE="none", CATCHUP_MODE="each", RETRIES="0", TIMEZONE="Europe/Lisbon", **tuning)
    nightly = loaded["dags"]["headline_retraining"]
    assert (nightly["schedule"], nightly["catchup"], nightly["timezone"]) == (None, True, "Europe/Lisbon")
    assert nightly["tasks"]["Trainer"]["retries"] == 0
    search = loaded["dags"]["headline_tuning"]
    assert (search["schedule"], search["tasks"]["Tuner"]["timeout"]) == (None, 150 * 60)
    assert loaded["dags"]["headline_housekeeping"]["schedule"] is None


def test_with_a_file_of_hyperparameters_the_trainer_takes_no_tuned_ones(tmp_path: Path) -> None:
    file = tmp_path / "hyperparameters.json"
    file.write_text('{"epochs": 3}')
    nightly = load(tmp_path, HYPERPARAMETERS_FILE=str(file))["dags"]["headline_retraining"]
    assert nightly["tasks"]["HyperparametersResolver"]["downstream"] == []


def test_a_pipeline_for_one_process_asks_for_no_password_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLMD_PASSWORD", raising=False)
    settings = Settings.from_env(state_dir=tmp_path)
    pipeline = create_pipeline(settings, "2022-02-01", metadata_connection_config=sqlite_in(tmp_path))
    assert pipeline.metadata_connection_config.sqlite.filename_uri == str(tmp_path / "mlmd.sqlite")


def test_late_drops_have_a_dag_of_their_own_when_they_are_to_be_run(tmp_path: Path) -> None:
    loaded = load(tmp_path, LATE_DROPS="backfill")
    assert loaded["errors"] == {}
    late = loaded["dags"]["headline_late_drops"]
    assert {name: task["downstream"] for name, task in late["tasks"].items()} == {
        "wait_for_late_drop": ["run_night"],
        "run_night": [],
    }
    assert all(task["notifies"] for task in late["tasks"].values())
    assert late["schedule"] is None
