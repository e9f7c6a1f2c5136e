"""When the sources of the endpoint are asked, and what a page says of one that fails or hangs."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from lineage import LineageError
from retraining.metrics import collecting
from retraining.metrics.catalogue import Readings
from retraining.metrics.collecting import Source, Sources
from retraining.settings import Settings

Value = Callable[..., float | None]


class Clock:
    """The monotonic clock of the room."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(collecting.time, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(state_dir=tmp_path)


class Asked:
    """A source that says how many times it was asked, or fails."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.has_ended = threading.Semaphore(0)

    def read(self, settings: Settings, readings: Readings) -> None:
        self.times += 1
        self.gate.wait(30)
        try:
            if self.error:
                raise self.error
            readings.put("serving_version", self.times)
        finally:
            self.has_ended.release()


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.gate.set()


@pytest.fixture
def registry(asked: Asked, clock: Clock, settings: Settings) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(Sources(settings, [Source("lineage", asked.read, 60)]))
    return registry


@pytest.fixture
def value(registry: CollectorRegistry) -> Value:
    return lambda name, **labels: registry.get_sample_value(f"headlines_{name}", labels)


def test_a_source_is_asked_once_in_its_time_however_often_it_is_scraped(
    asked: Asked, value: Value, clock: Clock
) -> None:
    assert asked.times == 0, "to register the endpoint asks nobody"
    assert [value("serving_version") for _ in range(3)] == [1, 1, 1]
    clock.now = 59
    assert value("serving_version") == 1
    clock.now = 60
    assert value("serving_version") == 2
    assert value("source_up", source="lineage") == 1
    assert value("source_read_duration_seconds", source="lineage") is not None
    assert value("source_read_timestamp_seconds", source="lineage") is not None


@pytest.mark.parametrize("error", [LineageError("MLMD does not answer"), RuntimeError("a fault of ours")])
def test_a_source_that_fails_is_down_says_nothing_and_is_asked_again(
    asked: Asked, value: Value, clock: Clock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    assert value("serving_version") == 1
    asked.error, clock.now = error, 60
    assert value("source_up", source="lineage") == 0
    assert value("serving_version") is None
    assert value("source_read_timestamp_seconds", source="lineage") is None
    clock.now = 120
    assert value("source_up", source="lineage") == 0
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING] == [
        f"No metrics of the lineage: {error if isinstance(error, LineageError) else f'RuntimeError: {error}'}"
    ], "it is told once"
    assert ("Traceback" in caplog.text) == isinstance(error, RuntimeError)
    asked.error, clock.now = None, 180
    assert (value("source_up", source="lineage"), value("serving_version")) == (1, 4)


def test_a_source_that_hangs_holds_no_scrape_up_and_is_not_asked_twice_at_once(
    asked: Asked, value: Value, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "WAIT_SECONDS", 0.05)
    assert value("serving_version") == 1
    asked.gate.clear()
    clock.now = 60
    assert value("serving_version") == 1, "what it said before is good still"
    clock.now = 299
    assert (value("source_up", source="lineage"), asked.times) == (1, 2)
    clock.now = 301
    assert (value("source_up", source="lineage"), value("serving_version")) == (0, None)
    assert asked.times == 2
    asked.has_ended.acquire()
    asked.gate.set()
    assert asked.has_ended.acquire(timeout=30)
    monkeypatch.setattr(collecting, "WAIT_SECONDS", 30)
    assert value("serving_version") is not None


def test_only_what_the_catalogue_has_can_be_told() -> None:
    readings = Readings("lineage")
    for name, labels in (("no_such", ()), ("disk_free_bytes", ("STATE_DIR",)), ("drop_measure", ())):
        with pytest.raises(KeyError, match=name):
            readings.put(name, 1, *labels)
    readings.put("serving_version", None)
    assert readings.values == {}
