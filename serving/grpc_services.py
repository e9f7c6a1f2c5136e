"""TensorFlow Serving's gRPC methods: what each request is answered with.

After tensorflow_serving/model_servers/prediction_service_impl.cc and model_service_impl.cc of version 2.16.1 and what
they call; messages and codes are theirs. No connection is known here: bytes come in and go out.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from google.protobuf import any_pb2, wrappers_pb2
from google.protobuf.message import DecodeError, Message
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
    status_pb2,
)

from serving.batching import Batcher
from serving.body import work_on
from serving.errors import ServingError, invalid
from serving.examples import CLASSIFY, REGRESS, check_classes, check_regressions, find_signature
from serving.model import DEFAULT_SIGNATURE, Model, Run, Signature, check_type
from serving.tensor_protos import read_tensor, write_tensor
from serving.tensors import Array, Tensors, is_long
from serving.turns import do_in_turn
from serving.versions import Versions

METADATA_FIELD = "signature_def"
Request = TypeVar("Request", bound=Message)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with, and what was run for it.

    Attributes:
      body: the message, serialised.
      runs: one for each signature that was run.
    """

    body: bytes
    runs: tuple[Run, ...] = ()


class PredictionService:
    """tensorflow.serving.PredictionService."""

    def __init__(self, versions: Versions, batcher: Batcher, max_bytes: int) -> None:
        """Answers from these versions; no tensor becomes larger than `max_bytes` by filling it."""
        self._versions = versions
        self._batcher = batcher
        self._max_bytes = max_bytes

    async def predict(self, body: bytes) -> Answer:
        """Runs a signature on tensors."""
        model, signature, inputs, name, chosen = await work_on(body, self._read_predict)
        outputs = await self._batcher.run(model, signature, inputs)
        spec = _spec(name, model, signature.name)
        reply = await do_in_turn(is_long(outputs), _write_tensors, spec, chosen or list(outputs), outputs)
        return Answer(reply, ((model, signature, inputs, outputs),))

    async def classify(self, body: bytes) -> Answer:
        """Runs a signature on examples and gives each its classes."""
        return await self._infer(classification_pb2.ClassificationRequest, CLASSIFY, _write_classification, body)

    async def regress(self, body: bytes) -> Answer:
        """Runs a signature on examples and gives each its number."""
        return await self._infer(regression_pb2.RegressionRequest, REGRESS, _write_regression, body)

    async def infer_several(self, body: bytes) -> Answer:
        """Runs several signatures on the same examples (servables/tensorflow/multi_inference.cc)."""
        model, tasks, inputs = await work_on(body, self._read_several)
        outputs = await asyncio.gather(*(self._batcher.run(model, signature, inputs) for _, signature in tasks))
        pairs = list(zip(tasks, outputs, strict=True))
        reply = await do_in_turn(any(map(is_long, outputs)), _write_several, model, pairs, len(inputs["inputs"]))
        return Answer(reply, tuple((model, signature, inputs, tensors) for (_, signature), tensors in pairs))

    async def describe(self, body: bytes) -> Answer:
        """Gives a model's signatures (servables/tensorflow/get_model_metadata_impl.cc)."""
        request = _parse(get_model_metadata_pb2.GetModelMetadataRequest, body)
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != METADATA_FIELD:
                raise invalid(f"Metadata field {field} is not supported")
        model = self._find(request)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=_spec(request.model_spec.name, model))
        packed = any_pb2.Any()
        packed.Pack(model.signature_defs)
        response.metadata[METADATA_FIELD].CopyFrom(packed)
        return Answer(_dump(response))

    def _find(self, request: Any) -> Model:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return self._versions.find(*_read_spec(request.model_spec))

    def _read_predict(self, body: bytes) -> tuple[Model, Signature, Tensors, str, list[str]]:
        request = _parse(predict_pb2.PredictRequest, body)
        model = self._find(request)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if name not in model.signatures:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        signature = model.signatures[name]
        inputs = self._read_inputs(request, signature, model.signature_defs.signature_def[name])
        chosen: list[str] = []
        for alias in request.output_filter:
            if alias not in signature.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {alias} "
                    f"Outputs expected to be in the set {{{','.join(signature.outputs)}}}."
                )
            if alias in chosen:
                raise invalid(f"duplicate output tensor alias: {alias}")
            chosen.append(alias)
        for alias, tensor in inputs.items():
            check_type(signature, alias, tf.as_dtype(tensor.dtype))
        return model, signature, inputs, request.model_spec.name, chosen

    def _read_inputs(self, request: predict_pb2.PredictRequest, signature: Signature, definition: Any) -> Tensors:
        """The tensors of a predict request, the signature's defaults where it has none.

        After `VerifyRequestInputsSize` of servables/tensorflow/predict_util.cc and `GetInputValues` of
        tensorflow/cc/saved_model/util.cc.
        """
        sent, expected, defaults = request.inputs, definition.inputs, definition.defaults
        if len(sent) > len(expected) or (len(sent) < len(expected) and not defaults):
            raise invalid(
                f"input size does not match signature: {len(sent)}!={len(expected)} len({{{_join(sent)}}}) != "
                f"len({{{_join(expected)}}}). Sent extra: {{{_join(set(sent) - set(expected))}}}. "
                f"Missing but required: {{{_join(set(expected) - set(sent))}}}."
            )
        if len(signature.inputs) != len(expected):
            raise invalid(f"Failed to get input map for signature: {signature.name}")
        tensors, seen = {}, 0
        for alias in signature.inputs:
            seen += alias in sent
            if alias not in sent and alias not in defaults:
                raise invalid(
                    f"Signature input alias: {alias}(feed name: {expected[alias].name}) not found in request and no "
                    f"default value provided. Inputs expected to be in the request {{{_join(sent)}}}, or default input "
                    f"alias set: {_join(defaults)}"
                )
            proto = sent[alias] if alias in sent else defaults[alias]
            tensors[alias] = read_tensor(proto, alias, self._max_bytes)
        if seen != len(sent):
            raise invalid(
                "Inputs contains invalid name. Used request inputs: "
                f"{_join(set(sent) & set(expected))}, request input: {_join(sent)}"
            )
        return tensors

    async def _infer(
        self,
        request_class: type[Message],
        method: str,
        write: Callable[[model_pb2.ModelSpec, int, Tensors], bytes],
        body: bytes,
    ) -> Answer:
        def read(body: bytes) -> tuple[Model, Signature, Tensors, str]:
            request: Any = _parse(request_class, body)
            model = self._find(request)
            signature = find_signature(model, request.model_spec.signature_name, method)
            return model, signature, {"inputs": _read_examples(request.input)}, request.model_spec.name

        model, signature, inputs, name = await work_on(body, read)
        outputs = await self._batcher.run(model, signature, inputs)
        spec = _spec(name, model, signature.name)
        reply = await do_in_turn(is_long(outputs), write, spec, len(inputs["inputs"]), outputs)
        return Answer(reply, ((model, signature, inputs, outputs),))

    def _read_several(self, body: bytes) -> tuple[Model, list[tuple[inference_pb2.InferenceTask, Signature]], Tensors]:
        request = _parse(inference_pb2.MultiInferenceRequest, body)
        first = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        model = self._versions.find(*_read_spec(first))
        tasks: dict[str, tuple[inference_pb2.InferenceTask, Signature]] = {}
        for task in request.tasks:
            if not task.model_spec.name:
                raise invalid("Found ModelSpec with an empty model name.")
            if task.model_spec.name != first.name:
                raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            name = task.model_spec.signature_name or DEFAULT_SIGNATURE
            if name in tasks:
                raise invalid(f"Duplicate evaluation of signature: {name}")
            if name not in model.signatures:
                raise invalid(f"Requested signature not found in model graph: {name}")
            if task.method_name not in (CLASSIFY, REGRESS):
                raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name}")
            tasks[name] = (task, find_signature(model, name, task.method_name))
        return model, list(tasks.values()), {"inputs": _read_examples(request.input)}


