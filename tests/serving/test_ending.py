"""The end of a server behind a load balancer: it says that it is not ready, answers on, and then ends."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from grpc_client import Client, ask
from server_process import ServerProcess
from waiting import wait_until

Push = Callable[[int], Path]
DRAIN_SECONDS = 4


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def server(request: pytest.FixtureRequest, push: Push, tmp_path: Path) -> Iterator[ServerProcess]:
    push(1)
    workers = request.param
    with ServerProcess(tmp_path / "headlines", drain_seconds=DRAIN_SECONDS, workers=workers) as server:
        wait_until(lambda: server.answers("/readyz") and server.problems() == "")
        yield server


def test_after_the_signal_it_is_not_ready_and_answers_on_for_the_time_that_is_set(server: ServerProcess) -> None:
    with Client(f"127.0.0.1:{server.grpc_port}") as client, httpx.Client(base_url=server.url) as kept:
        assert (client.check(), client.check("headlines")) == ("SERVING", "SERVING")
        assert "connection" not in kept.post("/predict", json={"title": "bom"}).headers
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get("/readyz").status_code == 503, every=0.02)
        wait_until(lambda: client.check() == "NOT_SERVING", every=0.02)
        assert "the server was told to stop, and answers for" in server.get("/readyz").json()["error"]
        # The probes of the Open Inference protocol say the same; whether it lives is another question.
        assert server.get("/v2/health/ready").status_code == 503
        assert server.get("/healthz").status_code == server.get("/v2/health/live").status_code == 200
        answers = 0
        while time.monotonic() - began < DRAIN_SECONDS - 1.5:
            # On a connection that was open and on new ones; each answer closes its own, and the next goes elsewhere.
            for answer in (kept.post("/predict", json={"title": "bom"}), server.post("/predict", {"title": "bom"})):
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
                answers += 1
            assert ask(client, ["bom"])["version"] == 1
        assert answers > 4
        assert server.process.wait(DRAIN_SECONDS + 10) == -signal.SIGTERM
        assert DRAIN_SECONDS <= time.monotonic() - began < DRAIN_SECONDS + 4
        assert f"told to stop: not ready from now on, and answering for {DRAIN_SECONDS} s more" in server.log
        assert "Traceback" not in server.log


def test_a_second_signal_ends_the_wait(server: ServerProcess) -> None:
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status_code == 503, every=0.02)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(10)
    assert time.monotonic() - began < DRAIN_SECONDS
