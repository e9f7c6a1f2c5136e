"""Executions whose process is gone, settled when the service starts; and those of a run in one process that failed."""

import time

from ml_metadata import ListOptions, MetadataStore, OrderByField
from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig, Execution

from headlines.names import ENDED, ERROR, EXECUTION_RESULT
from retraining.recording.attempts import AttemptMetadata, is_at_work, process_of, settle
from retraining.recording.store import connection_config, storable
from retraining.settings import Settings


def settle_dead_executions(settings: Settings) -> list[str]:
    """Settles the executions that are RUNNING in MLMD though their process is gone. For the start of the service.

    Whether it is, the database knows (liveness.py), and of an older attempt of this host the system. Of an older one of
    another host nobody does: it is left alone until it is older than twice TASK_TIMEOUT_MINUTES, when Airflow has
    stopped it long ago.

    Returns:
      One sentence per execution that was settled.

    Raises:
      StoreError: the database cannot be reached.
    """
    limit_minutes = 2 * settings.task_timeout_minutes
    sentences = []
    config = connection_config(settings)
    with AttemptMetadata(config) as metadata:
        for execution in metadata.store.get_executions(ListOptions(filter_query="last_known_state = RUNNING")):
            age_minutes = time.time() / 60 - execution.create_time_since_epoch / 60_000
            alive, end = is_at_work(config, execution), "died"
            if alive is None:
                alive, end = age_minutes <= limit_minutes, f"had not ended after {limit_minutes} minutes"
            if alive:
                continue
            # Read again: it may have ended well between the first look and its process's end.
            [execution] = metadata.store.get_executions_by_id([execution.id])
            if execution.last_known_state == Execution.RUNNING:
                error = f"{process_of(execution)} {end}"
                settle(metadata.store, execution, error)
                component, run = (execution.properties[key].string_value for key in ("component_id", "run_id"))
                sentences.append(f"execution {execution.id} ({component} in run {run}) is FAILED: {error}")
    return sentences


def settle_restored_executions(settings: Settings) -> int:
    """Settles what was RUNNING when a backup was made: whatever machine that was on, nothing of it runs for the copy.

    To be called when paths in lineage are those of the copy, for what such an attempt left is removed. A rollback is
    settled by what its files say, at the start of the service.

    Returns:
      How many there were.

    Raises:
      StoreError: the database cannot be reached.
    """
    count = 0
    with AttemptMetadata(connection_config(settings)) as metadata:
        for execution in metadata.store.get_executions(ListOptions(filter_query="last_known_state = RUNNING")):
            if "component_id" in execution.properties:
                settle(metadata.store, execution, f"{process_of(execution)} was at work when the backup was made")
                count += 1
    return count


def settle_local_executions(config: ConnectionConfig, error: str, has_seen_end: bool = False) -> None:
    """Settles what is RUNNING in the database of LocalDagRunner's, where nobody else runs anything.

    It leaves an execution so when its driver fails or the process is ended (no issue known).

    Args:
      config: the database.
      error: why it ended, in one line.
      has_seen_end: whether it ends now, and was not found dead.
    """
    store = MetadataStore(config)
    for execution in store.get_executions(ListOptions(filter_query="last_known_state = RUNNING")):
        settle(store, execution, error, has_seen_end)


def explain_local_failure(config: ConnectionConfig, error: str) -> None:
    """Records why the run of LocalDagRunner that has just failed did, unless it is recorded.

    It records no reason when an executor raises an error (no issue known). A failure ends its run, so that it can only
    be of the newest execution.

    Args:
      config: the database.
      error: why, in one line.
    """
    store = MetadataStore(config)
    for execution in store.get_executions(ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False)):
        is_told = ERROR in execution.custom_properties or EXECUTION_RESULT in execution.custom_properties
        if execution.last_known_state == Execution.FAILED and not is_told:
            execution.custom_properties[ERROR].string_value = storable(error)
            execution.custom_properties[ENDED].double_value = execution.last_update_time_since_epoch / 1000
            store.put_executions([execution])
