"""Large requests whose time is up, whose clients have gone, or that are too many bytes together."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running_server import MANY_ROWS, Gate, RunningServer, hold_large_runs
from waiting import wait_until

from serving import rest

SMALL = {"signature_name": "predict_text", "instances": ["um segredo bom"]}
FULL = {"error": "The batch scheduling queue to which this task was submitted is full"}


def frame(document: object, version: str = "1.1") -> bytes:
    body = json.dumps(document).encode()
    head = f"POST /v1/models/headlines:predict HTTP/{version}\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def connect(running: RunningServer, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(sent)
        yield client


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while received := client.recv(65536):
        answer += received
    return answer


def count(running: RunningServer, status: int) -> float:
    return running.app.state.server.metrics.requests.labels("/v1", status)._value.get()


def count_rows(running: RunningServer) -> float:
    return running.app.state.server.metrics.batch_rows.labels("predict_text")._sum.get()


@pytest.fixture
def running(start: Callable[..., RunningServer], push: Callable[[int], Path]) -> RunningServer:
    push(1)
    running = start(max_large_waiting=2)
    running.wait_until_ready()
    return running


def test_a_request_whose_client_has_gone_gives_up_its_place_and_is_not_run(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = hold_large_runs(running, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(running.predict, **MANY_ROWS)
        gate.wait_until_reached()
        with connect(running, frame({**MANY_ROWS, "instances": ["um segredo"] * 50})):
            wait_until(lambda: len(running.app.state.server.turns._queue) == 2)
            assert running.predict(**MANY_ROWS).json() == FULL
        wait_until(lambda: count(running, 499) == 1)
        third = pool.submit(running.predict, **MANY_ROWS)
        wait_until(lambda: len(running.app.state.server.turns._queue) == 2)
        gate.open()
        assert (first.result().status_code, third.result().status_code) == (200, 200)
    assert count_rows(running) == 200
    assert "segredo" not in caplog.text + running.get("/metrics").text


def test_a_request_whose_client_goes_between_two_pieces_is_run_no_further(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = running.app.state.server.batcher
    gate = Gate(batcher._run)
    monkeypatch.setattr(batcher, "_run", gate)
    with connect(running, frame({**MANY_ROWS, "instances": ["bom"] * 5000})):
        gate.wait_until_reached()
    wait_until(lambda: count(running, 499) == 1)
    gate.open()
    assert running.predict(**MANY_ROWS).status_code == 200
    assert count_rows(running) == 512 + 100


def test_parsing_that_nobody_waits_for_keeps_no_turn(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(rest.parse_json)
    monkeypatch.setattr(rest, "parse_json", gate)
    with connect(running, frame({**MANY_ROWS, "instances": ["bom"] * 20_000})):
        gate.wait_until_reached()
    wait_until(lambda: count(running, 499) == 1)
    assert not running.app.state.server.turns._queue
    assert running.app.state.server.turns._held_bytes == 0
    gate.open()
    assert running.predict(**MANY_ROWS).status_code == 200
    assert count_rows(running) == 100


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_client_that_only_closes_its_half_gets_its_answer(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    with connect(running, frame(SMALL, version)) as client:
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"positive"' in answer
    gate = hold_large_runs(running, monkeypatch)
    with connect(running, frame(MANY_ROWS, version)) as client:
        client.shutdown(socket.SHUT_WR)
        gate.wait_until_reached()
        threading.Timer(1, gate.open).start()
        answer = read_all(client)
    interim, _, last = answer.rpartition(b"HTTP/1.1 200 ")
    # HTTP/1.0 knows no interim answers.
    assert interim == (b"HTTP/1.1 100 Continue\r\n\r\n" * 2 if version == "1.1" else b"")
    assert last.count(b'"positive"') == 100


def test_a_client_that_closes_before_its_request_is_whole_is_not_waited_for(running: RunningServer) -> None:
    with connect(running, frame(SMALL)[:-1]) as client:
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    wait_until(lambda: count(running, 499) == 1)


def test_the_time_limit_counts_parsing_and_waiting(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start(timeout_seconds=1, max_large_waiting=2)
    running.wait_until_ready()
    gate = Gate(rest.parse_json)
    with ThreadPoolExecutor(2) as pool, monkeypatch.context() as patch:
        patch.setattr(rest, "parse_json", gate)
        answers = [pool.submit(running.predict, **{**MANY_ROWS, "instances": ["bom"] * 20_000}) for _ in range(2)]
        for answer in answers:
            late = answer.result()
            assert (late.status_code, late.json()) == (504, {"error": "Timed out waiting for notification"})
        gate.open()
    assert running.predict(**MANY_ROWS).status_code == 200
    assert count_rows(running) == 100


def test_bodies_that_are_too_large_together_are_refused(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start(max_large_waiting=1, max_body_bytes=100_000)
    running.wait_until_ready()
    begun = frame({**SMALL, "more": "x" * 90_000})[:-10]
    with connect(running, begun):
        wait_until(lambda: running.app.state.server.turns._held_bytes > 80_000)
        refused = running.predict(**SMALL, more="x" * 80_000)
        assert (refused.status_code, refused.json()) == (503, FULL)
        assert running.predict(**SMALL).status_code == 200
    wait_until(lambda: running.app.state.server.turns._held_bytes == 0)
    assert running.predict(**SMALL, more="x" * 80_000).status_code == 200


def test_only_the_thread_waits_for_small_requests(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(
        running.app.state.server.turns, "give_way", lambda: waited.append(threading.current_thread().name)
    )
    title = {"name": "title", "shape": [1], "datatype": "BYTES", "data": ["dia bom"]}
    assert running.post("/v2/models/headlines/infer", {"inputs": [title]}).status_code == 200
    assert running.predict(**SMALL).status_code == 200
    assert waited == []
    many = {"name": "title", "shape": [9_000], "datatype": "BYTES", "data": ["dia bom"] * 9_000}
    # Its answer of one value is written on the event loop.
    request = {"inputs": [many], "outputs": [{"name": "label"}]}
    assert running.post("/v2/models/headlines/infer", request).status_code == 200
    assert {name.rpartition("_")[0] for name in waited} == {"large-requests"}
