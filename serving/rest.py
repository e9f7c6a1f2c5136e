"""TensorFlow Serving's REST API: paths, methods, requests and answers under `/v1/models`.

After tensorflow_serving/model_servers/http_rest_api_handler.cc. No HTTP server is known here: bytes come in and go out.
"""

import re
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from serving.batching import Batcher
from serving.body import work_on
from serving.document import drop, parse_json, read_signature_name, to_body
from serving.errors import invalid
from serving.examples import CLASSIFY, REGRESS, find_signature, read_examples, write_classes, write_regressions
from serving.model import Model, Run, Signature
from serving.tensors import Tensors, is_long, read_inputs, write_outputs
from serving.turns import do_in_turn
from serving.versions import Versions

_PREDICTION = re.compile(
    r"/v1/models/([^/:]+)(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?:(classify|regress|predict)", re.IGNORECASE
)
_STATUS = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?(?:/(metadata))?", re.IGNORECASE
)
_MAX_VERSION = 2**63 - 1
# What an address says: the model's name, and a version or a label.
Spec = tuple[str, int | None, str | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with, and what was run for it.

    Attributes:
      body: JSON.
      run: the model that answered, its signature, the inputs and the outputs; None for status and metadata.
    """

    body: bytes
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """What the path of a request says.

    Attributes:
      model: its name, or empty.
      version: its number, if the path has one.
      label: its label, if the path has one.
      verb: `predict`, `classify` or `regress`; `metadata`; None for the status.
    """

    model: str
    version: int | None
    label: str | None
    verb: str | None


def parse_address(method: str, path: str) -> Address:
    """What a request asks, and of what.

    Args:
      method: HTTP's.
      path: as sent, percent-encoded.

    Raises:
      ServingError: it is no address of the API.
    """
    pattern = {"POST": _PREDICTION, "GET": _STATUS}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    if not match:
        raise invalid(f"Malformed request: {method} {path}")
    name, number, label, verb = match.groups()
    # The patterns match in any case, and what is done with the verb does not.
    if method == "POST" and verb not in ("predict", "classify", "regress"):
        raise invalid(f"Malformed request: {method} {path}")
    if method == "GET" and verb != "metadata":
        verb = None
    return Address(unquote(name or ""), _parse_version(number), unquote(label) if label else None, verb)


class RestApi:
    """Answers requests as TensorFlow Serving does."""

    def __init__(self, versions: Versions, batcher: Batcher) -> None:
        self._versions = versions
        self._batcher = batcher

    async def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answers one request.

        Args:
          method: HTTP's.
          path: as sent, percent-encoded.
          body: as sent.

        Raises:
          ServingError: it cannot be answered; code and message are TensorFlow Serving's.
        """
        address = parse_address(method, path)
        spec, verb = (address.model, address.version, address.label), address.verb
        if verb == "predict":
            return await self._predict(spec, body)
        if verb in ("classify", "regress"):
            return await self._infer(spec, verb, body)
        if not address.model:
            raise invalid("Missing model name in request.")
        if verb == "metadata":
            model = self._versions.find(*spec)
            model_spec = {"name": spec[0], "signature_name": "", "version": str(model.version)}
            return Answer(to_body({"model_spec": model_spec, "metadata": model.metadata}))
        states = [state.to_json() for state in self._versions.states(*spec)]
        return Answer(to_body({"model_version_status": states}))

    async def _predict(self, spec: Spec, body: bytes) -> Answer:
        model, signature, inputs, as_rows = await work_on(body, partial(self._read_predict, spec))
        outputs = await self._batcher.run(model, signature, inputs)
        reply = await do_in_turn(is_long(outputs), write_outputs, outputs, as_rows)
        return Answer(reply, (model, signature, inputs, outputs))

    def _read_predict(self, spec: Spec, body: bytes) -> tuple[Model, Signature, Tensors, bool]:
        document = parse_json(body)
        try:
            name = read_signature_name(document)
            model = self._versions.find(*spec)
            signature = model.find_signature(name)
            return model, signature, *read_inputs(document, signature.inputs, name)
        finally:
            drop(document)

    async def _infer(self, spec: Spec, verb: str, body: bytes) -> Answer:
        model, signature, inputs = await work_on(body, partial(self._read_examples, spec, verb))
        outputs = await self._batcher.run(model, signature, inputs)
        write = write_classes if verb == "classify" else write_regressions
        reply = await do_in_turn(is_long(outputs), write, outputs, len(inputs["inputs"]))
        return Answer(reply, (model, signature, inputs, outputs))

    def _read_examples(self, spec: Spec, verb: str, body: bytes) -> tuple[Model, Signature, Tensors]:
        document = parse_json(body)
        try:
            name = read_signature_name(document)
            examples = read_examples(document)
        finally:
            drop(document)
        model = self._versions.find(*spec)
        signature = find_signature(model, name, CLASSIFY if verb == "classify" else REGRESS)
        return model, signature, {"inputs": examples}


def _parse_version(text: str | None) -> int | None:
    if not text:
        return None
    if len(text) > 19 or int(text) > _MAX_VERSION:
        raise invalid(f"Failed to convert version: {text} to numeric.")
    return int(text)
