"""A rollback as an event: no task of Airflow's does it, and yet it changes what serves."""

import logging
from typing import TYPE_CHECKING

import lineage
from headlines.pushes.champion import Rollback
from lineage.reading import read_artifacts
from retraining.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

JOB = "headline_rollback"
log = logging.getLogger(__name__)


def tell_of_rollback(settings: Settings, rollback: Rollback) -> None:
    """Sends that a rollback took place, where OPENLINEAGE_URL is set; one that cannot be sent is in the log.

    Args:
      settings: where events go.
      rollback: that is in force.
    """
    if settings.openlineage_url is None:
        return
    # Only here: nobody else who rolls back needs the client.
    from openlineage.client import OpenLineageClient

    from retraining.openlineage.options import make_transport

    try:
        client = OpenLineageClient(config={"transport": make_transport(settings)})
        for event in _make_events(settings, rollback):
            client.emit(event)
    except Exception as error:
        # What serves is changed by now; whatever is wrong with telling of it must not look like a rollback that failed.
        log.warning("OpenLineage was not told of the rollback to %s: %s", rollback.to_version, error)


def _make_events(settings: Settings, rollback: Rollback) -> "list[RunEvent]":
    """The start and the end of a run of a job of its own: the model that serves again was read, what serves written.

    Raises:
      LineageError: lineage cannot be read.
      UnknownError: it does not know the model.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.generated.job_type_job import JobTypeJobFacet
    from openlineage.client.uuid import generate_static_uuid

    from retraining.openlineage import facets
    from retraining.openlineage.datasets import read_artifact, write_served

    with lineage.open_lineage(settings) as reader:
        identity = lineage.find_model(reader, str(rollback.to_version)).id
        model = read_artifact(settings, read_artifacts(reader, [identity])[identity], reader.names.pipeline)
    decision = facets.RollbackRunFacet(
        rollback.from_version,
        rollback.to_version,
        rollback.by,
        rollback.reason,
        rollback.at.isoformat(),
        rollback.night,
        list(rollback.withdrawn),
        producer=facets.PRODUCER,
    )
    # The same rollback is the same run, whoever tells of it, and however often.
    run = Run(str(generate_static_uuid(rollback.at, f"{JOB}.{rollback.id}".encode())), {facets.ROLLBACK: decision})
    kind = JobTypeJobFacet("BATCH", "HEADLINES", "COMMAND", producer=facets.PRODUCER)
    job = Job(settings.openlineage_namespace, JOB, {"jobType": kind})
    return [
        RunEvent(
            eventTime=rollback.at.isoformat(),
            eventType=state,
            run=run,
            job=job,
            inputs=[model] if model and ends else [],
            outputs=[write_served(settings, rollback.to_version)] if ends else [],
            producer=facets.PRODUCER,
        )
        for state, ends in ((RunState.START, False), (RunState.COMPLETE, True))
    ]
