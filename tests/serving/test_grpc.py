"""gRPC as TensorFlow Serving speaks it: its own client, and for the same request the answers that REST gives."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_client import Client, ask, fails, predict_request
from running_server import RunningServer
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.grpc_address) as client:
        yield client


def example(title: str) -> tf.train.Example:
    values = tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()]))
    return tf.train.Example(features=tf.train.Features(feature={"title": values}))


def examples_request(kind: Any, signature: str, *titles: str) -> Any:
    request = kind()
    request.model_spec.name, request.model_spec.signature_name = "headlines", signature
    request.input.example_list.examples.extend(map(example, titles))
    return request


@pytest.mark.parametrize("titles", [["dia bom"], ["dia bom", "ruim", "chuva é água"], ["bom"] * 100])
def test_predict_gives_what_rest_gives(client: Client, server: RunningServer, titles: list[str]) -> None:
    answer = ask(client, titles)
    rows = server.predict(signature_name="predict_text", instances=titles).json()["predictions"]
    assert answer["version"] == 2022020201
    assert answer["label"].tolist() == [row["label"].encode() for row in rows]
    assert answer["probabilities"].tolist() == pytest.approx(np.array([row["probabilities"] for row in rows]))


def test_an_answer_says_which_version_and_signature_gave_it(client: Client) -> None:
    # `MakeModelSpec` of servables/tensorflow/util.cc; predict_util_test.cc, PredictionSuccess.
    request = predict_request(["bom"], signature="")
    del request.inputs["title"]
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example("bom").SerializeToString()]))
    for choose in (
        lambda spec: setattr(spec, "version_label", "stable"),
        lambda spec: spec.version.__setattr__("value", 2022020101),
    ):
        choose(request.model_spec)
        spec = client.prediction.Predict(request).model_spec
        assert (spec.name, spec.version.value, spec.version_label) == ("headlines", 2022020101, "")
        assert spec.signature_name == "serving_default"


def test_classify_and_regress_give_what_rest_gives(client: Client, server: RunningServer) -> None:
    request = examples_request(classification_pb2.ClassificationRequest, "classify_examples", "bom", "ruim")
    response = client.prediction.Classify(request)
    document = {"signature_name": "classify_examples", "examples": [{"title": "bom"}, {"title": "ruim"}]}
    rest = server.post("/v1/models/headlines:classify", document).json()["results"]
    for given, wanted in zip(response.result.classifications, rest, strict=True):
        assert [each.label for each in given.classes] == [label for label, _ in wanted]
        assert [each.score for each in given.classes] == pytest.approx([score for _, score in wanted])
    assert response.model_spec.signature_name == "classify_examples"
    assert response.model_spec.version.value == 2022020201

    request = examples_request(regression_pb2.RegressionRequest, "regress_examples", "bom", "dia")
    given = [each.value for each in client.prediction.Regress(request).result.regressions]
    document = {"signature_name": "regress_examples", "examples": [{"title": "bom"}, {"title": "dia"}]}
    assert given == pytest.approx(server.post("/v1/models/headlines:regress", document).json()["results"])


def test_examples_may_have_a_context(client: Client) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "headlines", "regress_examples"
    listed = request.input.example_list_with_context
    listed.context.CopyFrom(example("bom"))
    listed.examples.add()
    listed.examples.add().CopyFrom(example("dia"))
    plain = examples_request(regression_pb2.RegressionRequest, "regress_examples", "bom", "dia")
    assert client.prediction.Regress(request).result == client.prediction.Regress(plain).result
    request.input.Clear()
    # `InputToSerializedExampleTensor` of servables/tensorflow/util.cc.
    fails(client.prediction.Regress, request, INVALID, "Input is empty.")


def test_several_inferences_are_answered_together(client: Client) -> None:
    # As _TestMultiInference of tensorflow_model_server_test.py; the errors from multi_inference.cc.
    request = inference_pb2.MultiInferenceRequest()
    for name, method in (("regress_examples", "regress"), ("classify_examples", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "headlines", name
    request.input.example_list.examples.append(example("bom"))
    regressed, classified = client.prediction.MultiInference(request).results
    alone = examples_request(regression_pb2.RegressionRequest, "regress_examples", "bom")
    assert regressed.regression_result == client.prediction.Regress(alone).result
    alone = examples_request(classification_pb2.ClassificationRequest, "classify_examples", "bom")
    assert classified.classification_result == client.prediction.Classify(alone).result
    assert classified.model_spec.version.value == 2022020201
    request.tasks[1].model_spec.signature_name = "regress_examples"
    fails(client.prediction.MultiInference, request, INVALID, "Duplicate evaluation of signature: regress_examples")
    request.tasks[1].model_spec.name = "another"
    fails(client.prediction.MultiInference, request, INVALID, "must access the same model name")
    request.tasks[1].method_name, request.tasks[1].model_spec.name = "tensorflow/serving/predict", "headlines"
    request.tasks[1].model_spec.signature_name = "predict_text"
    fails(client.prediction.MultiInference, request, grpc.StatusCode.UNIMPLEMENTED, "Unsupported signature method_name")
    fails(
        client.prediction.MultiInference,
        inference_pb2.MultiInferenceRequest(),
        INVALID,
        "ModelSpec has no name specified.",
    )


def test_metadata_is_the_signatures_as_the_model_has_them(client: Client, saved_model: Path) -> None:
    # get_model_metadata_impl_test.cc: ReturnsSignaturesForValidModel, and the errors of the others.
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    fails(client.prediction.GetModelMetadata, request, INVALID, "Missing ModelSpec")
    request.model_spec.version.value = 2022020101
    fails(client.prediction.GetModelMetadata, request, INVALID, "ModelSpec has no name specified.")
    request.model_spec.name = "headlines"
    response = client.prediction.GetModelMetadata(request)
    assert response.model_spec == request.model_spec
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    saved = SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0].signature_def
    assert signatures.signature_def["predict_text"] == saved["predict_text"]
    assert signatures.signature_def.keys() == saved.keys()
    request.metadata_field[0] = "some_stuff"
    fails(client.prediction.GetModelMetadata, request, INVALID, "Metadata field some_stuff is not supported")
    del request.metadata_field[:]
    fails(client.prediction.GetModelMetadata, request, INVALID, "must specify at least one metadata_field")


def test_status_is_that_of_rest(client: Client, server: RunningServer) -> None:
    # get_model_status_impl.cc.
    request = get_model_status_pb2.GetModelStatusRequest()
    fails(client.model.GetModelStatus, request, INVALID, "Missing ModelSpec")
    request.model_spec.name = "headlines"
    states = client.model.GetModelStatus(request).model_version_status
    rest = server.get("/v1/models/headlines").json()["model_version_status"]
    kind = get_model_status_pb2.ModelVersionStatus.State
    assert [(str(each.version), kind.Name(each.state)) for each in states] == [
        (each["version"], each["state"]) for each in rest
    ]
    assert [(each.status.error_code, each.status.error_message) for each in states] == [(0, "")] * 2
    request.model_spec.version_label = "stable"
    assert [each.version for each in client.model.GetModelStatus(request).model_version_status] == [2022020101]
    request.model_spec.version.value = 5
    fails(client.model.GetModelStatus, request, NOT_FOUND, "Could not find version 5 of model headlines")
    request.model_spec.name = ""
    request.model_spec.ClearField("version")
    fails(client.model.GetModelStatus, request, NOT_FOUND, "Could not find any versions of model ")


def test_a_reload_says_that_a_file_says_what_serves(client: Client) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    fails(client.model.HandleReloadConfigRequest, request, grpc.StatusCode.UNIMPLEMENTED, "models.config")


def change_spec(**values: Any) -> Callable[[predict_pb2.PredictRequest], None]:
    def change(request: predict_pb2.PredictRequest) -> None:
        for name, value in values.items():
            if name == "version":
                request.model_spec.version.value = value
            else:
                setattr(request.model_spec, name, value)

    return change


def change_inputs(*removed: str, **added: Any) -> Callable[[predict_pb2.PredictRequest], None]:
    def change(request: predict_pb2.PredictRequest) -> None:
        for name in removed:
            del request.inputs[name]
        for name, value in added.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))

    return change


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        # predict_impl.cc, server_core.cc (ServableRequestFromModelSpec), predict_util.cc and predict_util_test.cc.
        (lambda request: request.ClearField("model_spec"), INVALID, "Missing ModelSpec"),
        (change_spec(name=""), INVALID, "ModelSpec has no name specified."),
        (change_spec(name="test"), NOT_FOUND, "Servable not found for request: Latest(test)"),
        (change_spec(version=7), NOT_FOUND, "Servable not found for request: Specific(headlines, 7)"),
        (change_spec(version=-1), NOT_FOUND, "Servable not found for request: Specific(headlines, -1)"),
        (change_spec(version_label="new"), INVALID, "Unrecognized servable version label: new"),
        (change_spec(version_label="gone"), NOT_FOUND, "Servable not found for request: Specific(headlines, 7)"),
        (
            change_spec(signature_name="nope"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            change_inputs("title", unknown_key1=["a"], unknown_key2=1.0),
            INVALID,
            "input size does not match signature: 2!=1 len({unknown_key1,unknown_key2}) != len({title}). "
            "Sent extra: {unknown_key1,unknown_key2}. Missing but required: {title}.",
        ),
        (change_inputs("title"), INVALID, "input size does not match signature: 0!=1 len({}) != len({title})."),
        # `GetInputValues` of tensorflow/cc/saved_model/util.cc.
        (change_inputs("title", titel=["a"]), INVALID, "Signature input alias: title(feed name: predict_text_title:0)"),
        (change_inputs(title=[1.0]), INVALID, "Expects arg[0] to be string but float is provided"),
        (change_inputs(title="a"), INVALID, "Cannot feed value of shape ()"),
        (
            lambda request: request.output_filter.append("output_filter"),
            INVALID,
            "output tensor alias not found in signature: output_filter "
            "Outputs expected to be in the set {confidence,label,probabilities}.",
        ),
        (
            lambda request: request.output_filter.extend(["label", "label"]),
            INVALID,
            "duplicate output tensor alias: label",
        ),
    ],
)
def test_a_wrong_predict_request_is_refused_as_tensorflow_serving_does(
    client: Client, change: Callable[[predict_pb2.PredictRequest], None], code: grpc.StatusCode, message: str
) -> None:
    request = predict_request(["bom"])
    change(request)
    fails(client.prediction.Predict, request, code, message)


def test_only_the_outputs_asked_for_are_given(client: Client) -> None:
    request = predict_request(["bom"])
    request.output_filter.append("label")
    assert client.prediction.Predict(request).outputs.keys() == {"label"}


def test_the_last_of_a_version_and_a_label_counts(client: Client) -> None:
    # They are one field (`oneof version_choice` of apis/model.proto): both cannot be said.
    request = predict_request(["bom"])
    request.model_spec.version.value = 7
    request.model_spec.version_label = "stable"
    assert client.prediction.Predict(request).model_spec.version.value == 2022020101


def test_what_is_no_message_is_refused(client: Client) -> None:
    call = client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    fails(call, b"\xff\xff", INVALID, "the message is no tensorflow.serving.PredictRequest")
    none = client.channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    fails(none, iter([]), INVALID, "the call has no message")
    fails(
        client.channel.unary_unary("/tensorflow.serving.SessionService/SessionRun"), b"", grpc.StatusCode.UNIMPLEMENTED
    )


def test_bytes_go_in_and_out_as_they_are(client: Client) -> None:
    # REST writes what is no text, and what an output is called, in another way; a message has bytes.
    values = [b"\xff\x00\xfe", b"", "é".encode()]
    request = predict_request(values, signature="echo", name="text")
    outputs = client.prediction.Predict(request).outputs
    assert list(outputs["text"].string_val) == list(outputs["raw_bytes"].string_val) == values


def test_an_error_inside_the_model_is_tensorflows(client: Client) -> None:
    request = predict_request(["good", "bad"], signature="refuse_bad", name="text")
    fails(client.prediction.Predict, request, INVALID, "this row is bad")


def test_a_long_message_is_cut_as_tensorflow_serving_cuts_it(client: Client) -> None:
    # grpc_status_util.cc.
    request = predict_request(["bom"], signature="n" * 3000)
    with pytest.raises(grpc.RpcError) as caught:
        client.prediction.Predict(request)
    cut = f'Serving signature key "{"n" * 3000}'[:1024]
    assert caught.value.details() == f"{cut}...TRUNCATED"
