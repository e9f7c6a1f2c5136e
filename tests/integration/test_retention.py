"""What is kept and what goes, on nights that the real launcher recorded and the real Pusher published."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import quick_pipeline
from launching import launch
from postgres_server import Server, lend_database, query
from tfx.orchestration.data_types import PipelineInfo

from headlines.names import NIGHTLY_DAG, version_of
from lineage import open_lineage
from retraining.retention.needed import find_needed, read_facts, read_needed
from retraining.settings import Settings

NIGHTS = [f"2022-02-{day:02}" for day in range(1, 6)]
VERSIONS = [version_of(date.fromisoformat(night)) for night in NIGHTS]


def run_night(settings: Settings, night: str) -> None:
    """Runs a night as Airflow would have on its day; MLMD is told the day afterwards."""
    for node in quick_pipeline.nodes(settings, night):
        info = PipelineInfo(NIGHTLY_DAG, str(settings.pipeline_root), f"scheduled__{night}")
        launch(settings, node, pipeline_info=info)
    moment = int(datetime.fromisoformat(f"{night}T05:00:00+00:00").timestamp() * 1000)
    for table in ("execution", "artifact"):
        query(
            settings,
            f"UPDATE {table} SET create_time_since_epoch = {moment}, last_update_time_since_epoch = {moment} "
            f"WHERE create_time_since_epoch > {int(datetime(2023, 1, 1, tzinfo=UTC).timestamp() * 1000)} RETURNING id",
        )


@pytest.fixture
def nights(postgres: Server, tmp_path: Path) -> Iterator[Settings]:
    """Settings that lead to five nights, each with a push, of which two are kept."""
    with lend_database(postgres, tmp_path / "state") as settings:
        settings = settings.model_copy(
            update={"keep_artifact_nights": 2, "keep_served_versions": 2, "airflow_db_password": None}
        )
        for night in NIGHTS:
            run_night(settings, night)
        yield settings


def test_what_lineage_and_the_serving_folder_say_is_what_the_rule_decides_by(nights: Settings) -> None:
    with open_lineage(nights) as reader:
        facts = read_facts(reader, nights.serving_dir, {VERSIONS[0]: "a replica answers with it"})
    assert [(run.run_id, run.night, run.is_at_work) for run in facts.runs] == [
        (f"scheduled__{night}", night, False) for night in NIGHTS
    ]
    assert {run.last_at.date().isoformat() for run in facts.runs} == set(NIGHTS)
    assert facts.present == tuple(VERSIONS)
    models = [facts.pushes[version] for version in VERSIONS]
    assert models == sorted(filter(None, models))
    rule = find_needed(facts, nights.keep_artifact_nights, nights.keep_served_versions)
    needed = read_needed(nights, served=facts.served)
    assert needed.rule == rule
    assert set(rule.versions) == {VERSIONS[0], *VERSIONS[2:]}
    # What a kept night took or made, and the models of versions; the runs of other nights hold nothing.
    kept = {f"Trainer/model/{uri.rpartition('/')[2]}" for uri in needed.uris.values() if "/Trainer/" in uri}
    assert len(kept) == 4
    assert all(Path(uri).exists() for uri in needed.uris.values())
    assert sum("/Pusher/" in uri for uri in needed.uris.values()) == 3
