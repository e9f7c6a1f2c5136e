"""Which pushed versions were rolled back, and the model servers' config file that follows: two files beside the models.

Nothing is pushed here, nothing is recorded in MLMD, and nothing heavy is imported.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from modules.features import MODEL_NAME

CONFIG = "models.config"
RECORD = "rollbacks.json"
# Begins the name of one property per withdrawn version in MLMD, whose strings are too short for a list of any length.
WITHDRAWN = "withdrawn:"
# What a model server keeps loaded once no rollback holds any more: the newest, and the one before it.
_KEPT = 2
_LOCK = ".push.lock"


class ConfigError(ValueError):
    """The model servers' config file is none; the message names it and what to do."""


@dataclass(frozen=True)
class Rollback:
    """One decision of a person to serve an earlier version again.

    Attributes:
      id: of its artifact in MLMD; a later rollback has a greater one.
      to_version: what serves from then on.
      from_version: what served before; 0 if nothing did.
      withdrawn: every version above `to_version` that there had been; none of them is served or a champion any more.
      night: `YYYY-MM-DD`, the first night whose champion follows it.
      at: the moment, ISO in UTC.
      by: the person.
      reason: why, in the person's words.
    """

    id: int
    to_version: int
    from_version: int
    withdrawn: tuple[int, ...]
    night: str
    at: str
    by: str
    reason: str


def find_withdrawn(rollbacks: Iterable[Rollback], night: date | None = None) -> dict[int, Rollback]:
    """The versions that are not to be served, each with the rollback that says so.

    Args:
      rollbacks: in any order; a version that a later one went back to is not withdrawn any more.
      night: leaves out the rollbacks that count for later nights only. Default: all count.
    """
    found: dict[int, Rollback] = {}
    for rollback in sorted(rollbacks, key=lambda rollback: rollback.id):
        if night is None or date.fromisoformat(rollback.night) <= night:
            found.update(dict.fromkeys(rollback.withdrawn, rollback))
            found.pop(rollback.to_version, None)
    return found


def find_versions(serving_dir: Path) -> list[int]:
    """The versions in a serving directory, in order; none if it is not there."""
    if not serving_dir.is_dir():
        return []
    return sorted(int(path.name) for path in serving_dir.iterdir() if path.name.isdecimal())


def find_served(serving_dir: Path) -> int | None:
    """The version that is to be served: the newest that is not withdrawn."""
    withdrawn = find_withdrawn(read(serving_dir))
    return max((version for version in find_versions(serving_dir) if version not in withdrawn), default=None)


def read(serving_dir: Path) -> list[Rollback]:
    """Every rollback of a serving directory, oldest first."""
    path = serving_dir.parent / RECORD
    if not path.is_file():
        return []
    return [Rollback(**{**one, "withdrawn": tuple(one["withdrawn"])}) for one in json.loads(path.read_text())]


def add(serving_dir: Path, rollback: Rollback) -> None:
    """Puts a rollback into force: from here on it is remembered, and the model servers follow.

    Raises:
      ConfigError: nothing has changed.
      OSError: a file could not be written; by whether `read` gives the rollback it is in force.
    """
    _read_config(serving_dir)
    record = [asdict(one) for one in [*read(serving_dir), rollback]]
    _replace(serving_dir.parent / RECORD, json.dumps(record, indent=1, ensure_ascii=False))
    tell_servers(serving_dir)


def tell_servers(serving_dir: Path) -> None:
    """Writes TensorFlow Serving's model config file, so that the version of `find_served` is the one that answers.

    It names the version only as long as a newer one is withdrawn; otherwise the newest ones are loaded. What else the
    file holds is kept, and without any rollback so far there is no file to write.

    Raises:
      ConfigError, OSError: the file cannot be read or written.
    """
    served = find_served(serving_dir)
    if served is None or not read(serving_dir):
        return
    config = _read_config(serving_dir)
    before = text_format.MessageToString(config)
    models = config.model_config_list.config
    model = next((model for model in models if model.name == MODEL_NAME), None)
    if model is None:
        model = models.add(name=MODEL_NAME, base_path=f"/models/{MODEL_NAME}", model_platform="tensorflow")
    policy = model.model_version_policy
    if served != find_versions(serving_dir)[-1]:
        policy.specific.versions[:] = [served]
    elif policy.WhichOneof("policy_choice") in ("specific", None):
        # Not without a file: TensorFlow Serving, when it is gone, keeps to what it said last.
        policy.latest.num_versions = _KEPT
    after = text_format.MessageToString(config)
    if after != before:
        _replace(serving_dir.parent / CONFIG, after)


def _read_config(serving_dir: Path) -> ModelServerConfig:
    path = serving_dir.parent / CONFIG
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise ConfigError(
            f"{path} is no model config of TensorFlow Serving ({error}); correct it, or remove it to have one made"
        ) from None


@contextlib.contextmanager
def hold(serving_dir: Path) -> Iterator[None]:
    """One change at a time: two pushes must not choose the same number, nor a push and a rollback miss each other."""
    with (serving_dir / _LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    """Replaces a file whole, also across a power cut: whoever reads it sees the old text or the new one."""
    incoming = path.with_name(f".{path.name}.incoming")
    with incoming.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    incoming.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
