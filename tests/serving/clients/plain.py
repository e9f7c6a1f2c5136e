"""What TensorFlow Serving's REST API answers, asked by the standard library alone: what clients must get too."""

import json
import urllib.request
from typing import Any

TITLES = ["dia bom", "dia ruim", "Chuva forte em São Paulo", ""]


def ask(url: str, document: Any = None) -> Any:
    """The JSON that an address answers with."""
    data = None if document is None else json.dumps(document).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
        return json.load(answer)


def predict(url: str, version: str = "") -> dict[str, Any]:
    """The outputs for TITLES, as columns."""
    address = f"{url}/v1/models/headlines{version}:predict"
    outputs: dict[str, Any] = ask(address, {"signature_name": "predict_text", "inputs": TITLES})["outputs"]
    return outputs
