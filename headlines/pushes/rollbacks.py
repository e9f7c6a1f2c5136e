"""Two files beside the models: which versions were rolled back, and what the model servers therefore load."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from headlines.durable import create_file, replace_file
from headlines.errors import HeadlinesError
from headlines.names import POLICY_FILE, ROLLBACKS_FILE
from headlines.pushes.champion import Rollback, choose_champion
from headlines.pushes.versions import find_versions
from modules.features import MODEL_NAME

# What a model server keeps loaded once no rollback holds any more: the newest, and the one before it.
_KEPT = 2


class ConfigError(HeadlinesError):
    """The model servers' config file is none; the message names it and what to do."""


def find_served(serving_dir: Path) -> int | None:
    """The version that is to be served: the newest that is not withdrawn."""
    return choose_champion(find_versions(serving_dir), read(serving_dir))


def read(serving_dir: Path) -> list[Rollback]:
    """Every rollback of a serving directory, oldest first."""
    path = serving_dir.parent / ROLLBACKS_FILE
    if not path.is_file():
        return []
    return [
        Rollback(**{**one, "withdrawn": tuple(one["withdrawn"]), "at": datetime.fromisoformat(one["at"])})
        for one in json.loads(path.read_text())
    ]


def add(serving_dir: Path, rollback: Rollback) -> None:
    """Puts a rollback into force: from here on it is remembered, and the model servers follow.

    Raises:
      ConfigError: nothing has changed.
      OSError: a file could not be written; by whether `read` gives the rollback it is in force.
    """
    _read_config(serving_dir)
    record = [asdict(one) | {"at": one.at.isoformat()} for one in [*read(serving_dir), rollback]]
    replace_file(serving_dir.parent / ROLLBACKS_FILE, json.dumps(record, indent=1, ensure_ascii=False))
    tell_servers(serving_dir)


def tell_servers(serving_dir: Path) -> None:
    """Writes TensorFlow Serving's model config file, so that the version of `find_served` is the one that answers.

    It names the version only as long as a newer one is withdrawn; otherwise the newest ones are loaded. Without any
    rollback so far there is no file to write.

    Raises:
      ConfigError, OSError: the file cannot be read or written.
    """
    served = find_served(serving_dir)
    if served is None or not read(serving_dir):
        return
    newest = find_versions(serving_dir)[-1]
    write_policy(serving_dir, served if served != newest else None)


def write_policy(serving_dir: Path, version: int | None = None, must_be_new: bool = False) -> None:
    """Writes which versions the model servers load into their config file; what else it says of them is kept.

    Args:
      serving_dir: its folder above holds the file.
      version: what they load, alone. Default: the newest, unless the file has a policy of people's own.
      must_be_new: whether a file that is there by now stays as it is, such as one that a rollback has just written.

    Raises:
      ConfigError, OSError: the file cannot be read or written.
    """
    config = _read_config(serving_dir)
    before = text_format.MessageToString(config)
    models = config.model_config_list.config
    model = next((model for model in models if model.name == MODEL_NAME), None)
    if model is None:
        model = models.add(name=MODEL_NAME, base_path=str(serving_dir), model_platform="tensorflow")
    policy = model.model_version_policy
    if version is not None:
        policy.specific.versions[:] = [version]
    elif policy.WhichOneof("policy_choice") in ("specific", None):
        # Not without a file: TensorFlow Serving, when it is gone, keeps to what it said last (no issue known).
        policy.latest.num_versions = _KEPT
    after = text_format.MessageToString(config)
    if must_be_new:
        with suppress(FileExistsError):
            create_file(serving_dir.parent / POLICY_FILE, after)
    elif after != before:
        replace_file(serving_dir.parent / POLICY_FILE, after)


def move_policy(serving_dir: Path, rewrite: Callable[[str], str]) -> None:
    """Names in the model servers' config file where the models lie by now; without a file there is nothing to do.

    Args:
      serving_dir: its folder above holds the file.
      rewrite: gives the path of today for one of then, and any other, such as one inside a container, as it is.

    Raises:
      ConfigError, OSError: the file cannot be read or written.
    """
    config = _read_config(serving_dir)
    before = text_format.MessageToString(config)
    for model in config.model_config_list.config:
        model.base_path = rewrite(model.base_path)
    after = text_format.MessageToString(config)
    if after != before:
        replace_file(serving_dir.parent / POLICY_FILE, after)


def find_named(serving_dir: Path) -> set[int]:
    """The versions that the model servers' config file names: to load them alone, or to label them.

    Raises:
      ConfigError, OSError: the file cannot be read.
    """
    models = [model for model in _read_config(serving_dir).model_config_list.config if model.name == MODEL_NAME]
    return {
        version
        for model in models
        for version in (*model.model_version_policy.specific.versions, *model.version_labels.values())
    }


def _read_config(serving_dir: Path) -> ModelServerConfig:
    path = serving_dir.parent / POLICY_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise ConfigError(
            f"{path} is no model config of TensorFlow Serving ({error}); correct it, or remove it to have one made"
        ) from None
