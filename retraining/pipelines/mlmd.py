"""What MLMD holds before the first run of the pipelines, and what is swept up at each start of the service."""

import sys
from collections.abc import Iterable

from tfx.orchestration.pipeline import Pipeline

from retraining.pipelines.nightly import create_pipeline
from retraining.pipelines.scoring import create_scoring_pipeline
from retraining.pipelines.tuning import create_tuning_pipeline
from retraining.recording.advisory_locks import TABLES_LOCK, lock
from retraining.recording.attempts import AttemptMetadata
from retraining.recording.node_types import register_types
from retraining.recording.rollback import RollbackError, settle_rollbacks
from retraining.recording.settling import settle_dead_executions
from retraining.recording.store import StoreError, add_indexes, connection_config, migrate_store
from retraining.settings import Settings, SettingsError


def initialise(settings: Settings, pipelines: Iterable[Pipeline]) -> None:
    """Creates MLMD's tables, our indexes and every type the pipelines use; what exists is left as it is.

    MLMD checks neither against another process that does the same, and would make each type several times
    (no issue known).

    Raises:
      StoreError: the database cannot be reached.
    """
    config = connection_config(settings)
    with lock(config, TABLES_LOCK), AttemptMetadata(config) as metadata:
        register_types(metadata, [node for pipeline in pipelines for node in pipeline.components])
        add_indexes(config)


def main() -> int:
    """Prepares MLMD for the service: `python -m retraining.pipelines.mlmd`, at every start.

    With `--migrate` tables of an older ML Metadata are migrated first.

    Returns:
      The exit code.
    """
    try:
        settings = Settings.from_env()
        if sys.argv[1:] == ["--migrate"]:
            config = connection_config(settings)
            with lock(config, TABLES_LOCK):
                migrate_store(config)
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
