"""Whether a cluster can take a job now: asked before a node submits one, so that it fails at once and with a reason.

Everything goes by Beam's arguments, so that an engine that BEAM_RUNNER_ARGS describes is looked at as well.
"""

import json
import re
import shutil
import socket
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from headlines.postgres_address import is_local
from retraining.engines import EngineError, UnreachableEngineError

_SECONDS = 5.0
# FlinkRunner of Beam has `[auto]` and `[local]`; what Spark takes begins with `local`.
_OF_ITS_OWN = re.compile(r"\[(auto|local)\]|local(-cluster)?(\[.+\])?")


def value_of(arguments: Sequence[str], name: str) -> str:
    """What an argument says; the last of several counts, as Beam has it."""
    values = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == f"--{name}"]
    return values[-1] if values else ""


def is_cluster(master: str) -> bool:
    """Whether a master is that of a cluster, and not one that a job server has of its own."""
    return bool(master) and not _OF_ITS_OWN.fullmatch(master)


def check(arguments: Sequence[str]) -> str:
    """Asks everything that a job needs and can be asked from here.

    Args:
      arguments: of the pipeline.

    Returns:
      What answered, in words.

    Raises:
      EngineError: something is missing, or of the wrong version.
      UnreachableEngineError: something does not answer.
    """
    told = []
    if jar := value_of(arguments, "flink_job_server_jar") or value_of(arguments, "spark_job_server_jar"):
        if "://" not in jar and not Path(jar).is_file():
            raise EngineError(f"the job server's jar {jar} is not there; put it there, or set BEAM_JOB_SERVER")
        java = value_of(arguments, "job_server_java_launcher") or "java"
        if shutil.which(java) is None:
            raise EngineError(f"{java} is not on PATH, and the job server needs it; install a Java 17 runtime")
    if is_cluster(master := value_of(arguments, "flink_master")):
        told.append(_check_flink(master, value_of(arguments, "flink_version")))
    if is_cluster(master := value_of(arguments, "spark_master_url")):
        for address in master.removeprefix("spark://").split(","):
            _connect("SPARK_MASTER", address, "start the cluster, or correct it")
            told.append(f"Spark at {address}")
    if value_of(arguments, "environment_type") == "EXTERNAL":
        pool = value_of(arguments, "environment_config")
        # A pool is beside each task manager: `localhost` is this machine only where the cluster is on it too.
        masters = filter(is_cluster, (value_of(arguments, name) for name in ("flink_master", "spark_master_url")))
        is_seen_from_here = not _is_loopback(pool) or all(map(_is_loopback, masters))
        if is_seen_from_here:
            _connect("BEAM_WORKER_POOL", pool, "run `retraining beam-pool` beside each task manager or executor")
        told.append(f"worker pool at {pool}" + ("" if is_seen_from_here else ", which only its own machine can ask"))
    return "; ".join(told) or "this process"


def flink_address(master: str) -> str:
    """Where a Flink cluster's REST endpoint answers."""
    return master if "://" in master else f"http://{master}"


def _check_flink(master: str, version: str) -> str:
    try:
        with urlopen(f"{flink_address(master)}/overview", timeout=_SECONDS) as answer:
            overview = json.load(answer)
        found, slots = str(overview["flink-version"]), int(overview["slots-total"])
    except (OSError, HTTPException, KeyError, TypeError, ValueError) as error:
        raise UnreachableEngineError(
            f"FLINK_MASTER={master} does not answer as a Flink cluster: {error}; start it, or correct the address of "
            "its REST endpoint"
        ) from None
    if version and not found.startswith(f"{version}."):
        raise EngineError(
            f"FLINK_MASTER={master} is Flink {found}, and jobs would be for {version}; set FLINK_VERSION to one of "
            "1.17 to 1.20 that the cluster has (Beam takes none of Flink 2: apache/beam#38708)"
        )
    if not slots:
        raise UnreachableEngineError(f"FLINK_MASTER={master} has no task manager; start one, or wait until it is there")
    return f"Flink {found} at {master} with {slots} slots"


def _connect(setting: str, address: str, advice: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UnreachableEngineError(f"{setting}={address} does not answer: {error}; {advice}") from None


def _is_loopback(address: str) -> bool:
    return is_local(address.rpartition("://")[2].rpartition(":")[0])
