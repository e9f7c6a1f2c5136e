"""Artifacts on object storage, on real servers and a real Postgres: components work on copies, and a copy is whole."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from airflow.exceptions import AirflowFailException
from launching import Make, Use, behaviour, launch, launch_all
from ml_metadata.proto.metadata_store_pb2 import Artifact, Execution
from quick_pipeline import nodes as quick_nodes
from tfx.orchestration.pipeline import Pipeline

import lineage
from headlines.errors import HeadlinesError
from headlines.names import STAGING
from headlines.objects.buckets import GoogleBucket, S3Bucket
from headlines.objects.paths import ObjectPath
from headlines.pushes.versions import find_versions
from retraining.recording.store import connection_config, open_store
from retraining.retention.plan import Sizes, find_own_folder
from retraining.retention.removal import remove_files
from retraining.settings import Settings, SettingsError


@pytest.fixture
def stored(
    settings: Settings, bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings whose artifacts are on object storage; behind the test no copy of one may be left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    yield settings.model_copy(update={"pipeline_root": bucket / "pipelines"})
    behaviour.clear()
    assert list((tmp_path / "tmp").glob(f"{STAGING}*")) == []


def read_artifacts(settings: Settings, kind: str) -> list[Artifact]:
    return list(open_store(connection_config(settings)).get_artifacts_by_type(kind))


def read_states(settings: Settings) -> list[int]:
    executions = open_store(connection_config(settings)).get_executions()
    return [one.last_known_state for one in sorted(executions, key=lambda one: int(one.id))]


def run_night(settings: Settings, night: str) -> None:
    nodes = quick_nodes(settings, night)
    launch_all(settings, Pipeline("headline_retraining", str(settings.pipeline_root), components=nodes), f"run-{night}")


def test_a_component_writes_and_the_next_one_reads_as_from_a_folder(stored: Settings) -> None:
    seen: list[str] = []

    def look(folder: Path) -> None:
        seen.append(str(folder))
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"weights")

    behaviour["make"] = look
    make = Make()
    launch(stored, make)
    launch(stored, Use(model=make.outputs["model"]))
    [model] = read_artifacts(stored, "Model")
    assert model.uri == f"{stored.pipeline_root}/Make/model/1" and model.state == Artifact.LIVE
    assert (stored.pipeline_root / "Make/model/1/flavour").read_text() == "vanilla"
    assert (stored.pipeline_root / "Make/model/1/variables/data").read_bytes() == b"weights"
    assert seen and Path(seen[0]).is_relative_to(tempfile.gettempdir())
    # What a component says of places is said of those that are recorded: its own, not its input's.
    [push] = read_artifacts(stored, "PushedModel")
    assert read_states(stored) == [Execution.COMPLETE, Execution.COMPLETE]
    assert push.custom_properties["used"].string_value == model.uri
    assert not os.path.lexists(f"{stored.pipeline_root.parts[0]}:")


def test_a_component_that_fails_leaves_nothing(stored: Settings) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise HeadlinesError(f"{folder}/half is no model")

    behaviour["make"] = fail
    with pytest.raises(AirflowFailException) as caught:
        launch(stored, Make())
    assert f"{stored.pipeline_root}/Make/model/1/half is no model" in str(caught.value)
    assert read_states(stored) == [Execution.FAILED]
    assert not stored.pipeline_root.exists()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_copy_that_fails_at_any_file_fails_the_task_and_leaves_nothing(
    stored: Settings, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def fail_once(real: Callable[..., None]) -> Callable[..., None]:
        def upload(self: object, key: str, *args: object) -> None:
            nonlocal done
            done += 1
            if done == step:
                raise OSError(5, "the network is down", key)
            real(self, key, *args)

        return upload

    for kind in (S3Bucket, GoogleBucket):
        monkeypatch.setattr(kind, "upload", fail_once(kind.upload))
    behaviour["make"] = lambda folder: [(folder / name).touch() for name in "ab"]
    with pytest.raises(OSError, match="the network is down"):
        launch(stored, Make())
    assert read_states(stored) == [Execution.FAILED]
    assert not stored.pipeline_root.exists()
    launch(stored, Make())
    assert read_states(stored) == [Execution.FAILED, Execution.COMPLETE]
    assert sorted(path.name for path in stored.pipeline_root.rglob("*") if path.is_file()) == ["a", "b", "flavour"]


def test_a_cached_result_is_taken_from_there(stored: Settings) -> None:
    launch(stored, Make(), cache=True)
    launch(stored, Make(), "run-2", cache=True)
    assert read_states(stored) == [Execution.COMPLETE, Execution.CACHED]


def test_two_nights_with_every_place_on_object_storage(stored: Settings, bucket: ObjectPath) -> None:
    everywhere = stored.model_copy(
        update={"serving_dir": bucket / "serving" / "headlines", "drops_dir": bucket / "drops"}
    )
    for night in ("2022-02-01", "2022-02-02"):
        nodes = quick_nodes(everywhere, night)
        launch_all(
            everywhere, Pipeline("headline_retraining", str(stored.pipeline_root), components=nodes), f"run-{night}"
        )
    assert find_versions(everywhere.serving_dir) == [2022020101, 2022020201]
    reign = lineage.champion_as_of(everywhere, "2022-02-03")
    assert reign is not None and reign.version == 2022020201
    # A champion whose Trainer's folder is gone is taken from the serving directory.
    for model in read_artifacts(stored, "Model"):
        remove_files(find_own_folder(model.uri, stored.pipeline_root) or Path())
    run_night(everywhere, "2022-02-03")
    assert find_versions(everywhere.serving_dir)[-1] == 2022020301


def test_the_files_of_an_artifact_are_measured_and_removed_there(stored: Settings) -> None:
    behaviour["make"] = lambda folder: (folder / "large").write_bytes(b"x" * 4096)
    launch(stored, Make())
    [model] = read_artifacts(stored, "Model")
    folder = find_own_folder(model.uri, stored.pipeline_root)
    assert folder is not None
    assert Sizes().measure(folder, ["flavour"]) == 4096
    remove_files(folder, ["flavour"])
    assert [path.name for path in folder.iterdir()] == ["flavour"]
    remove_files(folder)
    assert not folder.exists()


def test_an_engine_elsewhere_is_refused_by_name(bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ROOT", f"{bucket}/pipelines")
    assert Settings.from_env().pipeline_root == bucket / "pipelines"
    with monkeypatch.context() as by_args:
        by_args.setenv("BEAM", "args")
        by_args.setenv("BEAM_RUNNER_ARGS", "--runner=FlinkRunner --flink_master=localhost:8081")
        with pytest.raises(SettingsError, match=r"BEAM_RUNNER_ARGS.*FlinkRunner works in processes that read folders"):
            Settings.from_env()
    monkeypatch.setenv("BEAM", "flink")
    monkeypatch.setenv("FLINK_MASTER", "localhost:8081")
    with pytest.raises(SettingsError, match=r"BEAM.*flink works in processes that read folders, and PIPELINE_ROOT"):
        Settings.from_env()
    monkeypatch.delenv("PIPELINE_ROOT")
    monkeypatch.setenv("DROPS_DIR", f"{bucket}/drops")
    with pytest.raises(SettingsError, match=r"BEAM.*flink works in processes that read folders, and DROPS_DIR"):
        Settings.from_env()
