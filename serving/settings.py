"""Every setting of the model server, documented once, in one frozen object.

The only module here that reads the environment; it must not import tensorflow.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from serving.bucket_address import BucketAddress

PREFIX = "SERVING_"
# Beyond what is set, from the signal to the end; soon after it retraining/local/model_server.py kills the process.
_SPARE_SECONDS = 4.0
MODEL_NAME = "headlines"
"""The model's name, in addresses and in the config file, where rollbacks write it."""


CONFIG_FILE = "models.config"
"""TensorFlow Serving's model config file, beside the versions."""


class SettingsError(ValueError):
    """A setting is missing or cannot be used; the message names it, its value and what to do."""


class Settings(BaseSettings):
    """Settings from the environment, then these defaults.

    The environment variable of a field is its name in capitals after `SERVING_`: `port` is `SERVING_PORT`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    # What is served
    dir: Annotated[Path | BucketAddress, NoDecode] = Field(
        description="Where pushed models are: a folder with one per version, or s3://bucket/key or gs://bucket/key. "
        "Must be set."
    )
    cache_dir: Path = Field(
        Path("~/.cache/headlines-serving"), description="Folder for copies of the versions of a bucket."
    )
    keep_versions: int = Field(
        2, ge=1, description="How many of the newest versions stay loaded, unless `models.config` says otherwise."
    )
    poll_seconds: float = Field(1.0, gt=0, description="How often the folder and the config file are looked at.")

    load_seconds: float = Field(
        120.0, gt=0, description="A version whose load takes longer is waited for no more; it serves once that ends."
    )

    # Who may ask
    host: str = Field("127.0.0.1", description="Address to bind to.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(8501, description="Port; TensorFlow Serving's for REST.")
    grpc_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        8500, description="Port for gRPC; TensorFlow Serving's. 0: gRPC is not spoken."
    )
    token: SecretStr | None = Field(
        None,
        description="If set, requests need `Authorization: Bearer <token>`, all but the page, `/openapi.json` and the "
        "probes.",
    )
    token_file: Path | None = Field(
        None, description="A file that holds the token instead, as Docker and Kubernetes mount secrets."
    )

    # How much
    workers: int = Field(
        1, ge=1, description="Processes that answer on the same ports, each with models and limits of its own."
    )
    max_batch: int = Field(32, ge=1, description="Rows that are run together; a request of more is a large one.")
    max_large_waiting: int = Field(
        8, ge=1, description="Above this many large requests, or as many largest bodies, new ones are refused with 503."
    )
    max_connections: int = Field(1000, ge=1, description="Above this many connections new ones are refused with 503.")
    max_body_bytes: int = Field(8 << 20, ge=1024, description="A larger request body is refused with 413.")
    max_title_characters: int = Field(
        500, ge=1, description="A longer title is refused by `/predict` and `/related`; none such was trained on."
    )
    timeout_seconds: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="A request not read or not answered by then is given up."
    )

    drain_seconds: float = Field(
        0.0,
        allow_inf_nan=False,
        ge=0,
        description="For how long it still answers when told to stop, and says that it is not ready.",
    )

    # What is kept
    request_log: Path | None = Field(
        None, description="File for a sample of the requests with their titles, as JSON lines. Default: none is kept."
    )
    request_log_share: float = Field(1.0, ge=0, le=1, description="Share of the requests that the log keeps.")
    request_log_bytes: int = Field(10 << 20, ge=1024, description="Size at which the log starts a new file.")
    request_log_files: int = Field(5, ge=1, description="Older files of the log that are kept.")

    @model_validator(mode="before")
    @classmethod
    def _read_token(cls, values: dict[str, Any]) -> dict[str, Any]:
        path = values.get("token_file")
        if not path:
            return values
        if values.get("token"):
            raise ValueError("SERVING_TOKEN and SERVING_TOKEN_FILE are both set; leave one of them out")
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"SERVING_TOKEN_FILE={path}: {getattr(error, 'strerror', None) or error}") from None
        if not token:
            # An empty token would let everybody in.
            raise ValueError(f"SERVING_TOKEN_FILE={path}: the file is empty; write the token into it")
        return {**values, "token": token}

    @field_validator("dir", mode="before")
    @classmethod
    def _read_address(cls, value: object) -> object:
        return BucketAddress.parse(value) if isinstance(value, str) and "://" in value else value

    @field_validator("cache_dir", mode="before")
    @classmethod
    def _refuse_address(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            raise ValueError("it is a folder of this machine")
        return value

    @field_validator("dir", "request_log")
    @classmethod
    def _expand(cls, value: Path | BucketAddress | None) -> Path | BucketAddress | None:
        return value.expanduser().absolute() if isinstance(value, Path) else value

    @property
    def models_config_file(self) -> Path:
        """TensorFlow Serving's model config file, beside a folder of versions; a rollback writes it just there."""
        assert isinstance(self.dir, Path)
        return self.dir.parent / CONFIG_FILE

    @property
    def end_seconds(self) -> float:
        """The most from the signal to the end: what load balancers have, what requests have, and what else hangs."""
        return self.drain_seconds + self.timeout_seconds + _SPARE_SECONDS

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """The settings of this process.

        Args:
          **overrides: fields that win over the environment.

        Raises:
          SettingsError: a setting is missing or wrong; the message has a line for each.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("\n".join(map(_explain, error.errors()))) from None


def _explain(problem: Any) -> str:
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = PREFIX + str(problem["loc"][0]).upper()
    if problem["type"] == "missing":
        return f"{name} is not set; set it to the folder that holds a folder per pushed version"
    return f"{name}={problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}; correct it in the environment"
