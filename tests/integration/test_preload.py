"""The scheduler imports TFX ahead, and does nothing else: its forked tasks must never hang."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent

SCRIPT = """
import importlib.util, json, os, sys
from airflow.jobs.job import Job
spec = importlib.util.spec_from_file_location("preload_listener", "plugins/preload_listener.py")
listener = importlib.util.module_from_spec(spec)
sys.modules["preload_listener"] = listener
spec.loader.exec_module(listener)
before = "tensorflow" in sys.modules
listener.on_starting(Job(job_type={job_type!r}))
result = {{"before": before, "after": "tensorflow" in sys.modules, "project": sorted(
    name for name in sys.modules if name.split(".")[0] in ("modules", "tfx_components", "dags"))}}
if result["after"]:
    from tensorflow.python.eager import context
    result["executed"] = context.context()._initialized
    result["threads"] = sorted(os.listdir("/proc/self/task")).__len__()
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


def start(job_type: str, tmp_path: Path, **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(job_type=job_type)],
        cwd=CHECKOUT,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "STATE_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_scheduler_imports_tfx_runs_no_operation_and_its_forks_can_run_some(tmp_path: Path) -> None:
    result = start("SchedulerJob", tmp_path)
    assert result["before"] is False, "importing the plugin alone must load nothing: every Airflow process does it"
    assert result["after"] is True
    assert result["executed"] is False
    assert result["child"] == "3.0"


def test_the_projects_own_code_is_not_imported_ahead(tmp_path: Path) -> None:
    assert start("SchedulerJob", tmp_path)["project"] == []


@pytest.mark.parametrize(("job_type", "preload"), [("TriggererJob", "true"), ("SchedulerJob", "false")])
def test_other_processes_and_a_scheduler_told_not_to_import_nothing(
    job_type: str, preload: str, tmp_path: Path
) -> None:
    assert start(job_type, tmp_path, PRELOAD=preload)["after"] is False
