"""The Open Inference (V2) protocol: what it answers, which signature it runs, and that it gives what REST gives.

After kserve's python/kserve/test/test_server.py, test_dataplane.py and test_infer_type.py, and the specification's
inference_rest.md and open_inference_rest.yaml.
"""

import gzip
import json
import math
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import tensorflow as tf
from running_server import MANY_ROWS, Gate, RunningServer, hold_large_runs
from served_models import save_model
from waiting import wait_until

from serving.errors import ServingError
from serving.open_inference import VERSION
from serving.open_tensors import DTYPES, read_tensor, write_tensor

MODEL = "/v2/models/headlines"
HEADER = "Inference-Header-Content-Length"
TITLES = ["dia bom", "dia ruim", "Chuva forte em São Paulo", ""]


def given(name: str, data: Any, datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    """An input whose shape is that of its data."""
    return {"name": name, "shape": list(np.shape(data)), "datatype": datatype, "data": data, **more}


def infer(server: RunningServer, *inputs: Any, path: str = MODEL, **more: Any) -> httpx.Response:
    return server.post(f"{path}/infer", {"inputs": list(inputs), **more})


def infer_binary(
    server: RunningServer, document: Any, rest: bytes, length: int | str | None = None, **headers: str
) -> httpx.Response:
    head = json.dumps(document).encode()
    headers[HEADER] = str(len(head) if length is None else length)
    return server.post(f"{MODEL}/infer", content=head + rest, headers=headers)


def outputs_of(response: httpx.Response) -> dict[str, Any]:
    """The outputs by name, nested as REST nests them."""
    assert response.status_code == 200, response.text
    outputs = {}
    for output in response.json()["outputs"]:
        assert math.prod(output["shape"]) == len(output["data"])
        outputs[output["name"]] = np.array(output["data"], object).reshape(output["shape"]).tolist()
    return outputs


def refused(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    return str(response.json()["error"])


def text_bytes(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_the_server_says_what_it_is_and_has_what_it_says(server: RunningServer) -> None:
    for path in ("/v2", "/v2/"):
        assert server.get(path).json() == {
            "name": "headlines-model-server",
            "version": server.get("/openapi.json").json()["info"]["version"],
            "extensions": ["binary_tensor_data"],
        }
    assert server.get("/openapi.json").json()["info"]["version"] == VERSION


def test_health_is_told_as_kserve_tells_it(server: RunningServer) -> None:
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get("/v2/health/ready").json() == {"ready": True}
    assert server.get("/v2/models").json() == {"models": ["headlines"]}
    for path in ("", "/versions/2022020101", "/versions/stable"):
        assert server.get(f"{MODEL}{path}/ready").json() == {"name": "headlines", "ready": True}


def test_the_metadata_show_what_is_asked_by_title_and_every_signature_beside_it(server: RunningServer) -> None:
    answer = server.get(MODEL).json()
    assert answer.pop("properties")["two_inputs"] == (
        "pair FP32 [-1, 2], whole INT64 [-1] -> sum FP32 [-1], whole INT64 [-1]"
    )
    assert answer == {
        "name": "headlines",
        "versions": ["2022020101", "2022020201"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "title", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        ],
    }
    assert server.get(f"{MODEL}/versions/2022020101").json()["inputs"] == answer["inputs"]


@pytest.mark.parametrize("path", ["", "/ready", "/infer"])
def test_what_is_not_there_is_not_found(server: RunningServer, path: str) -> None:
    ask = server.post if path == "/infer" else server.get
    assert refused(ask(f"/v2/models/nope{path}"), 404) == "Servable not found for request: Latest(nope)"
    message = "Servable not found for request: Specific(headlines, 9)"
    assert refused(ask(f"{MODEL}/versions/9{path}"), 404) == message
    assert refused(ask(f"{MODEL}/versions/nope{path}")) == "Unrecognized servable version label: nope"
    assert "to numeric" in refused(ask(f"{MODEL}/versions/{'9' * 30}{path}"))


def test_other_addresses_and_methods_are_refused_as_json(server: RunningServer) -> None:
    assert refused(server.get(f"{MODEL}/config"), 404)
    assert refused(server.get(f"{MODEL}/infer"), 405)
    assert refused(server.post(MODEL), 405)
    assert "push a version" in refused(server.post("/v2/repository/models/headlines/load"), 501)


def test_an_answer_is_that_of_rest_with_names_shapes_types_and_the_id(server: RunningServer) -> None:
    response = infer(server, given("title", TITLES), id="a-1")
    rest = server.predict(signature_name="predict_text", inputs=TITLES).json()["outputs"]
    assert outputs_of(response) == rest
    answer = response.json()
    assert [(output["name"], output["datatype"], output["shape"]) for output in answer.pop("outputs")] == [
        ("confidence", "FP32", [4]),
        ("label", "BYTES", [4]),
        ("probabilities", "FP32", [4, 3]),
    ]
    assert answer == {
        "model_name": "headlines",
        "model_version": "2022020201",
        "id": "a-1",
        "parameters": {"signature_name": "predict_text"},
    }
    assert "id" not in infer(server, given("title", ["x"])).json()
    labelled = infer(server, given("title", ["x"]), path=f"{MODEL}/versions/stable").json()
    assert labelled["model_version"] == "2022020101"


def test_the_inputs_say_which_signature_is_meant(server: RunningServer) -> None:
    def chosen(*inputs: Any, **parameters: Any) -> str:
        response = infer(server, *inputs, parameters=parameters)
        assert response.status_code == 200, response.text
        return str(response.json()["parameters"]["signature_name"])

    example = tf.train.Example()
    example.features.feature["title"].bytes_list.value.append(b"bom")
    serialised = example.SerializeToString().decode()
    assert chosen(given("title", ["x"])) == "predict_text"
    assert chosen(given("examples", [serialised])) == "serving_default"
    assert chosen(given("right", ["x"]), given("left", ["y"])) == "two_texts"
    assert chosen(given("text", ["x"]), signature_name="echo") == "echo"


def test_inputs_that_fit_several_signatures_or_none_are_refused_with_the_choice(server: RunningServer) -> None:
    message = refused(infer(server, given("text", ["x"])))
    assert "fit the signatures echo, refuse_bad" in message and '"signature_name": "echo"' in message
    message = refused(infer(server, given("input-0", ["x"])))
    assert 'predict_text: "title"' in message and "__saved_model_init_op" not in message
    message = refused(infer(server, given("title", ["x"]), parameters={"signature_name": "echo"}))
    assert message == 'signature \'echo\' takes the inputs "text", not "title"'
    message = refused(infer(server, given("title", ["x"]), parameters={"signature_name": "nope"}))
    assert message == 'Serving signature name: "nope" not found in signature def'


def test_only_the_outputs_asked_for_are_sent_in_that_order(server: RunningServer) -> None:
    response = infer(server, given("title", ["bom"]), outputs=[{"name": "label"}, {"name": "confidence"}])
    assert list(outputs_of(response)) == ["label", "confidence"]
    assert len(outputs_of(infer(server, given("title", ["bom"]), outputs=[]))) == 3
    for outputs, message in (
        ([{"name": "nope"}], 'has no output "nope"; it has confidence, label, probabilities'),
        ([{"name": "label"}] * 2, "twice"),
        ([{"name": "label", "parameters": {"classification": 2}}], "classification"),
        ([{"name": "label", "parameters": {"binary_data": 1}}], "true or false"),
        ("label", "list"),
    ):
        assert message in refused(infer(server, given("title", ["bom"]), outputs=outputs))


def test_data_may_be_nested_or_flat(server: RunningServer) -> None:
    whole = given("whole", [1, 2], "INT64")
    flat = {"name": "pair", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, 3, 4]}
    nested = {**flat, "data": [[1, 2.5], [3, 4]]}
    expected = {"sum": [4.5, 9.0], "whole": [1, 2]}
    assert outputs_of(infer(server, flat, whole)) == outputs_of(infer(server, whole, nested)) == expected


def test_bytes_after_the_json_are_read_and_written(server: RunningServer) -> None:
    texts = text_bytes(*(title.encode() for title in TITLES))
    content = {"name": "title", "shape": [4], "datatype": "BYTES", "parameters": {"binary_data_size": len(texts)}}
    expected = outputs_of(infer(server, given("title", TITLES)))
    assert outputs_of(infer_binary(server, {"inputs": [content]}, texts)) == expected
    response = infer_binary(
        server,
        {
            "inputs": [content],
            "parameters": {"binary_data_output": True},
            "outputs": [
                {"name": "label"},
                {"name": "confidence", "parameters": {"binary_data": False}},
                {"name": "probabilities", "parameters": {"binary_data": True}},
            ],
        },
        texts,
    )
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[HEADER])
    label, confidence, probabilities = json.loads(response.content[:length])["outputs"]
    rest = response.content[length:]
    labels = text_bytes(*(text.encode() for text in expected["label"]))
    assert rest.startswith(labels)
    assert label == {
        "name": "label", "datatype": "BYTES", "shape": [4], "parameters": {"binary_data_size": len(labels)},
    }  # fmt: skip
    assert confidence["data"] == expected["confidence"]
    assert probabilities["parameters"] == {"binary_data_size": 48}
    sent = np.frombuffer(rest[len(labels) :], "<f4").reshape(4, 3)
    assert sent.tolist() == np.array(expected["probabilities"], np.float32).tolist()


def test_packed_bytes_after_the_json_are_read(server: RunningServer) -> None:
    document = {"inputs": [{"name": "title", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 7}}]}
    head = json.dumps(document).encode()
    headers = {HEADER: str(len(head)), "Content-Encoding": "gzip"}
    response = server.post(f"{MODEL}/infer", content=gzip.compress(head + text_bytes(b"bom")), headers=headers)
    assert outputs_of(response)["label"] == ["positive"]


