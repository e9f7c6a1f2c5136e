"""Airflow's own numbers: it sends them by UDP as StatsD, and here they become Prometheus' series.

Of the protocol (https://github.com/statsd/statsd/blob/master/docs/metric_types.md), with InfluxDB's tags, this is what
`statsd` 4.0.1, the client that Airflow uses, writes for it: counters, gauges and timers, one a line.
"""

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from retraining.local.airflow_series import PREFIX, SERIES, Series

KEEP_SECONDS = 300.0
"""A gauge that was not sent again for so long is no longer known: its sender may be gone."""

_LARGEST_DATAGRAM = 65536


# With `timer_unit_consistency` Airflow's timers are in milliseconds; what its gauges say of time is in seconds.
_MILLISECONDS = 1000.0


@dataclass
class _Value:
    number: float = 0.0
    count: int = 0
    heard_at: float = field(default_factory=time.monotonic)


class AirflowSeries(Collector):
    """Keeps what Airflow has sent since the program began, as Prometheus' counters begin anew with it."""

    def __init__(self) -> None:
        self._series = {one.statsd: one for one in SERIES}
        self._values: dict[str, dict[tuple[str, ...], _Value]] = {}
        self._not_read = 0
        # A page is written while datagrams come in.
        self._lock = threading.Lock()

    def read(self, datagram: bytes) -> None:
        """Takes one datagram; lines that are not understood are counted."""
        for line in datagram.decode(errors="replace").splitlines():
            with self._lock:
                try:
                    self._read_line(line)
                except (KeyError, ValueError, IndexError):
                    self._not_read += 1

    def _read_line(self, line: str) -> None:
        name_and_tags, _, rest = line.rpartition(":")
        name, *tags = name_and_tags.split(",")
        # A sample rate would come third; Airflow samples nothing.
        text, kind = rest.split("|")
        series = self._series[name.removeprefix(f"{PREFIX}.")]
        number = float(text)
        if kind != series.kind or not abs(number) < float("inf"):
            raise ValueError(line)
        given = dict(tag.split("=", 1) for tag in tags)
        labels = tuple(given.get(label, "") for label in series.labels)
        value = self._values.setdefault(series.statsd, {}).setdefault(labels, _Value())
        value.heard_at = time.monotonic()
        if kind == "g":
            # With a sign it is a change.
            value.number = value.number + number if text.startswith(("+", "-")) else number
        elif kind == "c":
            # Prometheus' counters never go down.
            value.number += max(number, 0.0)
        else:
            value.number += number / _MILLISECONDS
            value.count += 1

    def describe(self) -> Iterable[Metric]:
        """Every series without a value, so that a registry need not collect to know them."""
        return [_family(one, {}) for one in SERIES]

    def collect(self) -> Iterator[Metric]:
        """The series that have been sent."""
        oldest = time.monotonic() - KEEP_SECONDS
        with self._lock:
            for one in SERIES:
                values = self._values.get(one.statsd, {})
                if one.kind == "g":
                    values = {labels: value for labels, value in values.items() if value.heard_at > oldest}
                if values:
                    yield _family(one, values)
            yield CounterMetricFamily(
                "headlines_statsd_lines_not_read", "Lines by UDP that are no series of Airflow's.", self._not_read
            )


def _family(series: Series, values: dict[tuple[str, ...], _Value]) -> Metric:
    if series.kind == "ms":
        summary = SummaryMetricFamily(series.name, series.meaning, labels=series.labels)
        for labels, value in values.items():
            summary.add_metric(labels, value.count, value.number)
        return summary
    kind = CounterMetricFamily if series.kind == "c" else GaugeMetricFamily
    family = kind(series.name, series.meaning, labels=series.labels)
    for labels, value in values.items():
        family.add_metric(labels, value.number)
    return family


def bind(host: str, port: int) -> socket.socket:
    """The socket that Airflow sends to.

    Raises:
      OSError: the port is taken, or the host is not this machine's.
    """
    # Airflow's client asks for an address of IPv4 only: `ipv6=False` in statsd/client/udp.py.
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def listen(listener: socket.socket, series: AirflowSeries) -> None:
    """Reads datagrams for as long as the program runs."""
    while True:
        series.read(listener.recv(_LARGEST_DATAGRAM))
