"""When each source is asked: not at every scrape, never two times at once, and no scrape waits for a slow one."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from headlines.errors import HeadlinesError
from retraining.metrics import machine, nights
from retraining.metrics.catalogue import METRICS, Readings, SourceName, list_families, make_family
from retraining.settings import Settings

log = logging.getLogger(__name__)

WAIT_SECONDS = 1.5
"""The longest that a scrape waits for all sources together; what is not there by then comes with a later one."""

_KEEP_FACTOR = 5
"""After so many times its period, what a source said is taken to be no longer true."""


@dataclass(frozen=True)
class Source:
    """Whom the endpoint asks.

    Attributes:
      name: which.
      read: asks, and notes what it says; what it noted before it raised stands.
      every_seconds: how long an answer is good for.
    """

    name: SourceName
    read: Callable[[Settings, Readings], None]
    every_seconds: float


SOURCES = (
    Source("lineage", nights.read_lineage, 60),
    Source("nights", nights.read_nights, 60),
    Source("replicas", machine.read_replicas, 30),
    Source("programs", machine.read_programs, 30),
    Source("places", machine.read_places, 30),
    # Years of nights are many files to look at.
    Source("folders", machine.read_folders, 3600),
)


class _Asked:
    """A source with what it said last."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source = source
        self._settings = settings
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._begun_at = -float("inf")
        self._ended_at = -float("inf")
        self._readings = Readings(source.name)
        self._problem = ""

    def ask(self) -> threading.Thread | None:
        """Begins to ask unless the answer is good still; gives what is under way."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return self._thread
            if time.monotonic() - self._begun_at >= self.source.every_seconds:
                self._begun_at = time.monotonic()
                # It may hang at a database for long, and must not keep the program from ending.
                self._thread = threading.Thread(target=self._read, name=f"metrics {self.source.name}", daemon=True)
                self._thread.start()
                return self._thread
            return None

    def find_readings(self) -> Readings:
        """What it said last; only that it is not heard of, where that is long ago."""
        with self._lock:
            age = time.monotonic() - self._ended_at
            if age <= _KEEP_FACTOR * self.source.every_seconds:
                return self._readings
        silent = Readings(self.source.name)
        silent.put("source_up", 0, self.source.name)
        return silent

    def _read(self) -> None:
        readings = Readings(self.source.name)
        problem = ""
        begun = time.perf_counter()
        try:
            self.source.read(self._settings, readings)
        except HeadlinesError as error:
            problem = str(error)
        except Exception as error:
            # One source that has a fault takes no other with it; the log has the whole of it.
            problem = f"{type(error).__name__}: {error}"
            log.exception("The %s could not be read for the metrics.", self.source.name)
        if problem and problem != self._problem:
            log.warning("No metrics of the %s: %s", self.source.name, problem)
        readings.put("source_up", not problem, self.source.name)
        readings.put("source_read_duration_seconds", time.perf_counter() - begun, self.source.name)
        if not problem:
            readings.put("source_read_timestamp_seconds", time.time(), self.source.name)
        with self._lock:
            self._readings, self._problem, self._ended_at = readings, problem, time.monotonic()


class Sources(Collector):
    """Every source, for Prometheus' client."""

    def __init__(self, settings: Settings, sources: Iterable[Source] = SOURCES) -> None:
        self._asked = [_Asked(source, settings) for source in sources]

    def describe(self) -> Iterable[Metric]:
        """Every gauge without a value, so that a registry need not collect to know them."""
        return map(make_family, METRICS.values())

    def collect(self) -> Iterator[Metric]:
        """What the sources say, after no more than a moment."""
        deadline = time.monotonic() + WAIT_SECONDS
        for thread in [thread for one in self._asked if (thread := one.ask())]:
            thread.join(max(0.0, deadline - time.monotonic()))
        yield from list_families(one.find_readings() for one in self._asked)
