"""Which versions should be loaded, as TensorFlow Serving's model config file says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig


@dataclass(frozen=True)
class Policy:
    """Which of the versions that are there should be loaded.

    Attributes:
      newest: how many of the newest, if none is `specific`; 0 means all.
      specific: the numbers of exactly these.
      labels: versions by the names that requests may use for them.
    """

    newest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)


def read_policy(path: Path, name: str) -> Policy:
    """The version policy of a model in a TensorFlow Serving model config file.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no such file, or does not mention the model.
    """
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ValueError(f"not a model config: {error}") from None
    for model in config.model_config_list.config:
        if model.name == name:
            policy = model.model_version_policy
            labels = dict(model.version_labels)
            match policy.WhichOneof("policy_choice"):
                case "specific":
                    return Policy(specific=tuple(policy.specific.versions), labels=labels)
                case "all":
                    return Policy(newest=0, labels=labels)
                case _:
                    return Policy(newest=policy.latest.num_versions or 1, labels=labels)
    raise ValueError(f"it has no model {name!r}")
