"""How Airflow launches a TFX component: so that retries, clears and failures leave clean lineage."""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.control_flow.for_each_internal import ForEachContext
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import ExecutionDecision, PipelineInfo, RuntimeParameter
from tfx.orchestration.kubeflow.decorators import FinalStatusStr
from tfx.orchestration.launcher.in_process_component_launcher import InProcessComponentLauncher
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.pipeline import ExecutionMode, Pipeline
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel, UnionChannel

from headlines import disk
from headlines.errors import HeadlinesError
from headlines.objects.addresses import to_path
from retraining.places.relocation import check_root
from retraining.recording import liveness, object_files
from retraining.recording.advisory_locks import RETENTION_LOCK, hold_night, lend_lock, lock
from retraining.recording.attempts import AttemptInfo, AttemptMetadata, in_one_line, settle
from retraining.recording.node_types import register_types
from retraining.recording.pushed_copies import find_copies, find_missing, lend_copies, tolerate_gone
from retraining.recording.refusals import fail_at_once
from retraining.recording.staging import stage
from retraining.recording.store import place_of

if TYPE_CHECKING:
    from tfx.orchestration.airflow.airflow_dag_runner import AirflowPipelineConfig

logger = logging.getLogger(__name__)


object_files.register()


class UnsupportedPipelineError(HeadlinesError):
    """The pipeline uses something that AirflowDagRunner would silently ignore (no issue known).

    The message names node and feature.
    """


class DiskFullError(HeadlinesError):
    """An attempt found no space left; the message names the disk and what is free of it, and says what to do."""

    may_pass = True


