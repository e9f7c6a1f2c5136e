"""What the peers' clients send, byte for byte, and what they must get: `make test-clients` asks with the clients
themselves and, with --record, writes what is replayed here.
"""

import base64
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_server import RunningServer
from served_models import save_picture_model
from waiting import wait_until

from serving.open_inference_http import HEADER_LENGTH

CLIENTS = Path(__file__).parent / "clients"
REQUESTS = json.loads((CLIENTS / "requests.json").read_text(encoding="utf-8"))
CONFIG = """model_config_list { config { name: "headlines" base_path: "/models/headlines"
  model_platform: "tensorflow" model_version_policy { all {} }
  version_labels { key: "stable" value: 1 } } }"""
# As clients/plain.py has it, which what was recorded was asked with.
TITLES = ["dia bom", "dia ruim", "Chuva forte em São Paulo", ""]
ANSWERS = {"dia bom": "positive", "dia ruim": "negative"}


def replay(server: RunningServer, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Sends the bytes of a request; returns status, headers and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request["head"].encode("latin-1") + base64.b64decode(request["body"]))
        with connection.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            headers = {}
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            return status, headers, stream.read(int(headers["content-length"]))


@pytest.mark.parametrize("model", ["headlines", "pictures"])
def test_what_the_clients_sent_is_answered_as_it_was(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path, model: str
) -> None:
    for version in (1, 2):
        if model == "headlines":
            push(version)
        else:
            save_picture_model(tmp_path / "headlines" / str(version))
    (tmp_path / "models.config").write_text(CONFIG)
    running = start()
    wait_until(lambda: len(running.get("/readyz").json().get("versions", ())) == 2)
    answered = 0
    for request in REQUESTS:
        if request["model"] != model:
            continue
        what = (request["client"], request["head"].splitlines()[0])
        status, headers, body = replay(running, request)
        assert status == request["status"], (what, body)
        if status != 200:
            assert json.loads(body).keys() == {"error"}, what
        elif model == "headlines" and "/infer " in what[1]:
            document = json.loads(body[: int(headers.get(HEADER_LENGTH, len(body)))])
            outputs = {output["name"]: output for output in document["outputs"]}
            if "label" in outputs and outputs["label"]["shape"] == [4]:
                answered += 1
                labels = [ANSWERS.get(title, "neutral") for title in TITLES]
                sent = outputs["label"].get("data") or body
                assert sent == labels if isinstance(sent, list) else all(label.encode() in sent for label in labels), (
                    what
                )
    assert answered > 10 or model == "pictures"


def test_every_client_of_the_make_target_is_replayed() -> None:
    names = {path.stem.removeprefix("requirements-") for path in CLIENTS.glob("requirements-*.txt")}
    # locust sends what benchmarks/locustfile.py says, and nothing of its own.
    assert {request["client"] for request in REQUESTS} == names - {"locust"}
