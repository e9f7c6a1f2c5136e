"""Events of a real Airflow's tasks, through the real launcher and MLMD on Postgres, as a local endpoint got them."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from launching import launch
from openlineage_sink import Event, Sink, find_problems, receive
from postgres_server import Server, make_database
from pydantic import SecretStr
from quick_pipeline import nodes as quick_nodes
from tfx.orchestration.data_types import PipelineInfo

import lineage
from headlines.pushes.rollbacks import find_served
from retraining.openlineage import rollbacks
from retraining.openlineage.attempts import Told, tell_attempt
from retraining.openlineage.options import airflow_options
from retraining.recording.rollback import roll_back
from retraining.settings import CHECKOUT, Settings

DAG = """
import sys
from datetime import timedelta

import pendulum
from airflow.exceptions import AirflowSkipException
from airflow.operators.python import PythonOperator
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner
from tfx.orchestration.pipeline import Pipeline

import lineage_story
from retraining.operators.arguments import dag_arguments
from retraining.recording.launcher import airflow_pipeline_config
from retraining.recording.store import connection_config
from retraining.settings import Settings


def skip():
    raise AirflowSkipException("nothing to do")


def run(night, drops, count=None, day=300, **how):
    settings = Settings.from_env()
    pipeline = Pipeline(
        "headline_retraining",
        str(settings.pipeline_root),
        components=lineage_story.nodes(night, drops, **how)[:count],
        metadata_connection_config=connection_config(settings),
    )
    config = airflow_pipeline_config(dag_arguments(settings) | {"schedule": None}, pipeline)
    dag = AirflowDagRunner(config).run(pipeline)
    for task in dag.tasks:
        task.retries = 0
    if count:
        PythonOperator(task_id="wait_for_drop", python_callable=skip, dag=dag)
    # By hand, for a night that is not the run's own date.
    dag.test(pendulum.parse(night).add(days=day), run_conf={"night": night})


