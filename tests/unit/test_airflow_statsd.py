"""What Airflow sends becomes Prometheus' series: sent by Airflow's own logger through its own client."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.metrics.statsd_logger import get_statsd_logger
from airflow.stats import Stats
from prometheus_client import CollectorRegistry
from statsd import StatsClient

from retraining.local.airflow_series import SERIES, list_options
from retraining.metrics import airflow_statsd
from retraining.metrics.airflow_statsd import AirflowSeries
from retraining.settings import Settings

TASK = {"dag_id": "headline_retraining", "task_id": "Trainer"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with airflow_statsd.bind("127.0.0.1", 0) as listener:
        listener.settimeout(0.2)
        yield listener


@pytest.fixture
def settings(listener: socket.socket, tmp_path: Path) -> Settings:
    return Settings.from_env(state_dir=tmp_path, metrics_port=listener.getsockname()[1])


@pytest.fixture
def airflow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Airflow's own logger, as the service sets it up."""
    for option, value in list_options(settings).items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__{option.upper()}", str(value))
    logger = get_statsd_logger(Stats)
    yield logger
    logger.statsd.close()


class Page:
    """The series, and what they say once everything that was sent has come."""

    def __init__(self, listener: socket.socket) -> None:
        self.series = AirflowSeries()
        self._listener = listener
        self._registry = CollectorRegistry()
        self._registry.register(self.series)

    def read(self) -> int:
        count = 0
        while True:
            try:
                self.series.read(self._listener.recv(65536))
            except TimeoutError:
                return count
            count += 1

    def value(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(name, labels)


@pytest.fixture
def page(listener: socket.socket) -> Page:
    return Page(listener)


def test_counters_gauges_and_timers_of_airflow_are_series_with_labels(airflow: Any, page: Page) -> None:
    for _ in range(3):
        airflow.incr("scheduler_heartbeat", 1, 1)
    airflow.incr("ti.finish", tags={**TASK, "state": "success", "run_id": "scheduled__2022-02-01"})
    airflow.incr("ti.finish", tags={**TASK, "state": "failed", "run_id": "scheduled__2022-02-02"})
    airflow.gauge("pool.open_slots", 128, tags={"pool_name": "default_pool"})
    airflow.gauge("executor.running_tasks", 2, tags={"status": "running", "name": "LocalExecutor"})
    airflow.timing("task.duration", 2500, tags=TASK)
    airflow.timing("task.duration", 1500, tags=TASK)
    page.read()
    assert page.value("airflow_scheduler_heartbeats_total") == 3
    assert page.value("airflow_task_ends_total", **TASK, state="success") == 1
    assert page.value("airflow_task_ends_total", **TASK, state="failed") == 1
    assert page.value("airflow_pool_open_slots", pool_name="default_pool") == 128
    assert page.value("airflow_executor_running_tasks") == 2
    assert page.value("airflow_task_duration_seconds_sum", **TASK) == 4
    assert page.value("airflow_task_duration_seconds_count", **TASK) == 2
    assert page.value("headlines_statsd_lines_not_read_total") == 0


def test_airflow_sends_every_series_that_is_told_of_and_nothing_else(airflow: Any, page: Page) -> None:
    for one in SERIES:
        tags = dict.fromkeys(one.labels, "a")
        {"c": airflow.incr, "g": airflow.gauge, "ms": airflow.timing}[one.kind](one.statsd, 1, tags=tags)
    # Names that hold those of DAGs and tasks, which Airflow has beside the tags, and what is not asked for.
    for name in ("ti.finish.headline_retraining.Trainer.success", "pool.open_slots.default_pool", "dagbag_size_x"):
        airflow.incr(name, tags=TASK)
    airflow.incr("dag_processing.processes", tags={"file_path": "/opt/dags/a.py", "action": "start"})
    assert page.read() == len(SERIES)
    for one in SERIES:
        name = f"{one.full_name}_count" if one.kind == "ms" else one.full_name
        assert page.value(name, **dict.fromkeys(one.labels, "a")) == 1, one
    assert page.value("headlines_statsd_lines_not_read_total") == 0


def test_a_gauge_below_zero_comes_as_the_client_writes_it(page: Page, settings: Settings) -> None:
    client = StatsClient("127.0.0.1", settings.metrics_port, "airflow")
    client.gauge("dagbag_size", -5)
    client.gauge("dagbag_size", 2, delta=True)
    client.close()
    page.read()
    assert page.value("airflow_dags") == -3


@pytest.mark.parametrize(
    "datagram",
    [
        *(b"", b"\xff\xfe", b"airflow.dagbag_size", b"airflow.dagbag_size:1", b"airflow.dagbag_size:nan|g"),
        *(b"airflow.dagbag_size:inf|g", b"airflow.dagbag_size:1|c", b"airflow.unknown:1|c", b"airflow.ti.start,a:1|c"),
        b"airflow.scheduler_heartbeat:1|c|@0.5",
    ],
)
def test_what_is_no_series_of_airflow_s_is_counted_and_harms_nothing(datagram: bytes) -> None:
    series = AirflowSeries()
    series.read(datagram)
    series.read(b"airflow.dagbag_size:4|g")
    registry = CollectorRegistry()
    registry.register(series)
    assert registry.get_sample_value("headlines_statsd_lines_not_read_total") == bool(datagram)
    assert registry.get_sample_value("airflow_dags") == 4
    assert registry.get_sample_value("airflow_scheduler_heartbeats_total") is None


def test_a_gauge_that_is_sent_no_longer_is_not_known(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.series.read(b"airflow.executor.running_tasks:2|g\nairflow.scheduler_heartbeat:1|c")
    assert page.value("airflow_executor_running_tasks") == 2
    later = time.monotonic() + airflow_statsd.KEEP_SECONDS + 1
    monkeypatch.setattr(airflow_statsd.time, "monotonic", lambda: later)
    assert page.value("airflow_executor_running_tasks") is None
    assert page.value("airflow_scheduler_heartbeats_total") == 1


def test_without_the_endpoint_airflow_sends_nothing(tmp_path: Path) -> None:
    assert list_options(Settings.from_env(state_dir=tmp_path, metrics_port=0)) == {"timer_unit_consistency": True}
    everywhere = Settings.from_env(state_dir=tmp_path, metrics_port=9109, metrics_host="0.0.0.0")
    assert list_options(everywhere)["statsd_host"] == "127.0.0.1"
    elsewhere = Settings.from_env(state_dir=tmp_path, metrics_port=9109, metrics_host="watch")
    assert list_options(elsewhere)["statsd_host"] == "watch"