VALUES = {
    "BOOL": [True, False],
    "FP16": [1.5, -65504.0],
    "FP32": [1.5, -3.4028234663852886e38],
    "FP64": [1.5, -1e300],
    "BYTES": ["São Paulo", ""],
} | {
    name: [int(dtype.min), int(dtype.max)] for name, dtype in DTYPES.items() if dtype.is_integer
}  # fmt: skip


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_comes_and_goes_as_json_and_as_bytes(datatype: str) -> None:
    dtype = DTYPES[datatype]
    content = {"name": "x", "shape": [1, 2], "datatype": datatype, "data": VALUES[datatype]}
    tensor, _ = read_tensor(content, "x", dtype, b"", 0)
    assert tensor.shape == (1, 2) and tf.as_dtype(tensor.dtype) == dtype
    written, rest = write_tensor("x", tensor, as_bytes=False)
    output = json.loads(written)
    assert rest == b"" and output["shape"] == [1, 2] and output["datatype"] == datatype
    if datatype == "FP32":
        output["data"] = np.array(output["data"], np.float32).tolist()
    assert output["data"] == VALUES[datatype]
    written, rest = write_tensor("x", tensor, as_bytes=True)
    output = json.loads(written)
    assert "data" not in output and output["parameters"] == {"binary_data_size": len(rest)}
    again, place = read_tensor({**output, "name": "x"}, "x", dtype, b"..." + rest, 3)
    assert place == 3 + len(rest) and again.tolist() == tensor.tolist()


