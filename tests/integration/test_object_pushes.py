"""Pushed versions on object storage, on real servers: whole or not there, whatever happens at whatever step."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from launching import launch_all
from quick_pipeline import nodes as quick_nodes
from tfx.orchestration.pipeline import Pipeline
from tiny_model import save_tiny_model

import lineage
from headlines.objects.addresses import fetch, is_object
from headlines.objects.buckets import GoogleBucket, S3Bucket
from headlines.objects.paths import ObjectPath
from headlines.pushes import object_versions, removals, rollbacks
from headlines.pushes.model_hash import hash_model
from headlines.pushes.publishing import PushError, publish
from headlines.pushes.versions import find_versions, kept_in
from retraining.local import model_server
from retraining.recording.advisory_locks import hold_patiently, hold_pushes, lend_lock
from retraining.recording.rollback import RollbackError, roll_back
from retraining.recording.store import StoreError, connection_config
from retraining.retention import removal
from retraining.retention.removal import plan, remove, remove_files
from retraining.settings import CHECKOUT, Settings

NIGHT, NEXT = date(2022, 2, 5), date(2022, 2, 6)


class KilledError(BaseException):
    """What ends a process at once, so that nothing of it is handled."""


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def other_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("other"), sure=1.0)


@pytest.fixture
def served(settings: Settings, bucket: ObjectPath) -> Iterator[Settings]:
    """Settings whose serving directory is on object storage, and the lock that a node is lent."""
    settings = settings.model_copy(update={"serving_dir": bucket / "serving" / "headlines"})
    with lend_lock(connection_config(settings)):
        yield settings


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Kills the process, as far as it can see, before or behind a change of the bucket, which it counts."""
    plan: dict[str, object] = {"step": 0, "behind": False, "done": 0}

    def watch(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def watching(self: object, key: str, *args: object, **kwargs: object) -> None:
            plan["done"] = int(str(plan["done"])) + 1
            is_now = plan["done"] == plan["step"]
            if is_now and not plan["behind"]:
                raise KilledError
            real(self, key, *args, **kwargs)
            if is_now:
                raise KilledError

        monkeypatch.setattr(kind, name, watching)

    for kind in (S3Bucket, GoogleBucket):
        for name in ("write", "upload", "delete"):
            watch(kind, name)
    yield plan


def hash_version(serving_dir: Path, version: int) -> str:
    with fetch(serving_dir / str(version)) as folder:
        return hash_model(folder)


def test_a_version_is_the_model_and_what_goes_with_it(served: Settings, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index/rows.json").write_text("[]")
    publication = publish(model_path, served.serving_dir, NIGHT, "", {"model_id": 7}, tmp_path / "index")
    assert publication.path == served.serving_dir / "2022020501"
    assert find_versions(served.serving_dir) == [2022020501] and rollbacks.find_served(served.serving_dir)
    with fetch(publication.path) as folder:
        assert hash_model(folder) == hash_model(model_path)
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert '"model_id": 7' in (folder / "assets.extra/model.json").read_text()
    own = {str(path.relative_to(model_path)) for path in model_path.rglob("*") if path.is_file()}
    assert files == own | {"assets.extra/model.json", "assets.extra/related/rows.json"}


def test_the_same_model_again_is_kept_and_another_is_the_next_revision(
    served: Settings, model_path: Path, other_path: Path
) -> None:
    publish(model_path, served.serving_dir, NIGHT)
    assert publish(model_path, served.serving_dir, NIGHT).reason.startswith("kept 2022020501")
    assert publish(other_path, served.serving_dir, NIGHT).version == 2022020502
    assert find_versions(served.serving_dir) == [2022020501, 2022020502]


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_a_push_that_is_killed_at_any_step_leaves_nothing_half_and_the_next_one_succeeds(
    served: Settings, model_path: Path, other_path: Path, fail_at: dict[str, object], behind: bool
) -> None:
    publish(model_path, served.serving_dir, NIGHT)
    fail_at.update(done=0)
    publish(other_path, served.serving_dir, date(2022, 3, 1), "2022020501")
    steps = int(str(fail_at["done"]))
    assert steps > 4
    whole = hash_model(other_path)
    before = find_versions(served.serving_dir)
    for step in range(1, steps + 1):
        night = date(2022, 3, 1 + step)
        expected = int(f"{night:%Y%m%d}01")
        fail_at.update(done=0, step=step, behind=behind)
        with pytest.raises(KilledError):
            publish(other_path, served.serving_dir, night, str(before[-1]))
        fail_at.update(step=0)
        # The marker is the last step: behind it the version is there, and it is whole.
        is_there = behind and step == steps
        assert find_versions(served.serving_dir) == before + ([expected] if is_there else [])
        assert rollbacks.find_served(served.serving_dir) == (expected if is_there else before[-1])
        publication = publish(other_path, served.serving_dir, night, str(before[-1]))
        # The number is used again: nobody has seen it.
        assert publication.version == expected
        assert publication.reason.startswith("kept" if is_there else "pushed as")
        assert hash_version(served.serving_dir, expected) == whole
        before.append(expected)
    assert object_versions.find_left(served.serving_dir) == {}


def test_a_version_whose_removal_is_killed_is_out_at_once_and_never_half(
    served: Settings, model_path: Path, other_path: Path, fail_at: dict[str, object]
) -> None:
    publish(model_path, served.serving_dir, NIGHT)
    publish(other_path, served.serving_dir, NEXT, "2022020501")
    publish(model_path, served.serving_dir, date(2022, 2, 7), "2022020601")
    for version, behind in ((2022020501, False), (2022020601, True)):
        # The first step remembers that it is gone, the second takes it away.
        fail_at.update(done=0, step=2, behind=behind)
        with kept_in(served.serving_dir).hold(served.serving_dir), pytest.raises(KilledError):
            removals.hide(served.serving_dir, [version], datetime(2023, 5, 1, tzinfo=UTC), "retention")
        fail_at.update(step=0)
        assert (version in find_versions(served.serving_dir)) is not behind
        assert removals.read(served.serving_dir)[version] == "removed on 2023-05-01 by retention"
    assert list(object_versions.find_left(served.serving_dir)) == [served.serving_dir / "2022020601"]
    with kept_in(served.serving_dir).hold(served.serving_dir):
        hidden = removals.hide(served.serving_dir, [2022020501], datetime(2023, 5, 1, tzinfo=UTC), "retention")
    remove_files(hidden[2022020501])
    assert not (served.serving_dir / "2022020501").exists()
    # A number that was seen is never given again.
    assert publish(other_path, served.serving_dir, NIGHT).version == 2022020502
    assert object_versions.find_left(served.serving_dir) == {}


def test_two_pushes_at_once_are_two_versions(served: Settings, model_path: Path, other_path: Path) -> None:
    made: list[int] = []

    def push(path: Path) -> None:
        with lend_lock(connection_config(served)):
            made.append(publish(path, served.serving_dir, NIGHT).version)

    threads = [threading.Thread(target=push, args=[path]) for path in (model_path, other_path)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [2022020501, 2022020502] == find_versions(served.serving_dir)
    hashes = {hash_version(served.serving_dir, version) for version in made}
    assert hashes == {hash_model(model_path), hash_model(other_path)}


def test_a_marker_that_another_has_made_meanwhile_is_not_replaced(
    served: Settings, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = served.serving_dir / "2022020501" / "saved_model.pb"
    upload = object_versions.upload

    def be_overtaken(source: Path, place: Path) -> None:
        upload(source, place)
        marker.write_bytes(b"another's")

    monkeypatch.setattr(object_versions, "upload", be_overtaken)
    with pytest.raises(PushError, match=r"could not be published in .*File exists.*; correct SERVING_DIR"):
        publish(model_path, served.serving_dir, NIGHT)
    assert marker.read_bytes() == b"another's"


def test_a_push_that_has_lost_its_lock_makes_no_version(
    served: Settings, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_locks(served, monkeypatch, object_versions, "upload")
    with pytest.raises(StoreError, match="has been lost"):
        publish(model_path, served.serving_dir, NIGHT)
    assert find_versions(served.serving_dir) == []


def lose_locks(served: Settings, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    """Takes all locks away, as a database does that has gone away and come back, when a function has been called."""
    real = getattr(module, name)

    def call(*args: object, **kwargs: object) -> object:
        result = real(*args, **kwargs)
        with psycopg2.connect(**served.mlmd.arguments) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
            )
        return result

    monkeypatch.setattr(module, name, call)


def test_a_place_is_held_by_one_at_a_time(served: Settings) -> None:
    config, order = connection_config(served), list[str]()
    with ExitStack() as first:
        first.enter_context(hold_pushes(served))

        def wait() -> None:
            with hold_patiently(config, f"place {served.serving_dir}"):
                order.append("second")

        second = threading.Thread(target=wait)
        second.start()
        second.join(1.5)
        order.append("first")
    second.join()
    assert order == ["first", "second"]


def test_nights_are_pushed_rolled_back_and_known_to_lineage(served: Settings) -> None:
    for night in ("2022-02-01", "2022-02-02"):
        pipeline = Pipeline("headline_retraining", str(served.pipeline_root), components=quick_nodes(served, night))
        launch_all(served, pipeline, run=f"run-{night}")
    assert find_versions(served.serving_dir) == [2022020101, 2022020201]
    assert sorted(version for model in lineage.models(served) for version in model.versions) == [2022020101, 2022020201]
    rollback = roll_back(served, "it answers worse", "ana")
    assert (rollback.from_version, rollback.to_version) == (2022020201, 2022020101)
    assert rollbacks.find_served(served.serving_dir) == 2022020101
    policy = (served.serving_dir.parent / "models.config").read_text()
    assert f'base_path: "{served.serving_dir}"' in policy and "versions: 2022020101" in policy
    with pytest.raises(RollbackError, match="serves already"):
        roll_back(served, "again", "ana", 2022020101)


def test_who_has_lost_the_lock_meanwhile_neither_rolls_back_nor_removes(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for night in ("2022-02-01", "2022-02-02", "2022-02-03"):
        pipeline = Pipeline("headline_retraining", str(served.pipeline_root), components=quick_nodes(served, night))
        launch_all(served, pipeline, run=f"run-{night}")
    versions = find_versions(served.serving_dir)
    kept = served.model_copy(update={"keep_versions": 1, "serving_urls": ()})
    with monkeypatch.context() as context:
        lose_locks(served, context, removal, "plan_versions")
        with pytest.raises(StoreError, match="has been lost"):
            remove(kept, datetime.now(UTC))
    assert find_versions(served.serving_dir) == versions
    with monkeypatch.context() as context:
        lose_locks(served, context, rollbacks, "find_served")
        with pytest.raises(StoreError, match="has been lost"):
            roll_back(served, "it answers worse", "ana")
    assert rollbacks.read(served.serving_dir) == []
    assert roll_back(served, "it answers worse", "ana").to_version == versions[-2]


def test_a_start_leaves_what_a_rollback_of_the_same_moment_has_told_the_model_servers(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = rollbacks._read_config

    def be_overtaken(serving_dir: Path) -> object:
        config = read(serving_dir)
        monkeypatch.setattr(rollbacks, "_read_config", read)
        rollbacks.write_policy(serving_dir, 2022020101)
        return config

    monkeypatch.setattr(rollbacks, "_read_config", be_overtaken)
    model_server.write_policy(served)
    assert "versions: 2022020101" in (served.serving_dir.parent / "models.config").read_text()


def test_what_killed_pushes_have_left_is_removed_by_retention_after_a_day_and_nothing_else(
    served: Settings, bucket: ObjectPath
) -> None:
    stored = served.model_copy(update={"pipeline_root": bucket / "pipelines", "serving_urls": ()})
    nodes = quick_nodes(stored, "2022-02-01")
    launch_all(stored, Pipeline("headline_retraining", str(stored.pipeline_root), components=nodes))
    left = stored.serving_dir / "2022020901"
    (left / "variables" / "data").write_bytes(b"half")
    (stored.pipeline_root / ".temp" / "9" / "x").write_bytes(b"half")
    now = datetime.now(UTC)
    assert [item for item in plan(stored, now).items if is_object(item.path)] == []
    later = now + timedelta(days=2)
    planned = {str(item.path): item.size_bytes for item in plan(stored, later).items if is_object(item.path)}
    assert planned == {str(left): 512, f"{stored.pipeline_root}/.temp/9": 512}
    removed = remove(stored, later)
    assert removed.problems == () and not left.exists() and not (stored.pipeline_root / ".temp").exists()
    assert find_versions(stored.serving_dir) == [2022020101]
    assert (stored.pipeline_root / "Trainer").is_dir()


def test_who_looks_which_versions_there_are_loads_nothing_heavy(served: Settings) -> None:
    (served.serving_dir / "2022020101" / "saved_model.pb").touch()
    code = (
        "import sys; from headlines.objects.addresses import to_path; from headlines.pushes.object_versions import *; "
        f"print(find_versions(to_path({str(served.serving_dir)!r})), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True, cwd=CHECKOUT
    )
    assert done.stdout == "[2022020101] False\n"
