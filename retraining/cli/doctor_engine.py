"""What can be wrong with the cluster that the data nodes run on."""

from retraining.cli.finding import Finding
from retraining.engines import EngineError, readiness
from retraining.engines.arguments import list_arguments
from retraining.settings import Settings


def look_at_engine(settings: Settings) -> Finding:
    """Asks what a job needs, as a data node does before it submits one."""
    try:
        found = readiness.check(list_arguments(settings))
    except EngineError as error:
        return Finding("data engine", "fail", str(error))
    return Finding("data engine", "ok", found)
