"""Whatever comes in, what goes out is what the OpenAPI document says, and the server lives on."""

import json
import sys
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_server import RunningServer

ROUNDS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
MODEL = "/v1/models/headlines"
SIGNATURES = (
    "serving_default", "predict_text", "two_inputs", "two_texts", "halve", "echo", "classify_examples", "mean", "nope",
    "",
)  # fmt: skip
NAMES = ("title", "examples", "text", "x", "pair", "whole", "left", "right", "inputs", "b64", "nope")

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20), st.sampled_from(NAMES)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
predict_requests = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(SIGNATURES) | scalars,
        "instances": st.lists(values, max_size=5) | values,
        "inputs": st.dictionaries(st.sampled_from(NAMES), values, max_size=4) | values,
    },
)
classify_requests = st.fixed_dictionaries(
    {"signature_name": st.sampled_from(("classify_examples", "regress_examples"))},
    optional={"examples": st.lists(values, max_size=4) | values, "context": values},
)
people_requests = st.fixed_dictionaries({}, optional={"title": values, "n": values})


def check(server: RunningServer, template: str, response: httpx.Response) -> None:
    """The answer has a form that the document promises for its status; nothing in it is a stack trace."""
    document = server.get("/openapi.json").json()
    operation = document["paths"][template][response.request.method.lower()]
    promised = operation["responses"].get(str(response.status_code), operation["responses"]["default"])
    if "$ref" in promised:
        promised = document["components"]["responses"][promised["$ref"].rsplit("/", 1)[1]]
    schema = {**promised["content"]["application/json"]["schema"], "components": document["components"]}
    length = int(response.headers.get("Inference-Header-Content-Length", len(response.content)))
    answer = json.loads(response.content[:length].decode("utf-8", "replace"))
    jsonschema.Draft202012Validator(schema).validate(answer)
    assert response.status_code in (200, 400, 404, 413, 501), (response.status_code, answer)
    assert "Traceback" not in response.text


@ROUNDS
@given(request=predict_requests)
def test_predict_answers_any_document(server: RunningServer, request: dict[str, Any]) -> None:
    response = server.post(f"{MODEL}:predict", content=json.dumps(request).encode())
    check(server, "/v1/models/{model}:predict", response)


@ROUNDS
@given(request=classify_requests, verb=st.sampled_from(("classify", "regress")))
def test_classify_answers_any_document(server: RunningServer, request: dict[str, Any], verb: str) -> None:
    response = server.post(f"{MODEL}:{verb}", content=json.dumps(request).encode())
    check(server, f"/v1/models/{{model}}:{verb}", response)


@ROUNDS
@given(request=people_requests, path=st.sampled_from(("/predict", "/related")))
def test_people_s_questions_are_answered_whatever_they_are(
    server: RunningServer, request: dict[str, Any], path: str
) -> None:
    check(server, path, server.post(path, content=json.dumps(request).encode()))


@ROUNDS
@given(body=st.binary(max_size=200), path=st.sampled_from((":predict", ":classify")))
def test_any_bytes_are_answered(server: RunningServer, body: bytes, path: str) -> None:
    check(server, f"/v1/models/{{model}}{path}", server.post(f"{MODEL}{path}", content=body))


VALID = b'{"signature_name":"two_inputs","instances":[{"pair":[1.5,-2],"whole":3},{"pair":[0,1e3],"whole":-4}]}'


