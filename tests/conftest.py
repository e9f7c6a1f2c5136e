"""Drops for the tests: deliver one's own, or take twelve nights of real headlines (of samples where there are none)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retraining.samples import write_samples

Deliver = Callable[..., Path]


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
def drop_rules() -> dict[str, Any]:
    return {
        "window_nights": 12,
        "half_life_nights": 3.0,
        "max_missing_nights": 3,
        "label_codes": {"0": "negative", "1": "neutral", "2": "positive"},
        "max_title_characters": 500,
        "require_success_marker": False,
        "drop_settle_seconds": 0,
        "as_known_on": "",
        "eval_percent": 20,
        "expected_class_mix": {"negative": 0.23, "neutral": 0.71, "positive": 0.06},
    }


@pytest.fixture(scope="session")
def twelve_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drops folder with the nights 2022-02-01 to 2022-02-12."""
    real = Path(__file__).resolve().parents[2] / "shared" / "data" / "drops"
    if real.is_dir():
        return real
    samples = tmp_path_factory.mktemp("samples")
    write_samples(samples)
    return samples
