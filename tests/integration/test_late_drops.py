"""A drop that missed its cut-off, with `LATE_DROPS=backfill`: Airflow's own database, and the DAGs as they are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NIGHT = "2022-02-02"

# Runs the night's sensor as a scheduled run does, then the DAG for late drops to its end.
SCRIPT = """
import json, os, sys
from pathlib import Path
import pendulum
from airflow.models import DagRun
from airflow.models.dagbag import DagBag
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType
initdb()
bag = DagBag("dags", include_examples=False)
bag.sync_to_db()
nightly, late = bag.dags["headline_retraining"], bag.dags["headline_late_drops"]
begin = pendulum.datetime(2022, 2, 2, 2, tz="America/Sao_Paulo")
interval = nightly.infer_automated_data_interval(begin)
run = nightly.create_dagrun(run_type=DagRunType.SCHEDULED, execution_date=begin, data_interval=interval,
    state="running", conf={"force": True})
told = {}

def sense():
    with create_session() as session:
        session.merge(run).state = "running"
    with create_session() as session:
        instance = run.get_task_instance("wait_for_drop", session=session)
        instance.task = nightly.get_task("wait_for_drop")
        instance.run(session=session)
        return instance.state

def look():
    with create_session() as session:
        [night] = DagRun.find(dag_id="headline_retraining", session=session)
        waits = {each.run_id: each.conf for each in DagRun.find(dag_id="headline_late_drops", session=session)}
        return [night.run_id, night.get_task_instance("wait_for_drop", session=session).state, waits]

sense()
with create_session() as session:
    session.merge(run).state = "success"
told["skipped"] = look()
meanwhile = sys.argv[1]
if meanwhile == "begun by hand":
    nightly.clear(start_date=begin, end_date=begin)
drop = Path(os.environ["DROPS_DIR"], "2022-02-02", "headlines.csv")
drop.parent.mkdir(parents=True)
drop.write_text("title,sentiment\\nChove,neutral\\n")
done = late.test(execution_date=begin, run_conf={"night": "2022-02-02"})
told["late"] = {each.task_id: each.state for each in done.get_task_instances()}
with create_session() as session:
    [night] = DagRun.find(dag_id="headline_retraining", session=session)
    told["night"] = [night.run_id, night.run_type, night.state]
told["sensed anew"] = sense()
print(json.dumps(told))
"""


def play(tmp_path: Path, meanwhile: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, meanwhile],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            # As long as the service gives it.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
            "STATE_DIR": str(tmp_path / "state"),
            "DROPS_DIR": str(tmp_path / "drops"),
            "MLMD_PASSWORD": "secret",
            "CATCHUP_MODE": "each",
            "LATE_DROPS": "backfill",
            "DROP_SETTLE_SECONDS": "0",
            "WINDOW_NIGHTS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("meanwhile", ["nothing", "begun by hand"])
def test_a_late_drop_begins_the_run_anew_that_was_skipped_for_want_of_it(tmp_path: Path, meanwhile: str) -> None:
    told = play(tmp_path, meanwhile)
    run_id, sensor, waits = told["skipped"]
    assert (run_id, sensor) == ("scheduled__2022-02-02T02:00:00-03:00", "skipped")
    assert waits == {f"late__{NIGHT}": {"night": NIGHT}}
    if meanwhile == "nothing":
        assert told["late"] == {"wait_for_late_drop": "success", "run_night": "success"}
    else:
        assert told["late"] == {"wait_for_late_drop": "skipped", "run_night": "skipped"}
    assert told["night"] == [run_id, "scheduled", "queued"]
    assert told["sensed anew"] == "success"
