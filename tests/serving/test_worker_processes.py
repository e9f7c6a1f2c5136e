"""Several workers of one server: on the same ports, seen as one, and each started anew that ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from grpc_client import Client, ask
from prometheus_client.parser import text_string_to_metric_families
from prometheus_tools import run_promtool
from server_process import ServerProcess
from waiting import wait_until

from serving import ports
from serving.metrics import Metrics, join_pages

Push = Callable[[int], Path]
TITLE = {"title": "dia bom"}


@contextlib.contextmanager
def run_workers(folder: Path, saved_model: Path) -> Iterator[ServerProcess]:
    """Two workers that have loaded one version and keep a log of requests, in files of some lines."""
    shutil.copytree(saved_model, folder / "headlines" / "1")
    log = folder / "log" / "requests.jsonl"
    options: dict[str, Any] = {"request_log": log, "request_log_bytes": 1024, "request_log_files": 50}
    with ServerProcess(folder / "headlines", workers=2, **options) as server:
        wait_until(lambda: server.answers("/readyz") and server.problems() == "", "both workers answer")
        yield server


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> Iterator[ServerProcess]:
    """A server for tests that leave both workers running."""
    with run_workers(tmp_path_factory.mktemp("kept"), saved_model) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path, saved_model: Path) -> Iterator[ServerProcess]:
    """A server of the test's own."""
    with run_workers(tmp_path, saved_model) as server:
        yield server


def count(page: str, series: str) -> dict[str, float]:
    """The values of a series by worker."""
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == series
    }


def test_workers_answer_on_one_port_over_every_protocol_and_each_is_counted(
    server: ServerProcess, tmp_path: Path
) -> None:
    for _ in range(40):
        assert server.post("/predict", TITLE).json()["label"] == "positive"
    for _ in range(10):
        with Client(f"127.0.0.1:{server.grpc_port}") as client:
            assert ask(client, ["dia bom"])["version"] == 1
    page = server.get("/metrics").text
    answered = count(page, "serving_request_seconds_count")
    assert sum(answered.values()) == 50 and answered.keys() == {"1", "2"}, answered
    assert count(page, "serving_worker_up") == {"1": 1, "2": 1}
    assert count(page, "serving_loaded_version") == {"1": 1, "2": 1}
    assert all(value > 1e6 for value in count(page, "process_resident_memory_bytes").values())
    # Whoever is asked tells the same, and of all.
    pages = [count(server.get("/metrics").text, "serving_request_seconds_count") for _ in range(10)]
    assert pages == [answered] * 10
    # Both write to one log, in files that are full: no row is lost, and none is twice.
    assert server.end(20) == -signal.SIGTERM
    files = list((tmp_path / "log").iterdir())
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(line["title"] for line in lines) == {"dia bom": 50}
    assert len(files) > 3 and all(file.stat().st_size <= 1024 for file in files)


def test_a_worker_that_is_killed_is_started_anew_and_meanwhile_told(kept: ServerProcess) -> None:
    first, second = kept.find_workers()
    os.kill(second, signal.SIGKILL)
    told = "worker 2 of 2 does not answer: it is starting, or has ended"
    wait_until(lambda: kept.problems() == told, every=0.02, unanswered=(httpx.TransportError,))
    assert kept.get("/healthz").json() == {"status": "ok", "problems": [told]}
    assert kept.get("/version").json()["workers"] == ["1", None]
    assert count(kept.get("/metrics").text, "serving_worker_up") == {"1": 1, "2": 0}
    # It is asked again when it has a model, and not before.
    statuses: set[int] = set()

    def is_back() -> bool:
        statuses.update(kept.post("/predict", TITLE).status_code for _ in range(5))
        return kept.problems() == ""

    wait_until(is_back, "the worker is back", every=0.01)
    assert statuses == {200}
    assert kept.get("/version").json()["workers"] == ["1", "1"]
    assert first in (workers := kept.find_workers()) and second not in workers and len(workers) == 2
    assert "worker 2 ended with -9, and starts anew in 1 s" in kept.log


def test_a_new_version_is_with_every_worker_and_until_then_told(
    server: ServerProcess, push: Push, tmp_path: Path
) -> None:
    first, _ = server.find_workers()
    # It does not see what is pushed, nor answer.
    os.kill(first, signal.SIGSTOP)
    try:
        push(2)
        wait_until(lambda: "2" in ask_each(server), unanswered=(httpx.TransportError,))
        # However often it is asked, and soon enough for a page that waits half a second.
        with ThreadPoolExecutor(16) as pool:
            told = list(pool.map(lambda _: find_telling(server), range(150)))
        problem = "worker 1 of 2 does not answer: not within 0.2 s"
        assert all(one.status_code == 200 and problem in one.text for one in told[:5]), told[0].text
        assert all(one.status_code == 200 and "worker 1 of 2 does not answer" in one.text for one in told)
    finally:
        os.kill(first, signal.SIGCONT)
    wait_until(lambda: server.get("/version").json()["workers"] == ["2", "2"])
    wait_until(lambda: server.problems() == "")
    (tmp_path / "headlines" / "3").mkdir()
    assert {server.post("/predict", TITLE).json()["version"] for _ in range(20)} == {"2"}


