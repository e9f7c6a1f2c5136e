"""The launcher under a real Airflow: a task that fails, and the run after it is cleared."""

import os
import subprocess
import sys
from pathlib import Path

from launching import NAME
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Execution

from retraining.recording.store import connection_config
from retraining.settings import CHECKOUT, Settings

DAG = """
import pendulum
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner

import launching
from retraining.recording.launcher import airflow_pipeline_config
from retraining.settings import Settings
from retraining.recording.store import connection_config

settings = Settings.from_env()
make = launching.Make(flavour="{{ ds }}")
use = launching.Use(model=make.outputs["model"])
pipeline = launching.pipeline(settings, make, use, metadata_connection_config=connection_config(settings))
dag = AirflowDagRunner(
    airflow_pipeline_config({"schedule": None, "start_date": pendulum.datetime(2022, 1, 1)}, pipeline)
).run(pipeline)

if __name__ == "__main__":
    def fail(directory):
        raise ValueError("no rain")

    launching.behaviour["make"] = fail
    dag.test(pendulum.datetime(2022, 2, 2))
    launching.behaviour.clear()
    # The same date again clears the tasks of the run, for which Airflow must know its table of users.
    import airflow.providers.fab.auth_manager.models  # noqa: F401

    dag.test(pendulum.datetime(2022, 2, 2))
"""


def test_a_task_that_fails_and_is_cleared_leaves_clean_lineage(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "airflow"
    dag_file = home / "dags" / "tiny.py"
    dag_file.parent.mkdir(parents=True)
    dag_file.write_text(DAG)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(Path(__file__).parent)]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dag_file.parent),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "STATE_DIR": str(settings.state_dir),
        "MLMD_HOST": settings.mlmd_host,
        "MLMD_PORT": str(settings.mlmd_port),
        "MLMD_DATABASE": settings.mlmd_database,
        "MLMD_USER": settings.mlmd_user,
        "MLMD_PASSWORD": settings.secret("mlmd_password"),
    }
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environment, check=True, capture_output=True)
    ran = subprocess.run([sys.executable, str(dag_file)], env=environment, check=False, capture_output=True, text=True)

    store = MetadataStore(connection_config(settings))
    executions = sorted(store.get_executions(), key=lambda execution: execution.id)
    recorded = [
        (e.properties["component_id"].string_value, Execution.State.Name(e.last_known_state)) for e in executions
    ]
    assert recorded == [("Make", "FAILED"), ("Make", "COMPLETE"), ("Use", "COMPLETE")], ran.stdout + ran.stderr
    failed, made, _ = executions
    assert failed.custom_properties["error"].string_value == "ValueError: no rain"
    assert {e.properties["run_id"].string_value for e in executions} == {"manual__2022-02-02T00:00:00+00:00"}
    assert made.properties["flavour"].string_value == "2022-02-02"
    assert store.get_context_by_type_and_name("pipeline", NAME)
