"""A model server that really listens, on a free port, and a client for it."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from waiting import wait_until

from serving.app import create_app
from serving.listener import Listener
from serving.settings import Settings


class RunningServer:
    """The address of a server, and a client for it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = create_app(settings)
        self._uvicorn = Listener(self.app, settings)
        self._uvicorn.config.port = 0
        if settings.grpc_port:
            self.app.state.server.grpc.address = "127.0.0.1:0"
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

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._uvicorn.server_state.connections)

    @property
    def only_connection(self) -> Any:
        (connection,) = self._uvicorn.server_state.connections
        return connection

    def call(self, function: Callable[[], None]) -> None:
        """Calls a function on the event loop."""
        done = threading.Event()
        loop = self.only_connection.loop
        loop.call_soon_threadsafe(lambda: (function(), done.set()))
        assert done.wait(60)

    def state(self, version: int) -> str:
        """The state of a version, as the status shows it."""
        status = self.get(f"/v1/models/headlines/versions/{version}").json()
        return str(status["model_version_status"][0]["state"]) if "model_version_status" in status else ""

    @property
    def grpc_address(self) -> str:
        """Where it listens for gRPC, if it does."""
        return f"127.0.0.1:{self.app.state.server.grpc.port}"

    def begin_stop(self) -> None:
        """Does what SIGTERM does."""
        self._uvicorn.should_exit = True

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self.client.close()
        self.begin_stop()
        self._thread.join()


class Gate:
    """Holds the calls of a function until it is opened."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._reached, self._opened = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._reached.set()
        # Less than a client waits: a server that stands still meanwhile says so.
        assert self._opened.wait(30), "nobody opened the gate"
        return self._function(*arguments, **options)

    def wait_until_reached(self) -> None:
        assert self._reached.wait(60), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()


MANY_ROWS = {"signature_name": "predict_text", "instances": ["bom"] * 100}
"""A request that is not run on the event loop."""


def hold_large_runs(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Holds the runs of requests of many rows."""
    batcher = running.app.state.server.batcher
    gate = Gate(batcher._run_in_pieces)
    monkeypatch.setattr(batcher, "_run_in_pieces", gate)
    return gate