def ask_each(server: ServerProcess) -> set[str]:
    """The versions of those that answer at once, of some connections."""
    found = set()
    for _ in range(8):
        try:
            found.add(httpx.post(f"{server.url}/predict", json=TITLE, timeout=0.5).json()["version"])
        except httpx.TimeoutException:
            continue
    return found


def find_telling(server: ServerProcess) -> httpx.Response:
    """What the one says at /readyz that answers."""
    for _ in range(30):
        try:
            return httpx.get(f"{server.url}/readyz", timeout=1)
        except httpx.TimeoutException:
            continue
    raise AssertionError("nobody answers")


def test_what_ends_the_first_process_ends_the_workers(server: ServerProcess) -> None:
    workers = server.find_workers()
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}/fd").exists() and is_alive(pid) for pid in workers), "they end")


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in re.sub(r".*\)", "", Path(f"/proc/{pid}/stat").read_text()).split()[:1]
    except FileNotFoundError:
        return False


def test_an_interrupt_of_the_terminal_ends_all_once(server: ServerProcess) -> None:
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(20) == 0
    assert server.log.count("Shutting down") == 2 and "Traceback" not in server.log


def test_a_second_server_does_not_share_the_ports(kept: ServerProcess, tmp_path: Path) -> None:
    for workers in (1, 2):
        for setting, port in (("port", kept.port), ("grpc_port", kept.grpc_port)):
            with ServerProcess(tmp_path / "headlines", workers=workers, **{setting: port}) as other:
                assert other.process.wait(60) == 3
                assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in other.log
                assert f"set SERVING_{setting.upper()} to a free port" in other.log
    assert kept.answers("/healthz")


def test_what_no_worker_can_begin_with_ends_the_server_with_its_code(push: Push, tmp_path: Path) -> None:
    push(1)
    with ServerProcess(tmp_path / "headlines", workers=2, request_log=tmp_path) as server:
        assert server.process.wait(60) == 2
        assert f"SERVING_REQUEST_LOG={tmp_path} cannot be written: " in server.log
        assert "starts anew" not in server.log


def hold(port: int, host: str = "127.0.0.1") -> None:
    with ports.hold(host, {"SERVING_PORT": port}):
        pass


def test_a_port_is_seen_to_be_taken_whether_or_not_who_has_it_shares_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = rf"cannot listen on 127\.0\.0\.1:{port} \(Address already in use\); set SERVING_PORT to a free port"
        with pytest.raises(ports.PortError, match=expected):
            hold(port)
        with pytest.raises(ports.PortError, match=expected):
            ports.open_shared("127.0.0.1", port, "SERVING_PORT")
    with contextlib.ExitStack() as opened:
        for _ in range(2):
            for one in ports.open_shared("127.0.0.1", port, "SERVING_PORT"):
                opened.enter_context(one).listen()
        with pytest.raises(ports.PortError, match=expected):
            hold(port)
    # Another server may hold it that does not listen yet.
    with ports.hold("127.0.0.1", {"SERVING_PORT": port}), pytest.raises(ports.PortError, match=expected):
        hold(port)
    hold(port)
    with pytest.raises(ports.PortError, match=r"no-such-host.invalid:.*; set SERVING_PORT to one that can be had, or"):
        hold(port, "no-such-host.invalid")


def test_joined_pages_keep_every_series_apart() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("/predict", 200).inc(3)
    second.requests.labels("/predict", 200).inc(4)
    page = join_pages({1: first.write().decode(), 2: second.write().decode(), 3: None}).decode()
    assert count(page, "serving_requests_total") == {"1": 3, "2": 4}
    assert count(page, "serving_worker_up") == {"1": 1, "2": 1, "3": 0}
    assert page.count("# TYPE serving_requests_total counter") == 1
    run_promtool("check", "metrics", page=page)


def test_many_requests_at_once_are_shared_among_the_workers(kept: ServerProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: kept.post("/predict", TITLE).status_code, range(200)))
    assert statuses == [200] * 200
    answered = count(kept.get("/metrics").text, "serving_request_seconds_count")
    # By the system's hash of each connection: far from even would be a worker that gets none.
    assert min(answered.values()) > 40, answered
