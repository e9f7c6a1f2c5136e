"""Drops for the tests: deliver one's own, or take twelve nights, of samples or, by `--real-drops=`, of a newspaper."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headlines.drops.samples import write_samples

Deliver = Callable[..., Path]
TWELVE_NIGHTS = [f"2022-02-{day:02}" for day in range(1, 13)]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-drops",
        type=Path,
        metavar="FOLDER",
        help="run what reads twelve nights, and nothing else, on those of FOLDER (default: all tests, on samples)",
    )


def pytest_configure(config: pytest.Config) -> None:
    real: Path | None = config.option.real_drops
    missing = [night for night in TWELVE_NIGHTS if real and not (real / night).is_dir()]
    if missing:
        raise pytest.UsageError(f"{real} has no drops of the nights {', '.join(missing)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.real_drops is None:
        return
    reads = {item: "twelve_nights" in getattr(item, "fixturenames", ()) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not reads[item]])
    items[:] = [item for item in items if reads[item]]


@pytest.fixture
def drops_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "drops"
    folder.mkdir()
    return folder


@pytest.fixture
def deliver(drops_dir: Path) -> Deliver:
    """Writes a file of a drop, from rows after the header `title,sentiment`, or from bytes as they are."""

    def deliver(night: str, content: str | bytes, name: str = "headlines.csv") -> Path:
        path = drops_dir / night / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"title,sentiment\n{content}".encode())
        return path

    return deliver


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the time of day on, in seconds: a file's own time of arrival cannot be set."""
    read_clock = time.time
    passed = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        monkeypatch.setattr(time, "time", lambda: read_clock() + passed)

    return pass_time


@pytest.fixture
def drop_rules() -> dict[str, Any]:
    return {
        "window_nights": 12,
        "half_life_nights": 3.0,
        "max_missing_nights": 3,
        "label_codes": {"0": "negative", "1": "neutral", "2": "positive"},
        "max_title_characters": 500,
        "unbalanced_quotes": "refuse",
        "require_success_marker": False,
        "drop_settle_seconds": 0,
        "as_known_on": "",
        "eval_percent": 20,
        "expected_class_mix": {"negative": 0.23, "neutral": 0.71, "positive": 0.06},
        "text_rules": {},
    }


@pytest.fixture(scope="session")
def twelve_nights(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A drops folder with the nights 2022-02-01 to 2022-02-12."""
    real: Path | None = pytestconfig.option.real_drops
    if real:
        return real.absolute()
    samples = tmp_path_factory.mktemp("samples")
    write_samples(samples)
    return samples
