"""MLMD as a whole: where it is, what is made in it before the first run, what is swept up at a start.

What one attempt of a component records is in retraining/attempts.py.
"""

import sys
import time
from collections.abc import Iterable

from ml_metadata import ListOptions
from ml_metadata.proto.metadata_store_pb2 import Execution
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline

from retraining.attempts import AttemptMetadata, is_on_this_host, is_process_alive, process_of, settle
from retraining.connection import TYPES_LOCK, StoreError, add_indexes, connection_config, lock
from retraining.rollback import RollbackError, settle_rollbacks
from retraining.settings import Settings, SettingsError

_CONTEXT_TYPES = {
    "pipeline": {"pipeline_name": ""},
    "run": {"pipeline_name": "", "run_id": ""},
    "component_run": {"pipeline_name": "", "run_id": "", "component_id": ""},
}


def initialise(settings: Settings, pipelines: Iterable[Pipeline]) -> None:
    """Creates MLMD's tables, our indexes and every type the pipelines use; what exists is left as it is.

    MLMD checks neither against another process that does the same, and would make each type several times.

    Args:
      settings: where MLMD is.
      pipelines: the pipelines that will run.

    Raises:
      StoreError: the database cannot be reached.
    """
    config = connection_config(settings)
    with lock(config, "mlmd tables"), AttemptMetadata(config) as metadata:
        register_types(metadata, [node for pipeline in pipelines for node in pipeline.components])
        add_indexes(config)


def register_types(metadata: AttemptMetadata, nodes: Iterable[BaseNode]) -> None:
    """Creates the types of artifacts, executions and contexts that the nodes need, one process at a time.

    Args:
      metadata: the open store.
      nodes: components, resolvers and importers.
    """
    with lock(metadata.connection_config, TYPES_LOCK):
        for name, properties in _CONTEXT_TYPES.items():
            metadata._prepare_context(name, name, properties)
        for node in nodes:
            inputs = node.raw_inputs if isinstance(node, Resolver) else node.inputs
            for channel in [*inputs.values(), *node.outputs.values()]:
                metadata._prepare_artifact_type(channel.type().artifact_type)
            metadata._prepare_execution_type(node.type, node.exec_properties)


def settle_dead_executions(settings: Settings) -> list[str]:
    """Settles the executions that are RUNNING in MLMD though their process is gone. For the start of the service.

    A process of this host is looked up. One of another host cannot be: its execution is left alone until it is older
    than twice TASK_TIMEOUT_MINUTES, when Airflow has stopped it long ago.

    Args:
      settings: where MLMD is.

    Returns:
      One sentence per execution that was settled.

    Raises:
      StoreError: the database cannot be reached.
    """
    limit_minutes = 2 * settings.task_timeout_minutes
    settled = []
    with AttemptMetadata(connection_config(settings)) as metadata:
        for execution in metadata.store.get_executions(ListOptions(filter_query="last_known_state = RUNNING")):
            age_minutes = time.time() / 60 - execution.create_time_since_epoch / 60_000
            if is_on_this_host(execution):
                error = None if is_process_alive(execution) else f"{process_of(execution)} died"
            else:
                error = (
                    f"{process_of(execution)} had not ended after {limit_minutes} minutes"
                    if age_minutes > limit_minutes
                    else None
                )
            if error is None:
                continue
            # Read again: it may have ended well between the first look and its process's end.
            [execution] = metadata.store.get_executions_by_id([execution.id])
            if execution.last_known_state == Execution.RUNNING:
                settle(metadata.store, execution, error)
                component, run = (execution.properties[key].string_value for key in ("component_id", "run_id"))
                settled.append(f"execution {execution.id} ({component} in run {run}) is FAILED: {error}")
    return settled


def main() -> int:
    """Prepares MLMD for the service: `python -m retraining.store`, at every start.

    Returns:
      The exit code.
    """
    # The pipelines import this module.
    from retraining.pipeline import create_pipeline
    from retraining.scoring_pipeline import create_scoring_pipeline
    from retraining.tuning_pipeline import create_tuning_pipeline

    try:
        settings = Settings.from_env()
        creators = (create_pipeline, create_tuning_pipeline, create_scoring_pipeline)
        initialise(settings, [create(settings) for create in creators])
        for sentence in [*settle_rollbacks(settings), *settle_dead_executions(settings)]:
            print(sentence)
    except (SettingsError, StoreError, RollbackError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