@ROUNDS
@given(data=st.data())
def test_a_damaged_request_is_answered(server: RunningServer, data: st.DataObject) -> None:
    body = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body)))
        damage = data.draw(st.sampled_from((b"", b"\xff", body[: place // 2], b"[", b'"', b"1e400")))
        body = body[:place] + damage + body[place + data.draw(st.integers(0, 3)) :]
    check(server, "/v1/models/{model}:predict", server.post(f"{MODEL}:predict", content=body))


@ROUNDS
@given(
    path=st.text(st.characters(codec="utf-8", exclude_characters="?#\\"), max_size=40),
    method=st.sampled_from(("GET", "POST")),
)
def test_any_address_is_answered(server: RunningServer, path: str, method: str) -> None:
    try:
        response = server.client.request(method, f"/v1/models/headlines{path}")
    except (httpx.InvalidURL, httpx.LocalProtocolError):
        return
    assert response.status_code in (200, 400, 404), response.text
    if response.status_code != 200:
        assert response.json().keys() == {"error"}


@pytest.mark.parametrize("depth", [50, 500, 5_000, 200_000])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_deeply_nested_value_is_answered(server: RunningServer, depth: int, key: str) -> None:
    body = f'{{"signature_name": "echo", "{key}": {"[" * depth}"x"{"]" * depth}}}'
    response = server.post(f"{MODEL}:predict", content=body.encode())
    assert response.status_code == 400
    assert server.get("/healthz").status_code == 200


# A parser that is written in C goes a little deeper than Python code that looks at what it gives.
@pytest.mark.parametrize(
    ("verb", "document"),
    [
        ("predict", '{"signature_name": "echo", "instances": NESTED}'),
        ("predict", '{"signature_name": "echo", "instances": {"a": NESTED}}'),
        ("predict", '{"signature_name": "echo", "inputs": NESTED}'),
        ("predict", '{"instances": NESTED, "inputs": 1}'),
        ("predict", '{"signature_name": NESTED}'),
        ("predict", "NESTED"),
        ("classify", '{"examples": {"a": NESTED}}'),
        ("classify", '{"examples": [{"a": NESTED}]}'),
        ("classify", '{"context": NESTED, "examples": [{}]}'),
        ("classify", '{"nope": NESTED}'),
    ],
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_value_nested_as_deeply_as_can_be_parsed_is_refused(
    server: RunningServer, verb: str, document: str, opening: str, closing: str
) -> None:
    limit = sys.getrecursionlimit()
    for depth in range(limit - 120, limit + 5):
        body = document.replace("NESTED", opening * depth + "1" + closing * depth)
        response = server.post(f"{MODEL}:{verb}", content=body.encode())
        assert response.status_code == 400, (depth, response.text)


INFER = "/v2/models/{model}/infer"
DATATYPES = ("BYTES", "FP32", "INT64", "BOOL", "FP16", "BF16", "")
open_parameters = st.dictionaries(
    st.sampled_from(("signature_name", "binary_data_size", "binary_data", "binary_data_output", "classification")),
    st.sampled_from(SIGNATURES) | scalars,
    max_size=3,
)
open_inputs = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES) | scalars},
    optional={
        "shape": st.lists(st.sampled_from((0, 1, 2, 3, -1, 2**31, 2**63, 2**64)) | scalars, max_size=40) | values,
        "datatype": st.sampled_from(DATATYPES) | scalars,
        "data": st.lists(values, max_size=4) | values,
        "parameters": open_parameters | values,
    },
)
open_requests = st.fixed_dictionaries(
    {},
    optional={
        "id": scalars,
        "inputs": st.lists(open_inputs, max_size=3) | values,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.sampled_from((*NAMES, "y"))}), max_size=3) | values,
        "parameters": open_parameters | values,
    },
)


@ROUNDS
@given(request=open_requests)
def test_infer_answers_any_document(server: RunningServer, request: dict[str, Any]) -> None:
    check(server, INFER, server.post("/v2/models/headlines/infer", content=json.dumps(request).encode()))


OPEN_VALID = (
    b'{"inputs":[{"name":"pair","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
    b'{"name":"whole","shape":[1],"datatype":"INT64","data":[3]}]}'
)


@ROUNDS
@given(data=st.data())
def test_a_damaged_request_with_bytes_is_answered(server: RunningServer, data: st.DataObject) -> None:
    body = OPEN_VALID + data.draw(st.binary(min_size=6, max_size=10))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body)))
        damage = data.draw(st.sampled_from((b"", b"\xff", b"[", b'"', b"9", b"-", b"null")))
        body = body[:place] + damage + body[place + data.draw(st.integers(0, 3)) :]
    length = data.draw(st.sampled_from((len(OPEN_VALID), len(body), 0, len(body) + 1)) | st.integers(-5, 300))
    headers = {"Inference-Header-Content-Length": str(length)}
    check(server, INFER, server.post("/v2/models/headlines/infer", content=body, headers=headers))


@pytest.mark.parametrize("place", ['"data": NESTED', '"shape": NESTED', '"datatype": NESTED', '"parameters": NESTED'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_deeply_nested_part_of_an_infer_is_answered(
    server: RunningServer, place: str, opening: str, closing: str
) -> None:
    limit = sys.getrecursionlimit()
    for depth in (50, *range(limit - 120, limit + 5, 4), 100_000):
        nested = place.replace("NESTED", opening * depth + "1" + closing * depth)
        content = {"name": '"name": "title"', "shape": '"shape": [1]', "datatype": '"datatype": "BYTES"'}
        content["data"] = '"data": ["x"]'
        content[place.split('"')[1]] = nested
        body = '{"inputs": [{' + ", ".join(content.values()) + "}]}"
        response = server.post("/v2/models/headlines/infer", content=body.encode())
        # Parameters that nobody knows are ignored.
        assert response.status_code in ((200, 400) if "parameters" in place else (400,)), (depth, response.text)
