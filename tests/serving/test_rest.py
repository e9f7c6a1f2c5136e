"""TensorFlow Serving's REST API, over HTTP: answers, errors and status codes."""

import base64
import gzip
import json

import pytest
import tensorflow as tf
from running_server import RunningServer

from serving.document import quote

MODEL = "/v1/models/headlines"
NEW, OLD = 2022020201, 2022020101


def example(title: str) -> dict[str, str]:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()]))
    serialised = tf.train.Example(features=tf.train.Features(feature={"title": feature})).SerializeToString()
    return {"b64": base64.b64encode(serialised).decode()}


def state(version: int) -> dict[str, object]:
    return {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_status_lists_every_version_the_newest_first(server: RunningServer) -> None:
    response = server.get(MODEL)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"model_version_status": [state(NEW), state(OLD)]}


def test_status_of_one_version_and_of_a_label(server: RunningServer) -> None:
    assert server.get(f"{MODEL}/versions/{NEW}").json() == {"model_version_status": [state(NEW)]}
    # TensorFlow Serving does not look at the label and shows every version.
    assert server.get(f"{MODEL}/labels/stable").json() == {"model_version_status": [state(OLD)]}


def test_metadata_shows_every_signature(server: RunningServer) -> None:
    metadata = server.get(f"{MODEL}/metadata").json()
    assert metadata["model_spec"] == {"name": "headlines", "signature_name": "", "version": str(NEW)}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    text = signatures["predict_text"]
    assert text["method_name"] == "tensorflow/serving/predict"
    assert text["defaults"] == {}
    title = text["inputs"]["title"]
    assert title["dtype"] == "DT_STRING"
    assert title["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert text["outputs"]["probabilities"]["tensor_shape"]["dim"][1] == {"size": "3", "name": ""}
    assert signatures["classify_examples"]["method_name"] == "tensorflow/serving/classify"
    old = server.get(f"{MODEL}/labels/stable/metadata").json()
    assert old["model_spec"]["version"] == str(OLD)


def test_rows_in_rows_out(server: RunningServer) -> None:
    response = server.predict(signature_name="predict_text", instances=["dia ruim", "dia bom"])
    assert response.status_code == 200
    assert [row["label"] for row in response.json()["predictions"]] == ["negative", "positive"]
    assert response.json()["predictions"][0]["probabilities"] == pytest.approx([0.9094, 0.0453, 0.0453], abs=1e-4)
    by_name = server.predict(signature_name="predict_text", instances=[{"title": "dia ruim"}, {"title": "dia bom"}])
    assert by_name.json() == response.json()


def test_columns_in_columns_out(server: RunningServer) -> None:
    named = server.predict(signature_name="predict_text", inputs={"title": ["dia ruim", "dia bom"]}).json()
    assert named["outputs"]["label"] == ["negative", "positive"]
    assert server.predict(signature_name="predict_text", inputs=["dia ruim", "dia bom"]).json() == named


def test_the_only_output_goes_without_its_name(server: RunningServer) -> None:
    assert server.predict(signature_name="halve", instances=[1, 3.0]).json() == {"predictions": [0.5, 1.5]}
    assert server.predict(signature_name="halve", inputs=[1, 3.0]).json() == {"outputs": [0.5, 1.5]}
    assert server.predict(signature_name="halve", inputs=[]).json() == {"outputs": []}


def test_floats_have_the_digits_that_tensorflow_serving_writes(server: RunningServer) -> None:
    response = server.predict(signature_name="halve", inputs=[0.4, 2 / 3, 2e-05, 1.602743])
    assert response.text == '{"outputs":[0.2,0.333333343,1e-05,0.801371515]}'


def test_several_inputs(server: RunningServer) -> None:
    rows = [{"pair": [1, 2], "whole": 3}, {"pair": [0.5, 0], "whole": -1}]
    assert server.predict(signature_name="two_inputs", instances=rows).json() == {
        "predictions": [{"sum": 6.0, "whole": 3}, {"sum": -0.5, "whole": -1}]
    }
    columns = {"pair": [[1, 2], [0.5, 0]], "whole": [3, -1]}
    assert server.predict(signature_name="two_inputs", inputs=columns).json() == {
        "outputs": {"sum": [6.0, -0.5], "whole": [3, -1]}
    }


def test_bytes_travel_as_base64(server: RunningServer) -> None:
    answer = server.predict(instances=[example("dia ruim")]).json()
    assert answer["predictions"][0]["label"] == "negative"
    answer = server.predict(instances=[{"examples": example("dia bom")}]).json()
    assert answer["predictions"][0]["label"] == "positive"
    raw = base64.b64encode(b"\xff\x00").decode()
    answer = server.predict(signature_name="echo", instances=[{"text": {"b64": raw}}]).content
    assert b'"text":"\xff\\u0000"' in answer
    assert json.loads(answer.decode("utf-8", "replace"))["predictions"][0]["raw_bytes"] == {"b64": raw}


def test_bytes_that_are_not_utf_8_reach_the_model_as_they_are(server: RunningServer) -> None:
    response = server.post(f"{MODEL}:predict", content=b'{"signature_name": "echo", "instances": ["a\xff\xfe"]}')
    assert response.status_code == 200
    assert b'"text":"a\xff\xfe"' in response.content


def test_nan_and_infinity_go_both_ways(server: RunningServer) -> None:
    response = server.post(
        f"{MODEL}:predict", content=b'{"signature_name": "halve", "instances": [NaN, Infinity, -Infinity]}'
    )
    assert response.text == '{"predictions":[NaN,Infinity,-Infinity]}'
    # As ParseNumber of RapidJSON 1.1.0's reader.h takes them.
    response = server.post(f"{MODEL}:predict", content=b'{"signature_name": "halve", "instances": [-NaN, Inf, -Inf]}')
    assert response.text == '{"predictions":[NaN,Infinity,-Infinity]}'


def test_a_float_takes_the_nearest_of_its_numbers(server: RunningServer) -> None:
    # FloatTensorWithPrecisionLoss and the two after it in tensorflow_serving/util/json_tensor_test.cc.
    response = server.predict(signature_name="halve", inputs=[2**24 + 1, 2**64, 1e39, -1e39, 1e-50])
    assert response.text == '{"outputs":[8388608.0,9.22337204e+18,Infinity,-Infinity,0.0]}'


def test_of_a_repeated_key_the_first_counts(server: RunningServer) -> None:
    # FindMember of RapidJSON.
    body = b'{"signature_name": "halve", "instances": [2], "instances": [4], "signature_name": "nope"}'
    assert server.post(f"{MODEL}:predict", content=body).json() == {"predictions": [1.0]}
    body = b'{"signature_name": "halve", "inputs": {"x": [2], "x": [4]}, "inputs": 1}'
    assert server.post(f"{MODEL}:predict", content=body).json() == {"outputs": [1.0]}


def test_a_version_and_a_label_can_be_asked(server: RunningServer) -> None:
    document = {"signature_name": "predict_text", "instances": ["x"]}
    for place in (f"versions/{OLD}", f"versions/{NEW}", "labels/stable"):
        assert server.post(f"{MODEL}/{place}:predict", document).status_code == 200


def test_classify_gives_pairs_of_label_and_score(server: RunningServer) -> None:
    document = {"signature_name": "classify_examples", "examples": [{"title": "dia bom"}, {"title": ["dia ruim"]}, {}]}
    response = server.post(f"{MODEL}:classify", document)
    results = response.json()["results"]
    assert [[label for label, _ in row] for row in results] == [["negative", "neutral", "positive"]] * 3
    assert [max(row, key=lambda pair: pair[1])[0] for row in results] == ["positive", "negative", "neutral"]


def test_classify_merges_the_context_into_each_example(server: RunningServer) -> None:
    document = {"signature_name": "classify_examples", "context": {"title": "dia bom"}, "examples": [{}, {"n": 1}]}
    results = server.post(f"{MODEL}:classify", document).json()["results"]
    assert [max(row, key=lambda pair: pair[1])[0] for row in results] == ["positive", "positive"]


def test_regress_gives_a_number_per_example(server: RunningServer) -> None:
    document = {"signature_name": "regress_examples", "examples": [{"title": "dia bom"}]}
    assert server.post(f"{MODEL}:regress", document).json() == {"results": [pytest.approx(0.9094, abs=1e-4)]}


def test_a_packed_body_is_unpacked(server: RunningServer) -> None:
    packed = gzip.compress(b'{"signature_name": "halve", "instances": [1]}')
    response = server.post(f"{MODEL}:predict", content=packed, headers={"content-encoding": "gzip"})
    assert response.json() == {"predictions": [0.5]}


PREDICT = f"{MODEL}:predict"
ELEMENT = "Failed to process element: "


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("POST", "/v1/models", 400, "Malformed request: POST /v1/models"),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("PUT", PREDICT, 400, f"Malformed request: PUT {PREDICT}"),
        ("DELETE", MODEL, 400, f"Malformed request: DELETE {MODEL}"),
        ("POST", f"{MODEL}/version/50:regress", 400, f"Malformed request: POST {MODEL}/version/50:regress"),
        ("POST", f"{MODEL}/versions/HELLO:regress", 400, f"Malformed request: POST {MODEL}/versions/HELLO:regress"),
        ("POST", f"{MODEL}/metadata", 400, f"Malformed request: POST {MODEL}/metadata"),
        (
            "POST",
            f"{MODEL}/versions/1/labels/x:predict",
            400,
            f"Malformed request: POST {MODEL}/versions/1/labels/x:predict",
        ),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", f"{MODEL}/versions/7", 404, "Could not find version 7 of model headlines"),
        ("GET", f"{MODEL}/labels/nope/metadata", 400, "Unrecognized servable version label: nope"),
        ("GET", f"{MODEL}/labels/n%20o/metadata", 400, "Unrecognized servable version label: n o"),
        ("GET", f"{MODEL}/versions/7/metadata", 404, "Servable not found for request: Specific(headlines, 7)"),
        ("GET", "/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
    ],
)
def test_a_wrong_address_is_refused_as_tensorflow_serving_does(
    server: RunningServer, method: str, path: str, status: int, message: str
) -> None:
    response = server.client.request(method, path)
    assert (response.status_code, response.json()) == (status, {"error": message})


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            f"{MODEL}/versions/18446744073709551615",
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        (
            "POST",
            f"{MODEL}/versions/18446744073709551615:predict",
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("GET", f"{MODEL}/labels/nope", "Unrecognized servable version label: nope"),
    ],
)
def test_a_wrong_address_is_explained_where_tensorflow_serving_does_not(
    server: RunningServer, method: str, path: str, message: str
) -> None:
    response = server.client.request(method, path)
    assert (response.status_code, response.json()) == (400, {"error": message})


