"""The Open Inference (V2) protocol: its metadata, its readiness and its `infer`, over the versions that are loaded.

After open-inference-protocol specification/protocol/inference_rest.md and, where that leaves it open, kserve's
protocol/rest/v2_endpoints.py and errors.py. No HTTP server is known here: bytes come in and go out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2

from serving.batching import Batcher
from serving.body import work_on
from serving.document import drop, parse_json, quote, to_body
from serving.errors import ServingError, invalid
from serving.model import Model, Run
from serving.open_requests import PREFERRED, InferRequest, find_signatures, read_request
from serving.open_tensors import datatype_of, write_tensor
from serving.readiness import Readiness
from serving.tensors import Tensors, is_long
from serving.turns import do_in_turn
from serving.versions import Versions

VERSION = "1"
"""Of the server, as openapi.json says it."""
_MAX_VERSION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Inference:
    """The answer to an `infer`.

    Attributes:
      body: JSON, and the outputs that were asked for as bytes.
      json_bytes: how long the JSON is; None if nothing follows it.
      run: the model that answered, its signature, the inputs and the outputs.
    """

    body: bytes
    json_bytes: int | None
    run: Run


class OpenInference:
    """Answers as the protocol says, for one model."""

    def __init__(self, name: str, versions: Versions, batcher: Batcher, readiness: Readiness) -> None:
        self._name = name
        self._readiness = readiness
        self._versions = versions
        self._batcher = batcher

    @property
    def server(self) -> dict[str, Any]:
        """What the server is. Of the extensions that are known by a name, it has Triton's bytes beside the JSON."""
        return {"name": f"{self._name}-model-server", "version": VERSION, "extensions": ["binary_tensor_data"]}

    @property
    def is_live(self) -> bool:
        """Whether the server's own parts run."""
        return self._versions.is_watching

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self._readiness.is_ready

    @property
    def models(self) -> dict[str, Any]:
        """The names that can be asked for, as kserve lists them."""
        return {"models": [self._name]}

    def describe(self, name: str, version: str | None) -> dict[str, Any]:
        """The metadata of a model: inputs and outputs of its preferred signature, and in `properties` all of them.

        Raises:
          ServingError: it is not there, or not ready.
        """
        model = self._find(name, version)
        definitions = model.metadata["signature_def"]["signature_def"]
        signatures = {signature.name: definitions[signature.name] for signature in find_signatures(model)}
        preferred = next((key for key in PREFERRED if key in signatures), next(iter(signatures), ""))
        chosen = signatures.get(preferred, {"inputs": {}, "outputs": {}})
        return {
            "name": name,
            "versions": [str(number) for number in sorted(self._versions.loaded)],
            "platform": "tensorflow_savedmodel",
            "inputs": _describe(chosen["inputs"]),
            "outputs": _describe(chosen["outputs"]),
            "properties": {
                key: f"{_summarise(signature['inputs'])} -> {_summarise(signature['outputs'])}"
                for key, signature in signatures.items()
            },
        }

    def check_ready(self, name: str, version: str | None) -> dict[str, Any]:
        """What says that a model can be asked.

        Raises:
          ServingError: it is not there, or not ready.
        """
        self._find(name, version)
        return {"name": name, "ready": True}

    async def infer(self, name: str, version: str | None, body: bytes, json_bytes: str | None) -> Inference:
        """Runs a model.

        Args:
          name: of the model.
          version: its number or a label; None for the newest.
          body: JSON, and the inputs that come as bytes.
          json_bytes: what the request says of how long the JSON is; None if it says nothing.

        Raises:
          ServingError: it cannot be answered.
        """
        request = await work_on(body, partial(self._read, name, version, json_bytes))
        outputs = await self._batcher.run(request.model, request.signature, request.inputs)
        chosen = {key: outputs[key] for key in request.outputs}
        reply, length = await do_in_turn(is_long(chosen), _write, name, request, chosen)
        return Inference(reply, length, (request.model, request.signature, request.inputs, outputs))

    def _find(self, name: str, version: str | None) -> Model:
        """The model of a name and a version; what is about to come is not ready, as in kserve's errors.py."""
        number, label = _parse_version(version)
        try:
            return self._versions.find(name, number, label)
        except ServingError:
            if name != self._name:
                raise
            if version is None:
                raise ServingError("UNAVAILABLE", f"Model with name {name} is not ready.") from None
            try:
                [state] = self._versions.states(name, number, label)
            except ServingError:
                state = None
            if state and state.state in ("START", "LOADING", "AVAILABLE"):
                raise ServingError(
                    "UNAVAILABLE", f"Model with name {name} is not ready. Its version {version} is being loaded."
                ) from None
            raise

    def _read(self, name: str, version: str | None, json_bytes: str | None, body: bytes) -> InferRequest:
        model = self._find(name, version)
        end = len(body)
        if json_bytes is not None:
            if not re.fullmatch("[0-9]{1,18}", json_bytes) or int(json_bytes) > len(body):
                raise invalid(
                    f"Inference-Header-Content-Length is {quote(json_bytes)}; it must say how many of the "
                    f"{len(body)} bytes of the body are JSON"
                )
            end = int(json_bytes)
        document, rest = parse_json(body[:end]), body[end:]
        try:
            return read_request(document, rest, model)
        except RecursionError:
            raise invalid("JSON Parse error: Nested too deeply.") from None
        finally:
            drop(document)


def _parse_version(version: str | None) -> tuple[int | None, str | None]:
    """The number or the label that an address has as version: the protocol has strings, and no labels beside them."""
    if version is None or not (version.isascii() and version.isdecimal()):
        return None, version
    if len(version) > 19 or int(version) > _MAX_VERSION:
        raise invalid(f"Failed to convert version: {quote(version)} to numeric.")
    return int(version), None


def _write(name: str, request: InferRequest, outputs: Tensors) -> tuple[bytes, int | None]:
    written = [write_tensor(key, tensor, request.outputs[key]) for key, tensor in outputs.items()]
    head: dict[str, Any] = {"model_name": name, "model_version": str(request.model.version)}
    if request.id is not None:
        head["id"] = request.id
    head["parameters"] = {"signature_name": request.signature.name}
    body = b'%b,"outputs":[%b]}' % (to_body(head)[:-1], b",".join(output for output, _ in written))
    if not any(request.outputs.values()):
        return body, None
    return b"".join((body, *(content for _, content in written))), len(body)


def _describe(tensors: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": _datatype(tensors[name]), "shape": _shape(tensors[name])} for name in sorted(tensors)
    ]


def _summarise(tensors: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_datatype(tensors[name])} {_shape(tensors[name])}" for name in sorted(tensors))


def _datatype(tensor: Mapping[str, Any]) -> str:
    return datatype_of(tf.as_dtype(types_pb2.DataType.Value(tensor["dtype"])))


def _shape(tensor: Mapping[str, Any]) -> list[int]:
    """The sizes of the dimensions, -1 for any; as [-1] also any number of them, which the protocol cannot say."""
    shape = tensor["tensor_shape"]
    return [-1] if shape["unknown_rank"] else [int(dimension["size"]) for dimension in shape["dim"]]
