"""Load on the gRPC port of the model server, as TensorFlow Serving's own client sends it.

Requests are serialised beforehand and answers not read: what is measured is the server, and gRPC's client in Python,
which takes about as long as the server and so must have a core to itself.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.types_pb2 import DT_STRING
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from benchmarks.serving_load import Load

_METHOD = "/tensorflow.serving.PredictionService/Predict"


def write_requests(model: str, titles: Sequence[str]) -> list[bytes]:
    """A predict request for each title."""
    requests = []
    for title in titles:
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, "predict_text"
        tensor = TensorProto(dtype=DT_STRING, string_val=[title.encode()])
        tensor.tensor_shape.dim.add(size=1)
        request.inputs["title"].CopyFrom(tensor)
        requests.append(request.SerializeToString())
    return requests


async def apply_grpc_load(port: int, bodies: list[bytes], clients: int, count: int) -> Load:
    """Sends `count` requests over `clients` connections, each sending one at a time."""
    load = Load(clients)
    requests = (bodies[number % len(bodies)] for number in range(count))
    # Channels to one address would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels: list[Any] = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(clients)]

    async def send(channel: Any) -> None:
        call = channel.unary_unary(_METHOD)
        for request in requests:
            began = time.perf_counter()
            try:
                await call(request)
            except grpc.RpcError:
                load.failed += 1
            load.latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    began = time.perf_counter()
    await asyncio.gather(*(send(channel) for channel in channels))
    load.seconds = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    return load
