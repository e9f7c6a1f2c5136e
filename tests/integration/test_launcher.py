"""Retries, clears, crashes and outages: what each leaves in MLMD and on disk."""

import contextlib
import errno
import logging
import os
import random
import signal
import socket
import string
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import launching
import pytest
import tensorflow as tf
from airflow.exceptions import AirflowFailException
from launching import Make, Split, Use, launch, pipeline
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, ConnectionConfig, Event, Execution
from postgres_server import Server, query
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.container_component import create_container_component
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.dsl.control_flow.for_each import ForEach
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.dsl.experimental.node_execution_options.utils import NodeExecutionOptions
from tfx.dsl.input_resolution.canned_resolver_functions import latest_created
from tfx.dsl.placeholder.placeholder import runtime_info
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.decorators import FinalStatusStr
from tfx.orchestration.pipeline import ExecutionMode, Pipeline
from tfx.types import Channel, ComponentSpec
from tfx.types.channel_utils import union
from tfx.types.component_spec import ChannelParameter
from tfx.types.standard_artifacts import Integer, Model, Schema

from headlines import disk
from headlines.drops.drops_folder import DropError, UnreachableDropError
from headlines.errors import HeadlinesError
from lineage import execution_detail
from retraining.recording.attempts import in_one_line
from retraining.recording.launcher import DiskFullError, UnsupportedPipelineError, refuse_what_airflow_ignores
from retraining.recording.removals import mark
from retraining.recording.settling import settle_dead_executions
from retraining.recording.store import StoreError, connection_config
from retraining.settings import Settings


@pytest.fixture(autouse=True)
def well_behaved() -> Iterator[None]:
    yield
    launching.behaviour.clear()


def fail(directory: Path) -> None:
    raise ValueError("no rain,\nno wine")


def store_of(settings: Settings) -> MetadataStore:
    return MetadataStore(connection_config(settings))


def executions(settings: Settings) -> list[Execution]:
    return sorted(store_of(settings).get_executions(), key=lambda execution: execution.id)


def outputs(settings: Settings, execution: Execution) -> list[Artifact]:
    store = store_of(settings)
    events = store.get_events_by_execution_ids([execution.id])
    return store.get_artifacts_by_id([event.artifact_id for event in events if event.type == Event.OUTPUT])


def states(settings: Settings) -> list[str]:
    """The states of all executions, oldest first; of one that is superseded, with a star."""
    return [
        Execution.State.Name(execution.last_known_state) + "*" * ("superseded_by" in execution.custom_properties)
        for execution in executions(settings)
    ]


def in_a_process_that_is_killed(settings: Settings, node: Make) -> int:
    """Launches `node` in a child that dies by SIGKILL in mid-execution; its pid."""
    launching.behaviour["make"] = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if not pid:
        launch(settings, node)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    launching.behaviour.clear()
    return pid


def test_a_failed_attempt_is_recorded_with_its_error_and_takes_its_outputs_back(settings: Settings) -> None:
    launching.behaviour["make"] = fail
    with pytest.raises(ValueError, match="no rain"):
        launch(settings, Make())
    [execution] = executions(settings)
    assert execution.last_known_state == Execution.FAILED
    assert execution.properties["state"].string_value == "failed"
    assert execution.custom_properties["error"].string_value == "ValueError: no rain, no wine"
    assert execution.custom_properties["pid"].int_value == os.getpid()
    [model] = outputs(settings, execution)
    assert model.state == Artifact.ABANDONED
    assert f"/Make/model/{execution.id}" in model.uri
    assert not Path(model.uri).exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "weights"),
        # TensorFlow's own file system has no errno.
        tf.errors.ResourceExhaustedError(None, None, "weights; No space left on device"),
    ],
    ids=["disk", "quota", "tensorflow"],
)
def test_a_full_disk_is_told_with_what_to_do(settings: Settings, error: Exception) -> None:
    def fill(directory: Path) -> None:
        raise error

    launching.behaviour["make"] = fill
    with pytest.raises(
        DiskFullError, match=r"Make found no space left .*weights.* the disk at /.*clear this task"
    ) as told:
        launch(settings, Make())
    assert told.value.__cause__ is error
    assert f"{disk.find_disk(settings.pipeline_root).name}, of which " in str(told.value)
    [failed] = executions(settings)
    assert "Make found no space left on a disk" in failed.custom_properties["error"].string_value
    assert [Path(artifact.uri).exists() for artifact in outputs(settings, failed)] == [False]


