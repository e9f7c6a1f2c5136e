"""Three replicas behind nginx, as deploy/nginx has it: whatever befalls one of them, no request fails."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import pytest
from free_ports import free_port
from grpc_client import Client, ask
from server_process import ServerProcess
from waiting import wait_until

from benchmarks import proxy

# A proxy cannot repeat a call that is streamed through it; gRPC's own clients can (grpc/proposal, A6).
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "tensorflow.serving.PredictionService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
POLICY = (
    'model_config_list {{ config {{ name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
    "model_version_policy {{ {} }} }} }}"
)


class Deployment:
    """The replicas over one folder of versions, the proxy before them, and clients that ask all the time."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.replicas = [self.start() for _ in proxy.SERVERS]
        self.http_port, self.grpc_port = free_port(), free_port()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, **ports: int) -> ServerProcess:
        return self._stack.enter_context(
            ServerProcess(self._folder / "headlines", drain_seconds=3, keep_versions=2, **ports)
        )

    def wait_until_ready(self, *replicas: ServerProcess) -> None:
        for replica in replicas or self.replicas:
            wait_until(lambda replica=replica: replica.answers("/readyz"), "it is ready")

    def balance(self) -> None:
        place = self._folder / "nginx"
        place.mkdir()
        servers = [(replica.port, replica.grpc_port) for replica in self.replicas]
        self._stack.enter_context(proxy.run_proxy(place, self.http_port, self.grpc_port, servers))
        wait_until(self._answers, "the proxy answers", unanswered=(httpx.TransportError,))

    def _answers(self) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5).status_code == 200

    def begin_load(self) -> None:
        for work in (self._ask_http, self._ask_http, self._ask_http, self._ask_grpc, self._ask_grpc):
            thread = threading.Thread(target=work)
            thread.start()
            self._threads.append(thread)
        self._stack.callback(self.end_load)

    def end_load(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_answers(self, count: int = 100) -> None:
        """Lets as many requests be answered; for what befell a replica to befall requests."""
        before = self.answers.total()
        wait_until(lambda: self.answers.total() >= before + count, f"{count} requests are answered")

    def _ask_http(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post("/predict", json={"title": "dia bom"})
                if answer.status_code == 200:
                    self.answers[answer.json()["version"]] += 1
                else:
                    self.failures.append(f"HTTP {answer.status_code}: {answer.text}")

    def _ask_grpc(self) -> None:
        with Client(f"127.0.0.1:{self.grpc_port}", service_config=RETRIES) as client:
            while not self._stop.is_set():
                try:
                    self.answers[str(ask(client, ["dia bom"], timeout=60)["version"])] += 1
                except grpc.RpcError as error:
                    self.failures.append(f"gRPC: {error}")

    def answer_with(self, version: str) -> float:
        """Waits until every replica answers with a version; gives the seconds between the first and the last."""
        seen: dict[int, float] = {}

        def look() -> bool:
            for number, replica in enumerate(self.replicas):
                if number not in seen and replica.get("/version").json()["version"] == version:
                    seen[number] = time.monotonic()
            return len(seen) == len(self.replicas)

        wait_until(look, f"all answer with version {version}", every=0.02)
        return max(seen.values()) - min(seen.values())


@pytest.fixture
def deployment(tmp_path: Path, push: Callable[[int], Path]) -> Iterator[Deployment]:
    push(1)
    with ExitStack() as stack:
        deployment = Deployment(tmp_path, stack)
        deployment.wait_until_ready()
        deployment.balance()
        deployment.begin_load()
        deployment.wait_for_answers()
        yield deployment


def test_no_request_fails_over_a_swap_a_rollback_a_kill_and_an_orderly_end(
    deployment: Deployment, push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(2)
    deployment.answer_with("2")
    (tmp_path / "models.config").write_text(POLICY.format("specific { versions: 1 }"))
    deployment.answer_with("1")
    deployment.wait_for_answers()
    assert deployment.failures == [] and deployment.answers.keys() == {"1", "2"}

    killed = deployment.replicas[2]
    killed.process.kill()
    killed.process.wait()
    deployment.wait_for_answers(200)
    assert deployment.failures == []
    deployment.replicas[2] = deployment.start(port=killed.port, grpc_port=killed.grpc_port)
    deployment.wait_until_ready()

    ended = deployment.replicas[1]
    assert ended.end(20) == -signal.SIGTERM
    deployment.wait_for_answers(200)
    deployment.end_load()
    assert deployment.failures == []
