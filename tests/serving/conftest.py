"""Small models, pushed, and servers over them."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from object_stores import STORES, ObjectStore
from running_server import RunningServer
from served_models import RELATED, save_model, write_about, write_related
from waiting import wait_until

from serving.settings import Settings


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel to copy: saving one takes seconds."""
    return save_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def push(tmp_path: Path, saved_model: Path) -> Callable[[int], Path]:
    """Makes a version appear in `tmp_path/headlines`."""

    def push(version: int) -> Path:
        path = tmp_path / "headlines" / str(version)
        incoming = path.with_name(f".incoming-{version}")
        shutil.copytree(saved_model, incoming)
        incoming.rename(path)
        return path

    return push


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """A store of each kind, for tests that use keys of their own."""
    store = STORES[request.param]()
    yield store
    store.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers over `tmp_path/headlines` and stops them at the end."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> RunningServer:
            (tmp_path / "headlines").mkdir(exist_ok=True)
            server = RunningServer(Settings(**{"dir": tmp_path / "headlines", "poll_seconds": 0.05, **settings}))
            stack.callback(server.stop)
            return server

        yield start


# Not of the session: its thread would go on beside tests of other rooms that put a stand-in for what it calls.
@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> Iterator[RunningServer]:
    """One server with two versions and the label `stable`, for tests that change nothing."""
    root = tmp_path_factory.mktemp("served")
    for version in (2022020101, 2022020201):
        path = root / "headlines" / str(version)
        shutil.copytree(saved_model, path)
    write_about(path, night="2022-02-02", code="c0de", verdict={"blessed": True}, model_id=7)
    write_related(path, RELATED)
    (root / "models.config").write_text(
        'model_config_list { config { name: "headlines" base_path: "/models/headlines" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 2022020101 } '
        'version_labels { key: "gone" value: 7 } } }'
    )
    running = RunningServer(Settings(dir=root / "headlines", poll_seconds=0.1, max_body_bytes=1 << 20))
    wait_until(lambda: len(running.get("/readyz").json().get("versions", ())) == 2)
    yield running
    running.stop()
