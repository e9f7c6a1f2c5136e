"""The gRPC port beside the REST one: who may ask, how much and for how long, health, a swap, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_client import Client, ask, fails, predict_request
from grpc_health.v1 import health_pb2
from running_server import RunningServer, hold_large_runs
from served_models import save_model
from waiting import wait_until

from serving.settings import Settings

Start = Callable[..., RunningServer]
Push = Callable[[int], Path]
PREDICT = "/tensorflow.serving.PredictionService/Predict"
MANY = ["bom"] * 100
CHECKOUT = Path(__file__).parents[2]


def counted(running: RunningServer, path: str, code: str) -> float:
    name = f'serving_requests_total{{path="{path}",status="{code}"}} '
    lines = running.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_token_is_wanted_of_all_but_probes(start: Start, push: Push) -> None:
    push(1)
    running = start(token="secret")
    with Client(running.grpc_address) as client:
        wait_until(lambda: client.check() == "SERVING")
        request = predict_request(["bom"])
        fails(client.prediction.Predict, request, grpc.StatusCode.UNAUTHENTICATED, "Authorization: Bearer <token>")
        wrong = [("authorization", "Bearer secrets")]
        fails(client.prediction.Predict, request, grpc.StatusCode.UNAUTHENTICATED, metadata=wrong)
        for known in ("Bearer secret", "bearer secret"):
            assert ask(client, ["bom"], metadata=[("authorization", known)])["label"] == [b"positive"]
        headers = {"authorization": "Bearer secret"}
        running.client.headers.update(headers)
        assert counted(running, PREDICT, "UNAUTHENTICATED") == 2
        assert counted(running, PREDICT, "OK") == 2
        # Without one a call is refused before its message is waited for.
        silent = threading.Event()
        call = client.channel.stream_unary(PREDICT).future(iter(lambda: silent.wait() and None, None))
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        silent.set()


def test_a_message_that_is_too_large_is_refused_packed_or_not(start: Start, push: Push) -> None:
    push(1)
    running = start(max_body_bytes=100_000)
    running.wait_until_ready()
    with Client(running.grpc_address) as client:
        for size in (200_000, 20_000_000):
            for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
                fails(
                    client.prediction.Predict,
                    predict_request(["x" * size]),
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "arger than max",
                    compression=compression,
                )
        assert ask(client, ["bom" * 20_000], compression=grpc.Compression.Gzip)["label"] == [b"positive"]


def test_health_follows_what_readyz_says(start: Start, push: Push) -> None:
    running = start()
    with Client(running.grpc_address) as client:
        names = (
            *("", "headlines", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"),
            # What TensorFlow Serving calls them (model_servers/server.cc).
            *("PredictionService", "ModelService"),
        )
        assert [client.check(name) for name in names] == ["NOT_SERVING"] * len(names)
        assert running.get("/readyz").status_code == 503
        request = predict_request(["bom"])
        fails(client.prediction.Predict, request, grpc.StatusCode.NOT_FOUND, "Latest(headlines)")
        fails(client.health.Check, health_pb2.HealthCheckRequest(service="other"), grpc.StatusCode.NOT_FOUND, "other")
        watched = client.health.Watch(health_pb2.HealthCheckRequest(service="headlines"))
        unknown = client.health.Watch(health_pb2.HealthCheckRequest(service="other"))
        status = health_pb2.HealthCheckResponse
        assert next(watched).status == status.NOT_SERVING
        assert next(unknown).status == status.SERVICE_UNKNOWN
        push(1)
        assert next(watched).status == status.SERVING
        assert [client.check(name) for name in names] == ["SERVING"] * len(names)
        running.begin_stop()
        assert next(watched).status == status.NOT_SERVING
        with pytest.raises(grpc.RpcError) as caught:
            next(watched)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        # Who still watches is no reason to wait.
        wait_until(lambda: not running.is_running, seconds=10)


def test_the_one_who_watches_too_much_takes_no_calls_from_others(start: Start, push: Push) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    with Client(running.grpc_address) as client:
        watched = [client.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(110)]
        refused = 0
        for call in watched:
            try:
                next(call)
            except grpc.RpcError as error:
                refused += error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused == 10
        assert ask(client, ["bom"])["label"] == [b"positive"]
        for call in watched:
            call.cancel()

        def may_watch() -> bool:
            try:
                return bool(next(client.health.Watch(health_pb2.HealthCheckRequest())))
            except grpc.RpcError:
                return False

        wait_until(may_watch)


def test_more_calls_than_allowed_are_refused(start: Start, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    push(1)
    running = start(max_connections=2)
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    with Client(running.grpc_address) as client:
        calls = [client.prediction.Predict.future(predict_request(MANY)) for _ in range(2)]
        gate.wait_until_reached()
        wait_until(lambda: len(running.app.state.server.turns._queue) == 2)
        fails(client.prediction.Predict, predict_request(["bom"]), grpc.StatusCode.RESOURCE_EXHAUSTED)
        gate.open()
        assert [call.result().model_spec.version.value for call in calls] == [1, 1]


def test_a_client_that_has_gone_leaves_no_work(start: Start, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    waiting = running.app.state.server.turns._queue
    with Client(running.grpc_address) as client:
        fails(client.prediction.Predict, predict_request(MANY), grpc.StatusCode.DEADLINE_EXCEEDED, timeout=0.5)
        wait_until(lambda: not waiting)
        call = client.prediction.Predict.future(predict_request(MANY))
        wait_until(lambda: len(waiting) == 1)
        call.cancel()
        wait_until(lambda: not waiting)
        gate.open()
        wait_until(lambda: counted(running, PREDICT, "CANCELLED") == 1)
        assert counted(running, PREDICT, "DEADLINE_EXCEEDED") == 1
        assert ask(client, ["bom"])["label"] == [b"positive"]


def test_a_client_that_sends_no_message_is_given_up(start: Start, push: Push) -> None:
    push(1)
    running = start(timeout_seconds=0.5)
    running.wait_until_ready()
    silent = threading.Event()
    with Client(running.grpc_address) as client:
        call = client.channel.stream_unary(PREDICT).future(iter(lambda: silent.wait() and None, None))
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not come in time" in call.details()
        silent.set()


def test_a_failure_inside_says_nothing_of_the_inside(
    start: Start, push: Push, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()

    async def fail(*_: object) -> None:
        raise RuntimeError("an inner word")

    monkeypatch.setattr(running.app.state.server.batcher, "run", fail)
    with Client(running.grpc_address) as client, pytest.raises(grpc.RpcError) as caught:
        ask(client, ["um título secreto"])
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert caught.value.details() == "internal error; the server's log says more"
    assert "an inner word" in caplog.text
    assert "secreto" not in caplog.text


def test_calls_count_in_the_metrics_as_requests_do(start: Start, push: Push, tmp_path: Path) -> None:
    push(1)
    running = start(request_log=tmp_path / "requests.jsonl")
    running.wait_until_ready()
    with Client(running.grpc_address) as client:
        ask(client, ["bom", "ruim"])
    text = running.get("/metrics").text
    assert 'serving_predictions_total{label="negative",version="1"} 1.0' in text
    assert 'serving_request_seconds_count{signature="predict_text",version="1"} 1.0' in text
    running.stop()
    assert (tmp_path / "requests.jsonl").read_text(encoding="utf-8").count('"version": 1') == 2


def test_a_swap_and_a_rollback_under_load_fail_no_call_and_answer_as_rest_does(
    start: Start, push: Push, tmp_path: Path
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    failed: list[object] = []
    seen: dict[int, set[float]] = {}
    stop = threading.Event()

    def call() -> None:
        with Client(running.grpc_address) as client:
            while not stop.is_set():
                try:
                    answer = ask(client, ["dia bom"])
                    seen.setdefault(answer["version"], set()).add(answer["confidence"].item())
                except grpc.RpcError as error:
                    failed.append(error)

    def answers(version: int) -> None:
        """Waits until REST answers with a version, and compares."""
        wait_until(lambda: running.post("/predict", {"title": "x"}).json()["version"] == str(version))
        with Client(running.grpc_address) as client:
            answer = ask(client, ["dia bom"])
        rest = running.predict(signature_name="predict_text", instances=["dia bom"]).json()["predictions"][0]
        assert answer["version"] == version
        assert answer["confidence"].item() == pytest.approx(rest["confidence"])
        wait_until(lambda: version in seen)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call) for _ in range(4)]
        answers(1)
        # Each version answers with a confidence of its own, so an answer shows which model gave it.
        for version, sure in ((2, 4.0), (3, 5.0)):
            save_model(tmp_path / f"made-{version}", sure).rename(tmp_path / "headlines" / str(version))
            answers(version)
        seen.pop(2)
        (tmp_path / "models.config").write_text(
            'model_config_list { config { name: "headlines" base_path: "/headlines" model_platform: "tensorflow" '
            "model_version_policy { specific { versions: 2 } } } }"
        )
        answers(2)
        stop.set()
        for each in calls:
            each.result()
    assert failed == []
    assert [len(confidences) for confidences in seen.values()] == [1, 1, 1]


def test_a_call_under_way_is_answered_before_the_end(start: Start, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    with Client(running.grpc_address) as client:
        call = client.prediction.Predict.future(predict_request(MANY))
        gate.wait_until_reached()
        running.begin_stop()
        wait_until(lambda: running.app.state.server.grpc._stopped is not None)
        late = client.prediction.Predict.future(predict_request(["bom"]), timeout=10)
        assert late.code() is grpc.StatusCode.UNAVAILABLE
        gate.open()
        assert call.result().model_spec.version.value == 1
    wait_until(lambda: not running.is_running, seconds=10)


def test_without_a_port_it_does_not_listen(start: Start, push: Push) -> None:
    push(1)
    running = start(grpc_port=0)
    running.wait_until_ready()
    assert running.app.state.server.grpc.port == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def program(tmp_path: Path, push: Push) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """The server as a process, with a model."""
    push(1)
    names = ("SERVING_PORT", "SERVING_GRPC_PORT")
    environment = os.environ | {name: str(free_port()) for name in names}
    environment |= {"SERVING_DIR": str(tmp_path / "headlines"), "SERVING_TIMEOUT_SECONDS": "5"}
    process = subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True
    )
    yield process, environment
    process.kill()
    process.communicate()


def test_the_program_answers_and_sigterm_ends_it_in_time_with_open_streams(
    program: tuple["subprocess.Popen[str]", dict[str, str]],
) -> None:
    process, environment = program
    with Client(f"127.0.0.1:{environment['SERVING_GRPC_PORT']}") as client:
        assert client.check(wait_for_ready=True) in ("SERVING", "NOT_SERVING")
        wait_until(lambda: client.check() == "SERVING")
        assert ask(client, ["bom"])["version"] == 1
        # The same port again: it is not shared, and the setting is named.
        second = subprocess.run(
            [sys.executable, "-m", "serving"],
            cwd=CHECKOUT,
            env=environment | {"SERVING_PORT": str(free_port())},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (second.returncode, "Traceback" in second.stderr) == (3, False)
        assert f"127.0.0.1:{environment['SERVING_GRPC_PORT']}" in second.stderr
        assert "SERVING_GRPC_PORT" in second.stderr
        third = subprocess.run(
            [sys.executable, "-m", "serving"],
            cwd=CHECKOUT,
            env=environment | {"SERVING_GRPC_PORT": str(free_port())},
            capture_output=True,
            text=True,
            check=False,
        )
        assert third.returncode == second.returncode, "as for the port of REST"
        watched = client.health.Watch(health_pb2.HealthCheckRequest())
        next(watched)
        silent = threading.Event()
        call = client.channel.stream_unary(PREDICT).future(iter(lambda: silent.wait() and None, None))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        # The silent call has the time that any call has, and not more.
        assert time.monotonic() - began < 10
        assert call.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        silent.set()
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{environment['SERVING_PORT']}/healthz")


def test_a_wrong_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_DIR", "x")
    assert Settings.from_env().grpc_port == 8500, "where TensorFlow Serving has it (model_servers/server.h)"
    monkeypatch.setenv("SERVING_GRPC_PORT", "-1")
    with pytest.raises(ValueError, match="SERVING_GRPC_PORT='-1'"):
        Settings.from_env()