def test_what_stays_wrong_is_not_tried_again_and_is_told_without_a_class_name(settings: Settings) -> None:
    def refuse(error: HeadlinesError) -> Callable[[Path], object]:
        def make(directory: Path) -> None:
            raise error

        return make

    launching.behaviour["make"] = refuse(DropError("the file is empty;\ndeliver it again"))
    with pytest.raises(AirflowFailException, match=r"^the file is empty;\ndeliver it again$"):
        launch(settings, Make())
    # The disk may answer the next time.
    launching.behaviour["make"] = refuse(UnreachableDropError("the disk does not answer"))
    with pytest.raises(UnreachableDropError):
        launch(settings, Make())
    errors = [execution.custom_properties["error"].string_value for execution in executions(settings)]
    assert errors == ["the file is empty; deliver it again", "the disk does not answer"]


def test_a_retry_after_a_failure_succeeds_beside_the_failed_record(settings: Settings) -> None:
    make = Make()
    launching.behaviour["make"] = fail
    for _ in range(2):
        with pytest.raises(ValueError, match="no rain"):
            launch(settings, make)
    launching.behaviour.clear()
    launch(settings, make)
    assert states(settings) == ["FAILED*", "FAILED*", "COMPLETE"]
    assert [e.custom_properties["attempt"].int_value for e in executions(settings)] == [1, 2, 3]
    assert [e.custom_properties["error"].string_value for e in executions(settings)[:2]] == [
        "ValueError: no rain, no wine"
    ] * 2
    [model] = outputs(settings, executions(settings)[2])
    assert model.state == Artifact.LIVE
    assert (Path(model.uri) / "flavour").read_text() == "vanilla"


def test_after_a_clear_downstream_takes_the_new_output_and_the_old_one_stays(settings: Settings) -> None:
    make = Make()
    use = Use(model=make.outputs["model"])
    launch(settings, make)
    launch(settings, use)
    launch(settings, make)
    launch(settings, use)
    assert states(settings) == ["COMPLETE*", "COMPLETE*", "COMPLETE", "COMPLETE"]
    first, used_first, second, used_second = executions(settings)
    assert first.custom_properties["superseded_by"].int_value == second.id
    [old], [new] = outputs(settings, first), outputs(settings, second)
    assert old.state == new.state == Artifact.LIVE
    assert (Path(old.uri) / "flavour").exists()
    for execution, model in ((used_first, old), (used_second, new)):
        assert outputs(settings, execution)[0].custom_properties["used"].string_value == model.uri


def test_a_clear_that_then_fails_leaves_the_old_output_but_nothing_to_go_on_with(settings: Settings) -> None:
    make = Make()
    use = Use(model=make.outputs["model"])
    launch(settings, make)
    launching.behaviour["make"] = fail
    with pytest.raises(ValueError, match="no rain"):
        launch(settings, make)
    with pytest.raises(
        AirflowFailException, match=r"no finished Make .*run-1.*FAILED ValueError: no rain, no wine; clear its task"
    ):
        launch(settings, use)
    assert states(settings) == ["COMPLETE*", "FAILED", "FAILED"]
    [old] = outputs(settings, executions(settings)[0])
    assert old.state == Artifact.LIVE
    assert Path(old.uri).exists()


