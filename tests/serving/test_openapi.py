"""The OpenAPI document and the server say the same: what the one admits the other answers, and as it promises."""

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_server import RunningServer
from test_clients import QUESTIONS, Question

from serving.app import MAX_RELATED

DOCUMENT = json.loads((Path(__file__).parents[2] / "serving" / "openapi.json").read_text(encoding="utf-8"))
PATHS = {path: item for path, item in DOCUMENT["paths"].items() if not path.startswith("/v2")}
OPERATIONS = [(path, method) for path, item in PATHS.items() for method in item]
ROUNDS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def resolve(value: dict[str, Any]) -> dict[str, Any]:
    """What a value says, or what it refers to."""
    while "$ref" in value:
        place: Any = DOCUMENT
        for name in value["$ref"].removeprefix("#/").split("/"):
            place = place[name]
        value = place
    return value


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def find_path(path: str) -> str:
    """The path of the document that an address belongs to: the one with the fewest parameters."""
    patterns = {each: re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(each)) for each in PATHS}
    return min(
        (each for each, pattern in patterns.items() if re.fullmatch(pattern, path)), key=lambda each: each.count("{")
    )


def check_answer(response: httpx.Response, template: str = "") -> None:
    """The document knows the status, and the answer has the headers, the type and the form that it promises."""
    path = template or find_path(response.request.url.raw_path.decode())
    responses = PATHS[path][response.request.method.lower()]["responses"]
    assert str(response.status_code) in responses, (path, response.status_code, response.text)
    promised = resolve(responses[str(response.status_code)])
    for name, header in promised.get("headers", {}).items():
        validator(header["schema"]).validate(response.headers[name])
    if "content" not in promised:
        assert not response.content
        return
    ((media_type, content),) = promised["content"].items()
    assert response.headers["content-type"].partition(";")[0] == media_type
    answer = response.json() if media_type == "application/json" else response.text
    validator(content["schema"]).validate(answer)


