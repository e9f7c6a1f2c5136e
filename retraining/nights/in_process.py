"""A night run in this one process, without Airflow, in a folder of its own: lineage in SQLite, artifacts, models."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ml_metadata.proto.metadata_store_pb2 import ConnectionConfig
from tfx import v1 as tfx

from headlines import disk
from headlines.holding import hold
from retraining.local import LocalError
from retraining.pipelines.nightly import create_pipeline
from retraining.recording.advisory_locks import NightTakenError, hold_night
from retraining.recording.attempts import in_one_line
from retraining.recording.settling import explain_local_failure, settle_local_executions
from retraining.recording.store import StoreError, connection_config
from retraining.settings import Settings, SettingsError

LOCK = ".lock"

log = logging.getLogger(__name__)


class TakenError(LocalError):
    """Another process is at work on the same night or in the same folder; the message says which."""


def run_locally(settings: Settings, night: str) -> None:
    """Runs one night under `<state_dir>/local`, whose champions are those of earlier local runs.

    Raises:
      TakenError: the service or another command trains the night, or another local run is at work.
    """
    run_in_place(settings, night, settings.state_dir / "local")


def run_in_place(settings: Settings, night: str, place: Path, prepare: Callable[[], None] = lambda: None) -> None:
    """Runs one night with everything it writes under `place`.

    Args:
      settings: what it runs with, but for `pipeline_root` and `serving_dir`, which are in `place`.
      night: `YYYY-MM-DD`.
      place: made if missing.
      prepare: called before the run, when nobody else is at work there.

    Raises:
      TakenError: the service or another command trains the night, or another process runs a night in `place`.
      LowDiskError: less is free there than a night needs.
    """
    disk.check_room([place], settings.min_free_gb, "run the night again")
    with hold_place(place), _hold_night(settings, night):
        prepare()
        config = sqlite_in(place)
        settle_local_executions(config, "the process that ran it ended before it did")
        pipeline = create_pipeline(settings_in(settings, place), night, metadata_connection_config=config)
        try:
            tfx.orchestration.LocalDagRunner().run(pipeline)
        except BaseException as error:  # An interrupt ends an execution, too.
            _record_failure(config, in_one_line(error))
            raise


def _record_failure(config: ConnectionConfig, error: str) -> None:
    try:
        settle_local_executions(config, error, has_seen_end=True)
        explain_local_failure(config, error)
    except Exception as cause:
        log.warning(
            "Why the night failed could not be recorded (%s); the next run here settles it.", in_one_line(cause)
        )


def settings_in(settings: Settings, place: Path) -> Settings:
    """`settings` with artifacts and pushed models in `place`."""
    return settings.model_copy(
        update={"serving_dir": place / "serving" / "headlines", "pipeline_root": place / "pipelines"}
    )


def sqlite_in(place: Path) -> ConnectionConfig:
    """The lineage of `place`."""
    return tfx.orchestration.metadata.sqlite_metadata_connection_config(str(place / "mlmd.sqlite"))


def hold_place(place: Path) -> contextlib.AbstractContextManager[None]:
    """Holds a folder for this process.

    Raises:
      TakenError: another process holds it.
    """
    place.mkdir(parents=True, exist_ok=True)

    def refuse(holder: str) -> TakenError:
        return TakenError(
            f"process {holder} runs a night in {place}; wait until it has ended, or end it, and try again"
        )

    return hold(place / LOCK, str(os.getpid()), refuse)


@contextlib.contextmanager
def _hold_night(settings: Settings, night: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                hold_night(connection_config(settings), night, f"process {os.getpid()}, `retraining`", wait=False)
            )
        except NightTakenError as error:
            raise TakenError(str(error)) from None
        except (StoreError, SettingsError):
            log.info("The service's database does not answer, so no run of the service can train night %s.", night)
        yield
