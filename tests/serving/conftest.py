"""A model server that really listens, on a free port, over small models."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from serving.app import create_app
from serving.settings import Settings
from served_models import save_model, write_about, write_related

RELATED = (
    ("Chuva forte em São Paulo", "negative", "2022-02-01"),
    ("Chuva fraca no Rio", "neutral", "2022-02-02"),
    ("Brasil vence o jogo", "positive", "2022-02-02"),
)


class RunningServer:
    """The address of a server, and a client for it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = create_app(settings)
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(self.app, host="127.0.0.1", port=0, access_log=False, log_config=None)
        )
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._uvicorn.started or not self._thread.is_alive())
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.client.get("/readyz").status_code == 200)

    def get(self, path: str, **kwargs: Any) -> httpx.Response:
        return self.client.get(path, **kwargs)

    def post(self, path: str, document: Any = None, **kwargs: Any) -> httpx.Response:
        return self.client.post(path, **({"json": document} if document is not None else {}), **kwargs)

    def predict(self, **document: Any) -> httpx.Response:
        return self.post("/v1/models/headlines:predict", document)

    def stop(self) -> None:
        self.client.close()
        self._uvicorn.should_exit = True
        self._thread.join()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Returns once the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers over `tmp_path/headlines` and stops them at the end."""
    with contextlib.ExitStack() as stack:

        def start(**settings: Any) -> RunningServer:
            server = RunningServer(Settings(**{"dir": tmp_path / "headlines", "poll_seconds": 0.05, **settings}))
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
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
