"""The worker pool: it starts workers with this project, leaves those of another task manager alone, and ends all."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as stubs
from apache_beam.portability.api import endpoints_pb2
from free_ports import free_port
from waiting import wait_until

from retraining.engines import EngineError
from retraining.engines.pool import serve
from retraining.settings import CHECKOUT


@dataclass(frozen=True)
class Pool:
    """A running pool."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """A pool of the command, run where the project is not, with no `python` on PATH."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "retraining", "beam-pool"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(CHECKOUT),
            "BEAM_WORKER_POOL": f"localhost:{port}",
        },
        stdout=(tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until(lambda: answers(port), "the pool listens", 90)
        yield Pool(process, port, tmp_path / "log")
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(pool: Pool, worker: str, endpoint: str) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{pool.port}") as channel:
        stub = stubs.BeamFnExternalWorkerPoolStub(channel)
        request = api.StartWorkerRequest(
            worker_id=worker, control_endpoint=endpoints_pb2.ApiServiceDescriptor(url=endpoint)
        )
        return str(stub.StartWorker(request, timeout=20).error)


def list_workers(pool: Pool) -> list[psutil.Process]:
    return [one for one in psutil.Process(pool.process.pid).children() if one.status() != psutil.STATUS_ZOMBIE]


def stop(pool: Pool, worker: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{pool.port}") as channel:
        stubs.BeamFnExternalWorkerPoolStub(channel).StopWorker(api.StopWorkerRequest(worker_id=worker), timeout=20)


@pytest.fixture
def silent() -> Iterator[str]:
    """Where nobody speaks the protocol, so that a worker waits there."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"localhost:{listening.getsockname()[1]}"


def test_a_worker_of_one_task_manager_is_not_stopped_by_another_that_counts_alike(pool: Pool, silent: str) -> None:
    assert (start(pool, "1-1", silent), start(pool, "1-1", silent)) == ("", "")
    workers = list_workers(pool)
    assert len(workers) == 2
    stop(pool, "1-1")
    with pytest.raises(psutil.TimeoutExpired):
        workers[0].wait(2)
    assert list_workers(pool) == workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_pool_is_that_of_its_workers(pool: Pool, silent: str, number: signal.Signals) -> None:
    start(pool, "1-1", silent)
    workers = list_workers(pool)
    pool.process.send_signal(number)
    pool.process.wait(30)
    assert workers
    assert not any(one.is_running() for one in workers)
    assert not answers(pool.port)


def test_the_pool_listens_on_loopback_alone_unless_it_is_told(pool: Pool) -> None:
    listening = [one.laddr.ip for one in psutil.Process(pool.process.pid).net_connections() if one.status == "LISTEN"]
    assert [address.removeprefix("::ffff:") for address in listening] == ["127.0.0.1"]


def test_a_second_pool_on_a_port_is_refused() -> None:
    port = free_port()
    address = f"127.0.0.1:{port}"
    with serve(address), pytest.raises(EngineError, match=f"no worker pool can listen on {address}"), serve(address):
        pass


def write_job(pool: Pool, steps: str) -> list[str]:
    """A program that hands a job over: `beam.Create(["a", "b", "c"])` with these steps after it."""
    script = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from retraining.engines import readiness

def lose_a_thread(path):
    import os, pathlib, threading, time
    pathlib.Path(path).write_text(str(os.getpid()))
    threading.Thread(target=lambda: 1 / 0).start()
    time.sleep(600)

service = LocalJobServicer()
port = service.start_grpc_server(0)
arguments = [
    "--runner=PortableRunner", f"--job_endpoint=localhost:{{port}}", "--environment_type=EXTERNAL",
    "--environment_config=localhost:{pool.port}",
]
assert readiness.check(arguments)
with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
    pipeline | beam.Create(["a", "b", "c"]) | {steps}
"""
    return [sys.executable, "-W", "ignore", "-c", script]


def test_a_worker_that_has_lost_a_thread_ends_so_that_no_job_waits_for_it(pool: Pool, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    job = subprocess.Popen(write_job(pool, f"beam.Map(lambda _: lose_a_thread({str(told)!r}))"))
    try:
        wait_until(lambda: told.exists() and told.read_text(), "the worker is at work", 90)
        wait_until(lambda: int(told.read_text()) not in [one.pid for one in list_workers(pool)], "it ends")
        assert "ZeroDivisionError" in pool.log.read_text()
    finally:
        job.kill()
        job.wait()


def test_a_pipeline_runs_on_the_workers_of_the_pool_with_the_projects_modules(pool: Pool, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    job = write_job(pool, f"beam.Map(str.upper) | beam.io.WriteToText({out!r})")
    subprocess.run(job, check=True, timeout=150)
    lines = [line for file in tmp_path.glob("out-*") for line in file.read_text().split()]
    assert sorted(lines) == ["A", "B", "C"]
    assert "Worker" in pool.log.read_text()
    wait_until(lambda: not list_workers(pool), "each worker ends with its job", 60)
