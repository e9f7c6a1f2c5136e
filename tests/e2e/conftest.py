"""Whole services of their own: state, ports, drops; each started once, stopped whatever happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import SMALL_TRAINING, Service, start_service
from openlineage_sink import Sink, receive


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
