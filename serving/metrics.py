"""The series that Prometheus reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2, 4, 8, 15, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The series of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "serving_requests",
            "Requests by path and HTTP status or gRPC code.",
            ("path", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "serving_request_seconds",
            "From the request's head to its answer, of the answers that a model gave.",
            ("signature", "version"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch_rows = Histogram(
            "serving_batch_rows", "Rows run together.", ("signature",), buckets=_ROWS, registry=self._registry
        )
        self.predictions = Counter(
            "serving_predictions",
            "Rows by the label predicted for them.",
            ("label", "version"),
            registry=self._registry,
        )
        self.versions = Gauge(
            "serving_loaded_version", "1 for each loaded version.", ("version",), registry=self._registry
        )
        self.loads = Counter("serving_loads", "Attempts to load a version.", ("result",), registry=self._registry)
        for result in ("loaded", "refused"):
            self.loads.labels(result)

    def loaded(self, version: int) -> None:
        """Counts a version that has become available."""
        self.loads.labels("loaded").inc()
        self.versions.labels(str(version)).set(1)

    def unloaded(self, version: int) -> None:
        """Takes away a version that is available no longer; requests that it still answers count as before."""
        self.versions.remove(str(version))

    def ended(self, version: int) -> None:
        """Ends the series of a version that has answered its last request, or they would grow by one a night."""
        for series in (self.seconds, self.predictions):
            series.remove_by_labels({"version": str(version)})

    def refused(self, version: int) -> None:
        """Counts a version that could not be loaded."""
        self.loads.labels("refused").inc()

    def write(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)
