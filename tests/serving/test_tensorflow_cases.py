"""TensorFlow Serving's own test cases, put to this server; the data says where each comes from."""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tensorflow as tf
from grpc_client import Client
from running_server import RunningServer
from tensorflow_calls import SERVED, assert_holds, call, rename
from tensorflow_cases import DOCUMENT, TABLE, Case, read_cases, read_files, write_summary, write_table
from tensorflow_models import MODELS, save_echo, save_half_plus
from tensorflow_serving.apis import get_model_metadata_pb2
from waiting import wait_until

from serving.document import parse_json, read_signature_name
from serving.errors import ServingError
from serving.examples import CLASSIFY, REGRESS, find_signature, read_examples, write_classes, write_regressions
from serving.model import Model, Signature
from serving.replies import to_error
from serving.rest import parse_address
from serving.settings import Settings
from serving.tensors import write_outputs


def cases(*ways: str) -> pytest.MarkDecorator:
    found = read_cases(*ways)
    return pytest.mark.parametrize("case", [case for _, case in found], ids=[name for name, _ in found])


ECHOED = sorted({json.dumps(case["inputs"]) for _, case in read_cases("predict")})
# All but those that need what is not here, such as an option to start with.
ASKED = [(name, case) for name, case in read_cases("grpc") if "needs" not in case]
METHOD_NAMES = sorted({case["method_name"] for _, case in read_cases("method name")})


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the model that most of the tests ask, with its version and its label."""
    root = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus(root / SERVED / "123")
    (root / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{SERVED}" base_path: "/models/{SERVED}" model_platform: "tensorflow" '
        'version_labels { key: "Version_Label" value: 123 } } }'
    )
    running = RunningServer(Settings(dir=root / SERVED, poll_seconds=0.1))
    running.wait_until_ready()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of a version for each set of inputs, which gives them back, and for each method name."""
    root = tmp_path_factory.mktemp("echoes")
    for version, inputs in enumerate(ECHOED, 1):
        save_echo(root / SERVED / str(version), json.loads(inputs))
    for version, method in enumerate(METHOD_NAMES, len(ECHOED) + 1):
        save_half_plus(root / SERVED / str(version), method=method)
    count = len(ECHOED) + len(METHOD_NAMES)
    running = RunningServer(Settings(dir=root / SERVED, keep_versions=count))
    wait_until(lambda: len(running.get("/readyz").json().get("versions", ())) == count)
    yield running
    running.stop()


def expect(case: Case, check: Callable[[], None]) -> None:
    """Holds what the data says of a case against what is so."""
    if case["here"] == "same":
        check()
        return
    with pytest.raises(AssertionError):
        check()
        pytest.fail("this case has become the same: say so in the data, and write the table anew", pytrace=False)


def check_reply(case: Case, reply: httpx.Response) -> None:
    """The reply has the status, and the answer or the words, of the case."""
    assert reply.status_code == case["status"], reply.text
    if "text" not in case:
        assert reply.headers["content-type"] == "application/json"
    if "message" in case:
        assert case["message"] in reply.json()["error"]
    if case.get("text") == "in it":
        assert case["answer"] in reply.text
    elif "answer" in case:
        assert reply.json() == case["answer"]


def check_instead(case: Case, reply: httpx.Response) -> None:
    """A case that differs gets what the data says instead."""
    if instead := case.get("instead"):
        assert reply.status_code == instead["status"]
        assert instead.get("message", "") in reply.text


@cases("rest")
def test_a_request_gets_what_tensorflow_serving_gives(case: Case, half_plus_two: RunningServer) -> None:
    # One model is served, under a name of its own.
    path, model = case["path"], case["model"]
    if path == f"/v1/models/{model}" or path.startswith(tuple(f"/v1/models/{model}{after}" for after in "/:")):
        path = path.replace(model, SERVED, 1)
    reply = half_plus_two.client.request(case["method"], path, content=case.get("body", "").encode())
    if isinstance(case.get("answer"), dict) and "model_spec" in case["answer"]:
        case = {**case, "answer": {**case["answer"], "model_spec": {**case["answer"]["model_spec"], "name": SERVED}}}
    expect(case, lambda: check_reply(case, reply))
    check_instead(case, reply)


