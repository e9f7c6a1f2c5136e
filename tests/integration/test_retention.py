"""What is kept and what goes, on nights that the real launcher recorded and the real Pusher published."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import quick_pipeline
from airflow.exceptions import AirflowFailException
from launching import launch
from postgres_server import Server, lend_database, query
from tfx.orchestration.data_types import PipelineInfo

import lineage
from headlines.names import NIGHTLY_DAG, version_of
from headlines.pushes import removals, rollbacks
from headlines.pushes.versions import find_versions
from lineage import open_lineage
from lineage.reading import DELETED, LIVE
from retraining.recording.advisory_locks import RETENTION_LOCK, lock
from retraining.recording.launcher import HeadlineLauncher
from retraining.recording.rollback import RollbackError, roll_back
from retraining.recording.store import connection_config
from retraining.retention import removal
from retraining.retention.needed import find_needed, read_facts, read_needed
from retraining.settings import CHECKOUT, Settings

NIGHTS = [f"2022-02-{day:02}" for day in range(1, 6)]
VERSIONS = [version_of(date.fromisoformat(night)) for night in NIGHTS]


# Removes, and is killed at the given removal of a file.
KILLED = """
import os, signal, sys
from pathlib import Path
from retraining.retention import removal
from retraining.settings import Settings
left, unlink = int(sys.argv[1]), Path.unlink
def die(*args, **kwargs):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(*args, **kwargs)
settings = Settings.from_env()
removal.replicas.ask = lambda settings: ()
Path.unlink = die
removal.remove(settings)
"""


def run_night(settings: Settings, night: str, how: str = "scheduled") -> None:
    """Runs a night as Airflow would have on its day; MLMD is told the day afterwards."""
    for node in quick_pipeline.nodes(settings, night):
        info = PipelineInfo(NIGHTLY_DAG, str(settings.pipeline_root), f"{how}__{night}")
        launch(settings, node, pipeline_info=info)
    moment = int(datetime.fromisoformat(f"{night}T05:00:00+00:00").timestamp() * 1000)
    for table in ("execution", "artifact"):
        query(
            settings,
            f"UPDATE {table} SET create_time_since_epoch = {moment}, last_update_time_since_epoch = {moment} "
            f"WHERE create_time_since_epoch > {int(datetime(2023, 1, 1, tzinfo=UTC).timestamp() * 1000)} RETURNING id",
        )


def uris_of(settings: Settings, kind: str) -> list[str]:
    """Where the artifacts of a type are, in the order in which they were made."""
    return [uri for uri, _ in _artifacts(settings, kind)]


def states(settings: Settings, kind: str) -> list[int]:
    """MLMD's numbers for the states of the artifacts of a type, in the order in which they were made."""
    return [state for _, state in _artifacts(settings, kind)]


def _artifacts(settings: Settings, kind: str) -> list[tuple[str, int]]:
    statement = (
        f"SELECT a.uri, a.state FROM artifact a JOIN type t ON t.id = a.type_id AND t.name = '{kind}' ORDER BY a.id"
    )
    return [(uri, state) for uri, state in query(settings, statement)]


@contextmanager
def made(postgres: Server, state_dir: Path) -> Iterator[Settings]:
    """Settings that lead to five nights, each with a push, of which two are kept."""
    with lend_database(postgres, state_dir) as settings:
        settings = settings.model_copy(
            update={
                "keep_artifact_nights": 2,
                "keep_served_versions": 2,
                "airflow_db_password": None,
                "serving_urls": (),
            }
        )
        for night in NIGHTS:
            run_night(settings, night)
        yield settings


@pytest.fixture
def nights(postgres: Server, tmp_path: Path) -> Iterator[Settings]:
    """Five nights of a test's own."""
    with made(postgres, tmp_path / "state") as settings:
        yield settings


