"""Unlabelled headlines from a file to a file of scores: on real Postgres, each node launched as Airflow does."""

import csv
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pendulum
import pytest
from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.models.dag import DAG
from airflow.models.dataset import DatasetEvent
from airflow.timetables.base import DataInterval
from airflow_runs import make_context
from launching import launch_all
from ml_metadata import MetadataStore
from quick_pipeline import nodes as quick_nodes
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline

import lineage
from modules.features import LABELS
from retraining.nights.unscored import find_pending
from retraining.operators.callbacks import CHAMPION
from retraining.operators.choosing import FindUnlabelled
from retraining.pipelines.mlmd import initialise
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.recording.rollback import roll_back
from retraining.recording.store import connection_config
from retraining.settings import Settings

NIGHT, VERSION = "2022-02-02", "2022020201"
HOSTILE = '=HYPERLINK("http://x")'


def write(settings: Settings, night: str, content: str | bytes, name: str = "unlabelled.csv") -> Path:
    path = settings.drops_dir / night / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def scores(settings: Settings, night: str, version: str = VERSION) -> list[dict[str, str]]:
    with (settings.state_dir / "scores" / night / f"{version}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def service(settings: Settings, drops_dir: Path) -> Settings:
    """A service whose night 2022-02-02 pushed a tiny model."""
    settings = settings.model_copy(update={"drops_dir": drops_dir, "drop_settle_seconds": 0.0})
    pipeline = Pipeline("headline_retraining", str(settings.pipeline_root), components=quick_nodes(settings, NIGHT))
    launch_all(settings, pipeline)
    assert (settings.serving_dir or Path()).joinpath(VERSION).is_dir()
    return settings


def test_every_headline_of_every_night_is_scored_once_in_its_order_and_bad_rows_are_kept(service: Settings) -> None:
    write(service, NIGHT, f'id;title\n1;Foi ruim\n2;"Saiu\no boletim"\n3;{HOSTILE.replace(chr(34), "")}\n4;\n')
    write(service, NIGHT, b"title\nFoi bom\nFoi bom\nn\xe3o se l\xea\n", "unlabelled-2.csv")
    write(service, "2022-02-03", "title,sentiment\nFoi bom,negative\n", "unlabelled_extra.csv")
    launch_all(service, create_scoring_pipeline(service, f"{NIGHT},2022-02-03", VERSION))

    rows = scores(service, NIGHT)
    assert [(row["title"], row["label"], row["file"], row["line"]) for row in rows] == [
        ("Foi bom", "positive", "unlabelled-2.csv", "2"),
        ("Foi bom", "positive", "unlabelled-2.csv", "3"),
        ("Foi ruim", "negative", "unlabelled.csv", "2"),
        ("Saiu o boletim", "neutral", "unlabelled.csv", "3"),
        (HOSTILE.replace('"', ""), "neutral", "unlabelled.csv", "5"),
    ]
    for row in rows:
        probabilities = {label: float(row[f"probability_{label}"]) for label in LABELS}
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-5)
        assert float(row["confidence"]) == max(probabilities.values()) == probabilities[row["label"]]
        assert row["model_version"] == VERSION
    # What the file says of sentiment is not read: the model answers.
    assert [row["label"] for row in scores(service, "2022-02-03")] == ["positive"]
    assert [path.name for path in (service.scores_dir or Path()).joinpath(NIGHT).iterdir()] == [f"{VERSION}.csv"]

    [quarantine] = (service.pipeline_root or Path()).glob("UnlabelledExampleGen/quarantine/*/quarantine.csv")
    with quarantine.open(encoding="utf-8-sig", newline="") as file:
        assert [(row["file"], row["line"], row["reason"]) for row in csv.DictReader(file)] == [
            ("unlabelled-2.csv", "4", "undecodable row"),
            ("unlabelled.csv", "6", "missing or blank title"),
        ]

    store = MetadataStore(connection_config(service))
    [record] = store.get_artifacts_by_type("Scores")
    assert record.custom_properties["version"].string_value == VERSION
    assert record.custom_properties[f"rows:{NIGHT}"].int_value == 5
    summary = json.loads((Path(record.uri) / "scores.json").read_text())
    assert summary[NIGHT]["labels"] == {"positive": 2, "negative": 1, "neutral": 2}
    [told] = lineage.scores(service, NIGHT)
    assert told.version == VERSION
    assert [(one.night, one.rows, one.quarantined, one.sources) for one in told.nights] == [
        (NIGHT, 5, 2, ("unlabelled-2.csv", "unlabelled.csv")),
        ("2022-02-03", 1, 0, ("unlabelled_extra.csv",)),
    ]
    assert told.nights[0].labels == summary[NIGHT]["labels"]
    assert told.nights[0].file == summary[NIGHT]["file"]
    # The model that scored is the one that was pushed.
    [model] = store.get_artifacts_by_type("Model")
    [writer] = [e for e in store.get_executions() if e.properties["component_id"].string_value == "ScoreWriter"]
    assert model.id in {event.artifact_id for event in store.get_events_by_execution_ids([writer.id])}