def test_an_attempt_without_its_input_is_recorded_too(settings: Settings) -> None:
    use = Use(model=Make().outputs["model"])
    with pytest.raises(AirflowFailException, match=r"no finished Make .* it was never started"):
        launch(settings, use)
    [execution] = executions(settings)
    assert execution.last_known_state == Execution.FAILED
    assert "no finished Make" in execution.custom_properties["error"].string_value


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_is_no_exception_is_recorded_as_well(settings: Settings, error: BaseException) -> None:
    def stop(directory: Path) -> None:
        raise error

    launching.behaviour["make"] = stop
    with pytest.raises(type(error)):
        launch(settings, Make())
    assert states(settings) == ["FAILED"]


def test_an_importer_is_cleared_without_harm_to_what_it_imported(settings: Settings, tmp_path: Path) -> None:
    schema = tmp_path / "schema" / "1"
    schema.mkdir(parents=True)
    importer = Importer(source_uri=str(schema), artifact_type=Schema, output_key="schema").with_id("Import")
    for _ in range(3):
        launch(settings, importer)
    assert states(settings) == ["CACHED*", "CACHED*", "CACHED"]
    artifacts = [outputs(settings, execution) for execution in executions(settings)]
    assert artifacts[0] == artifacts[1] == artifacts[2]
    assert artifacts[0][0].uri == str(schema)
    assert schema.exists()


