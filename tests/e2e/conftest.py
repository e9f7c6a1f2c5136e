"""Whole services of their own: state, ports, drops; each started once, stopped whatever happens."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driving import SMALL_TRAINING, Service, make_environment
from openlineage_sink import Sink, receive


@contextmanager
def start_service(place: Path, twelve_nights: Path, nights: int, **settings: str) -> Iterator[Service]:
    """A service in `place` with the drops of the first so many nights; `settings` by the names of their variables."""
    drops = place / "drops"
    for number in range(1, nights + 1):
        shutil.copytree(twelve_nights / f"2022-02-{number:02}", drops / f"2022-02-{number:02}")
    service = Service(make_environment(place / "state", drops, **settings))
    try:
        service("up")
        yield service
    finally:
        service("down", check=False)


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Sink]:
    """What receives the OpenLineage events of `service`."""
    with receive() as sink:
        yield sink


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, twelve_nights: Path, catalogue: Sink) -> Iterator[Service]:
    # A space in the path, since a checkout may have one.
    # Nobody listens where the proxy should be: what runs on one machine is reached past it.
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    proxy |= {name.lower(): value for name, value in proxy.items()}
    # What is tested is the service; the demo's model is of the whole training.
    settings = {"MAX_QUARANTINED_SHARE": "0.5", "OPENLINEAGE_URL": catalogue.url, **SMALL_TRAINING, **proxy}
    with start_service(tmp_path_factory.mktemp("a service"), twelve_nights, 4, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def quick_service(tmp_path_factory: pytest.TempPathFactory, twelve_nights: Path) -> Iterator[Service]:
    """Twelve nights, small training and a bar so low that every model is pushed: what is tested is time."""
    with start_service(
        tmp_path_factory.mktemp("twelve nights"), twelve_nights, 12, **SMALL_TRAINING, RETRIES="0"
    ) as service:
        yield service
