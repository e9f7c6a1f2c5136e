"""REST, V2 and gRPC at the same time, by clients of which many go too early: nothing of theirs stays behind."""

import asyncio
import contextvars
import gzip
import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from grpc_client import Client, predict_request
from running_server import Gate, RunningServer
from tensorflow_serving.apis import inference_pb2
from waiting import wait_until

from serving.body import _unpack
from serving.errors import ServingError
from serving.open_tensors import read_tensor
from serving.parse_errors import explain, find_half_pair, find_number, spell_strictly
from serving.turns import Turns

ADDRESSES = {"v1": "/v1/models/headlines:predict", "v2": "/v2/models/headlines/infer"}
# Of the model's answers to clients that wait, and of too much at a time; none is a failure of the server.
STATUSES, CODES = {200, 503, 504}, {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
ROWS = (1, 3, 100, 2000)


def write_body(protocol: str, rows: int, more: int) -> bytes:
    titles = ["um segredo bom"] * rows
    if protocol == "v1":
        document = {"signature_name": "predict_text", "instances": titles, "more": "x" * more}
    else:
        tensor = {"name": "title", "datatype": "BYTES", "shape": [rows], "data": titles}
        document = {"inputs": [tensor], "parameters": {"more": "x" * more}}
    return json.dumps(document).encode()


def visit_http(running: RunningServer, protocol: str, chance: random.Random) -> int | None:
    """The status of an answer; None where the client goes before."""
    body = write_body(protocol, chance.choice(ROWS), chance.choice((0, 200_000)))
    head = f"POST {ADDRESSES[protocol]} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    if chance.random() < 0.3:
        head += "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    sent = head.encode() + b"\r\n" + body
    goes = chance.choice(("never", "half", "in the head", "in the body", "after the body"))
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as client:
        if goes in ("in the head", "in the body"):
            client.sendall(sent[: chance.randrange(1, len(head) if goes == "in the head" else len(sent))])
            time.sleep(chance.random() / 20)
            return None
        client.sendall(sent)
        if goes == "after the body":
            time.sleep(chance.random() / 20)
            return None
        if goes == "half":
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"):
            received = client.recv(65536)
            assert received, answer
            answer += received
        return int(answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").split(b" ")[1])


def visit_grpc(client: Client, chance: random.Random) -> grpc.StatusCode | None:
    request = predict_request(["um segredo bom" + " " * chance.choice((0, 1000))] * chance.choice(ROWS))
    call = client.prediction.Predict.future(request, timeout=chance.choice((0.01, 60)))
    if chance.random() < 0.5:
        time.sleep(chance.random() / 20)
        call.cancel()
        return None
    code: grpc.StatusCode = call.code()
    return code


def test_nothing_of_what_clients_asked_stays_whoever_goes_when(
    start: Callable[..., RunningServer], push: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    push(1)
    running = start(max_large_waiting=3, max_body_bytes=300_000)
    running.wait_until_ready()
    server = running.app.state.server

    def visit(seed: int) -> None:
        chance = random.Random(seed)
        with Client(running.grpc_address) as client:
            for _ in range(12):
                protocol = chance.choice(("v1", "v2", "grpc"))
                if protocol == "grpc":
                    code = visit_grpc(client, chance)
                    assert code is None or code.name in CODES
                else:
                    assert visit_http(running, protocol, chance) in {None, *STATUSES}

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(visit, range(6)))
    wait_until(lambda: (server.turns._held_bytes, len(server.turns._queue), server.turns.quick) == (0, 0, 0))
    wait_until(lambda: not server.batcher._waiting and server.turns.thread._work_queue.empty())
    for path in ADDRESSES.values():
        protocol = "v1" if "v1" in path else "v2"
        assert running.post(path, content=write_body(protocol, 2000, 0)).status_code == 200
    paths = {sample.labels["path"] for metric in server.metrics.requests.collect() for sample in metric.samples}
    assert paths <= {"/v1", "/v2", "/readyz", "/tensorflow.serving.PredictionService/Predict"}
    assert "Traceback" not in caplog.text and "segredo" not in caplog.text


def test_several_works_of_a_visit_wait_for_its_turn_and_end_with_it() -> None:
    async def run() -> None:
        turns = Turns(2, 100, 30)
        done: list[str] = []
        first, second = turns.begin(), turns.begin()
        await first.do(done.append, "first")
        both = [asyncio.ensure_future(second.do(done.append, f"second {number}")) for number in range(2)]
        await asyncio.sleep(0.05)
        assert done == ["first"]
        first.end()
        await asyncio.gather(*both)
        assert sorted(done) == ["first", "second 0", "second 1"]
        second.end()
        # Of one that ends before its turn, none is done either.
        third, fourth = turns.begin(), turns.begin()
        await third.do(done.append, "third")
        both = [asyncio.ensure_future(fourth.do(done.append, "fourth")) for _ in range(2)]
        await asyncio.sleep(0)
        fourth.end()
        third.end()
        assert all(isinstance(one, BaseException) for one in await asyncio.gather(*both, return_exceptions=True))
        # What comes after the end is not done, and takes no place.
        with pytest.raises(ServingError) as raised:
            await second.do(done.append, "late")
        assert raised.value.code == "CANCELLED"
        assert (len(turns._queue), len(done)) == (0, 4)
        turns.stop()

    asyncio.run(run())


def test_half_of_a_pair_is_no_failure_of_the_server_wherever_it_stands(server: RunningServer) -> None:
    for half in ("\\udc00", "\\udcff", "\\ud83d"):
        tensor = f'{{"name":"title","datatype":"BYTES","shape":[1],"data":["{half}"]}}'
        documents = [
            ("/predict", f'{{"title":"{half}"}}'),
            ("/related", f'{{"title":"{half}"}}'),
            (ADDRESSES["v1"], f'{{"signature_name":"{half}","instances":["a"]}}'),
            (ADDRESSES["v1"], f'{{"signature_name":"predict_text","instances":["{half}"]}}'),
            (ADDRESSES["v1"], f'{{"signature_name":"predict_text","instances":[{{"{half}":1}}]}}'),
            (ADDRESSES["v2"], f'{{"id":"{half}","inputs":[{tensor}]}}'),
            (ADDRESSES["v2"], f'{{"inputs":[{tensor}],"outputs":[{{"name":"{half}"}}]}}'),
            (ADDRESSES["v2"], f'{{"inputs":[{tensor}],"parameters":{{"signature_name":"{half}"}}}}'),
            (ADDRESSES["v2"], f'{{"inputs":[{tensor.replace("BYTES", half)}]}}'),
            (ADDRESSES["v2"], f'{{"inputs":[{tensor.replace("title", half)}]}}'),
        ]
        for path, text in documents:
            as_bytes = text.encode().replace(half.encode(), b"\xed\xb0\x80")
            for body in (text.encode(), as_bytes):
                response = server.post(path, content=body)
                assert response.status_code < 500, (path, body, response.text)
                response.content.decode("utf-8", "strict" if response.status_code != 200 else "replace")
    for name in ("%ED%B0%80", "%FF", "%00"):
        for path in (f"/v1/models/{name}", f"/v1/models/headlines/labels/{name}", f"/v2/models/{name}"):
            assert server.get(path).status_code in (400, 404)
    several = inference_pb2.MultiInferenceRequest()
    with Client(server.grpc_address) as client, pytest.raises(grpc.RpcError) as raised:
        client.prediction.MultiInference(several, timeout=30)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "work",
    [
        lambda: _unpack(1 << 20, ServingError("PAYLOAD_TOO_LARGE", ""), gzip.compress(b"") * 10),
        lambda: read_tensor(
            {"shape": [5000], "parameters": {"binary_data_size": 20_000}}, "title", tf.string, bytes(20_000), 0
        ),
        lambda: find_half_pair("\\ud83d\\ude00"),
        lambda: find_number("1", "2"),
        lambda: spell_strictly("[Inf]"),
        lambda: explain('[{"a": 1 2}]', json.JSONDecodeError("Expecting ',' delimiter", '[{"a": 1 2}]', 9)),
    ],
)
def test_work_that_may_take_long_ends_when_its_client_has_gone(work: Callable[[], object]) -> None:
    def run() -> None:
        visit = Turns(1, 100, 30).begin()
        visit.end()
        with pytest.raises(ServingError) as raised:
            work()
        assert raised.value.code == "CANCELLED"

    contextvars.copy_context().run(run)


def test_a_client_that_closes_its_half_hears_all_that_it_asked_and_what_was_no_request(server: RunningServer) -> None:
    body = write_body("v1", 100, 0)
    head = f"POST {ADDRESSES['v1']} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    offer = head + "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    asked = offer.encode() + b"\r\n" + body + head.encode() + b"\r\n" + body
    for more, statuses in ((b"", ["200", "200"]), (b"no request\r\n\r\n", ["200", "200", "400"])):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(asked + more)
            client.shutdown(socket.SHUT_WR)
            answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert [
            part[:3].decode() for part in answers.split(b"HTTP/1.1 ") if part[:3].strip() not in (b"", b"100")
        ] == statuses


def test_a_call_that_is_given_up_between_two_pieces_is_run_no_further(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    server = running.app.state.server
    gate = Gate(server.batcher._run)
    monkeypatch.setattr(server.batcher, "_run", gate)
    with Client(running.grpc_address) as client:
        call = client.prediction.Predict.future(predict_request(["bom"] * 5000), timeout=60)
        gate.wait_until_reached()
        call.cancel()
        wait_until(lambda: not server.turns._queue)
        gate.open()
        client.prediction.Predict(predict_request(["bom"] * 100), timeout=60)
    assert server.metrics.batch_rows.labels("predict_text")._sum.get() == 512 + 100