class OldestModel(ResolverStrategy):  # type: ignore[misc]
    """Resolves to the first model ever made; fails when it is told to."""

    def __init__(self, failing: str) -> None:
        self.failing = Path(failing)

    def resolve_artifacts(self, store: Any, input_dict: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if self.failing.exists():
            raise LookupError("no champion")
        return {key: sorted(artifacts, key=lambda a: a.id)[:1] for key, artifacts in input_dict.items()}


def test_a_resolver_is_retried_and_cleared_without_harm_to_what_it_resolved(settings: Settings, tmp_path: Path) -> None:
    make = Make()
    launch(settings, make, "run-0")
    failing = tmp_path / "failing"
    resolver = Resolver(
        strategy_class=OldestModel,
        config={"failing": str(failing)},
        model=Channel(type=Model, producer_component_id="Make", output_key="model"),
    ).with_id("Champion")
    use = Use(model=resolver.outputs["model"])
    failing.touch()
    with pytest.raises(LookupError, match="no champion"):
        launch(settings, resolver)
    failing.unlink()
    launch(settings, resolver)
    launch(settings, resolver)
    launch(settings, use)
    assert states(settings) == ["COMPLETE", "FAILED*", "CACHED*", "CACHED", "COMPLETE"]
    made, _, _, resolved, used = executions(settings)
    [model] = outputs(settings, made)
    assert outputs(settings, resolved) == [model]
    assert model.state == Artifact.LIVE
    assert outputs(settings, used)[0].custom_properties["used"].string_value == model.uri


def test_a_resolver_that_finds_nothing_gives_nothing(settings: Settings) -> None:
    resolver = Resolver(model=Channel(type=Model, producer_component_id="Make", output_key="model")).with_id("Champion")
    launch(settings, resolver)
    decision = launch(settings, Count(models=resolver.outputs["model"]))
    assert decision.output_dict["result"][0].get_string_custom_property("inputs") == "0"


def test_the_cache_answers_in_another_run_and_its_record_can_be_cleared(settings: Settings) -> None:
    split = Split()
    launch(settings, split, "run-1", cache=True)
    for _ in range(2):
        cached = launch(settings, split, "run-2", cache=True)
    assert states(settings) == ["COMPLETE", "CACHED*", "CACHED"]
    original = {artifact.id: artifact for artifact in outputs(settings, executions(settings)[0])}
    for key, [artifact] in cached.output_dict.items():
        assert f"/Split/{key}/" in artifact.uri
        assert original[artifact.id].state == Artifact.LIVE
        assert (Path(artifact.uri) / "data").exists()


def test_the_cache_never_answers_with_what_was_cleared(settings: Settings) -> None:
    make = Make(flavour=r"C:\mint")
    launch(settings, make, cache=True)
    launch(settings, make, cache=True)
    assert states(settings) == ["COMPLETE*", "COMPLETE"]
    launch(settings, make, "run-2", cache=True)
    assert states(settings) == ["COMPLETE*", "COMPLETE", "CACHED"]
    assert outputs(settings, executions(settings)[1]) == outputs(settings, executions(settings)[2])


def test_the_cache_does_not_answer_with_what_was_removed_though_a_small_file_of_it_is_left(settings: Settings) -> None:
    make = Make()
    first = launch(settings, make, cache=True).output_dict["model"][0]
    assert launch(settings, make, "run-2", cache=True).output_dict["model"][0].id == first.id
    mark(MetadataStore(connection_config(settings)), [first.id], datetime(2023, 5, 1, tzinfo=UTC), "retention")
    again = launch(settings, make, "run-3", cache=True).output_dict["model"][0]
    assert again.uri != first.uri
    assert (Path(again.uri) / "flavour").is_file()


def test_how_long_an_attempt_took_is_what_it_recorded_itself(settings: Settings) -> None:
    make = Make()

    def work(_: object) -> None:
        time.sleep(0.5)

    def fail(_: object) -> None:
        time.sleep(0.5)
        raise OSError("the network is down")

    for behaviour in (fail, work, work):
        launching.behaviour["make"] = behaviour
        with contextlib.suppress(OSError):
            launch(settings, make)
    failed, superseded, counting = (execution_detail(settings, one.id).execution for one in executions(settings))
    assert [one.state for one in (failed, superseded, counting)] == ["failed", "complete", "complete"]
    for one in (failed, superseded, counting):
        assert one.seconds is not None and one.seconds > 0.5, one
    # Long before the attempt after it wrote to its record.
    assert failed.ended_at and superseded.ended_at
    assert failed.ended_at <= superseded.started_at and superseded.ended_at <= counting.started_at


def test_nobody_knows_when_an_attempt_ended_that_was_killed(settings: Settings) -> None:
    in_a_process_that_is_killed(settings, Make())
    settle_dead_executions(settings)
    [killed] = executions(settings)
    assert execution_detail(settings, killed.id).execution.seconds is None
    launch(settings, Make())
    assert execution_detail(settings, killed.id).execution.seconds is None


def test_the_next_attempt_settles_one_that_was_killed(settings: Settings) -> None:
    make = Make()
    pid = in_a_process_that_is_killed(settings, make)
    [killed] = executions(settings)
    assert killed.last_known_state == Execution.RUNNING
    [model] = outputs(settings, killed)
    assert Path(model.uri).exists()
    launch(settings, make)
    assert states(settings) == ["FAILED*", "COMPLETE"]
    error = executions(settings)[0].custom_properties["error"].string_value
    assert f"process {pid} on " in error
    assert error.endswith(" died when attempt 2 started")
    assert outputs(settings, killed)[0].state == Artifact.ABANDONED
    assert not Path(model.uri).exists()


def test_the_next_attempt_settles_one_whose_process_is_not_known(settings: Settings) -> None:
    make = Make()
    in_a_process_that_is_killed(settings, make)
    store, [killed] = store_of(settings), executions(settings)
    killed.custom_properties.clear()
    store.put_executions([killed])
    launch(settings, make)
    assert states(settings) == ["FAILED*", "COMPLETE"]
    error = executions(settings)[0].custom_properties["error"].string_value
    assert error == "an unknown process had not ended when attempt 2 started"


def test_the_sweep_at_a_start_settles_one_that_was_killed(settings: Settings) -> None:
    pid = in_a_process_that_is_killed(settings, Make())
    [killed] = executions(settings)
    [sentence] = settle_dead_executions(settings)
    assert f"execution {killed.id} (Make in run run-1) is FAILED: process {pid} on " in sentence
    assert states(settings) == ["FAILED"]
    [model] = outputs(settings, killed)
    assert model.state == Artifact.ABANDONED
    assert not Path(model.uri).exists()
    assert settle_dead_executions(settings) == []


def test_the_sweep_leaves_what_is_running_alone(settings: Settings) -> None:
    swept = []
    launching.behaviour["make"] = lambda _: swept.append(settle_dead_executions(settings))
    launch(settings, Make())
    assert swept == [[]]
    assert states(settings) == ["COMPLETE"]


def test_the_sweep_looks_again_at_one_that_ends_while_it_looks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_process_that_is_killed(settings, Make())

    def end_well(config: ConnectionConfig, execution: Execution) -> bool:
        ended = Execution()
        ended.CopyFrom(execution)
        ended.last_known_state = Execution.COMPLETE
        store_of(settings).put_executions([ended])
        return False

    monkeypatch.setattr("retraining.recording.settling.is_at_work", end_well)
    assert settle_dead_executions(settings) == []
    assert states(settings) == ["COMPLETE"]


def test_the_sweep_knows_a_pid_that_was_given_to_another_process(settings: Settings) -> None:
    in_a_process_that_is_killed(settings, Make())
    store, [killed] = store_of(settings), executions(settings)
    killed.custom_properties["pid"].int_value = os.getpid()
    store.put_executions([killed])
    assert len(settle_dead_executions(settings)) == 1


def test_the_sweep_settles_at_once_what_was_killed_on_another_host(settings: Settings) -> None:
    in_a_process_that_is_killed(settings, Make())
    store, [killed] = store_of(settings), executions(settings)
    killed.custom_properties["host"].string_value = "a container that is gone"
    store.put_executions([killed])
    [sentence] = settle_dead_executions(settings)
    assert sentence.endswith(" on a container that is gone died")


def test_the_sweep_leaves_alone_what_runs_on_another_host_however_it_is_called(settings: Settings) -> None:
    swept = []

    def sweep_from_elsewhere(_: object) -> None:
        store, [running] = store_of(settings), executions(settings)
        for host, pid in (("elsewhere", 1), (socket.gethostname(), 2**22 + 1)):
            running.custom_properties["host"].string_value = host
            running.custom_properties["pid"].int_value = pid
            store.put_executions([running])
            swept.append(settle_dead_executions(settings))

    launching.behaviour["make"] = sweep_from_elsewhere
    launch(settings, Make())
    assert swept == [[], []]
    assert states(settings) == ["COMPLETE"]


def test_the_sweep_gives_an_old_attempt_of_another_host_twice_the_longest_time_of_a_task(settings: Settings) -> None:
    in_a_process_that_is_killed(settings, Make())
    store, [killed] = store_of(settings), executions(settings)
    killed.custom_properties["host"].string_value = "elsewhere"
    del killed.custom_properties["process_key"]
    store.put_executions([killed])
    assert settle_dead_executions(settings) == []
    two_hours = 121 * 60_000
    query(
        settings, f"UPDATE execution SET create_time_since_epoch = create_time_since_epoch - {two_hours} RETURNING id"
    )
    [sentence] = settle_dead_executions(settings)
    assert "not ended after 120 minutes" in sentence


def test_backslashes_are_recorded_by_a_look_alike_and_reach_the_executor_unchanged(settings: Settings) -> None:
    text = r'{"a": "b\\n \u00e7 $0 %s {} "}' + " '' \" ; -- çãé 😀"
    seen = []

    def look(directory: Path) -> None:
        seen.append((directory / "flavour").read_text())
        raise ValueError(text)

    make = Make(flavour=text)
    launching.behaviour["make"] = look
    with pytest.raises(ValueError) as error:
        launch(settings, make)
    assert str(error.value) == text
    launching.behaviour.clear()
    launch(settings, make)
    stored = text.replace("\\", "⧵")
    failed, complete = executions(settings)
    assert seen == [text]
    assert complete.properties["flavour"].string_value == stored
    assert failed.custom_properties["error"].string_value == f"ValueError: {stored}"
    [model] = outputs(settings, complete)
    assert model.custom_properties["flavour"].string_value == stored
    assert (Path(model.uri) / "flavour").read_text() == text


def test_a_text_longer_than_the_databases_index_allows_is_recorded_cut_and_reaches_the_executor_whole(
    settings: Settings,
) -> None:
    # Random, since Postgres compresses what repeats; and long in bytes rather than in characters.
    text = "".join(random.Random(1).choices("çãé" + string.ascii_letters, k=9000)) + "\\" * 1000
    launch(settings, Make(flavour=text))
    [complete] = executions(settings)
    stored = complete.properties["flavour"].string_value
    assert stored.startswith(text[:1000])
    assert stored.endswith(" bytes)")
    assert len(stored.encode()) <= 2000
    [model] = outputs(settings, complete)
    assert model.custom_properties["flavour"].string_value == stored
    assert (Path(model.uri) / "flavour").read_text() == text


def test_an_error_with_undecodable_characters_is_recorded(settings: Settings) -> None:
    def cannot_read(directory: Path) -> None:
        raise OSError(os.fsdecode(b"manh\xe3.csv") + "\x00")

    launching.behaviour["make"] = cannot_read
    with pytest.raises(OSError, match="manh"):
        launch(settings, Make())
    assert executions(settings)[0].custom_properties["error"].string_value == "OSError: manh?.csv␀"


def test_a_directory_with_a_backslash_is_refused_by_name(settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"pipeline_root": tmp_path / "a\\b"})
    with pytest.raises(AirflowFailException, match=r"a\\\\b.*backslash.*PIPELINE_ROOT"):
        launch(elsewhere, Make())
    assert states(settings) == ["FAILED"]


