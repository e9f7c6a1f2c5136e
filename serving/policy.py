"""Which versions should be loaded, as TensorFlow Serving's model config file says it, and the last policy in it.

A rollback is a line in this file, so that what is misread here serves a version that somebody took back: what
TensorFlow Serving 2.16.1 refuses is refused, and so is what it takes but nobody can mean.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import TENSORFLOW, ModelServerConfig

PLATFORM = "tensorflow"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Policy:
    """Which of the versions that are there should be loaded.

    Attributes:
      newest: how many of the newest, if none is `specific`; 0 means all.
      specific: the numbers of exactly these.
      labels: versions by the names that requests may use for them.
      base_path: where TensorFlow Serving finds the versions; in a container the same folder has another path.
    """

    newest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    base_path: str = field(default="", compare=False)


def read_policy(path: Path, name: str) -> Policy:
    """The version policy of a model in a TensorFlow Serving model config file.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no such file, does not mention the model, or says of it what cannot be meant.
    """
    return parse_policy(read_config(path).text, name)


def parse_policy(text: str, name: str) -> Policy:
    """The version policy of a model in the text of a TensorFlow Serving model config file.

    Raises:
      ValueError: see `read_policy`.
    """
    try:
        # An unknown field is an error, as for TensorFlow Serving: ParseProtoTextFile, called in server.cc.
        config = text_format.Parse(text, ModelServerConfig())
    except (text_format.ParseError, RecursionError) as error:
        raise ValueError(f"it is no model config: {error}") from None
    if config.WhichOneof("config") == "custom_model_config":
        # It ends TensorFlow Serving: LoadCustomModelConfig in server.cc.
        raise ValueError("it has a custom_model_config; write a model_config_list")
    # Of other models only the names are looked at: what is wrong with them must not keep a rollback of ours waiting.
    names = [model.name for model in config.model_config_list.config]
    if twice := {one for one in names if names.count(one) > 1}:
        # ValidateModelConfigList in server_core.cc.
        raise ValueError(f"it lists model {min(twice)!r} more than once")
    if name not in names:
        # TensorFlow Serving would unload the model: GetDeletedServables in file_system_storage_path_source.cc.
        raise ValueError(f"it has no model {name!r}, but {', '.join(map(repr, names)) or 'none'}")
    model = config.model_config_list.config[names.index(name)]
    _check_model(model)
    return _read_policy(model)


def _check_model(model: Any) -> None:
    # GetPlatform and ValidateModelConfigList in server_core.cc.
    if model.model_type and model.model_platform:
        raise ValueError("it sets both model_type and model_platform; write model_platform alone")
    platform = PLATFORM if model.model_type == TENSORFLOW else model.model_platform
    if platform != PLATFORM:
        raise ValueError(f"its model_platform is {platform!r}; write {PLATFORM!r}")
    if not model.base_path.startswith("/") and "://" not in model.base_path:
        raise ValueError(f"its base_path is {model.base_path!r}; write the whole path of the folder of the versions")


def _read_policy(model: Any) -> Policy:
    policy, labels = model.model_version_policy, dict(model.version_labels)
    for label, version in labels.items():
        if not label or version < 0:
            raise ValueError(f"its label {label!r} names version {version}; both must be meant")
    match policy.WhichOneof("policy_choice"):
        case "specific":
            versions = tuple(policy.specific.versions)
            # TensorFlow Serving unloads everything then (AspireSpecificVersions in file_system_storage_path_source.cc).
            if not versions:
                raise ValueError("its policy is specific and names no version; write specific { versions: N }")
            if min(versions) < 0:
                raise ValueError(f"its policy names version {min(versions)}; no version is negative")
            return Policy(specific=versions, labels=labels, base_path=model.base_path)
        case "all":
            return Policy(newest=0, labels=labels, base_path=model.base_path)
        case _:
            # 0 means 1: AspireLatestVersions in file_system_storage_path_source.cc.
            newest = policy.latest.num_versions or 1
            return Policy(newest=newest, labels=labels, base_path=model.base_path)


class ConfigText(NamedTuple):
    """A config file as it was read.

    Attributes:
      text: what it says.
      read_at: when, in seconds since the epoch.
    """

    text: str
    read_at: float


class PolicyFile:
    """The config file, and the last policy in it that was good.

    Attributes:
      path: of the file, or its address.
      policy: the one to follow; None where the file was no good when the server started: what it meant is not known,
        and the newest version may be the one that it takes back.
      problem: why the file, as it is now, is not what is followed; empty if it is.
      read_at: seconds since the epoch when what is followed was last read in the file; None if it never was.
    """

    def __init__(
        self, path: Path | str, name: str, default: Policy, read: Callable[[], ConfigText] | None = None
    ) -> None:
        """Reads nothing yet.

        Args:
          path: of the file, or its address.
          name: the model's.
          default: the policy without a file.
          read: reads it; it raises FileNotFoundError if there is none. Default: the file of that path is read.
        """
        self.path = path
        self._read = read or partial(read_config, Path(path))
        self.policy: Policy | None = None
        self.problem = ""
        self.read_at: float | None = None
        self._name = name
        self._default = default
        self._has_looked = False

    def look(self) -> bool:
        """Reads the file; returns whether another policy is to be followed than before.

        It is read whole each time: two edits within a moment, of one length, leave no other trace.
        """
        before, is_first = self.policy, not self._has_looked
        self._has_looked = True
        try:
            config = self._read()
            self.policy, self.problem, self.read_at = parse_policy(config.text, self._name), "", config.read_at
        except FileNotFoundError:
            if is_first and not Path(self.path).is_symlink():
                self.policy = self._default
            elif self.policy is None:
                self.problem = (
                    f"{self.path} is gone, and it was not read before: write it anew, or start the server anew "
                    "to have the newest serve"
                )
            elif self.read_at is None:
                self.problem = ""
            else:
                self.problem = (
                    f"{self.path} is gone, and what it said last is followed, until the server starts anew: "
                    f"put it back; to have the newest serve, write latest {{ num_versions: {self._default.newest} }}"
                )
        except (OSError, ValueError) as error:
            follow = "nothing is loaded, for it may take a version back" if self.policy is None else "the policy stays"
            self.problem = f"{self.path} is not used, {follow}: {error}; correct the file"
        return self.policy != before


def read_config(path: Path) -> ConfigText:
    """The text of a config file.

    Raises:
      OSError: it cannot be read.
      ValueError: it is too large, or no text.
    """
    # A pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        content = file.read(_MAX_BYTES + 1)
    return ConfigText(decode_config(content), time.time())


def decode_config(content: bytes) -> str:
    """The text of what a config file holds.

    Raises:
      ValueError: it is too large, or no text.
    """
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8: {error}") from None
