"""How a data node's Beam work reaches its cluster: through a job server that lives as long as the node's work."""

import contextlib
import json
import logging
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from retraining.engines.readiness import check, flink_address, is_cluster, value_of

_SECONDS = 5.0
_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")

log = logging.getLogger(__name__)


@contextlib.contextmanager
def submit(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Gives the arguments by which pipelines run, as long as the caller runs them; a job that it leaves is cancelled.

    Beam's own runners leave the end of their job server to `atexit`, which a task of Airflow's, a fork, never reaches.

    Args:
      arguments: of the pipeline, as settings have them.

    Raises:
      EngineError: the cluster cannot take a job.
    """
    # As Beam reads the name of a runner: a class or its path, in letters of any size, with `runner` at its end or not.
    engine = value_of(arguments, "runner").rpartition(".")[2].lower().removesuffix("runner")
    if engine not in ("flink", "spark"):
        yield list(arguments)
        return
    log.info("The engine is %s.", check(arguments))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = _make_server(engine, [*arguments, f"--job_port={port}"])
    name = f"headlines-{secrets.token_hex(8)}"
    try:
        server.start()
        try:
            yield [
                *(argument for argument in arguments if not argument.startswith("--runner=")),
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{port}",
                f"--job_name={name}",
            ]
        except BaseException:
            if is_cluster(master := value_of(arguments, "flink_master")):
                _cancel(master, name)
            raise
    finally:
        _stop(server)


def _make_server(engine: str, arguments: list[str]) -> Any:
    # Not above: every start of a task and every reading of a DAG would import them, on one box too.
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
    from apache_beam.runners.portability.spark_runner import SparkJarJobServer

    kind = {"flink": FlinkJarJobServer, "spark": SparkJarJobServer}[engine]
    server = kind(PipelineOptions(arguments))
    prepare = server.subprocess_cmd_and_endpoint
    server.subprocess_cmd_and_endpoint = lambda: _tie(*prepare())
    return server


def _tie(command: list[str], endpoint: str) -> tuple[list[str], str]:
    """Has a program end with the task that started it, also where the task is killed and can end nothing itself."""
    # The kernel's signal at the death of the parent. What has no util-linux is no machine of a service.
    return ([*_WITH_PARENT, *command] if shutil.which(_WITH_PARENT[0]) else command), endpoint


def _stop(server: Any) -> None:
    try:
        server.stop()
    except AttributeError:
        # Beam's `stop` asks for a process that is not there when `start` could not prepare one, and its error would be
        # seen in the place of what happened (no issue known). What it had prepared is removed before.
        if server._server is not None:
            raise


def _cancel(master: str, name: str) -> None:
    """Ends a job that would go on with nobody waiting for it, and hold its slots; Spark's ends with its job server."""
    address = flink_address(master)
    try:
        with urlopen(f"{address}/jobs/overview", timeout=_SECONDS) as answer:
            jobs = json.load(answer)["jobs"]
        for job in jobs:
            if job["name"] == name and job["end-time"] < 0:
                urlopen(Request(f"{address}/jobs/{job['jid']}?mode=cancel", method="PATCH"), timeout=_SECONDS).close()
    except (OSError, HTTPException, KeyError, TypeError, ValueError) as error:
        log.warning("Job %s at FLINK_MASTER=%s could not be cancelled: %s; it ends by itself.", name, master, error)