def test_a_process_that_was_given_up_does_not_publish(settings: Settings) -> None:
    make = Make()

    def be_late(directory: Path) -> None:
        launching.behaviour.clear()
        launch(settings, make)
        assert not directory.exists()
        directory.mkdir(parents=True)
        (directory / "late").touch()

    launching.behaviour["make"] = be_late
    with pytest.raises(StoreError, match=r"was given up as execution .* had not ended when attempt 2 started"):
        launch(settings, make)
    assert states(settings) == ["FAILED*", "COMPLETE"]
    late, complete = executions(settings)
    assert "had not ended when attempt 2 started" in late.custom_properties["error"].string_value
    [abandoned], [model] = outputs(settings, late), outputs(settings, complete)
    assert (abandoned.state, model.state) == (Artifact.ABANDONED, Artifact.LIVE)
    assert not Path(abandoned.uri).exists()
    assert (Path(model.uri) / "flavour").exists()


def test_an_output_is_found_under_its_key_though_postgres_gives_its_path_out_of_order(settings: Settings) -> None:
    make = Make()
    launch(settings, make)
    # What is put in again goes behind the others, as a row may that finds its page full.
    moved = query(
        settings,
        "WITH moved AS (DELETE FROM eventpath WHERE NOT is_index_step RETURNING *) "
        "INSERT INTO eventpath SELECT * FROM moved RETURNING event_id",
    )
    assert moved
    launch(settings, Use(model=make.outputs["model"]))
    assert states(settings) == ["COMPLETE", "COMPLETE"]