run("2022-02-01", {"2022-02-01": 1})
run("2022-02-02", {"2022-02-01": 1, "2022-02-02": 2}, accuracy=0.6)
lineage_story.accidents.append("DropGate")
run("2022-02-03", {"2022-02-03": 1}, count=2)
run("2022-02-03", {"2022-02-03": 1}, count=2, day=310)
"""
JOB = "headline_retraining"


@dataclass(frozen=True)
class Ran:
    """What Airflow ran: settings that lead to its lineage, what was received, and what it printed."""

    settings: Settings
    sink: Sink
    output: str

    def night(self, task: str, night: str, kind: str = "COMPLETE") -> Event:
        """The newest event of one type of a task for a night."""
        return [one for one in self.sink.of(f"{JOB}.{task}", kind) if find_night(one) == night][-1]


def find_night(event: Event) -> str:
    return str(event["run"]["facets"]["nominalTime"]["nominalStartTime"])[:10]


def run_airflow(settings: Settings, home: Path) -> str:
    """Runs the DAG above in an Airflow of its own that sends where the settings say."""
    dag_file = home / "dags" / "nights.py"
    dag_file.parent.mkdir(parents=True)
    dag_file.write_text(DAG)
    environment = {
        **os.environ,
        **settings.to_environment(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(Path(__file__).parent)]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **{f"AIRFLOW__OPENLINEAGE__{name.upper()}": str(value) for name, value in airflow_options(settings).items()},
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    ran = subprocess.run([sys.executable, str(dag_file)], env=environment, check=False, capture_output=True, text=True)
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def ran(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    place = tmp_path_factory.mktemp("openlineage")
    with receive() as sink:
        settings = make_database(postgres, place / "state").model_copy(update={"openlineage_url": SecretStr(sink.url)})
        yield Ran(settings, sink, run_airflow(settings, place / "airflow"))


def facets_of(dataset: Event, kind: str = "facets") -> Event:
    found: Event = dataset[kind]
    return found


def versions(datasets: list[Event]) -> dict[str, str]:
    """The version of each dataset, by the last two parts of its name."""
    return {
        "/".join(Path(one["name"]).parts[-2:]): one["facets"]["version"]["datasetVersion"]
        for one in datasets
        if "version" in one["facets"]
    }


def test_every_event_is_as_openlineage_and_our_own_schema_demand_it(ran: Ran) -> None:
    assert ran.sink.events, ran.output
    assert not {(event["job"]["name"], problem) for event in ran.sink.events for problem in find_problems(event)}


def test_every_attempt_begins_and_ends_once_below_its_run(ran: Ran) -> None:
    by_run: dict[str, list[str]] = {}
    for event in ran.sink.events:
        if event["job"]["name"] != JOB:
            by_run.setdefault(event["run"]["runId"], []).append(event["eventType"])
            assert event["run"]["facets"]["parent"]["job"] == {"facets": {}, "name": JOB, "namespace": "headlines"}
    assert {kinds[0] for kinds in by_run.values()} == {"START"}
    assert all(len(kinds) == 2 and kinds[1] in ("COMPLETE", "FAIL") for kinds in by_run.values())
    parents = {event["run"]["facets"]["parent"]["run"]["runId"] for event in ran.sink.of(f"{JOB}.Trainer")}
    assert parents == {event["run"]["runId"] for event in ran.sink.of(JOB) if find_night(event) < "2022-02-03"}


def test_datasets_have_one_name_over_all_nights_and_a_version_each(ran: Ran) -> None:
    told = [ran.night("Trainer", night) for night in ("2022-02-01", "2022-02-02")]
    root = ran.settings.pipeline_root / JOB
    for event in told:
        assert [(one["namespace"], one["name"]) for one in event["outputs"]] == [("file", f"{root}/Trainer/model")]
    first, second = (versions(event["outputs"])["Trainer/model"] for event in told)
    assert first != second
    made = ran.night("HeadlineExampleGen", "2022-02-02")
    read = versions(told[1]["inputs"])
    assert read["HeadlineExampleGen/examples"] == versions(made["outputs"])["HeadlineExampleGen/examples"]
    assert read["Transform/transform_graph"]
    # The model that the first night pushed is the champion that the second is held to.
    assert versions(ran.night("ChampionResolver", "2022-02-02")["inputs"]) == {
        "Trainer/model": first,
        "serving/headlines": "2022020101",
    }
    assert versions(ran.night("Evaluator", "2022-02-02")["inputs"])["Trainer/model"] == second


def test_the_drops_are_read_in_the_nights_own_version_and_those_of_the_window_are_named(ran: Ran) -> None:
    event = ran.night("HeadlineExampleGen", "2022-02-02")
    [drops] = event["inputs"]
    assert drops["name"] == str(ran.settings.drops_dir)
    assert facets_of(drops)["version"]["datasetVersion"] == "2022-02-02/2@sha256:2022-02-02v2"
    assert [field["name"] for field in facets_of(drops)["schema"]["fields"]] == ["title", "sentiment"]
    assert facets_of(drops, "inputFacets")["inputStatistics"]["rowCount"] == 200
    counts = {"rowsIn": 100, "rowsUsed": 90, "rowsQuarantined": 8, "duplicatesFolded": 2}
    for dataset in (drops, event["outputs"][0]):
        assert facets_of(dataset)["headlines_drops"]["drops"] == [
            {"night": "2022-02-01", "version": 1, "sha256": "2022-02-01v1", **counts},
            {"night": "2022-02-02", "version": 2, "sha256": "2022-02-02v2", **counts},
        ]
    assert facets_of(event["outputs"][0])["lifecycleStateChange"]["lifecycleStateChange"] == "OVERWRITE"


def test_a_push_writes_what_serves_in_the_pushed_version(ran: Ran) -> None:
    event = ran.night("Pusher", "2022-02-01")
    [served] = event["outputs"]
    assert served["name"] == str(ran.settings.serving_dir)
    assert facets_of(served)["version"]["datasetVersion"] == "2022020101"
    assert facets_of(served)["headlines_verdict"]["accepted"] is True
    assert "errorMessage" not in event["run"]["facets"]


def test_a_refused_night_completes_with_its_reason_its_failed_check_and_no_push(ran: Ran) -> None:
    judged, pushed = (ran.night(task, "2022-02-02") for task in ("Evaluator", "Pusher"))
    [night] = [one for one in ran.sink.of(JOB, "COMPLETE") if find_night(one) == "2022-02-02"]
    for event in (judged, pushed, night):
        assert event["run"]["facets"]["errorMessage"]["message"] == "refused: accuracy"
    assert pushed["outputs"] == []
    assertions = {
        Path(one["name"]).name: facets_of(one, "inputFacets").get("dataQualityAssertions") for one in judged["inputs"]
    }
    judgement = assertions.pop("model")
    assert judgement
    [check] = judgement["assertions"]
    assert (check["assertion"], check["success"], check["actual"]) == ("accuracy", False, "0.6")
    assert check["expected"] == "at least 0.750"
    assert set(assertions.values()) == {None}


def test_a_blocked_night_fails_with_what_the_gate_said_and_when_it_is_run_again_that_is_a_run_of_its_own(
    ran: Ran,
) -> None:
    failed, again = (ran.night("DropGate", "2022-02-03", kind) for kind in ("FAIL", "COMPLETE"))
    assert "the network under DropGate is down" in failed["run"]["facets"]["errorMessage"]["message"]
    assert failed["outputs"] == []
    assert versions(failed["inputs"]).keys() == {"HeadlineExampleGen/examples"}
    assert failed["run"]["runId"] != again["run"]["runId"]
    assert versions(again["outputs"]).keys() == {"DropGate/statistics"}
    [night] = [one for one in ran.sink.of(JOB, "FAIL") if find_night(one) == "2022-02-03"]
    assert night["run"]["facets"]["errorMessage"]["message"].startswith("DropGate: ")


def test_a_skipped_task_has_an_end(ran: Ran) -> None:
    assert [event["eventType"] for event in ran.sink.of(f"{JOB}.wait_for_drop")] == ["START", "COMPLETE"] * 2


def test_a_failure_before_the_launcher_is_told_nothing_of_an_earlier_attempt(ran: Ran) -> None:
    run_id = lineage.run_report(ran.settings, "manual__2022-11-28T00:00:00+00:00").run_id
    told = tell_attempt(ran.settings, JOB, run_id, "Trainer", None)
    assert told.outputs
    since = lineage.find_execution(ran.settings, run_id, "Trainer").started_at + timedelta(seconds=1)
    assert tell_attempt(ran.settings, JOB, run_id, "Trainer", since) == Told()


def test_a_rollback_is_a_run_of_its_own_job_that_writes_what_serves(settings: Settings) -> None:
    for night in ("2022-02-01", "2022-02-02"):
        for node in quick_nodes(settings, night, 1):
            info = PipelineInfo(JOB, str(settings.pipeline_root), f"scheduled__{night}")
            launch(settings, node, pipeline_info=info)
    with receive() as sink:
        told = settings.model_copy(update={"openlineage_url": SecretStr(sink.url)})
        done = roll_back(told, "rótulos trocados", "ana")
    assert not [problem for event in sink.events for problem in find_problems(event)]
    start, end = sink.of("headline_rollback")
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    decision = end["run"]["facets"]["headlines_rollback"]
    assert (decision["by"], decision["reason"]) == ("ana", "rótulos trocados")
    assert (decision["fromVersion"], decision["toVersion"]) == (done.from_version, done.to_version)
    assert versions(end["outputs"]) == {"serving/headlines": str(done.to_version)}
    model = lineage.find_model(settings, str(done.to_version))
    assert versions(end["inputs"]) == {"Trainer/model": str(model.id)}


def test_a_rollback_takes_place_though_nobody_can_be_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow, which other tests start in this process, sets up logging for itself.
    log = create_autospec(logging.Logger, instance=True)
    monkeypatch.setattr(rollbacks, "log", log)
    for night in ("2022-02-01", "2022-02-02"):
        for node in quick_nodes(settings, night, 1):
            launch(settings, node, f"scheduled__{night}")
    with receive() as sink:
        gone = SecretStr(sink.url)
    done = roll_back(settings.model_copy(update={"openlineage_url": gone}), "a drop was wrong", "ana")
    assert find_served(settings.serving_dir) == done.to_version
    [told] = log.warning.call_args_list
    message = told.args[0] % told.args[1:]
    assert message.startswith(f"OpenLineage was not told of the rollback to {done.to_version}: ")