@cases("predict")
def test_a_body_becomes_the_tensors_that_it_becomes_there(case: Case, echoes: RunningServer) -> None:
    version = ECHOED.index(json.dumps(case["inputs"])) + 1
    depth = case.get("nested", 0)
    body = case["body"].replace("…", "[" * depth + "]" * depth)
    reply = echoes.post(f"/v1/models/{SERVED}/versions/{version}:predict", content=body.encode())

    def check() -> None:
        check_reply(case, reply)
        if "tensors" in case:
            tensors = read_tensors(reply.content, case)
            assert tensors.keys() == case["tensors"].keys()
            for name, expected in case["tensors"].items():
                assert tensors[name].shape == tuple(expected["shape"])
                np.testing.assert_array_equal(tensors[name], read_tensor(case["inputs"][name], **expected))

    expect(case, check)
    check_instead(case, reply)


@cases("examples")
def test_a_body_becomes_the_examples_that_it_becomes_there(case: Case) -> None:
    def check() -> None:
        if "message" in case:
            with pytest.raises(ServingError) as raised:
                read(case["body"])
            assert (raised.value.code, raised.value.http_status) == ("INVALID_ARGUMENT", case["status"])
            assert case["message"] in raised.value.message
            return
        signature_name, examples = read(case["body"])
        assert signature_name == case["signature_name"]
        expected = [{**case.get("context", {}), **features} for features in case["examples"]]
        assert [features_of(example) for example in examples] == [repr(features_text(row)) for row in expected]

    def read(body: str) -> tuple[str, list[bytes]]:
        document = parse_json(body.encode())
        return read_signature_name(document), list(read_examples(document))

    expect(case, check)


@cases("write")
def test_tensors_become_the_answer_that_they_become_there(case: Case) -> None:
    tensors = {name: read_tensor(**tensor) for name, tensor in case["tensors"].items()}
    expect(case, lambda: check_written(case, lambda: write_outputs(tensors, case["format"] == "rows")))


@cases("results")
def test_results_become_the_answer_that_they_become_there(case: Case) -> None:
    outputs = {name: read_tensor(**tensor) for name, tensor in case["outputs"].items()}
    write = {"classify": write_classes, "regress": write_regressions}[case["verb"]]
    expect(case, lambda: check_written(case, lambda: write(outputs, case["rows"])))


@cases("error")
def test_an_error_becomes_the_answer_that_it_becomes_there(case: Case) -> None:
    def check() -> None:
        assert case["code"] != "OK"
        assert json.loads(to_error(ServingError(case["code"], case["message"])).body) == case["answer"]

    expect(case, check)


@cases("address")
def test_an_address_says_what_it_says_there(case: Case) -> None:
    def check() -> None:
        if "message" in case:
            with pytest.raises(ServingError, match=case["message"]):
                parse_address(case["method"], case["path"])
            return
        address = parse_address(case["method"], case["path"])
        found = {"model": address.model, "version": address.version, "label": address.label, "verb": address.verb}
        assert {key: value for key, value in found.items() if value is not None} == case["address"]

    expect(case, check)


@cases("signature")
def test_a_signature_is_refused_that_is_refused_there(case: Case) -> None:
    method = {"classify": CLASSIFY, "regress": REGRESS}[case["verb"]]
    definitions = get_model_metadata_pb2.SignatureDefMap()
    for ends in ("inputs", "outputs"):
        for name in case[ends]:
            getattr(definitions.signature_def["signature"], ends)[name].name = name
    inputs = dict.fromkeys(case["inputs"], tf.string)
    signature = Signature("signature", method, inputs, tuple(case["outputs"]), True, {}, list)
    # Nothing is loaded.
    model = Model.__new__(Model)
    model.signatures, model.signature_defs = {"signature": signature}, definitions

    def check() -> None:
        with pytest.raises(ServingError) as raised:
            find_signature(model, "signature", method)
        assert (raised.value.code, raised.value.http_status) == ("INVALID_ARGUMENT", case["status"])

    expect(case, check)


@cases("method name")
def test_a_signature_of_any_method_is_run_as_it_is_there(case: Case, echoes: RunningServer) -> None:
    version = len(ECHOED) + 1 + METHOD_NAMES.index(case["method_name"])
    verb = case["verb"]
    document = {"instances": [2.0]}
    if verb != "predict":
        document = {"signature_name": f"{verb}_x_to_y", "examples": [{"x": 2.0}]}
    reply = echoes.post(f"/v1/models/{SERVED}/versions/{version}:{verb}", document)
    expect(case, lambda: check_reply(case, reply))