def test_texts_are_bytes_in_json_as_in_rest_and_bytes_that_are_no_text_leave_as_bytes(server: RunningServer) -> None:
    def echo(data: Any, **more: Any) -> httpx.Response:
        return infer(server, given("text", data), parameters={"signature_name": "echo", **more})

    assert outputs_of(echo(["ação"]))["text"] == ["ação"]
    assert outputs_of(echo([{"b64": "YcOn"}]))["text"] == ["aç"]
    message = "output 'raw_bytes' holds bytes that are no UTF-8; ask for it with 'binary_data'"
    assert refused(echo([{"b64": "/w=="}])) == message
    response = echo([{"b64": "/w=="}], binary_data_output=True)
    assert response.content.endswith(text_bytes(b"\xff") * 2)
    body = b'{"inputs":[{"name":"title","shape":[1],"datatype":"BYTES","data":["bom \xff"]}]}'
    rest = server.post(
        "/v1/models/headlines:predict", content=b'{"signature_name":"predict_text","inputs":["bom \xff"]}'
    )
    assert outputs_of(server.post(f"{MODEL}/infer", content=body)) == rest.json()["outputs"]


def test_numbers_that_json_has_not_are_null_as_kserve_writes_them_and_exact_as_bytes(server: RunningServer) -> None:
    values = [float("nan"), float("inf"), float("-inf"), 4.0]
    content = {"name": "x", "shape": [4], "datatype": "FP32", "data": values}
    parameters = {"signature_name": "halve"}
    document = {"inputs": [content], "parameters": parameters}
    response = server.post(f"{MODEL}/infer", content=json.dumps(document).encode())
    assert outputs_of(response)["y"] == [None, None, None, 2.0]
    assert b"NaN" not in response.content
    document = {"inputs": [content], "parameters": {**parameters, "binary_data_output": True}}
    response = server.post(f"{MODEL}/infer", content=json.dumps(document).encode())
    assert str(np.frombuffer(response.content[-16:], "<f4").tolist()) == "[nan, inf, -inf, 2.0]"


