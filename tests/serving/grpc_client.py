"""The client that comes with TensorFlow Serving, `tensorflow-serving-api`, and probes by `grpcio-health-checking`."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import grpc
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc


class Client:
    """A connection of its own, and the methods that can be called over it."""

    def __init__(self, address: str, **options: Any) -> None:
        # Channels to the same place share a connection otherwise.
        local = ("grpc.use_local_subchannel_pool", 1)
        self.channel = grpc.insecure_channel(address, options=[local, *((f"grpc.{k}", v) for k, v in options.items())])
        self.prediction: Any = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model: Any = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def check(self, service: str = "", **options: Any) -> str:
        """What a probe is told of a service."""
        response = self.health.Check(health_pb2.HealthCheckRequest(service=service), **options)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def predict_request(
    values: Sequence[str | bytes], signature: str = "predict_text", name: str = "title"
) -> predict_pb2.PredictRequest:
    """A predict request with one input."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "headlines", signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(list(values)))
    return request


def ask(client: Client, titles: Sequence[str], **options: Any) -> dict[str, Any]:
    """The version that answered, and its outputs as arrays."""
    response = client.prediction.Predict(predict_request(titles), **options)
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
    return {"version": response.model_spec.version.value, **outputs}


def fails(call: Callable[..., Any], request: Any, code: grpc.StatusCode, message: str = "", **options: Any) -> None:
    """Asserts that a call ends with this code and this in its message."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=options.pop("timeout", 30), **options)
    error: Any = caught.value
    assert error.code() is code, error
    assert message in error.details()
