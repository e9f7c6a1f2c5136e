"""The endpoint itself: Prometheus asks it over HTTP, and Airflow sends to the same port over UDP."""

import logging
import threading
import time

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.process_collector import ProcessCollector

from retraining.metrics import airflow_statsd
from retraining.metrics.airflow_statsd import AirflowSeries
from retraining.metrics.collecting import Sources
from retraining.settings import Settings

log = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 30.0


def start(settings: Settings) -> None:
    """Opens the endpoint beside whatever this process does; nothing with METRICS_PORT=0.

    A port that is taken is told and tried again, for the watch beside it must go on.
    """
    if settings.metrics_port:
        threading.Thread(target=_open, args=(settings,), name="metrics", daemon=True).start()


def serve(settings: Settings) -> None:
    """Opens the endpoint.

    Raises:
      OSError: the port is taken, by TCP or by UDP, or METRICS_HOST is no address of this machine.
    """
    host, port = settings.metrics_host, settings.metrics_port
    listener = airflow_statsd.bind(host, port)
    series = AirflowSeries()
    registry = CollectorRegistry()
    for collector in (Sources(settings), series):
        registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        start_http_server(port, host, registry)
    except OSError:
        listener.close()
        raise
    threading.Thread(target=airflow_statsd.listen, args=(listener, series), name="statsd", daemon=True).start()
    log.info("Metrics: http://%s:%s/metrics, and Airflow's StatsD at the same port by UDP.", host, port)


def _open(settings: Settings) -> None:
    problem = ""
    while True:
        try:
            return serve(settings)
        except OSError as error:
            if str(error) != problem:
                problem = str(error)
                log.error(
                    "No metrics: METRICS_HOST=%s, METRICS_PORT=%s cannot be used (%s); choose another in .env, or stop "
                    "what has it. It is tried again every %.0f s.",
                    settings.metrics_host,
                    settings.metrics_port,
                    error,
                    _TRY_AGAIN_SECONDS,
                )
        time.sleep(_TRY_AGAIN_SECONDS)
