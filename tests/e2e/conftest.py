"""A whole service of its own: its state, its ports, its drops; started once, stopped whatever happens."""

import os
import shutil
from collections.abc import Iterator

import pytest
from driving import REAL_DROPS, Service, free_port

from retraining.samples import write_samples
from retraining.settings import Settings


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # A space in the path, since a checkout may have one.
    place = tmp_path_factory.mktemp("a service")
    drops = place / "drops"
    if REAL_DROPS.is_dir():
        for night in sorted(REAL_DROPS.iterdir())[:4]:
            shutil.copytree(night, drops / night.name)
    else:
        write_samples(drops, nights=4)
    ports = {
        name.upper(): str(free_port())
        for name in Settings.model_fields
        if name in ("postgres_port", "webserver_port", "supervisor_port")
    }
    service = Service(
        {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            **ports,
            "STATE_DIR": str(place / "state"),
            "DROPS_DIR": str(drops),
            "RETRY_DELAY_SECONDS": "1",
            "MAX_QUARANTINED_SHARE": "0.5",
        }
    )
    try:
        service("up")
        yield service
    finally:
        service("down", check=False)
