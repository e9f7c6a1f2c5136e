"""The series that Prometheus reads."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from serving.folder import Folder
from serving.policy import PolicyFile
from serving.request_log import LOST

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
        self.config_is_used = Gauge(
            "serving_config_is_used",
            "1 if models.config as it is now is followed, or there never was one; 0 if what it said before is.",
            registry=self._registry,
        )
        self.config_read = Gauge(
            "serving_config_read_timestamp_seconds",
            "When what models.config says was last read; 0 if never.",
            registry=self._registry,
        )
        self.folder_is_read = Gauge(
            "serving_folder_is_read", "1 if the folder of versions can be read.", registry=self._registry
        )
        self.looked_at = Gauge(
            "serving_last_look_timestamp_seconds",
            "When folder and models.config were last looked at.",
            registry=self._registry,
        )
        self.not_served = Gauge(
            "serving_not_served_versions",
            "Versions that should be loaded and are not: absent, refused, or slow to load.",
            ("reason",),
            registry=self._registry,
        )
        self.lost_rows = Counter(
            "serving_request_log_lost_rows",
            "Rows that the request log should have kept: too many waited, or they could not be written or read.",
            ("reason",),
            registry=self._registry,
        )
        for reason in LOST:
            self.lost_rows.labels(reason)

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

    def looked(self, file: PolicyFile, folder: Folder, not_served: Mapping[str, int]) -> None:
        """Notes what a look at the config file and the folder has shown."""
        self.config_is_used.set(not file.problem)
        self.config_read.set(file.read_at or 0)
        self.folder_is_read.set(folder.is_read)
        self.looked_at.set_to_current_time()
        for reason, count in not_served.items():
            self.not_served.labels(reason).set(count)

    def write(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)


def join_pages(pages: Mapping[int, str | None]) -> bytes:
    """One page of the pages of several workers.

    They are not added up: each series has the label `worker`, so that one that begins anew is seen to.

    Args:
      pages: by the worker's number; None for one that does not answer.
    """
    is_up = Metric("serving_worker_up", "1 if the worker answers.", "gauge")
    families = {is_up.name: is_up}
    for number, page in pages.items():
        is_up.add_sample(is_up.name, {"worker": str(number)}, int(page is not None))
        for family in text_string_to_metric_families(page or ""):
            joined = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            joined.samples += [one._replace(labels={"worker": str(number), **one.labels}) for one in family.samples]
    registry = CollectorRegistry()
    registry.register(_Families(families.values()))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