def test_two_runs_do_not_mix(settings: Settings) -> None:
    make = Make()
    use = Use(model=make.outputs["model"])
    launch(settings, make, "run-1")
    launch(settings, make, "run-2")
    first, second = (outputs(settings, execution)[0] for execution in executions(settings))
    launch(settings, use, "run-1")
    launch(settings, make, "run-2")
    launch(settings, use, "run-2")
    assert states(settings) == ["COMPLETE", "COMPLETE*", "COMPLETE", "COMPLETE", "COMPLETE"]
    third = outputs(settings, executions(settings)[3])[0]
    assert len({first.uri, second.uri, third.uri}) == 3
    used = [outputs(settings, executions(settings)[i])[0].custom_properties["used"].string_value for i in (2, 4)]
    assert used == [first.uri, third.uri]


def test_an_outage_hides_neither_the_error_nor_the_way_on(
    settings: Settings, postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_in_the_dark(directory: Path) -> None:
        postgres.crash()
        fail(directory)

    make = Make()
    launching.behaviour["make"] = fail_in_the_dark
    try:
        with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match="no rain"):
            launch(settings, make)
    finally:
        postgres.start()
    [line] = [record.getMessage() for record in caplog.records if record.name == "retraining.recording.launcher"]
    assert "failure of Make could not be recorded" in line
    assert "the next attempt" in line
    launching.behaviour.clear()
    launch(settings, make)
    assert states(settings) == ["FAILED*", "COMPLETE"]