def test_the_case_of_an_address_matters_where_it_does_to_tensorflow_serving(server: RunningServer) -> None:
    status = server.get(MODEL).json()
    assert server.get("/V1/MODELS/headlines").json() == status
    assert server.get("/V1/Models/headlines/Versions/2022020201/METADATA").json() == {
        "model_version_status": [state(NEW)]
    }
    rows = {"signature_name": "halve", "instances": [1]}
    assert server.post("/V1/models/headlines/Labels/stable:predict", rows).json() == {"predictions": [0.5]}
    assert server.post("/v1/models/headlines:PREDICT", rows).status_code == 400
    assert server.get("/v1/models/Headlines").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("/v1/models/nope/versions/50:predict", 404, "Servable not found for request: Specific(nope, 50)"),
        (f"{MODEL}/versions/99:predict", 404, "Servable not found for request: Specific(headlines, 99)"),
        (f"{MODEL}/labels/nope:predict", 400, "Unrecognized servable version label: nope"),
        (f"{MODEL}/labels/gone:predict", 404, "Servable not found for request: Specific(headlines, 7)"),
    ],
)
def test_a_model_that_is_not_there(server: RunningServer, path: str, status: int, message: str) -> None:
    response = server.post(path, {"instances": [1]})
    assert (response.status_code, response.json()) == (status, {"error": message})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        (" ", "JSON Parse error: The document is empty. at offset: 1"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        ('{"a": 1} x', "JSON Parse error: The document root must not be followed by other values. at offset: 9"),
        ('{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        ("{1: 2}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ('{"a": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        ("9" * 5000, "JSON Parse error: Number too big to be stored in double. at offset: 0"),
        ("[" * 100_000, "JSON Parse error: Nested too deeply."),
        (
            '{"instances": ["\\ud800"], "signature_name": "echo"}',
            "JSON Parse error: The surrogate pair in string is invalid. at offset: 16",
        ),
        ("[1]", "JSON Value: [\n    1\n] Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"signature_name": "nope", "instances": [1]}', 'Serving signature name: "nope" not found in signature def'),
        (
            '{"signature_name": "__saved_model_init_op", "instances": [1]}',
            "Failed to get input map for signature: __saved_model_init_op",
        ),
    ],
)
def test_a_broken_document_is_refused_as_tensorflow_serving_does(
    server: RunningServer, body: str, message: str
) -> None:
    response = server.post(PREDICT, content=body.encode())
    assert (response.status_code, response.json()) == (400, {"error": message})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"signature_name": 100},
            'JSON Value: {\n    "signature_name": 100\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        (
            {"instances": [1], "inputs": [1]},
            'JSON Value: {\n    "instances": [\n        1\n    ],\n    "inputs": [\n        1\n    ]\n} Not formatted'
            " correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        ),
        ({"instances": "x"}, 'JSON Value: {\n    "instances": "x"\n} Expecting \'instances\' to be an list/array'),
        ({"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            {"instances": [1]},
            f"{ELEMENT}0 of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON Value: 1 Type: Number is not of expected type: string",
        ),
        (
            {"instances": ["x", None]},
            f"{ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON Value: null Type: Null is not of expected type: string",
        ),
        (
            {"instances": [{"nope": "x"}]},
            f"{ELEMENT}0 key: nope of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: nope",
        ),
        ({"instances": [{"examples": "x"}, "y"]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": ["y", {"examples": "x"}]}, "Expecting value/list but got object at item 1 of input list"),
        (
            {"instances": [{"b64": "!"}]},
            f"{ELEMENT}0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode",
        ),
        (
            {"instances": [{"examples": {"b64": 1}}]},
            f"{ELEMENT}0 key: examples of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
        ),
        (
            {"instances": [["a", "b"], ["c"]]},
            f"{ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
        (
            {"instances": [["a", ["b"]]]},
            f"{ELEMENT}0 of 'instances' list. Error: INVALID_ARGUMENT: "
            "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            {"instances": [[["a"], "b"]]},
            f"{ELEMENT}0 of 'instances' list. Error: INVALID_ARGUMENT: "
            'JSON Value: "b" found at incorrect level: 2 in the JSON DOM. Expected at level: 2',
        ),
        (
            {"instances": [[["a", "b"], ["c", "d"]], [["a"], ["b"], ["c"], ["d"]]]},
            f"{ELEMENT}1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2,2] but got: [4,1]",
        ),
        ({"inputs": [["a"], ["b", "c"]]}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ({"inputs": {"nope": ["x"]}}, "Missing named input: examples in 'inputs' object."),
        (
            {"signature_name": "two_inputs", "inputs": [1]},
            "inputs is a plain value/list, but expecting an object as multiple "
            "input tensors required as per tensorinfo_map",
        ),
        (
            {"signature_name": "two_inputs", "instances": [1]},
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map",
        ),
        (
            {"signature_name": "two_inputs", "instances": [{"whole": 1}]},
            f"{ELEMENT}0 of 'instances' list. JSON object: {{\n    \"whole\": 1\n}} keys must be equal to: pair,whole",
        ),
        (
            {"signature_name": "two_texts", "instances": [{"b64": "YQ=="}]},
            "input size does not match signature: 1!=2 len({left}) != len({left,right}). "
            "Sent extra: {}. Missing but required: {right}.",
        ),
        ({"signature_name": "halve", "inputs": [True]}, "JSON Value: true Type: True is not of expected type: float"),
        (
            {"signature_name": "two_inputs", "inputs": {"pair": [[1, 2]], "whole": [1.5]}},
            "JSON Value: 1.5 Type: Number is not of expected type: int64",
        ),
        (
            {"signature_name": "two_inputs", "inputs": {"pair": [[1, 2]], "whole": [2**63]}},
            "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64",
        ),
        (
            {"signature_name": "echo", "instances": [["a"]]},
            "Cannot feed value of shape (1, 1) for text, which has shape (-1,)",
        ),
        ({"signature_name": "mean", "instances": [1, 2]}, "Tensor name: mean has no shape information "),
    ],
)
def test_a_wrong_value_is_refused_as_tensorflow_serving_does(
    server: RunningServer, document: dict[str, object], message: str
) -> None:
    response = server.post(PREDICT, document)
    assert (response.status_code, response.json()) == (400, {"error": message})


def test_an_error_of_the_model_is_shown_without_a_stack_trace(server: RunningServer) -> None:
    response = server.predict(instances=["this is no tf.Example"])
    assert response.status_code == 400
    error = response.json()["error"]
    assert error.startswith("Could not parse example input, value: 'this is no tf.Example'")
    assert "Traceback" not in error
    assert ".py" not in error


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": {"b": 1}}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, "x"]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64_t element. Only int64_t is supported."),
        ({"examples": [{"a": [1, 2**64]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"\ud800": 1}]}, "JSON Parse error: The surrogate pair in string is invalid. at offset: 16"),
        ({"signature_name": "nope", "examples": [{}]}, "No signature was found with the name: nope"),
        ({"examples": [{}]}, "Expected one or two output Tensors, found 3"),
        ({"signature_name": "mean", "examples": [{}]}, "No classification inputs found in SignatureDef:"),
        ({"signature_name": "two_inputs", "examples": [{}]}, "Expected one input Tensor."),
        (
            {"signature_name": "regress_examples", "examples": [{}]},
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            "Signature was:",
        ),
    ],
)
def test_a_wrong_classify_request_is_refused_as_tensorflow_serving_does(
    server: RunningServer, document: dict[str, object], message: str
) -> None:
    response = server.post(f"{MODEL}:classify", content=json.dumps(document).encode())
    # A signature is written out in text format.
    assert (response.status_code, response.json()["error"].partition(" inputs {")[0]) == (400, message)


def test_the_name_of_a_feature_must_be_text(server: RunningServer) -> None:
    response = server.post(f"{MODEL}:classify", content=b'{"examples": [{"\xff": 1}]}')
    assert response.json() == {"error": "JSON Parse error: Invalid encoding in string."}


def test_a_long_value_is_cut_in_the_message(server: RunningServer) -> None:
    error = server.predict(instances="x" * 100_000).json()["error"]
    assert len(error) < 1200
    assert error.endswith("… Expecting 'instances' to be an list/array")
    # object() is no JSON, but what is cut off is not looked at.
    assert quote([*range(1000), object()])[-1] == "…"
