"""The attempts of a component in a run, as MLMD records them: one execution each, and at most one that counts.

An execution carries, as custom properties: `attempt` (from 1), `host`, `pid` and `process_started` (seconds since
the epoch) of its process, `process_key` by which every machine can ask whether that is at work (liveness.py), `ended`
(seconds since the epoch) if that process saw its end, `error` (one line) if it is FAILED, and `superseded_by` (an
execution id) if a later attempt of the same component in the same run took its place.
"""

import logging
import socket
import time
import traceback
from collections import defaultdict
from typing import Any, Self

import psutil
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact as ArtifactRecord
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig, Event, Execution
from tfx.dsl.io import fileio
from tfx.orchestration import data_types, metadata
from tfx.types import Artifact, artifact_utils

from headlines.names import ATTEMPT, ENDED, ERROR, HOST, PID, PROCESS_KEY, PROCESS_STARTED, SUPERSEDED_BY
from retraining.recording import liveness
from retraining.recording.store import RecordError, StoreError, open_store, storable

_ERROR_CHARACTERS = 1000

FINISHED = (Execution.COMPLETE, Execution.CACHED)

logger = logging.getLogger(__name__)


class AttemptInfo(data_types.ComponentInfo):
    """A component in a run, with the number of the attempt, so that every attempt has its own context in MLMD.

    Stock TFX gives all attempts one context, and with it one execution that each of them overwrites
    (tensorflow/tfx#2805).
    """

    attempt = 1

    @property
    def component_run_context_name(self) -> str:
        """`<pipeline>.<run>.<component>` of the first attempt, with `#2` and so on of later ones."""
        name: str = super().component_run_context_name
        return name if self.attempt == 1 else f"{name}#{self.attempt}"

    @property
    def lock_name(self) -> str:
        """The lock under which the attempts of this component in this run are changed."""
        return str(super().component_run_context_name)