def test_no_rows_are_answered_with_none(server: RunningServer) -> None:
    outputs = outputs_of(infer(server, given("title", [])))
    assert outputs == {"confidence": [], "label": [], "probabilities": []}
    # kserve's infer_type.py sends nothing as `"data": null` beside a size of 0, and no header.
    nothing = {"name": "title", "shape": [0], "datatype": "BYTES", "data": None, "parameters": {"binary_data_size": 0}}
    assert outputs_of(infer(server, nothing)) == outputs


def test_many_rows_are_answered_and_few_wait_for_none(server: RunningServer) -> None:
    # Longer than what is read and written by one call.
    titles = TITLES * 1100
    rest = server.predict(signature_name="predict_text", inputs=titles).json()["outputs"]
    assert outputs_of(infer(server, given("title", titles))) == rest


TITLE = given("title", ["x"])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "'inputs' must be a list"),
        ({"inputs": []}, "'inputs' is empty"),
        ({"inputs": {"title": ["x"]}}, "'inputs' must be a list"),
        ({"inputs": ["title"]}, "must be an object with a 'name'"),
        ({"inputs": [{"shape": [1]}]}, "must be an object with a 'name'"),
        ({"inputs": [TITLE, TITLE]}, "'inputs' has \"title\" twice"),
        ({"inputs": [TITLE, {**TITLE, "name": "more"}]}, "no signature takes the inputs \"more, title\""),
        ({"inputs": [TITLE], "id": 7}, "'id' must be a text"),
        ({"inputs": [TITLE], "id": "\ud800"}, "surrogate"),
        ({"inputs": [TITLE], "parameters": []}, "'parameters' of the request must be an object"),
        ({"inputs": [TITLE], "parameters": {"signature_name": 7}}, "'signature_name' must be a string"),
        ({"inputs": [TITLE], "parameters": {"binary_data_output": "yes"}}, "must be true or false"),
        ({"inputs": [{**TITLE, "datatype": "FP32"}]}, "takes datatype BYTES, not \"FP32\""),
        ({"inputs": [{**TITLE, "datatype": None}]}, "takes datatype BYTES, not null"),
        ({"inputs": [{**TITLE, "datatype": ["BYTES"]}]}, "takes datatype BYTES, not ["),
        ({"inputs": [{**TITLE, "shape": [2]}]}, "has 1 elements, but its shape is [2]"),
        ({"inputs": [{**TITLE, "shape": []}]}, "Cannot feed value of shape ()"),
        ({"inputs": [{**TITLE, "shape": [1, 1]}]}, "Cannot feed value of shape (1, 1)"),
        ({"inputs": [{**TITLE, "shape": None}]}, "must be a list of whole numbers"),
        ({"inputs": [{**TITLE, "shape": [-1]}]}, "must be a list of whole numbers"),
        ({"inputs": [{**TITLE, "shape": [True]}]}, "must be a list of whole numbers"),
        ({"inputs": [{**TITLE, "shape": [1.0]}]}, "must be a list of whole numbers"),
        ({"inputs": [{**TITLE, "shape": [10**18]}]}, "more than 32 dimensions, or"),
        ({"inputs": [{**TITLE, "shape": [2**64, 2**64]}]}, "more than 32 dimensions, or"),
        ({"inputs": [{**TITLE, "shape": [0, 2**40, 2**40], "data": []}]}, "more than 32 dimensions, or"),
        ({"inputs": [{**TITLE, "shape": [1] * 33}]}, "more than 32 dimensions, or"),
        ({"inputs": [{**TITLE, "shape": [10**8]}]}, "has 1 elements"),
        ({"inputs": [{**TITLE, "data": "x"}]}, "needs 'data', a list"),
        ({"inputs": [{**TITLE, "data": None}]}, "needs 'data', a list"),
        ({"inputs": [{**TITLE, "data": [["x"]]}]}, 'is no BYTES: neither a string nor {"b64": "..."}'),
        ({"inputs": [{**TITLE, "shape": [1, 2], "data": [["x"], ["y"]]}]}, "is nested otherwise than its shape [1, 2]"),
        ({"inputs": [{**TITLE, "shape": [2, 1], "data": [["x"], "y"]}]}, "is nested otherwise than its shape [2, 1]"),
        ({"inputs": [{**TITLE, "data": [1]}]}, "1 in 'data' of input 'title' is no BYTES"),
        ({"inputs": [{**TITLE, "data": [{"b64": "é"}]}]}, "base64"),
        ({"inputs": [{**TITLE, "data": ["\ud800"]}]}, "surrogate"),
        ({"inputs": [{**TITLE, "parameters": 7}]}, "'parameters' of input 'title' must be an object"),
        ({"inputs": [{**TITLE, "parameters": {"binary_data_size": 7}}]}, "has both 'data' and 'binary_data_size'"),
        ({"inputs": [{**TITLE, "data": None, "parameters": {"binary_data_size": 7}}]}, "but 0 bytes are left"),
        ({"inputs": [{**TITLE, "data": None, "parameters": {"binary_data_size": -1}}]}, "is -1, but 0 bytes"),
        ({"inputs": [{**TITLE, "data": None, "parameters": {"binary_data_size": "0"}}]}, 'is "0", but 0 bytes'),
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_is_refused_and_told_why(server: RunningServer, document: Any, message: str) -> None:
    assert message in refused(server.post(f"{MODEL}/infer", content=json.dumps(document).encode()))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1.0, "1", True, None, 10**400])