class HeadlineLauncher(InProcessComponentLauncher):
    """Runs a component in the task's process, each attempt as an execution of its own.

    Before it starts, earlier attempts of the component in the run are settled: one that never ended becomes FAILED,
    one that finished is superseded but keeps its outputs, since a model made by it may be serving. An attempt that
    fails, however it fails, is recorded with its error, and takes its outputs back.
    """

    _pipeline_info: PipelineInfo

    def __init__(self, *, component: BaseNode, metadata_connection: Metadata, **kwargs: Any) -> None:
        """Takes what `BaseComponentLauncher.create` gives it."""
        super().__init__(component=component, metadata_connection=metadata_connection, **kwargs)
        self._component = component
        self._driver_class = tolerate_gone(component.driver_class)
        self._component_info = AttemptInfo(component.type, component.id, self._pipeline_info)
        self._connection_config = metadata_connection.connection_config
        self._metadata_connection = AttemptMetadata(self._connection_config)
        self._is_recorded = False
        if isinstance(component.executor_spec, BeamExecutorSpec):
            # The pipeline's arguments with the component's own behind them; stock passes only the former
            # (tensorflow/tfx#2645).
            self._beam_pipeline_args = component.executor_spec.beam_pipeline_args

    @fail_at_once()
    def launch(self) -> Any:
        """Runs the component; one that trains a night waits until no other run trains the same night.

        Raises:
          AirflowFailException: an error of ours stopped it that the same inputs would give again.
          DiskFullError: there was no space left.
          BaseException: whatever else stopped it. In either case the attempt is recorded as failed.
        """
        with self._recording_failure(), liveness.show(self._connection_config) as key:
            self._metadata_connection.process_key = key
            # Before others take this process for gone.
            with self._recording_failure(), self._hold_night():
                return super().launch()

    @contextlib.contextmanager
    def _recording_failure(self) -> Iterator[None]:
        """Records what stops the attempt, once."""
        try:
            yield
        except BaseException as error:  # Airflow's timeout and SIGTERM are no Exceptions.
            if self._is_recorded:
                raise
            self._is_recorded = True
            full = self._explain_full_disk(error)
            self._record_failure(full or error)
            if full:
                raise full from error
            raise

    def _explain_full_disk(self, error: BaseException) -> DiskFullError | None:
        # Before what the attempt had made is removed.
        full = disk.tell_full(error, [to_path(self._pipeline_info.pipeline_root), Path(tempfile.gettempdir())])
        if not full:
            return None
        return DiskFullError(
            f"{self._component_info.component_id} found no space left on a disk ({in_one_line(error)}): {full}. Free "
            "some there, then clear this task; STATE_DIR and TMPDIR may be on another disk. What it had made is removed"
        )

    def _hold_night(self) -> contextlib.AbstractContextManager[None]:
        night = find_trained_night(self._exec_properties)
        if night is None:
            return contextlib.nullcontext()
        return hold_night(self._connection_config, night, f"process {os.getpid()}, run {self._pipeline_info.run_id}")

    def _run_driver(self, *args: Any, **kwargs: Any) -> ExecutionDecision:
        if not self._input_dict:
            # Only where a run begins: the nodes behind take what this one made.
            check_root(place_of(self._connection_config), self._pipeline_info.pipeline_root)
        with (
            # Until it is on record what this attempt takes, nothing of that may be removed.
            lock(self._connection_config, RETENTION_LOCK, is_shared=True),
            lock(self._connection_config, self._component_info.lock_name),
            self._metadata_connection as metadata,
        ):
            self._begin(metadata)
            return super()._run_driver(*args, **kwargs)

    def _begin(self, metadata: AttemptMetadata) -> None:
        register_types(metadata, [self._component])
        metadata.begin(self._component_info)

    def _run_executor(
        self,
        execution_id: int,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        copies: dict[int, Path] = {}
        if missing := find_missing(input_dict):
            with self._metadata_connection as metadata:
                copies = find_copies(metadata.store, missing)
        recorded = self._pipeline_info
        with (
            lend_lock(self._connection_config),
            stage(recorded.pipeline_root, input_dict, output_dict) as staged,
            lend_copies(copies, staged.inputs, output_dict) as inputs,
        ):
            # Beside its outputs an executor writes below the root (tfx/orchestration/launcher).
            self._pipeline_info = PipelineInfo(recorded.pipeline_name, staged.root, recorded.run_id)
            try:
                super()._run_executor(execution_id, inputs, output_dict, exec_properties)
            finally:
                self._pipeline_info = recorded

    def _run_publisher(self, *args: Any, **kwargs: Any) -> None:
        with lock(self._connection_config, self._component_info.lock_name):
            super()._run_publisher(*args, **kwargs)

    def _record_failure(self, error: BaseException) -> None:
        try:
            with lock(self._connection_config, self._component_info.lock_name), self._metadata_connection as metadata:
                if metadata.execution is None:
                    # The driver failed before it could register anything, for lack of an input for example.
                    self._begin(metadata)
                    contexts = metadata.register_pipeline_contexts_if_not_exists(self._pipeline_info)
                    execution = metadata.register_execution(
                        self._pipeline_info, self._component_info, contexts, self._exec_properties
                    )
                else:
                    [execution] = metadata.store.get_executions_by_id([metadata.execution.id])
                settle(metadata.store, execution, in_one_line(error), has_seen_end=True)
        except Exception as cause:
            logger.error(
                "The failure of %s could not be recorded in MLMD (%s); the next attempt, or the next start of the "
                "service, settles it.",
                self._component_info.component_id,
                in_one_line(cause),
            )


def find_trained_night(exec_properties: Mapping[str, Any]) -> str | None:
    """The night a component trains: the `night` of its `custom_config`; None if it trains none.

    TFX's own components record a `custom_config` that was not given as the text `null`, and another's may be any text.
    """
    config = exec_properties.get("custom_config")
    try:
        options = json.loads(config) if isinstance(config, str) else None
    except ValueError:
        return None
    night = options.get("night") if isinstance(options, dict) else None
    return night if isinstance(night, str) else None


def airflow_pipeline_config(dag_config: dict[str, Any], pipeline: Pipeline) -> "AirflowPipelineConfig":
    """The configuration of AirflowDagRunner under which every component is launched by `HeadlineLauncher`.

    Args:
      dag_config: arguments of the `airflow.DAG`.
      pipeline: what the runner is going to run.

    Raises:
      UnsupportedPipelineError: the runner would not run the pipeline as it is written.
    """
    refuse_what_airflow_ignores(pipeline)
    from tfx.orchestration.airflow.airflow_dag_runner import AirflowPipelineConfig

    return AirflowPipelineConfig(airflow_dag_config=dag_config, supported_launcher_classes=[HeadlineLauncher])


def refuse_what_airflow_ignores(pipeline: Pipeline) -> None:
    """Checks that AirflowDagRunner runs the pipeline as it is written.

    Raises:
      UnsupportedPipelineError: it would not; one line per node and feature, with what to do instead.
    """
    problems = [f"{node.id}: {reason}" for node in pipeline.components for reason in _ignored(node, pipeline)]
    if pipeline.execution_mode != ExecutionMode.SYNC:
        problems.append(f"execution_mode={pipeline.execution_mode.name}: a DAG run is synchronous; use SYNC")
    if pipeline.platform_config is not None:
        problems.append("platform_config of the pipeline: set the DAG's arguments instead")
    if _holds(pipeline.pipeline_info.pipeline_root, Placeholder):
        problems.append("pipeline_root is a placeholder, which nothing resolves; write the folder out")
    if problems:
        raise UnsupportedPipelineError(
            f"AirflowDagRunner would not do what pipeline {pipeline.pipeline_name} says:\n" + "\n".join(problems)
        )


def _ignored(node: BaseNode, pipeline: Pipeline) -> Iterator[str]:
    if isinstance(node, Pipeline):
        yield "a pipeline inside the pipeline is not run; list its components instead"
        return
    for context in pipeline.dsl_context_registry.get_contexts(node):
        name = type(context).__name__.removesuffix("Context")
        how = "once, whatever is looped over" if isinstance(context, ForEachContext) else "in any case"
        yield f"inside {name}(...), it would run {how}; let it decide in its executor, from an input"
    for name, value in node.exec_properties.items():
        if _holds(value, Placeholder):
            yield (
                f"exec property {name!r} is a value known only at run time (.future() or another placeholder); pass "
                "the artifact as an input and read it in the executor"
            )
        if node.exec_properties is not node.exec_properties and (_holds(value, RuntimeParameter) or "{{" in str(value)):
            # TFX puts the rendered values into the dict, and the node makes another one at the next look
            # (no issue known).
            yield (
                f"exec property {name!r} is a template, but its {type(node).__name__} loses what Airflow renders; keep "
                "its exec_properties in one dict, as retraining.pipelines.as_of.ChampionResolver does"
            )
        elif not isinstance(value, RuntimeParameter) and _holds(value, RuntimeParameter):
            yield f"exec property {name!r} holds a RuntimeParameter inside; use a template such as '{{{{ ds }}}}'"
        if isinstance(value, FinalStatusStr):
            yield (
                f"exec property {name!r} is the final status of an exit handler, which only Kubeflow gives; use a "
                "callback of the DAG, or an Airflow task with trigger_rule='all_done'"
            )
    inputs = node.raw_inputs if isinstance(node, Resolver) else node.inputs
    for name, channel in inputs.items():
        for part in channel.channels if isinstance(channel, UnionChannel) else [channel]:
            if not isinstance(part, Channel):
                yield (
                    f"input {name!r} is a {type(part).__name__}, from a resolver function or another pipeline; use "
                    "tfx.dsl.Resolver with a strategy_class"
                )
    if not HeadlineLauncher.can_launch(node.executor_spec, None):
        yield f"its executor is a {type(node.executor_spec).__name__}; only Python executors run in a task"
    elif _holds(getattr(node.executor_spec, "beam_pipeline_args", []), Placeholder):
        yield "its Beam arguments hold a placeholder; write them out"
    if node.node_execution_options is not None:
        yield "node_execution_options: set retries, timeout and trigger rule on the Airflow task instead"
    if getattr(node, "platform_config", None) is not None:
        yield "platform_config: set the Airflow task's own arguments instead"


def _holds(value: Any, kind: type) -> bool:
    """Whether `value`, or something in it, is a `kind`."""
    if isinstance(value, Mapping):
        return any(_holds(item, kind) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return any(_holds(item, kind) for item in value)
    return isinstance(value, kind)