@pytest.fixture(scope="module")
def untouched(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Five nights for tests that remove nothing."""
    with made(postgres, tmp_path_factory.mktemp("untouched") / "state") as settings:
        yield settings


def test_what_lineage_and_the_serving_folder_say_is_what_the_rule_decides_by(untouched: Settings) -> None:
    nights = untouched
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


def test_a_dry_run_names_what_would_go_and_changes_nothing(untouched: Settings) -> None:
    nights = untouched
    before = sorted(nights.state_dir.rglob("*"))
    planned = removal.plan(nights)
    gone = {(item.what, item.path.name) for item in planned.items}
    models = [Path(uri).name for uri in uris_of(nights, "Model")]
    assert {name for what, name in gone if what == "Model"} == set(models[:2])
    assert {name for what, name in gone if what == "pushed versions"} == {str(version) for version in VERSIONS[:2]}
    assert {what for what, _ in gone} <= {"Model", "pushed versions", "leftovers"}
    # A model and what was published of it are one file with two names: only both together free anything.
    assert planned.size_bytes > 0
    assert sorted(nights.state_dir.rglob("*")) == before
    assert states(nights, "Model") == [LIVE] * 5


def test_what_was_removed_is_told_by_every_answer_and_nights_go_on(nights: Settings) -> None:
    pushed, served = lineage.pushed_versions(nights), lineage.serving_version(nights)
    before = lineage.nights(nights)
    Path(uris_of(nights, "Model")[0], "of its own").write_bytes(bytes(10_000))
    pruning = removal.remove(nights)
    sizes = [item.size_bytes for item in pruning.items if item.kind == "artifact"]
    # What a pushed version shared with it, that one has freed.
    assert lineage.count_removed(nights) == (len(sizes), sum(sizes)) == (2, sum(sizes))
    assert sum(sizes) >= 10_000
    assert pruning.problems == ()
    assert states(nights, "Model") == [DELETED] * 2 + [LIVE] * 3
    assert states(nights, "PushedModel") == [LIVE] * 5
    there = [Path(uri).exists() for uri in uris_of(nights, "Model")]
    assert there == [False] * 2 + [True] * 3
    assert sorted(path.name for path in nights.serving_dir.iterdir() if path.name != ".push.lock") == [
        str(version) for version in VERSIONS[2:]
    ]
    today = f"removed on {datetime.now(UTC):%Y-%m-%d} by retention"
    assert removals.read(nights.serving_dir) == dict.fromkeys(VERSIONS[:2], today)
    assert (lineage.pushed_versions(nights), lineage.serving_version(nights)) == (pushed, served)
    assert lineage.nights(nights) == before
    assert [model.removal for model in reversed(lineage.models(nights))] == [today] * 2 + [""] * 3
    # Once more there is nothing to do.
    assert [item for item in removal.remove(nights).items if item.kind != "leftover"] == []
    # The next night is compared with the newest, and an old one that is run again takes no number twice; a rollback to
    # a version that is kept works, and one to a removed version says why not.
    run_night(nights, "2022-02-06")
    run_night(nights, NIGHTS[0], "again")
    assert find_versions(nights.serving_dir) == [VERSIONS[0] + 1, *VERSIONS[2:], version_of(date(2022, 2, 6))]
    with pytest.raises(RollbackError, match=f"version {VERSIONS[1]} was {today}"):
        roll_back(nights, "as it was", "ana", VERSIONS[1])
    assert roll_back(nights, "as it was", "ana", VERSIONS[3]).to_version == VERSIONS[3]
    assert removal.remove(nights).problems == ()
    assert rollbacks.find_served(nights.serving_dir) == VERSIONS[3]
    # What kills have left goes when it is a day old; what lineage does not know, and is not empty, is left alone.
    trainer, serving = nights.pipeline_root / "Trainer" / "model", nights.serving_dir
    left = [trainer / "901", nights.pipeline_root / ".temp" / "7" / "x", serving / ".incoming-2022020101"]
    stranger = trainer / "902" / "weights"
    for path in (*left, stranger.parent):
        path.mkdir(parents=True)
    stranger.touch()
    assert not {item.path for item in removal.plan(nights).items} & set(left)
    for path in (*left, left[1].parent, stranger, stranger.parent):
        os.utime(path, (0, 0))
    removal.remove(nights)
    assert not any(path.exists() for path in left)
    assert stranger.exists()
    # A task of a removed night that is cleared says that only the whole night can be run again.
    judge = quick_pipeline.nodes(nights, NIGHTS[1])[2]
    info = PipelineInfo(NIGHTLY_DAG, str(nights.pipeline_root), f"scheduled__{NIGHTS[1]}")
    with pytest.raises(
        AirflowFailException, match=rf"^Model \d+ was {today}.*`retraining run --night {NIGHTS[1]} --force`"
    ):
        launch(nights, judge, pipeline_info=info)


@pytest.mark.parametrize("is_late", [False, True], ids=["before the versions are hidden", "amid the files"])
def test_a_removal_that_is_killed_is_told_and_ended_by_the_next_one(nights: Settings, is_late: bool) -> None:
    environment = os.environ | nights.to_environment() | {"SERVING_URLS": "none"}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "4" if is_late else "1"], env=environment, cwd=CHECKOUT, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    # Whoever asks is told that they are gone, though they lie there.
    assert states(nights, "Model") == [DELETED] * 2 + [LIVE] * 3
    first, second, *_ = [Path(uri) for uri in uris_of(nights, "Model")]
    assert first.exists() or second.exists()
    assert find_versions(nights.serving_dir) == (VERSIONS[2:] if is_late else VERSIONS)
    assert len(list(nights.serving_dir.glob(".removed-*"))) == (2 if is_late else 0)
    [old] = [one for one in lineage.models(nights) if one.night == NIGHTS[0]]
    assert old.removal.endswith("by retention")
    # A day later.
    for path in nights.serving_dir.rglob("*"):
        os.utime(path, (0, 0))
    assert removal.remove(nights).problems == ()
    assert not first.exists() and not second.exists()
    assert find_versions(nights.serving_dir) == VERSIONS[2:]
    assert list(nights.serving_dir.glob(".removed-*")) == []
    assert removal.plan(nights).items == ()


def test_what_a_model_server_may_answer_with_stays_where_it_cannot_be_asked(nights: Settings) -> None:
    dead = nights.model_copy(update={"serving_urls": ("http://127.0.0.1:9",)})
    planned = removal.plan(dead)
    assert [item for item in planned.items if item.kind in ("version", "artifact")] == []
    [note] = planned.notes
    assert "http://127.0.0.1:9" in note and "SERVING_URLS" in note


def test_nothing_can_be_removed_while_a_node_records_what_it_takes(
    nights: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, seen = HeadlineLauncher._begin, []

    def look(*arguments: object) -> None:
        statement = f"SELECT pg_try_advisory_lock(hashtextextended('{RETENTION_LOCK}', 0))"
        seen.extend(is_free for (is_free,) in query(nights, statement))
        begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(HeadlineLauncher, "_begin", look)
    run_night(nights, "2022-02-06")
    assert seen == [False] * 4
    # Two nodes at once do not wait for each other, but both for a removal.
    config = connection_config(nights)
    with lock(config, RETENTION_LOCK, is_shared=True), lock(config, RETENTION_LOCK, is_shared=True):
        pass