def test_a_value_that_is_no_int64_is_refused(server: RunningServer, value: Any) -> None:
    whole = {"name": "whole", "shape": [1], "datatype": "INT64", "data": [value]}
    refused(infer(server, whole, given("pair", [[1, 2]], "FP32")))


@pytest.mark.parametrize("value", [1e39, -(10**39), 10**400, "1", True, None])
def test_a_value_that_is_no_fp32_is_refused(server: RunningServer, value: Any) -> None:
    refused(infer(server, {"name": "x", "shape": [1], "datatype": "FP32", "data": [value]}))


@pytest.mark.parametrize(
    ("size", "rest", "message"),
    [
        (7, text_bytes(b"bom") + b"x", "1 bytes follow the JSON that belong to no input"),
        (8, text_bytes(b"bom"), "'binary_data_size' of input 'title' is 8, but 7 bytes are left"),
        (6, text_bytes(b"bom"), "element 0 of input 'title' is longer than the bytes that are left"),
        (3, b"\0\0\0", "element 0 of input 'title' is longer than the bytes that are left"),
        (4, b"\xff\xff\xff\xff", "element 0 of input 'title' is longer than the bytes that are left"),
        (8, text_bytes(b"", b""), "are not the 1 elements of its shape"),
        (0, b"", "are not the 1 elements of its shape"),
        (2**70, b"", "but 0 bytes are left"),
    ],
)
def test_bytes_that_are_not_what_is_said_of_them_are_refused(
    server: RunningServer, size: int, rest: bytes, message: str
) -> None:
    content = {"name": "title", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    assert message in refused(infer_binary(server, {"inputs": [content]}, rest))


@pytest.mark.parametrize("length", ["-1", "x", "", "1e2", "9" * 30, "999", "²", "1, 1"])
def test_a_header_that_lies_about_the_json_is_refused(server: RunningServer, length: str) -> None:
    body = json.dumps({"inputs": [TITLE]}).encode()
    headers = {HEADER.encode(): length.encode()}
    response = server.client.post(f"{MODEL}/infer", content=body, headers=headers)
    assert "it must say how many of the" in refused(response)


def test_numbers_of_another_size_than_their_shape_are_refused(server: RunningServer) -> None:
    content = {"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": 7}}
    document = {"inputs": [content], "parameters": {"signature_name": "halve"}}
    assert "FP32 of shape [2] has 8 bytes" in refused(infer_binary(server, document, b"1234567"))


