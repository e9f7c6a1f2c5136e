"""TensorFlow Serving's own test cases of gRPC, put to a server over the stubs of `tensorflow-serving-api`."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import json_format
from grpc_client import Client
from tensorflow_cases import Case
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

SERVED = "headlines"
# The names that the files of tests give the one model that they serve.
_NAMES = {"default", "test_model", "saved_model_half_plus_two_2_versions"}
_REQUESTS: dict[str, Callable[[], Any]] = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}


def call(client: Client, case: Case) -> tuple[str, Any]:
    """The code that a call ends with, and what it answers, with every field, or says."""
    stub = {"PredictionService": client.prediction, "ModelService": client.model}[case["service"]]
    request = json_format.ParseDict(rename(case["request"]), _REQUESTS[case["method"]]())
    try:
        response = getattr(stub, case["method"])(request, timeout=60)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    reply = json_format.MessageToDict(response, including_default_value_fields=True, preserving_proto_field_name=True)
    if case["method"] == "GetModelMetadata":
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert response.metadata["signature_def"].Unpack(signatures)
        reply["metadata_keys"] = list(response.metadata)
        reply["signatures"] = sorted(signatures.signature_def)
    if case["method"] == "GetModelStatus":
        # Their test holds the versions against a set.
        reply["model_version_status"].sort(key=lambda status: int(status["version"]))
    return "OK", reply


def rename(message: Any) -> Any:
    """A message in which the model has the name by which it is served here."""
    if isinstance(message, list):
        return [rename(element) for element in message]
    if not isinstance(message, dict):
        return message
    found = {key: rename(value) for key, value in message.items()}
    spec = found.get("model_spec", {})
    return {**found, "model_spec": {**spec, "name": SERVED}} if spec.get("name") in _NAMES else found


def assert_holds(found: Any, expected: Any) -> None:
    """What is found has all that is expected, and may have fields that the case says nothing of."""
    if isinstance(expected, dict) and expected:
        for key, value in expected.items():
            assert key in found, (key, found)
            assert_holds(found[key], value)
    elif isinstance(expected, dict):
        assert not any(found.values()), found
    elif isinstance(expected, list):
        assert len(found) == len(expected), (found, expected)
        for one, other in zip(found, expected, strict=True):
            assert_holds(one, other)
    else:
        assert found == expected, (found, expected)