class ModelService:
    """tensorflow.serving.ModelService."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def show_status(self, body: bytes) -> Answer:
        """Gives the state of a version, or of every version seen (model_servers/get_model_status_impl.cc)."""
        request = _parse(get_model_status_pb2.GetModelStatusRequest, body)
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        states = self._versions.states(spec.name, *_read_choice(spec))
        response = get_model_status_pb2.GetModelStatusResponse()
        for state in states:
            response.model_version_status.add(
                version=state.version,
                state=get_model_status_pb2.ModelVersionStatus.State.Value(state.state),
                status=status_pb2.StatusProto(
                    error_code=error_codes_pb2.Code.Value(state.error_code), error_message=state.error_message
                ),
            )
        return Answer(_dump(response))

    async def reload_config(self, _: bytes) -> Answer:
        """Refuses: which versions serve is said by a file, which outlives this process and tells other servers too."""
        raise ServingError(
            "UNIMPLEMENTED",
            "which versions are served is said by the file models.config beside the folder of pushed versions; "
            "change that file, as `retraining rollback` does: it is looked at every few seconds",
        )


def _parse(request_class: type[Request], body: bytes) -> Request:
    try:
        request: Request = request_class.FromString(body)
        return request
    except DecodeError:
        raise invalid(f"the message is no {request_class.DESCRIPTOR.full_name}") from None


def _read_choice(spec: model_pb2.ModelSpec) -> tuple[int | None, str | None]:
    # Not both can be said: they are one field of the message, of which the last one sent counts.
    choice = spec.WhichOneof("version_choice")
    return (
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _read_spec(spec: model_pb2.ModelSpec) -> tuple[str, int | None, str | None]:
    """After `ServableRequestFromModelSpec` of model_servers/server_core.cc."""
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return (spec.name, *_read_choice(spec))


def _spec(name: str, model: Model, signature_name: str = "") -> model_pb2.ModelSpec:
    """Who answered: whatever version was asked for, its number (`MakeModelSpec` of servables/tensorflow/util.cc)."""
    version = wrappers_pb2.Int64Value(value=model.version)
    return model_pb2.ModelSpec(name=name, version=version, signature_name=signature_name)


def _read_examples(given: input_pb2.Input) -> Array:
    """The serialised tf.Examples of an input: bytes [n] (`InputToSerializedExampleTensor` of the same file)."""
    kind = given.WhichOneof("kind")
    chosen: Any = getattr(given, kind) if kind else None
    if not kind or not chosen.examples:
        raise invalid("Input is empty.")
    # One message after another is the two merged.
    context = chosen.context.SerializeToString() if kind == "example_list_with_context" else b""
    examples = np.empty(len(chosen.examples), object)
    examples[:] = [context + example.SerializeToString() for example in chosen.examples]
    return examples


def _write_tensors(spec: model_pb2.ModelSpec, names: list[str], outputs: Tensors) -> bytes:
    tensors = {name: write_tensor(outputs[name]) for name in names}
    return _dump(predict_pb2.PredictResponse(model_spec=spec, outputs=tensors))


def _write_classification(spec: model_pb2.ModelSpec, rows: int, outputs: Tensors) -> bytes:
    result = _to_classes(outputs, rows)
    return _dump(classification_pb2.ClassificationResponse(model_spec=spec, result=result))


def _write_regression(spec: model_pb2.ModelSpec, rows: int, outputs: Tensors) -> bytes:
    result = _to_numbers(outputs, rows)
    return _dump(regression_pb2.RegressionResponse(model_spec=spec, result=result))


def _write_several(
    model: Model, answers: list[tuple[tuple[inference_pb2.InferenceTask, Signature], Tensors]], rows: int
) -> bytes:
    response = inference_pb2.MultiInferenceResponse()
    for (task, signature), outputs in answers:
        spec = _spec(task.model_spec.name, model, signature.name)
        if task.method_name == CLASSIFY:
            response.results.add(model_spec=spec, classification_result=_to_classes(outputs, rows))
        else:
            response.results.add(model_spec=spec, regression_result=_to_numbers(outputs, rows))
    return _dump(response)


def _to_classes(outputs: Tensors, rows: int) -> classification_pb2.ClassificationResult:
    classes, scores = check_classes(outputs, rows)
    result = classification_pb2.ClassificationResult()
    columns = next(tensor.shape[1] for tensor in (classes, scores) if tensor is not None)
    for row in range(rows):
        entry = result.classifications.add()
        for column in range(columns):
            # A label is text in a message, whatever bytes the model gives.
            entry.classes.add(
                label="" if classes is None else classes[row, column].decode("utf-8", "replace"),
                score=0.0 if scores is None else scores[row, column],
            )
    return result


def _to_numbers(outputs: Tensors, rows: int) -> regression_pb2.RegressionResult:
    values = check_regressions(outputs, rows).tolist()
    return regression_pb2.RegressionResult(regressions=[regression_pb2.Regression(value=value) for value in values])


def _dump(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _join(names: Any) -> str:
    return ",".join(sorted(names))
