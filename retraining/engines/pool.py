"""The worker pool: it starts the Python processes that do the work of a task manager or executor beside it."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from retraining.engines import EngineError
from retraining.settings import CHECKOUT

_WORKER = "retraining.engines.worker"
_GRACE_SECONDS = 10

log = logging.getLogger(__name__)


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts a process for every worker that is asked for, with this interpreter and this project.

    Beam's own pool (apache_beam.runners.worker.worker_pool_main) runs whatever `python` is first on PATH, and a job
    whose workers cannot import the project waits for them without a word; it listens on every address; and it knows a
    worker by an id that each task manager counts for itself, so that of two beside one pool each stops the other's
    (no issue known). Here a worker ends by itself when the connection to its task manager does.
    """

    def __init__(self) -> None:
        """Has no workers yet."""
        self._workers: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._has_ended = False

    def StartWorker(
        self, request: beam_fn_api_pb2.StartWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StartWorkerResponse:
        """Starts a worker, as a task manager asks for it."""
        path = os.pathsep.join(filter(None, [str(CHECKOUT), *sys.path]))
        command = [sys.executable, "-m", _WORKER, request.control_endpoint.url, request.worker_id]
        with self._lock:
            self._workers = [worker for worker in self._workers if worker.poll() is None]
            if self._has_ended:
                return beam_fn_api_pb2.StartWorkerResponse(error="the worker pool is being ended")
            try:
                worker = subprocess.Popen(["env", f"PYTHONPATH={path}", *command], stdin=subprocess.DEVNULL)
            except OSError as error:
                return beam_fn_api_pb2.StartWorkerResponse(error=f"no worker can be started: {error}")
            self._workers.append(worker)
        log.info("Worker %s of %s is process %d.", request.worker_id, request.control_endpoint.url, worker.pid)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(
        self, request: beam_fn_api_pb2.StopWorkerRequest, context: grpc.ServicerContext
    ) -> beam_fn_api_pb2.StopWorkerResponse:
        """Leaves it to the worker, which ends with its connection: the id may be another task manager's as well."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def end(self) -> None:
        """Ends every worker."""
        with self._lock:
            self._has_ended = True
            for worker in self._workers:
                worker.terminate()
            for worker in self._workers:
                try:
                    worker.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()


@contextlib.contextmanager
def serve(address: str) -> Iterator[Pool]:
    """Listens until the caller is done, and then ends the workers.

    Args:
      address: `host:port`.

    Raises:
      EngineError: nothing can listen there.
    """
    # As Beam's own: task managers ping it for as long as they live.
    server = grpc.server(
        shared_unbounded_instance(),
        options=[
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.max_ping_strikes", 0),
            # Another pool on the port is an error, and no companion.
            ("grpc.so_reuseport", 0),
        ],
    )
    pool = Pool()
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise EngineError(f"no worker pool can listen on {address}: {error}; end what does, or correct it") from None
    server.start()
    try:
        yield pool
    finally:
        server.stop(None)
        pool.end()
