"""The scheduler imports TFX ahead, and does nothing else: its forked tasks must never hang."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent

PLUGINS = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins")}
# What `airflow scheduler` does first: it makes its Job, which calls the listeners of the plugins folder.
SCRIPT = """
import json, os, sys
from airflow.listeners.listener import get_listener_manager
get_listener_manager()
from airflow.jobs.job import Job
before = "tensorflow" in sys.modules
Job()
result = {"before": before, "after": "tensorflow" in sys.modules, "project": sorted(
    name for name in sys.modules if name.split(".")[0] in ("modules", "headlines", "tfx_components", "dags"))}
if result["after"]:
    from tensorflow.python.eager import context
    result["executed"] = context.context()._initialized
    reader, writer = os.pipe()
    if os.fork() == 0:
        import tensorflow as tf
        os.write(writer, str(float(tf.reduce_sum(tf.ones([3])))).encode())
        os._exit(0)
    os.close(writer)
    import select
    ready, _, _ = select.select([reader], [], [], 60)
    result["child"] = os.read(reader, 10).decode() if ready else "hung"
print(json.dumps(result))
"""


def start(process: str, tmp_path: Path, **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, process],
        cwd=CHECKOUT,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "STATE_DIR": str(tmp_path), **PLUGINS, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_scheduler_imports_tfx_runs_no_operation_and_its_forks_can_run_some(tmp_path: Path) -> None:
    result = start("scheduler", tmp_path)
    assert result["before"] is False, "importing the plugin alone must load nothing: every Airflow process does it"
    assert result["after"] is True
    assert result["executed"] is False
    assert result["child"] == "3.0"


def test_the_projects_own_code_is_not_imported_ahead(tmp_path: Path) -> None:
    assert start("scheduler", tmp_path)["project"] == []


@pytest.mark.parametrize(("process", "preload"), [("triggerer", "true"), ("webserver", "true"), ("scheduler", "false")])
def test_other_processes_and_a_scheduler_told_not_to_import_nothing(process: str, preload: str, tmp_path: Path) -> None:
    assert start(process, tmp_path, PRELOAD=preload)["after"] is False
