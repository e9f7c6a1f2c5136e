"""The tasks of the housekeeping DAG, executed as Airflow does; what they remove is in test_retention.py."""

import logging
import re
from pathlib import Path
from unittest.mock import create_autospec

import pendulum
import pytest
from airflow.exceptions import AirflowException, AirflowSkipException
from airflow.models import DAG, DagRun
from airflow.timetables.base import DataInterval
from airflow.utils.context import Context
from airflow.utils.db_cleanup import config_dict
from airflow_runs import make_context

from retraining.operators import housekeeping
from retraining.operators.housekeeping import KEPT_TABLES, CleanRecords, RemoveFiles
from retraining.retention import removal
from retraining.retention.plan import Item
from retraining.retention.removal import Pruning
from retraining.settings import CHECKOUT, Settings

WEEK = DataInterval(pendulum.datetime(2022, 2, 6, 15), pendulum.datetime(2022, 2, 13, 15))
OLD = Item(
    "artifact", "Model", "Model 7", "older than night 2022-01-01", Path("/pipelines/Trainer/model/7"), 11_200_000
)


@pytest.fixture
def remove_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RemoveFiles:
    settings = Settings.from_env(state_dir=tmp_path)
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: settings))
    return RemoveFiles(
        task_id="remove_files",
        dag=DAG("headline_housekeeping", start_date=pendulum.datetime(2022, 1, 1), schedule=None),
    )


def end_with(monkeypatch: pytest.MonkeyPatch, pruning: Pruning, before: DagRun | None = None) -> None:
    """Has the removal end so, in a run that has another one before it or none."""
    monkeypatch.setattr(removal, "remove", create_autospec(removal.remove, return_value=pruning))
    find = create_autospec(DagRun.get_previous_scheduled_dagrun, return_value=before)
    monkeypatch.setattr(DagRun, "get_previous_scheduled_dagrun", find)


def begin(operator: RemoveFiles, run_type: str) -> Context:
    return make_context(operator, WEEK, run_type)


def test_what_was_removed_is_in_the_log_of_the_run_and_its_answer(
    remove_files: RemoveFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    end_with(
        monkeypatch, Pruning((OLD, OLD), notes=("every pushed version stays",)), before=DagRun("headline_housekeeping")
    )
    with caplog.at_level(logging.INFO):
        answer = remove_files.execute(begin(remove_files, "scheduled"))
    assert answer == {"size_bytes": 22_400_000, "removed": {"Model: older than night 2022-01-01": 2}}
    assert "Removed: 2 of Model, 22.4 MB: older than night 2022-01-01" in caplog.messages
    assert "every pushed version stays" in caplog.messages


def test_what_cannot_be_removed_fails_the_run(remove_files: RemoveFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    end_with(monkeypatch, Pruning((OLD,), problems=("Model 8 could not be removed: it is read-only",)))
    with pytest.raises(AirflowException, match="Model 8 could not be removed: it is read-only"):
        remove_files.execute(begin(remove_files, "manual"))


def test_the_run_for_a_date_before_housekeeping_removes_nothing_and_says_how_to_look(
    remove_files: RemoveFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_with(monkeypatch, Pruning((OLD,)))
    with pytest.raises(AirflowSkipException, match="`retraining prune --dry-run`"):
        remove_files.execute(begin(remove_files, "scheduled"))
    assert remove_files.execute(begin(remove_files, "manual"))["size_bytes"] == 11_200_000


def test_the_records_of_an_airflow_that_the_service_does_not_run_are_left_alone(
    remove_files: RemoveFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "AIRFLOW_HOME", "/srv/airflow")
    with pytest.raises(AirflowSkipException, match=r"this Airflow, in /srv/airflow, is not the service's own"):
        CleanRecords(task_id="clean_records").execute(begin(remove_files, "manual"))


def test_of_the_tables_that_are_cleaned_lineage_reads_only_what_is_of_this_moment() -> None:
    source = (CHECKOUT / "lineage" / "airflow_runs.py").read_text()
    read = set(re.findall(r"(?:FROM|JOIN) (\w+)", source))
    assert {"dag_run", "task_instance", "log"} <= read & config_dict.keys()
    assert read & (config_dict.keys() - KEPT_TABLES) == {"import_error", "job"}
