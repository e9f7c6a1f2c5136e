"""The model server's pod: its command in the environment that its manifest gives it, asked as kubelet asks."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from free_ports import free_port
from pods import ContainerProcess, find_container, list_pods
from waiting import wait_until


def test_it_starts_is_ready_once_a_model_is_pushed_and_ends_in_the_time_that_it_has(
    push: Callable[[int], Path], tmp_path: Path
) -> None:
    ports = {"http": free_port(), "grpc": free_port()}
    changed = {
        "SERVING_HOST": "127.0.0.1",
        "SERVING_PORT": str(ports["http"]),
        "SERVING_GRPC_PORT": str(ports["grpc"]),
        "SERVING_DRAIN_SECONDS": "1",
    }
    models = tmp_path / "headlines-models"
    models.mkdir()
    # As the Job `headlines-init` leaves it.
    (tmp_path / "headlines").mkdir()
    (models / "headlines").symlink_to(tmp_path / "headlines")
    with ContainerProcess(find_container("headlines-serving"), tmp_path, {"SERVING_TOKEN": "t0ken"}, changed) as pod:
        wait_until(lambda: pod.passes("startupProbe", ports))
        assert pod.passes("livenessProbe", ports) and not pod.passes("readinessProbe", ports)
        push(2022020101)
        wait_until(lambda: pod.passes("readinessProbe", ports))
        address = f"http://127.0.0.1:{ports['http']}"
        # The secret that it may have asks for it; what Prometheus asks is not among what is always told.
        assert httpx.get(f"{address}/version").status_code == 401
        assert httpx.get(f"{address}/version", headers={"Authorization": "Bearer t0ken"}).is_success
        began = time.monotonic()
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(60) == -signal.SIGTERM
        assert time.monotonic() - began < list_pods()["headlines-serving"]["spec"]["terminationGracePeriodSeconds"]


def test_it_starts_anew_where_its_folder_is_not_there(tmp_path: Path) -> None:
    ports = {"http": free_port()}
    changed = {"SERVING_HOST": "127.0.0.1", "SERVING_PORT": str(ports["http"]), "SERVING_GRPC_PORT": "0"}
    with ContainerProcess(find_container("headlines-serving"), tmp_path, {}, changed) as pod:
        wait_until(
            lambda: httpx.get(f"http://127.0.0.1:{ports['http']}/healthz").status_code == 503,
            unanswered=(httpx.TransportError,),
        )
        assert not pod.passes("startupProbe", ports)