def test_an_outage_before_the_publication_says_which_database_and_settings(
    settings: Settings, postgres: Server
) -> None:
    make = Make()
    launching.behaviour["make"] = lambda _: postgres.crash()
    try:
        with pytest.raises(StoreError, match=rf"port {settings.mlmd_port}, database mlmd_.*Check .*MLMD_HOST") as error:
            launch(settings, make)
    finally:
        postgres.start()
    assert "right" not in str(error.value)
    launching.behaviour.clear()
    launch(settings, make)
    assert states(settings) == ["FAILED*", "COMPLETE"]


class CountSpec(ComponentSpec):  # type: ignore[misc]
    PARAMETERS: dict[str, Any] = {}  # noqa: RUF012
    INPUTS = {"models": ChannelParameter(type=Model)}  # noqa: RUF012
    OUTPUTS = {"result": ChannelParameter(type=Integer)}  # noqa: RUF012


class CountExecutor(BaseBeamExecutor):  # type: ignore[misc]
    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        [result] = output_dict["result"]
        result.value = len(input_dict["models"])
        result.set_string_custom_property("inputs", str(len(input_dict["models"])))
        result.set_string_custom_property("beam", " ".join(self._beam_pipeline_args))


class Count(BaseBeamComponent):  # type: ignore[misc]
    SPEC_CLASS = CountSpec
    EXECUTOR_SPEC = BeamExecutorSpec(CountExecutor)

    def __init__(self, models: Channel) -> None:
        super().__init__(CountSpec(models=models, result=Channel(type=Integer)))


def test_a_beam_component_gets_its_own_arguments_and_all_of_a_union(settings: Settings) -> None:
    make, again = Make(), Make(flavour="mint").with_id("Again")
    count = Count(union([make.outputs["model"], again.outputs["model"]])).with_beam_pipeline_args(["--own"])
    pipeline(settings, make, again, count, beam_pipeline_args=["--shared"])
    for node in (make, again, count, count):
        launch(settings, node, beam_pipeline_args=["--shared"])
    assert states(settings) == ["COMPLETE", "COMPLETE", "COMPLETE*", "COMPLETE"]
    [result] = outputs(settings, executions(settings)[3])
    assert result.custom_properties["inputs"].string_value == "2"
    assert result.custom_properties["beam"].string_value.startswith("--shared --own")
    assert Path(result.uri).read_text() == "2"


def test_a_beam_workers_error_is_told_by_its_last_line() -> None:
    error = RuntimeError(
        "Error in bundle\nTraceback (most recent call last):\n  File x\nKeyError: 'title' [while running 'Map']\n"
    )
    assert in_one_line(error) == "KeyError: 'title' [while running 'Map']"


@component
def Ask(answer: OutputArtifact[Model], question: Parameter[int] = 1) -> None:
    pass


