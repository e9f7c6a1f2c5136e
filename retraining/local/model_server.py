"""The model server as a program of the service: its command, its environment, where it answers and whether it does."""

import math
import os
import sys
from typing import Literal

import httpx

from headlines.names import POLICY_FILE, SAVED_MODEL_FILE
from headlines.pushes.versions import find_versions
from retraining.local import ports
from retraining.local.supervisor import Program
from retraining.settings import CHECKOUT, Settings
from retraining.watching import replicas

NAME = "serving"
"""What it is called among the service's programs."""

DRAIN, TIMEOUT = ("SERVING_DRAIN_SECONDS", 0.0), ("SERVING_TIMEOUT_SECONDS", 30.0)
"""Its settings that say how long its end may take, with their defaults."""
SPARE_SECONDS = 4.0
"""What its longest end takes besides."""


def make_program(settings: Settings) -> Program:
    """The program: when told to stop it answers on, then lets requests finish, each for as long as is set."""
    seconds = SPARE_SECONDS + sum(_read_seconds(settings, *option) for option in (DRAIN, TIMEOUT))
    # What keeps several workers kills one that hangs a second after that.
    return Program(NAME, "python -m serving", priority=25, stop_seconds=math.ceil(seconds) + 2)


def _read_seconds(settings: Settings, name: str, default: float) -> float:
    try:
        seconds = float(settings.given_server_options().get(name, default))
    except ValueError:
        seconds = math.nan
    # Of what is no time the server itself says so, and does not begin.
    return seconds if math.isfinite(seconds) else default


def address(settings: Settings) -> str:
    """Where it answers, for a browser on this machine."""
    return replicas.own_address(settings)


def is_healthy(settings: Settings) -> bool:
    """Whether it answers and looks for new versions; a model need not have been pushed."""
    try:
        return httpx.get(f"{address(settings)}/healthz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def find_state(settings: Settings) -> Literal["healthy", "starting", "loading", "failing"]:
    """How it does what it is for: `healthy` where a version answers, or none was pushed.

    Whether it is the version that should, only lineage knows: `retraining.watching.replicas`.
    """
    if not is_healthy(settings):
        return "starting"
    seen = replicas.ask_one(settings, address(settings))
    if seen.version is not None:
        return "healthy"
    can_load = _can_load(settings)
    if can_load is None and not seen.problem:
        return "healthy"
    return "loading" if seen.loading or (can_load and not seen.refused and not seen.problem) else "failing"


def _can_load(settings: Settings) -> bool | None:
    """Whether a version is there that can be loaded; None where none is there."""
    serving_dir = settings.serving_dir
    try:
        found = find_versions(serving_dir)
        return any((serving_dir / str(version) / SAVED_MODEL_FILE).is_file() for version in found) if found else None
    except OSError:
        # The server itself says at /readyz what is wrong with the folder or the bucket.
        return False


def find_version(settings: Settings) -> str | None:
    """The version that answers; None where none does."""
    version = replicas.ask_one(settings, address(settings)).version
    return None if version is None else str(version)


def prepare(settings: Settings) -> None:
    """Makes the folder that it watches."""
    settings.serving_dir.mkdir(parents=True, exist_ok=True)


def write_policy(settings: Settings) -> None:
    """Writes the version policy that TensorFlow Serving must find when it starts, unless there is one.

    As our server without one, it keeps the two newest versions, so that the one before the newest stays warm.
    """
    # Late: the formats of TensorFlow Serving take a second to import.
    from headlines.pushes import rollbacks

    prepare(settings)
    if not (settings.serving_dir.parent / POLICY_FILE).exists():
        rollbacks.write_policy(settings.serving_dir, must_be_new=True)


def run_here(settings: Settings) -> None:
    """Becomes the model server; returns only if that fails.

    Raises:
      PortTakenError: one of its ports is taken, perhaps by the service's own.
    """
    ports.check_free(settings, {"SERVING_PORT", "SERVING_GRPC_PORT"})
    prepare(settings)
    # Where a secret is must not be said beside the secret.
    inherited = {name: value for name, value in os.environ.items() if name not in settings.secret_pointers()}
    environment = {**settings.server_options, **inherited, **settings.to_environment(), "PYTHONPATH": str(CHECKOUT)}
    os.execve(sys.executable, [sys.executable, "-m", "serving"], environment)