def test_a_version_that_lineage_does_not_know_is_named(service: Settings) -> None:
    write(service, NIGHT, "title\nFoi bom\n")
    with pytest.raises(LookupError, match="lineage knows no model that was pushed as version '2022020901'"):
        launch_all(service, create_scoring_pipeline(service, NIGHT, "2022020901"))


def test_it_runs_in_one_process_too(settings: Settings, drops_dir: Path, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"drops_dir": drops_dir})
    connection = sqlite_metadata_connection_config(str(tmp_path / "mlmd.sqlite"))
    nightly = Pipeline(
        "headline_retraining",
        str(settings.pipeline_root),
        components=quick_nodes(settings, NIGHT),
        metadata_connection_config=connection,
    )
    write(settings, NIGHT, "title\nFoi ruim\n")
    LocalDagRunner().run(nightly)
    LocalDagRunner().run(create_scoring_pipeline(settings, NIGHT, VERSION, metadata_connection_config=connection))
    assert [row["label"] for row in scores(settings, NIGHT)] == ["negative"]


def score(settings: Settings, night: str, version: str) -> None:
    """Leaves an empty file of scores, newer than any headline."""
    path = (settings.scores_dir or Path()) / night / f"{version}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() + 60, time.time() + 60))


def test_a_push_scores_its_own_night_and_later_ones_and_earlier_ones_that_nobody_has_scored(
    settings: Settings, drops_dir: Path
) -> None:
    settings = settings.model_copy(update={"drops_dir": drops_dir, "drop_settle_seconds": 0.0})
    for day in range(1, 6):
        write(settings, f"2022-02-0{day}", "title\nFoi bom\n")
    score(settings, "2022-02-01", "2022013101")
    assert find_pending(settings, "2022020301") == ["2022-02-02", "2022-02-03", "2022-02-04", "2022-02-05"]
    for night in ("2022-02-02", "2022-02-03", "2022-02-04"):
        score(settings, night, "2022020301")
    assert find_pending(settings, "2022020301") == ["2022-02-05"]
    assert find_pending(settings, "2022020302") == ["2022-02-03", "2022-02-04", "2022-02-05"]
    assert find_pending(settings, "2022020301", "2022-02-03") == []
    assert find_pending(settings, "2022020301", "2022-02-03", force=True) == ["2022-02-03"]
    assert find_pending(settings, "2022020301", "2022-02-01") == ["2022-02-01"]
    assert find_pending(settings, "2022020301", "2022-02-28") == []
    added = write(settings, "2022-02-01", "title\nFoi ruim\n", "unlabelled-late.csv")
    os.utime(added, (time.time() + 120, time.time() + 120))
    assert find_pending(settings, "2022020301") == ["2022-02-01", "2022-02-05"]


def test_files_that_changed_a_moment_ago_are_left_for_the_next_time(
    settings: Settings, drops_dir: Path, pass_time: Callable[[float], None]
) -> None:
    settings = settings.model_copy(update={"drops_dir": drops_dir, "drop_settle_seconds": 30.0})
    write(settings, NIGHT, "title\nFoi bom\n")
    assert find_pending(settings, VERSION) == []
    pass_time(60)
    assert find_pending(settings, VERSION) == [NIGHT]


def find(settings: Settings, *pushed: str, night: str = "None", force: str = "False") -> dict[str, str]:
    """Executes the operator in a run that these pushes triggered."""
    dag = DAG("headline_scoring", schedule=[CHAMPION], start_date=datetime(2022, 1, 1, tzinfo=UTC))
    operator = FindUnlabelled(task_id="find_unlabelled", settings=settings, night=night, force=force, dag=dag)
    context = make_context(operator, DataInterval.exact(pendulum.datetime(2022, 2, 9, 7)))
    if pushed:
        events = [DatasetEvent(extra={"version": version}) for version in pushed]
        context["triggering_dataset_events"] = {CHAMPION.uri: events}
    return operator.execute(context)


def test_the_greatest_of_the_versions_that_triggered_the_run_scores(service: Settings) -> None:
    write(service, "2022-02-09", "title\nFoi bom\n")
    assert find(service, "2022020901", "2022020801") == {"nights": "2022-02-09", "version": "2022020901"}
    # By hand there is no such event.
    assert find(service) == {"nights": "2022-02-09", "version": VERSION}


def test_by_hand_a_model_that_was_withdrawn_scores_no_more(service: Settings) -> None:
    write(service, "2022-02-09", "title\nFoi bom\n")
    nights = quick_nodes(service, "2022-02-03")
    launch_all(service, Pipeline("headline_retraining", str(service.pipeline_root), components=nights), "run-2")
    assert find(service)["version"] == "2022020301"
    roll_back(service, "it says positive to everything", "ana")
    assert find(service)["version"] == VERSION


def test_with_nothing_new_to_score_or_no_model_the_run_says_so_and_is_skipped(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    initialise(settings, [create_scoring_pipeline(settings, NIGHT, VERSION)])
    with pytest.raises(AirflowSkipException, match="nothing is pushed yet"):
        find(settings)
    service = request.getfixturevalue("service")
    with pytest.raises(AirflowSkipException, match=f"nothing new to score with version {VERSION}"):
        find(service, VERSION)
    with pytest.raises(AirflowFailException, match=r"night 2030-01-01 has nothing to score: .*; deliver one, or name"):
        find(service, night="2030-01-01")
