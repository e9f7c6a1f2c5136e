"""Events of a real Airflow's tasks, through the real launcher and MLMD on Postgres, as a local endpoint got them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from openlineage_sink import Event, Sink, find_problems, receive
from postgres_server import Server, make_database

from retraining.openlineage.options import airflow_options
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


def run(night, drops, count=None, **how):
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
    dag.test(pendulum.parse(night).add(days=300), run_conf={"night": night})


run("2022-02-01", {"2022-02-01": 1})
run("2022-02-02", {"2022-02-01": 1, "2022-02-02": 2}, accuracy=0.6)
lineage_story.accidents.append("DropGate")
run("2022-02-03", {"2022-02-03": 1}, count=2)
# The same date again clears the run, for which Airflow must know its table of users.
import airflow.providers.fab.auth_manager.models  # noqa: E402,F401

run("2022-02-03", {"2022-02-03": 1}, count=2)
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
        settings = make_database(postgres, place / "state").model_copy(
            update={"openlineage_url": Settings.from_env(openlineage_url=sink.url).openlineage_url}
        )
        yield Ran(settings, sink, run_airflow(settings, place / "airflow"))


def test_debug(ran: Ran) -> None:
    import json

    Path("/tmp/ol_events.json").write_text(json.dumps(ran.sink.events, indent=1))
    Path("/tmp/ol_out.txt").write_text(ran.output)
    problems = {(e["job"]["name"], p) for e in ran.sink.events for p in find_problems(e)}
    assert not problems