class AttemptMetadata(metadata.Metadata):
    """MLMD as one attempt sees it.

    Attributes:
      execution: this attempt's execution, once it is registered.
      process_key: by which others ask whether this process is at work.
    """

    _store: MetadataStore | None

    def __init__(self, connection_config: ConnectionConfig) -> None:
        super().__init__(connection_config)
        self.execution: Execution | None = None
        self.process_key: str | None = None
        self._attempt: AttemptInfo | None = None

    def __enter__(self) -> Self:
        """Opens the store, or uses the one that is open.

        Raises:
          StoreError: it cannot be opened.
        """
        if self._store is None:
            self._store = open_store(self._connection_config)
        self._users += 1
        return self

    def begin(self, info: AttemptInfo) -> None:
        """Numbers this attempt, and settles earlier ones that never ended: there is only one attempt at a time."""
        earlier = self._attempts(info)
        info.attempt = len(earlier) + 1
        self._attempt = info
        for execution in earlier:
            if execution.last_known_state not in FINISHED:
                end = "died" if is_at_work(self._connection_config, execution) is False else "had not ended"
                settle(self.store, execution, f"{process_of(execution)} {end} when attempt {info.attempt} started")

    def _attempts(self, info: data_types.ComponentInfo) -> list[Execution]:
        """The executions of a component in a run, oldest first."""
        run = self.get_pipeline_run_context(info.pipeline_info)
        executions = self.store.get_executions_by_context(run.id) if run else []
        return sorted(
            (e for e in executions if e.properties["component_id"].string_value == info.component_id),
            key=lambda execution: int(execution.id),
        )

    def register_execution(
        self, pipeline_info: data_types.PipelineInfo, component_info: AttemptInfo, *args: Any, **kwargs: Any
    ) -> Execution:
        """Registers this attempt, which supersedes every earlier one."""
        earlier = self._attempts(component_info)
        self.execution = super().register_execution(pipeline_info, component_info, *args, **kwargs)
        superseded = [execution for execution in earlier if SUPERSEDED_BY not in execution.custom_properties]
        for execution in superseded:
            execution.custom_properties[SUPERSEDED_BY].int_value = self.execution.id
        if superseded:
            self.store.put_executions(superseded)
        return self.execution

    def _prepare_execution(self, state: str, *args: Any, **kwargs: Any) -> Execution:
        execution = super()._prepare_execution(state, *args, **kwargs)
        if state == metadata.EXECUTION_STATE_NEW and self._attempt:
            process = psutil.Process()
            execution.custom_properties[ATTEMPT].int_value = self._attempt.attempt
            execution.custom_properties[HOST].string_value = socket.gethostname()
            execution.custom_properties[PID].int_value = process.pid
            execution.custom_properties[PROCESS_STARTED].double_value = process.create_time()
            if self.process_key:
                execution.custom_properties[PROCESS_KEY].string_value = self.process_key
        return execution

    def update_execution(
        self,
        execution: Execution,
        component_info: data_types.ComponentInfo,
        input_artifacts: dict[str, list[Artifact]] | None = None,
        output_artifacts: dict[str, list[Artifact]] | None = None,
        exec_properties: dict[str, Any] | None = None,
        execution_state: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Names new outputs after this execution, and notes its end.

        The driver's `key:run_id` can be stored only once a run (tensorflow/tfx#4977).
        """
        for key, artifacts in (output_artifacts or {}).items():
            for index, artifact in enumerate(artifacts):
                if not artifact.id and artifact.name:
                    artifact.name = f"{key}:{component_info.pipeline_info.pipeline_name}:{execution.id}:{index}"
        if execution_state in metadata.FINAL_EXECUTION_STATES:
            _note_end(execution)
        super().update_execution(
            execution, component_info, input_artifacts, output_artifacts, exec_properties, execution_state, **kwargs
        )

    def publish_execution(self, component_info: data_types.ComponentInfo, *args: Any, **kwargs: Any) -> None:
        """Publishes this attempt.

        Raises:
          StoreError: a later attempt or the start-up sweep has taken this one for dead, so it counts no more.
        """
        assert self.execution is not None, "an attempt is registered before it is published"
        [recorded] = self.store.get_executions_by_id([self.execution.id])
        if recorded.last_known_state == Execution.FAILED:
            raise StoreError(
                f"{process_of(recorded)} was given up as execution {recorded.id} of {component_info.component_id} "
                f"({recorded.custom_properties[ERROR].string_value}), so its outputs are not published; the attempt "
                "after it counts"
            )
        super().publish_execution(component_info, *args, **kwargs)

    def search_artifacts(
        self, artifact_name: str, pipeline_info: data_types.PipelineInfo, producer_component_id: str
    ) -> list[Artifact]:
        """The outputs `artifact_name` of the attempt that counts of a component in this run, in the producer's order.

        Raises:
          RecordError: no attempt of the producer finished.
        """
        attempts = self._attempts(data_types.ComponentInfo("", producer_component_id, pipeline_info))
        counting = [execution for execution in attempts if counts(execution)]
        if not counting:
            last = "it was never started"
            if attempts:
                state = Execution.State.Name(attempts[-1].last_known_state)
                error = attempts[-1].custom_properties[ERROR].string_value
                last = f"its last attempt, execution {attempts[-1].id}, is {state} {error}".rstrip()
            raise RecordError(
                f"there is no finished {producer_component_id} to take {artifact_name!r} from in run "
                f"{pipeline_info.run_id} of {pipeline_info.pipeline_name}: {last}; clear its task to run it first"
            )
        outputs: dict[str, list[Artifact]] = self.get_outputs_of_execution(counting[-1].id)
        return outputs.get(artifact_name, [])

    def _get_outputs_of_events(self, events: list[Event]) -> dict[str, list[Artifact]]:
        # Stock pairs events, artifacts and types by position, but the store returns each in an order of its own
        # (no issue known).
        outputs = sorted(
            (e for e in events if e.type == Event.OUTPUT), key=lambda event: int(event.path.steps[1].index)
        )
        artifacts = {a.id: a for a in self.store.get_artifacts_by_id([e.artifact_id for e in outputs])}
        types = {t.id: t for t in self.store.get_artifact_types_by_id(list({a.type_id for a in artifacts.values()}))}
        result = defaultdict(list)
        for event in outputs:
            artifact = artifacts[event.artifact_id]
            result[event.path.steps[0].key].append(
                artifact_utils.deserialize_artifact(types[artifact.type_id], artifact)
            )
        return result

    def get_cached_outputs(self, *args: Any, **kwargs: Any) -> dict[str, list[Artifact]] | None:
        """What an earlier execution made of the same; None where there is none, or its files were removed.

        Stock looks whether folders are there, and in some of those small files are left.
        """
        outputs: dict[str, list[Artifact]] | None = super().get_cached_outputs(*args, **kwargs)
        artifacts = [artifact for several in (outputs or {}).values() for artifact in several]
        return outputs if all(one.mlmd_artifact.state == ArtifactRecord.LIVE for one in artifacts) else None

    def _is_eligible_previous_execution(self, current_execution: Execution, target_execution: Execution) -> bool:
        """Whether the cache may answer with `target_execution`: it counts, and was given the same."""
        if not counts(target_execution):
            return False
        target_execution.custom_properties.clear()
        for value in current_execution.properties.values():
            value.string_value = storable(value.string_value)
        return bool(super()._is_eligible_previous_execution(current_execution, target_execution))


def counts(execution: Execution) -> bool:
    """Whether an execution finished and no later attempt took its place."""
    return execution.last_known_state in FINISHED and SUPERSEDED_BY not in execution.custom_properties


def settle(store: MetadataStore, execution: Execution, error: str, has_seen_end: bool = False) -> None:
    """Ends an attempt that published nothing: FAILED with its error, its own outputs abandoned and removed from disk.

    What it took over from others (a resolver's, an importer's or a cached result) is not its own and stays. Settling
    again changes nothing in the record, and removes what a process written off too early has left since.

    Args:
      store: of the execution.
      execution: as it is in the store now.
      error: why, in one line.
      has_seen_end: whether it ends now, and was not found dead.
    """
    if execution.last_known_state in FINISHED:
        return
    own: dict[int, str] = {}
    events = [e for e in store.get_events_by_execution_ids([execution.id]) if e.type == Event.OUTPUT]
    artifacts = store.get_artifacts_by_id([e.artifact_id for e in events])
    uris = {a.id: a.uri for a in artifacts}
    for event in events:
        directory = _own_directory(uris[event.artifact_id], event.path.steps[0].key, execution.id)
        if directory:
            own[event.artifact_id] = directory
    if execution.last_known_state != Execution.FAILED:
        execution.last_known_state = Execution.FAILED
        if "state" in execution.properties:
            execution.properties["state"].string_value = "failed"
        execution.custom_properties[ERROR].string_value = storable(error)
        if has_seen_end:
            _note_end(execution)
        abandoned = [artifact for artifact in artifacts if artifact.id in own]
        for artifact in abandoned:
            artifact.state = ArtifactRecord.ABANDONED
        store.put_execution(execution, [(artifact,) for artifact in abandoned], [])
    for directory in set(own.values()):
        if fileio.exists(directory):
            try:
                fileio.rmtree(directory)
            except Exception as cause:  # Whatever the file system says, the record is settled.
                logger.warning("Could not remove the outputs of a failed attempt in %s: %s", directory, cause)


def _note_end(execution: Execution) -> None:
    execution.custom_properties[ENDED].double_value = time.time()


def in_one_line(error: BaseException) -> str:
    """Type and message of an error in one line; of one of ours the message alone, which is written for people.

    Of a Beam worker's error, which quotes a traceback (apache/beam#4959), its last line.
    """
    text = str(error) if hasattr(error, "may_pass") else "".join(traceback.format_exception_only(error)).strip()
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1]
    text = " ".join(text.split())
    return text if len(text) <= _ERROR_CHARACTERS else f"{text[:_ERROR_CHARACTERS]}..."


def process_of(execution: Execution) -> str:
    """The process of an execution, in words."""
    if PID not in execution.custom_properties:
        return "an unknown process"
    pid, host = execution.custom_properties[PID].int_value, execution.custom_properties[HOST].string_value
    return f"process {pid} on {host}"


def is_at_work(config: ConnectionConfig, execution: Execution) -> bool | None:
    """Whether the process of an execution is running, on whatever machine.

    Args:
      config: MLMD's database.
      execution: as it is recorded there.

    Returns:
      None where nobody can know: of another machine's attempts before there were keys, and of others' executions.

    Raises:
      StoreError: the database does not answer.
    """
    properties = execution.custom_properties
    key = properties[PROCESS_KEY].string_value if PROCESS_KEY in properties else None
    is_here = HOST in properties and properties[HOST].string_value == socket.gethostname()
    if key and liveness.is_shown(config, key, is_patient=not is_here):
        return True
    if is_here:
        # Where a lock is lost for a moment, this is seen at once.
        return _is_process_alive(execution)
    return False if key else None


def _is_process_alive(execution: Execution) -> bool:
    """Whether the process of an execution of this host is running."""
    try:
        process = psutil.Process(execution.custom_properties[PID].int_value)
        # The pid may belong to another process by now. Boot time, which psutil adds, moves a little with the clock
        # (giampaolo/psutil#2526).
        same = abs(process.create_time() - execution.custom_properties[PROCESS_STARTED].double_value) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _own_directory(uri: str, key: str, execution_id: int) -> str | None:
    """The directory that TFX made for output `key` of an execution, `.../<key>/<execution_id>`, if `uri` is in it."""
    root, slash, rest = uri.rpartition(f"/{key}/{execution_id}")
    return root + slash if slash and rest[:1] in ("", "/") else None
