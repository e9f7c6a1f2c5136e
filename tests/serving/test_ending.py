"""The end of a server behind a load balancer: it says that it is not ready, answers on, and then ends."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from grpc_client import Client, ask
from server_process import ServerProcess
from waiting import wait_until

Push = Callable[[int], Path]
# Longer than a test asks on a busy machine; where it is the end of it that is looked at, shorter.
DRAIN_SECONDS, SHORT_DRAIN_SECONDS = 120, 3


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def server(workers: int, push: Push, tmp_path: Path) -> Iterator[ServerProcess]:
    with start(push, tmp_path, workers, DRAIN_SECONDS) as server:
        yield server


@pytest.fixture
def hasty_server(workers: int, push: Push, tmp_path: Path) -> Iterator[ServerProcess]:
    with start(push, tmp_path, workers, SHORT_DRAIN_SECONDS) as server:
        yield server


@contextmanager
def start(push: Push, tmp_path: Path, workers: int, drain_seconds: int) -> Iterator[ServerProcess]:
    push(1)
    with ServerProcess(tmp_path / "headlines", drain_seconds=drain_seconds, workers=workers) as server:
        wait_until(lambda: server.answers("/readyz") and server.problems() == "")
        yield server


def test_after_the_signal_it_is_not_ready_and_answers_on_until_a_second_one(server: ServerProcess) -> None:
    with Client(f"127.0.0.1:{server.grpc_port}") as client, httpx.Client(base_url=server.url) as kept:
        assert (client.check(), client.check("headlines")) == ("SERVING", "SERVING")
        assert "connection" not in kept.post("/predict", json={"title": "bom"}).headers
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: all(server.get("/readyz").status_code == 503 for _ in range(20)), every=0.02)
        wait_until(lambda: client.check() == "NOT_SERVING", every=0.02)
        assert "the server was told to stop, and answers for" in server.get("/readyz").json()["error"]
        # The probes of the Open Inference protocol say the same; whether it lives is another question.
        assert server.get("/v2/health/ready").status_code == 503
        assert server.get("/healthz").status_code == server.get("/v2/health/live").status_code == 200
        for _ in range(10):
            # On a connection that was open and on new ones; each answer closes its own, and the next goes elsewhere.
            for answer in (kept.post("/predict", json={"title": "bom"}), server.post("/predict", {"title": "bom"})):
                assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert ask(client, ["bom"])["version"] == 1
            # What Java's client and `curl --http2` send of themselves.
            offered = server.post("/predict", {"title": "bom"}, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c")
            assert (offered.status_code, offered.headers["connection"]) == (200, "close")
        assert f"told to stop: not ready from now on, and answering for {DRAIN_SECONDS} s more" in server.log
        # Its clock goes on.
        dates = set()
        for _ in range(13):
            dates.add(server.get("/healthz").headers["date"])
            time.sleep(0.1)
        assert len(dates) > 1
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(DRAIN_SECONDS / 2)
    assert "Traceback" not in server.log


def test_it_ends_when_the_time_that_is_set_is_over(hasty_server: ServerProcess) -> None:
    began = time.monotonic()
    assert hasty_server.end(60) == -signal.SIGTERM
    assert time.monotonic() - began >= SHORT_DRAIN_SECONDS
    assert "Traceback" not in hasty_server.log


@pytest.mark.parametrize("workers", [2], indirect=True, ids=["two workers"])
def test_one_signal_that_every_process_hears_is_no_second_one(hasty_server: ServerProcess) -> None:
    # As systemd ends a unit, and a terminal what runs in it.
    began = time.monotonic()
    for pid in [*hasty_server.find_workers(), hasty_server.process.pid]:
        os.kill(pid, signal.SIGTERM)
    assert hasty_server.process.wait(60) == -signal.SIGTERM
    assert time.monotonic() - began >= SHORT_DRAIN_SECONDS


def test_a_request_under_way_is_answered_though_the_wait_is_ended(server: ServerProcess) -> None:
    titles = ["um bom dia " * 3] * 20_000
    with ThreadPoolExecutor(1) as pool:
        large = {"signature_name": "predict_text", "instances": titles}
        answer = pool.submit(server.post, "/v1/models/headlines:predict", large)
        wait_until(
            lambda: 'serving_batch_rows_count{signature="predict_text"' in server.get("/metrics").text, every=0.01
        )
        for _ in range(2):
            server.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert answer.result().status_code == 200
    assert server.process.wait(20) == 0
