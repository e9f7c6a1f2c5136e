"""What an `infer` request of the Open Inference (V2) protocol asks for: a signature, its inputs, some of its outputs.

The protocol has no signatures; a SavedModel has. A request means the one that its parameter `signature_name` names, or
else the one whose inputs are called like the request's: who sends a `title` means the signature that takes one. Where
several are called alike the types decide, then PREFERRED; what is still open is refused with the choice there is, since
an answer of the wrong signature looks like one of the right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.document import encode, quote
from serving.errors import invalid
from serving.model import DEFAULT_SIGNATURE, Model, Signature
from serving.open_tensors import datatype_of, read_parameters, read_tensor
from serving.tensors import Tensors

PREFERRED = ("predict_text", DEFAULT_SIGNATURE)
"""What a model is described by, the first that it has: who asks sends titles, and not serialised tf.Examples."""
# Of Triton's extensions that this server has not: what asks for them would get another answer than it expects.
_UNKNOWN_PARAMETERS = ("classification", "shared_memory_region")


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a request asks for.

    Attributes:
      id: to be given back; None if it has none.
      model: the one to run.
      signature: what to run of it.
      inputs: a tensor for each of its inputs.
      outputs: names of those to send, and whether each goes as bytes.
    """

    id: str | None
    model: Model
    signature: Signature
    inputs: Tensors
    outputs: Mapping[str, bool]


def find_signatures(model: Model) -> list[Signature]:
    """What can be run of a model: tf.saved_model.save adds a signature that takes nothing, `__saved_model_init_op`."""
    return [signature for signature in model.signatures.values() if signature.inputs]


def read_request(document: dict[str, Any], rest: bytes, model: Model) -> InferRequest:
    """Reads a request.

    Args:
      document: its JSON.
      rest: the bytes that follow it.
      model: the one it is for.

    Raises:
      ServingError: it cannot be understood, or does not fit the model.
    """
    identifier = document.get("id")
    if identifier is not None and not (isinstance(identifier, str) and _is_text(identifier)):
        raise invalid(f"'id' must be a text, not {quote(identifier)}")
    parameters = read_parameters(document, "the request")
    contents = _read_named(document.get("inputs"), "inputs")
    if not contents:
        raise invalid("'inputs' is empty; send an object with name, shape, datatype and data for each input")
    signature = _choose(model, parameters.get("signature_name"), contents)
    inputs, place = {}, 0
    for name, content in contents.items():
        expected = datatype_of(signature.inputs[name])
        if content.get("datatype") != expected:
            raise invalid(
                f"input '{name}' of signature '{signature.name}' takes datatype {expected}, not "
                f"{quote(content.get('datatype'))}"
            )
        inputs[name], place = read_tensor(content, name, signature.inputs[name], rest, place)
    if place != len(rest):
        raise invalid(f"{len(rest) - place} bytes follow the JSON that belong to no input")
    # In the signature's order, as the other protocols have them: so they fit into the same batch.
    inputs = {name: inputs[name] for name in signature.inputs}
    return InferRequest(identifier, model, signature, inputs, _read_outputs(document, parameters, signature))


def _is_text(text: str) -> bool:
    try:
        encode(text).decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_named(value: Any, key: str) -> dict[str, dict[str, Any]]:
    """The objects of a list by their names."""
    if not isinstance(value, list):
        raise invalid(f"'{key}' must be a list of objects, not {quote(value)}")
    named: dict[str, dict[str, Any]] = {}
    for element in value:
        if not isinstance(element, dict) or not isinstance(element.get("name"), str):
            raise invalid(f"an element of '{key}' must be an object with a 'name', not {quote(element)}")
        if element["name"] in named:
            raise invalid(f"'{key}' has {quote(element['name'])} twice")
        named[element["name"]] = element
    return named


def _read_outputs(document: dict[str, Any], parameters: dict[str, Any], signature: Signature) -> dict[str, bool]:
    default = _read_flag(parameters, "binary_data_output", "the request")
    # kserve's infer_type.py takes an empty list for none.
    if not document.get("outputs"):
        return dict.fromkeys(signature.outputs, default)
    outputs = {}
    for name, content in _read_named(document["outputs"], "outputs").items():
        if name not in signature.outputs:
            raise invalid(
                f"signature '{signature.name}' has no output {quote(name)}; it has {', '.join(signature.outputs)}"
            )
        own = read_parameters(content, f"output '{name}'")
        if unknown := [key for key in _UNKNOWN_PARAMETERS if own.get(key)]:
            raise invalid(f"output '{name}' asks for '{unknown[0]}', which this server has not")
        outputs[name] = _read_flag(own, "binary_data", f"output '{name}'", default)
    return outputs


def _read_flag(parameters: dict[str, Any], key: str, what: str, default: bool = False) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise invalid(f"parameter '{key}' of {what} must be true or false, not {quote(value)}")
    return value


def _choose(model: Model, named: Any, contents: Mapping[str, dict[str, Any]]) -> Signature:
    """The signature that a request means."""
    if named is not None and not isinstance(named, str):
        raise invalid(f"parameter 'signature_name' must be a string, not {quote(named)}")
    if named:
        signature = model.find_signature(named)
        if signature.inputs.keys() != contents.keys():
            raise invalid(f"signature '{named}' takes the inputs {_names(signature.inputs)}, not {_names(contents)}")
        return signature
    fitting = [signature for signature in find_signatures(model) if signature.inputs.keys() == contents.keys()]
    if not fitting:
        choice = "; ".join(f"{signature.name}: {_names(signature.inputs)}" for signature in find_signatures(model))
        raise invalid(f"no signature takes the inputs {_names(contents)}. There are {choice}")
    of_type = [
        signature
        for signature in fitting
        if all(contents[name].get("datatype") == datatype_of(dtype) for name, dtype in signature.inputs.items())
    ]
    # Where no type fits, the message about the first says what it takes.
    fitting = of_type or fitting[:1]
    if len(fitting) == 1:
        return fitting[0]
    by_name = {signature.name: signature for signature in fitting}
    for name in PREFERRED:
        if name in by_name:
            return by_name[name]
    raise invalid(
        f"the inputs {_names(contents)} fit the signatures {', '.join(by_name)}; "
        f'name one of them, such as "parameters": {{"signature_name": "{fitting[0].name}"}}'
    )


def _names(names: Mapping[str, Any]) -> str:
    return quote(", ".join(sorted(names)))