def test_the_model_s_own_errors_come_through(server: RunningServer) -> None:
    response = infer(server, given("text", ["bad"]), parameters={"signature_name": "refuse_bad"})
    assert "this row is bad" in refused(response)
    response = infer(server, given("examples", ["this is no example"]))
    assert refused(response) == server.predict(instances=["this is no example"]).json()["error"]


def test_an_output_of_a_type_that_the_protocol_has_not_is_refused() -> None:
    with pytest.raises(ServingError, match="of type complex64"):
        write_tensor("x", np.zeros(1, np.complex64), as_bytes=False)


def test_limits_and_the_token_hold_here_too(start: Callable[..., RunningServer], push: Callable[[int], Path]) -> None:
    push(1)
    running = start(token="secret", max_body_bytes=2048, timeout_seconds=0.5)
    wait_until(lambda: running.get("/v2/health/ready").status_code == 200)
    assert running.get("/v2/health/live").status_code == 200
    for path in ("/v2", "/v2/models", MODEL, f"{MODEL}/ready"):
        assert refused(running.get(path), 401)
    assert refused(infer(running, TITLE), 401)
    running.client.headers["authorization"] = "Bearer secret"
    assert infer(running, TITLE).status_code == 200
    assert refused(infer(running, given("title", ["x" * 4096])), 413)

    def slow() -> Any:
        yield b"{"
        threading.Event().wait(1.5)
        yield b"}"

    assert refused(running.post(f"{MODEL}/infer", content=slow()), 408)
    assert 'serving_requests_total{path="/v2",status="413"} 1.0' in running.get("/metrics").text