@pytest.fixture(scope="module")
def grpc_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], RunningServer]]:
    """A server for each model and its versions, started when the first case asks it."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(model: str, versions: tuple[int, ...]) -> RunningServer:
            root = tmp_path_factory.mktemp("grpc")
            for version in versions:
                MODELS[model](root / SERVED / str(version))
            running = RunningServer(Settings(dir=root / SERVED, grpc_port=8500, keep_versions=len(versions)))
            stack.callback(running.stop)
            wait_until(lambda: len(running.get("/readyz").json().get("versions", ())) == len(versions))
            return running

        yield lambda case: start(case["model"], tuple(case.get("versions", (123,))))


@pytest.mark.parametrize("case", [case for _, case in ASKED], ids=[name for name, _ in ASKED])
def test_a_call_gets_what_tensorflow_serving_gives(case: Case, grpc_servers: Callable[[Case], RunningServer]) -> None:
    with Client(grpc_servers(case).grpc_address) as client:
        for signature in case.get("before", ()):
            spec = {**case["request"]["model_spec"], "signature_name": signature}
            assert call(client, {**case, "request": {"model_spec": spec}})[0] == "OK"
        code, reply = call(client, case)

    def check() -> None:
        assert code == case["code"], reply
        if code != "OK":
            assert case.get("message", "") in reply
        elif "answer" in case:
            assert_holds(reply, rename(case["answer"]))
            assert reply.get("outputs", {}).keys() == case["answer"].get("outputs", {}).keys()

    expect(case, check)
    if instead := case.get("instead"):
        assert code == instead["code"], reply


def test_a_case_of_grpc_that_is_not_asked_needs_what_is_not_here() -> None:
    for _, case in read_cases("grpc"):
        assert (case["model"] in MODELS) or "needs" in case
        assert "needs" not in case or case["reason"].startswith("not here: ")


def test_every_case_says_what_is_so_here() -> None:
    ways = {
        "rest", "predict", "examples", "write", "results", "error", "address", "signature", "method name", "grpc",
        "command line",
    }  # fmt: skip
    for file, document in read_files().items():
        numbers: dict[str, int] = {}
        for case in document["cases"]:
            numbers[case["test"]] = numbers.get(case["test"], 0) + 1
            assert case["number"] == numbers[case["test"]], file
            assert case["way"] in ways
            assert case["here"] in ("same", "different")
            reason = case.get("reason", "")
            assert (case["here"] == "different") == reason.startswith(
                ("chosen: ", "not here: ", "of a later version: ")
            )


def test_the_table_is_written_from_the_cases() -> None:
    assert TABLE.read_text(encoding="utf-8") == write_table(), "run: python tests/serving/tensorflow_cases.py"
    assert write_summary() in DOCUMENT.read_text(encoding="utf-8").splitlines()


def check_written(case: Case, write: Callable[[], bytes]) -> None:
    if "message" in case:
        with pytest.raises(ServingError) as raised:
            write()
        assert (raised.value.code, raised.value.http_status) == ("INVALID_ARGUMENT", case["status"])
        assert case["message"] in raised.value.message
    elif case.get("numbers") == "as text":
        assert write().decode() == case["answer"]
    else:
        assert json.loads(write()) == case["answer"]


def read_tensor(dtype: str, shape: list[int], values: list[Any]) -> Any:
    if dtype == "string":
        return np.array([value.encode() for value in values], object).reshape(shape)
    with np.errstate(over="ignore"):
        return np.array([float(value) if isinstance(value, str) else value for value in values], dtype).reshape(shape)


def read_tensors(body: bytes, case: Case) -> dict[str, Any]:
    """The tensors that an answer gives back."""
    answer, names = json.loads(body), list(case["tensors"])
    if case["format"] == "columns":
        columns = answer["outputs"] if len(names) > 1 else {names[0]: answer["outputs"]}
    elif len(names) > 1:
        columns = {name: [row[name] for row in answer["predictions"]] for name in names}
    else:
        columns = {names[0]: answer["predictions"]}
    return {name: as_array(column, case["inputs"][name]) for name, column in columns.items()}


def as_array(column: Any, dtype: str) -> Any:
    if dtype == "string":
        return np.vectorize(lambda text: text.encode(), otypes=[object])(np.array(column, object))
    return np.array(column, dtype)


def features_of(serialised: bytes) -> str:
    example = tf.train.Example.FromString(serialised)
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = [value.decode() if isinstance(value, bytes) else value for value in getattr(feature, kind).value]
        found[name] = {kind: values}
    return repr(features_text(found))


def features_text(features: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Features in an order of their own, numbers as text: NaN is not itself."""
    return sorted(
        (name, kind, [str(float(value)) if kind == "float_list" else str(value) for value in values])
        for name, feature in features.items()
        for kind, values in feature.items()
    )
