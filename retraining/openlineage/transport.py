"""How events reach OpenLineage's endpoint: over HTTP, under the night they are about, and never at the cost of a night.

Airflow's provider sends while the task waits for it. So an endpoint that does not answer is asked again only after a
minute, by whichever process comes first; what was not sent meanwhile is in the log of its task.
"""

import logging
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import attr
import requests
from openlineage.client.client import Event
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.nominal_time_run import NominalTimeRunFacet
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport

from headlines.errors import HeadlinesError
from headlines.names import NIGHT_PARAM, NIGHTLY_DAG
from retraining.openlineage.facets import NIGHT, PRODUCER

PAUSE_SECONDS = 60.0
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
log = logging.getLogger(__name__)


class SinkError(HeadlinesError):
    """An event was not sent; the message says which, to where, why, and what to do."""

    may_pass = True


@attr.define
class SinkConfig(HttpConfig):
    """Where events go.

    Attributes:
      timezone: of a night's date.
      silence: a file that is new while the endpoint is not asked.
    """

    timezone: str = "UTC"
    silence: str = ""


class SinkTransport(HttpTransport):
    """OpenLineage's own, with the nominal time of a night, and a rest for an endpoint that does not answer."""

    config_class = SinkConfig

    def __init__(self, config: SinkConfig) -> None:
        """Takes what `OpenLineageClient` gives it."""
        super().__init__(config)
        self._timezone = config.timezone
        self._silence = Path(config.silence)
        if urlsplit(self.url).hostname in _THIS_MACHINE:
            # What runs on this machine is reached past a proxy.
            self.session.trust_env = False

    def emit(self, event: Event) -> requests.Response:
        """Sends an event.

        Raises:
          SinkError: it was not sent.
        """
        content = tell_reason(tell_nominal_time(Serde.to_dict(event), self._timezone))
        what = f"{content.get('eventType')} of {content['job']['name']} (run {content['run']['runId']})"
        where = urlsplit(self.url).hostname
        if (seconds := self._find_silence()) > 0:
            raise SinkError(
                f"{what} was not sent to {where}, which did not answer before; it is tried again in {seconds:.0f} s. "
                "Check OPENLINEAGE_URL"
            )
        try:
            return super().emit(content)  # type: ignore[arg-type]
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else "no status"
            raise SinkError(
                f"{what} was not taken by {where} (HTTP {status}). Check OPENLINEAGE_URL and OPENLINEAGE_API_KEY"
            ) from error
        except requests.RequestException as error:
            self._begin_silence()
            raise SinkError(
                f"{what} was not sent to {where} ({type(error).__name__}); nothing is sent there for "
                f"{PAUSE_SECONDS:.0f} s. Check OPENLINEAGE_URL"
            ) from error

    def _find_silence(self) -> float:
        try:
            return self._silence.stat().st_mtime + PAUSE_SECONDS - time.time()
        except OSError:
            return 0.0

    def _begin_silence(self) -> None:
        try:
            self._silence.touch()
        except OSError as error:
            log.warning("%s cannot be written (%s), so every event waits for the endpoint anew.", self._silence, error)


def tell_nominal_time(event: dict[str, Any], timezone: str) -> dict[str, Any]:
    """Gives an event the night it is about as its nominal time.

    The provider takes Airflow's data interval for it, which of a run by hand is the day before, and of one that names
    its night in the form is any day.
    """
    run_facets = event["run"].setdefault("facets", {})
    night = run_facets.get(NIGHT, {}).get("night")
    if night is None and event["job"]["name"].partition(".")[0] == NIGHTLY_DAG:
        night = _find_night(run_facets, timezone)
    if night is not None:
        begin = datetime.combine(date.fromisoformat(night), clock(), ZoneInfo(timezone))
        nominal = NominalTimeRunFacet(begin.isoformat(), (begin + timedelta(days=1)).isoformat(), producer=PRODUCER)
        run_facets["nominalTime"] = Serde.to_dict(nominal)
    return event


def tell_reason(event: dict[str, Any]) -> dict[str, Any]:
    """Gives the end of a night why it came to nothing; the provider knows no more than `task_failure`, or nothing."""
    run_facets = event["run"]["facets"]
    if event["job"]["name"] != NIGHTLY_DAG or event.get("eventType") not in ("COMPLETE", "FAIL"):
        return event
    # Only at the end of a night, in the process by which the scheduler sends such events.
    import lineage
    from retraining.settings import Settings

    run_id = run_facets.get("airflowDagRun", {}).get("dagRun", {}).get("run_id", "")
    try:
        report = lineage.run_report(Settings.from_env(), run_id)
    except lineage.UnknownError:
        # It ended before its first node, and Airflow's own word is all there is.
        return event
    except HeadlinesError as error:
        log.warning("The end of run %s is told without its reason: %s", run_id, error)
        return event
    if report.why and report.state in ("refused", "blocked", "failed"):
        run_facets["errorMessage"] = Serde.to_dict(ErrorMessageRunFacet(report.why, "python", producer=PRODUCER))
    return event


def _find_night(run_facets: Mapping[str, Any], timezone: str) -> str | None:
    """The night of a run of the nightly DAG by what Airflow says of it: the parameter, or else the logical date."""
    run = (run_facets.get("airflow") or run_facets.get("airflowDagRun") or {}).get("dagRun", {})
    given = (run.get("conf") or {}).get(NIGHT_PARAM)
    moment = run.get("logical_date") or run.get("execution_date")
    if given or moment is None:
        return given
    return datetime.fromisoformat(moment).astimezone(ZoneInfo(timezone)).date().isoformat()