def test_large_requests_are_refused_as_in_rest_when_too_many_wait(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start(max_large_waiting=1, timeout_seconds=2)
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    many = given("title", MANY_ROWS["instances"])
    statuses: list[int] = []
    with httpx.Client(base_url=running.url, timeout=60) as client:
        thread = threading.Thread(
            target=lambda: statuses.append(client.post(f"{MODEL}/infer", json={"inputs": [many]}).status_code)
        )
        thread.start()
        gate.wait_until_reached()
        assert "is full" in refused(infer(running, many), 503)
        thread.join()
        gate.open()
    assert statuses == [504]


def test_a_model_that_is_not_loaded_yet_is_not_ready(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "headlines").mkdir()
    running = start()
    assert refused(running.get("/v2/health/ready"), 503) == "Server is not ready."
    assert running.get("/v2/health/live").status_code == 200
    versions = running.app.state.server.versions
    gate = Gate(versions._load)
    monkeypatch.setattr(versions, "_load", gate)
    for ask in (lambda: running.get(MODEL), lambda: running.get(f"{MODEL}/ready"), lambda: infer(running, TITLE)):
        assert refused(ask(), 503) == "Model with name headlines is not ready."
    assert refused(running.get(f"{MODEL}/versions/1/ready"), 404)
    push(1)
    gate.wait_until_reached()
    message = "Model with name headlines is not ready. Its version 1 is being loaded."
    assert refused(running.get(f"{MODEL}/versions/1/ready"), 503) == message
    gate.open()
    wait_until(lambda: running.get(f"{MODEL}/versions/1/ready").status_code == 200)
    assert running.get("/v2/health/ready").json() == {"ready": True}


def test_answers_are_counted_and_kept_as_those_of_rest(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start(request_log=tmp_path / "requests.jsonl")
    running.wait_until_ready()
    outputs_of(infer(running, given("title", ["dia bom"])))
    metrics = running.get("/metrics").text
    assert 'serving_predictions_total{label="positive",version="1"} 1.0' in metrics
    assert 'serving_request_seconds_count{signature="predict_text",version="1"} 1.0' in metrics
    wait_until(lambda: (tmp_path / "requests.jsonl").read_text(encoding="utf-8").endswith("\n"))
    line = json.loads((tmp_path / "requests.jsonl").read_text(encoding="utf-8"))
    assert (line["title"], line["label"]) == ("dia bom", "positive")


def test_v2_and_rest_answer_alike_before_during_and_after_a_swap_and_a_rollback(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start()
    running.wait_until_ready()
    failed: list[str] = []
    # Each version answers with a confidence of its own, so an answer shows which model gave it.
    seen: dict[str, dict[str, set[float]]] = {"v2": {}, "rest": {}}
    latest: dict[str, str] = {}
    stop = threading.Event()

    def ask_open() -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            while not stop.is_set():
                response = client.post(f"{MODEL}/infer", json={"inputs": [given("title", ["dia bom"])]})
                if response.status_code != 200:
                    failed.append(response.text)
                    continue
                answer = response.json()
                latest["v2"] = answer["model_version"]
                seen["v2"].setdefault(latest["v2"], set()).add(answer["outputs"][0]["data"][0])

    def ask_rest() -> None:
        document = {"signature_name": "predict_text", "instances": ["dia bom"]}
        with httpx.Client(base_url=running.url, timeout=60) as client:
            while not stop.is_set():
                response = client.post("/v1/models/headlines:predict", json=document)
                if response.status_code != 200:
                    failed.append(response.text)
                    continue
                seen["rest"].setdefault("all", set()).add(response.json()["predictions"][0]["confidence"])

    threads = [threading.Thread(target=ask) for ask in (ask_open, ask_open, ask_rest)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: latest.get("v2") == "1")
        save_model(tmp_path / "made", 4.0).rename(tmp_path / "headlines" / "2")
        wait_until(lambda: latest["v2"] == "2")
        config = (
            'model_config_list { config { name: "headlines" base_path: "/headlines" model_platform: "tensorflow" '
            "model_version_policy { %s } } }"
        )
        (tmp_path / "models.config").write_text(config % "specific { versions: 1 }")
        wait_until(lambda: latest["v2"] == "1")
        (tmp_path / "models.config").write_text(config % "latest { num_versions: 2 }")
        wait_until(lambda: latest["v2"] == "2")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert seen["v2"].keys() == {"1", "2"}
    assert [len(confidences) for confidences in seen["v2"].values()] == [1, 1]
    assert seen["v2"]["1"] | seen["v2"]["2"] == seen["rest"]["all"]
    for version in ("1", "2"):
        rest = running.post(f"/v1/models/headlines/versions/{version}:predict", {
            "signature_name": "predict_text", "inputs": TITLES,
        }).json()["outputs"]  # fmt: skip
        assert outputs_of(infer(running, given("title", TITLES), path=f"{MODEL}/versions/{version}")) == rest


def test_the_examples_of_the_document_are_valid_and_answered(server: RunningServer) -> None:
    document = server.get("/openapi.json").json()
    schema = document["components"]["schemas"]["OpenInferRequest"]
    for example in schema["examples"]:
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(example)
        outputs_of(server.post(f"{MODEL}/infer", example))