@component
def Number(number: OutputArtifact[Integer]) -> None:
    number.value = 42


def test_a_pipeline_that_airflow_runs_as_written_is_accepted(settings: Settings) -> None:
    make = Make(flavour=RuntimeParameter("flavour", str, "vanilla"))
    resolver = Resolver(
        strategy_class=OldestModel,
        config={"failing": "/nowhere"},
        model=Channel(type=Model, producer_component_id="Make"),
    )
    count = Count(union([make.outputs["model"], resolver.outputs["model"]])).with_beam_pipeline_args(["--own"])
    refuse_what_airflow_ignores(pipeline(settings, make, resolver, count))


def conditional(settings: Settings) -> Any:
    make = Make()
    with Cond(make.outputs["model"].future()[0].custom_property("good") == 1):
        use = Use(model=make.outputs["model"])
    return pipeline(settings, make, use)


def dynamic(settings: Settings) -> Any:
    number = Number()
    return pipeline(settings, number, Ask(question=number.outputs["number"].future()[0].value))


def canned(settings: Settings) -> Any:
    make = Make()
    return pipeline(settings, make, Use(model=latest_created(make.outputs["model"])))


def optional(settings: Settings) -> Any:
    return pipeline(settings, Make().with_node_execution_options(NodeExecutionOptions(success_optional=True)))


def contained(settings: Settings) -> Any:
    return pipeline(settings, create_container_component("Contained", image="busybox", command=["true"])())


def templated(settings: Settings) -> Any:
    return pipeline(settings, Importer(source_uri="/schemas/{{ ds }}", artifact_type=Schema).with_id("Import"))


def hidden(settings: Settings) -> Any:
    channel = Channel(type=Model, producer_component_id="Make")
    parameter = RuntimeParameter("failing", str, "x")
    return pipeline(
        settings, Resolver(strategy_class=OldestModel, config={"failing": parameter}, model=channel).with_id("Champion")
    )


def nested(settings: Settings) -> Any:
    return pipeline(settings, pipeline(settings, Make()).with_id("inner"))


def looped(settings: Settings) -> Any:
    make = Make()
    with ForEach(make.outputs["model"]) as each:
        use = Use(model=each)
    return pipeline(settings, make, use)


def handling_exit(settings: Settings) -> Any:
    return pipeline(settings, Make(flavour=FinalStatusStr()))


def rooted_anywhere(settings: Settings) -> Any:
    return Pipeline("tiny", runtime_info("platform_config").root, components=[Make()])


def asynchronous(settings: Settings) -> Any:
    return pipeline(settings, Make(), execution_mode=ExecutionMode.ASYNC)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (conditional, r"Use: inside Cond\(\.\.\.\), it would run in any case"),
        (dynamic, r"Ask: exec property 'question' is a value known only at run time"),
        (canned, r"Use: input 'model' is a ResolvedChannel"),
        (optional, r"Make: node_execution_options"),
        (contained, r"Contained: its executor is a TemplatedExecutorContainerSpec"),
        (templated, r"Import: exec property 'artifact_uri' is a template, but its Importer loses what Airflow renders"),
        (hidden, r"Champion: exec property 'source_uri' is a template, but its Resolver loses"),
        (nested, r"inner: a pipeline inside the pipeline"),
        (looped, r"Use: inside ForEach\(\.\.\.\), it would run once, whatever is looped over"),
        (handling_exit, r"Make: exec property 'flavour' is the final status of an exit handler"),
        (rooted_anywhere, r"pipeline_root is a placeholder"),
        (asynchronous, r"execution_mode=ASYNC"),
    ],
)
def test_what_airflow_would_ignore_is_refused_by_node_and_reason(settings: Settings, build: Any, reason: str) -> None:
    with pytest.raises(UnsupportedPipelineError, match=reason):
        refuse_what_airflow_ignores(build(settings))
