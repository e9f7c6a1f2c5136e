"""A new version under load: no request fails, each is answered by one version, and memory comes back."""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from running_server import MANY_ROWS, RunningServer, hold_large_runs
from served_models import save_model, write_warmup
from waiting import wait_until


def test_a_swap_under_load_fails_no_request(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    running = start(keep_versions=1)
    running.wait_until_ready()
    failed: list[str] = []
    seen: dict[str, set[float]] = {}
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            while not stop.is_set():
                response = client.post("/predict", json={"title": "dia bom"})
                if response.status_code != 200:
                    failed.append(response.text)
                else:
                    answer = response.json()
                    seen.setdefault(answer["version"], set()).add(answer["confidence"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: "1" in seen)
    # Each version answers with a confidence of its own, so an answer shows which model gave it.
    for version, sure in ((2, 4.0), (3, 5.0)):
        incoming = tmp_path / f"made-{version}"
        write_warmup(save_model(incoming, sure), [("predict_text", "title", ["dia bom"])])
        incoming.rename(tmp_path / "headlines" / str(version))
        wait_until(lambda version=version: str(version) in seen)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert seen.keys() == {"1", "2", "3"}
    assert [len(confidences) for confidences in seen.values()] == [1, 1, 1]
    wait_until(lambda: running.state(1) == "END")


def test_a_dropped_model_leaves_memory(start: Callable[..., RunningServer], push: Callable[[int], Path]) -> None:
    push(1)
    running = start(keep_versions=1)
    running.wait_until_ready()
    server = running.app.state.server
    model = weakref.ref(server.versions.find("headlines"))
    assert running.predict(instances=["this fails"]).status_code == 400
    running.predict(signature_name="predict_text", instances=["bom"] * 100)
    push(2)
    wait_until(lambda: running.state(1) == "END")
    wait_until(lambda: model() is None)
    wait_until(lambda: 'version="1"' not in running.get("/metrics").text)


def test_the_series_of_a_version_end_with_its_last_request(
    start: Callable[..., RunningServer], push: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(1)
    running = start(keep_versions=1)
    running.wait_until_ready()
    gate = hold_large_runs(running, monkeypatch)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(running.predict, **MANY_ROWS)
        gate.wait_until_reached()
        push(2)
        wait_until(lambda: running.state(2) == "AVAILABLE")
        wait_until(lambda: 'serving_loaded_version{version="1"}' not in running.get("/metrics").text)
        assert running.state(1) == "UNLOADING"
        gate.open()
        assert answer.result().status_code == 200
    wait_until(lambda: running.state(1) == "END")
    wait_until(lambda: 'version="1"' not in running.get("/metrics").text)


def test_a_rollback_by_the_config_file_is_honoured_at_once(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    push(1)
    push(2)
    running = start()
    wait_until(lambda: running.get("/readyz").json().get("versions") == ["2", "1"])
    policy = (
        'model_config_list {{ config {{ name: "headlines" base_path: "/srv/headlines" model_platform: "tensorflow" '
        "model_version_policy {{ {} }} }} }}"
    )
    (tmp_path / "models.config").write_text(policy.format("specific { versions: 1 }"))
    wait_until(lambda: running.post("/predict", {"title": "x"}).json()["version"] == "1")
    # At once: it was kept loaded.
    assert 'serving_loads_total{result="loaded"} 2.0' in running.get("/metrics").text
    (tmp_path / "models.config").write_text(policy.format("latest { num_versions: 2 }"))
    wait_until(lambda: running.post("/predict", {"title": "x"}).json()["version"] == "2")