def generate(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the document admits."""
    schema = resolve(schema)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*map(generate, schema["anyOf"]))
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"]) | st.integers(schema["minimum"], 20).map(float)
    if schema["type"] == "array":
        return st.lists(
            generate(schema["items"]), min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 4)
        )
    if schema["type"] == "object":
        known = {name: generate(each) for name, each in schema["properties"].items() if each is not False}
        required = set(schema["required"]) if "required" in schema else set()
        wanted = st.fixed_dictionaries(
            {name: known[name] for name in required}, optional={name: known[name] for name in known.keys() - required}
        )
        others = schema.get("additionalProperties", True)
        if others is False:
            return wanted
        values = st.integers() | st.text() if others is True else generate(others)
        names = st.text(max_size=5).filter(lambda name: name not in schema["properties"])
        return st.builds(lambda more, own: {**more, **own}, st.dictionaries(names, values, max_size=2), wanted)
    assert schema["type"] == "string"
    if schema.get("contentMediaType") == "application/protobuf":
        return st.text(max_size=10).map(write_example)
    if schema.get("contentEncoding") == "base64":
        return st.binary(max_size=10).map(write_base64)
    pattern = re.compile(schema.get("pattern", ""))
    text = st.text(min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 20))
    return text.filter(pattern.search)


def write_base64(value: bytes) -> str:
    return tf.io.encode_base64(value, pad=True).numpy().decode().replace("-", "+").replace("_", "/")


def write_example(title: str) -> str:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature={"title": feature}))
    return write_base64(example.SerializeToString())


def find_schemas(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, dict | list):
        return []
    own = [value["schema"]] if isinstance(value, dict) and isinstance(value.get("schema"), dict) else []
    return own + [
        each for part in (value.values() if isinstance(value, dict) else value) for each in find_schemas(part)
    ]


def test_every_schema_is_one_and_every_example_is_admitted() -> None:
    for schema in [*find_schemas(DOCUMENT), *DOCUMENT["components"]["schemas"].values()]:
        jsonschema.Draft202012Validator.check_schema(schema)
        for example in resolve(schema).get("examples", ()):
            validator(schema).validate(example)
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        named = {
            parameter["name"]
            for each in operation.get("parameters", ())
            if (parameter := resolve(each))["in"] == "path"
        }
        assert named == set(re.findall(r"{(\w+)}", path))
        assert {"200", "default"} <= operation["responses"].keys()


def test_the_document_knows_every_path_and_every_method(server: RunningServer) -> None:
    routes = {route.path: route.methods for route in server.app.routes if "{path:path}" not in route.path}
    documented = {path: {method.upper() for method in item} for path, item in PATHS.items() if "{model}" not in path}
    assert documented == {path: methods for path, methods in routes.items() if not path.startswith("/v2")}
    which = ("", "/versions/{version}", "/labels/{label}")
    api = {f"/v1/models/{{model}}{of}{what}": {"get"} for of, what in product(which, ("", "/metadata"))}
    api |= {
        f"/v1/models/{{model}}{of}:{verb}": {"post"} for of, verb in product(which, ("predict", "classify", "regress"))
    }
    assert {path: set(item) for path, item in PATHS.items() if "{model}" in path} == api


def test_the_limits_of_the_document_are_those_of_the_server(start: Callable[..., RunningServer]) -> None:
    schemas = start(max_title_characters=7).get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Headline"]["maxLength"] == 7
    assert schemas["RelatedRequest"]["properties"]["n"]["maximum"] == MAX_RELATED
    assert start().get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"{question.method} {question.path}")
def test_every_answer_is_what_the_document_says(server: RunningServer, question: Question) -> None:
    if question.path in ("/nope", "/version/") or question.status == 405:
        return  # the document speaks of the addresses and methods that are there
    check_answer(server.client.request(question.method, question.path, content=question.body))


def test_every_refusal_at_the_door_is_what_the_document_says(start: Callable[..., RunningServer]) -> None:
    running = start(token="s3cret")
    for path, method in OPERATIONS:
        address = path.format(model="headlines", version=1, label="stable")
        response = running.client.request(method, address)
        is_open = PATHS[path][method].get("security") == [{}]
        assert (response.status_code != 401) == is_open
        if method == "head":
            continue
        check_answer(response, path)
        if method == "post":
            headers = {"authorization": "Bearer s3cret"}
            packed = running.post(address, content=b"{}", headers={**headers, "content-encoding": "br"})
            assert packed.status_code == 415
            check_answer(packed, path)


SIGNATURES = {"classify": "classify_examples", "regress": "regress_examples"}


@ROUNDS
@given(data=st.data())
@pytest.mark.parametrize("path", [path for path, item in PATHS.items() if "post" in item])
def test_every_request_that_the_document_admits_is_answered(
    server: RunningServer, data: st.DataObject, path: str
) -> None:
    operation = DOCUMENT["paths"][path]["post"]
    ((_, content),) = resolve(operation["requestBody"])["content"].items()
    request = data.draw(generate(content["schema"]))
    validator(content["schema"]).validate(request)
    if signature := SIGNATURES.get(path.rpartition(":")[2]):
        request["signature_name"] = signature
    address = path.format(model="headlines", version=2022020101, label="stable")
    response = server.post(address, content=json.dumps(request).encode())
    assert response.status_code == 200, (request, response.text)
    check_answer(response, path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 60) | st.floats(-5, 60) | st.integers(0, 60).map(float) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
titles = st.text(" \t\n\r\v\f\x1c\x1f\x85\xa0\u2003\ufeff\u180e\u200b", max_size=3) | st.text(max_size=3) | anything
titles |= st.integers(498, 502).map(lambda length: "é" * length)


@settings(ROUNDS, max_examples=400)
@given(request=st.fixed_dictionaries({}, optional={"title": titles, "n": anything, "more": anything}) | anything)
@pytest.mark.parametrize("path", ["/predict", "/related"])
def test_a_question_is_answered_if_and_only_if_the_document_admits_it(
    server: RunningServer, request: Any, path: str
) -> None:
    ((_, content),) = DOCUMENT["paths"][path]["post"]["requestBody"]["content"].items()
    response = server.post(path, content=json.dumps(request).encode())
    assert response.status_code == (200 if validator(content["schema"]).is_valid(request) else 400), response.text
    check_answer(response)


@ROUNDS
@given(data=st.data())
@pytest.mark.parametrize("path", [path for path in PATHS if "{" in path and "get" in PATHS[path]])
def test_every_address_that_the_document_admits_is_one(server: RunningServer, data: st.DataObject, path: str) -> None:
    parameters = [resolve(parameter) for parameter in PATHS[path]["get"]["parameters"]]
    values = {each["name"]: data.draw(generate(each["schema"])) for each in parameters}
    drawn = {
        name: quote(f"{value:.0f}" if isinstance(value, float) else str(value), safe="")
        for name, value in values.items()
    }
    # Clients take these for steps up and down a tree.
    if not {".", ".."} & set(drawn.values()):
        response = server.get(path.format(**drawn))
        assert response.status_code in (200, 404) or "label" in response.json()["error"], response.text
        check_answer(response, path)
