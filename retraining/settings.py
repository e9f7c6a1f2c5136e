"""Every setting of the service, documented once, in one frozen object.

The only module that reads the environment; nothing here may import tfx, tensorflow or airflow.
"""

import json
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent
ENV_FILE = CHECKOUT / ".env"

_DROP_RULES = (
    "window_nights",
    "half_life_nights",
    "max_missing_nights",
    "label_codes",
    "max_title_characters",
    "require_success_marker",
    "drop_settle_seconds",
    "as_known_on",
    "eval_percent",
    "expected_class_mix",
)
_ALARM_LIMITS = (
    "max_relabelled_share",
    "max_swap_evidence",
    "max_class_mix_shift",
    "max_not_portuguese_share",
    "max_unseen_word_excess",
)
# Of the model server's own settings; those below are the ones that the service needs to know as well.
_SERVER_PREFIX = "serving_"
_BAR_LIMITS = (
    "min_accuracy",
    "min_macro_f1",
    "min_recall",
    "max_accuracy_drop",
    "max_macro_f1_drop",
    "max_log_loss_rise",
    "max_accuracy_below_baseline",
    "max_macro_f1_below_baseline",
    "max_log_loss_above_baseline",
    "min_mcnemar_p",
    "max_slice_drop",
    "judged_slices",
    "min_slice_rows",
    "slice_patterns",
)
_TEXT_RULES = ("lowercase", "strip_accents", "strip_special_characters", "replace_digits", "remove_stop_words")

Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(ge=0, le=1)]


class SettingsError(ValueError):
    """A setting is missing or cannot be used; the message names it, its value and what to do."""


class Settings(BaseSettings):
    """Settings from the environment, then `.env`, then what was made at first start, then these defaults.

    The environment variable of a field is its name in capitals: `window_nights` is `WINDOW_NIGHTS`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Places
    state_dir: Path = Field(
        CHECKOUT / "var", description="Everything the service writes: databases, models, logs, secrets."
    )
    drops_dir: Path = Field(
        CHECKOUT / "drops", description="Where drops are delivered: `<drops_dir>/<YYYY-MM-DD>/*.csv`."
    )
    dags_dir: Path = Field(CHECKOUT / "dags", description="The DAG files that Airflow reads.")
    serving_dir: Path | None = Field(
        None, description="Where pushed models go, a folder per version. Default: `<state_dir>/serving/headlines`."
    )
    pipeline_root: Path | None = Field(None, description="Where artifacts go. Default: `<state_dir>/pipelines`.")
    scores_dir: Path | None = Field(
        None,
        description="Where scores of unlabelled headlines go, `<night>/<version>.csv`. Default: `<state_dir>/scores`.",
    )

    # Schedule
    schedule: str = Field("0 2 * * *", description="Cron expression of the nightly run; `none` for runs by hand only.")
    timezone: str = Field("America/Sao_Paulo", description="Time zone of the schedule and of a night's date.")
    start_date: str = Field("2022-01-01", description="First night that may be run or caught up, `YYYY-MM-DD`.")
    catchup_mode: Literal["each", "newest"] = Field(
        "newest",
        description="After an outage: `each` missed night in order, or the `newest` alone, with the others' drops in "
        "its window.",
    )
    scheduled_from: str = Field(
        "",
        description="Scheduled runs of nights before this date are skipped. Made at first start: the date of that day.",
    )
    drop_wait_minutes: int = Field(
        360, ge=0, description="How long after its scheduled start a night waits for its drop before it is skipped."
    )
    late_drops: Literal["next_run", "backfill"] = Field(
        "next_run",
        description="A drop that comes after that is read by the `next_run`, in its window, or by a `backfill`: its "
        "night is run as soon as it is there.",
    )
    retries: int = Field(2, ge=0, description="Retries of a failed task, with exponential backoff.")
    retry_delay_seconds: int = Field(30, ge=1, description="Wait before the first retry.")
    task_timeout_minutes: int = Field(60, ge=1, description="A task that runs longer is stopped and fails.")
    failure_webhook_url: SecretStr | None = Field(
        None,
        description="Receives a JSON POST when a task fails, a drop is late, a night was missed, a night is overdue or "
        "no longer so, a model is pushed, or the live traffic is beyond its limits. Default: only the log.",
    )
    night_due_minutes: int = Field(
        420,
        ge=1,
        description="A night without a verdict is overdue this long after its scheduled start: a notice says why, "
        "`retraining status` exits with 1. The default is nine in the morning.",
    )
    heartbeat_url: SecretStr | None = Field(
        None,
        description="Asked for (GET) after each night that came to a verdict, by what waits outside to be asked. "
        "Default: nothing is.",
    )

    # Drops and the window
    window_nights: int = Field(
        12, ge=0, description="Nights a run trains on, the night itself included; 0 for all so far."
    )
    half_life_nights: float = Field(3.0, ge=0, description="Age at which an example weighs half; 0 for no decay.")
    max_missing_nights: int = Field(3, ge=0, description="Nights of the window that may have no drop.")
    max_quarantined_share: Share = Field(
        0.05, description="Above this share of bad rows in the night's drop the run stops."
    )
    min_headlines: int = Field(200, ge=1, description="Fewer usable headlines in the window stop the run.")
    max_title_characters: int = Field(500, ge=1, description="A longer title is quarantined.")
    label_codes: Annotated[dict[str, str], NoDecode] = Field(
        {"0": "negative", "1": "neutral", "2": "positive"},
        description="Numeric codes a drop may use for its labels: `0=negative,1=neutral,2=positive`.",
    )
    require_success_marker: bool = Field(False, description="Read a drop only when it holds a `_SUCCESS` file.")
    drop_settle_seconds: float = Field(
        10.0,
        ge=0,
        description="A drop whose files changed more recently may still be growing and waits; 0 to read it at once.",
    )
    as_known_on: str = Field(
        "",
        description="Read the versions of drops that had been delivered by the end of this day, `YYYY-MM-DD`, or by "
        "this moment, `YYYY-MM-DDTHH:MM:SS+00:00`. Default: the newest there are.",
    )
    eval_percent: int = Field(
        20, ge=1, le=50, description="Percent of the titles, by stable hash, kept for evaluation."
    )

    # Alarms: a night's drop beside the window. docs/decisions/0007-drop-alarms.md tells where the limits come from.
    max_relabelled_share: Share = Field(
        0.2,
        description="Above this share of titles with another label than on an earlier night, or in the drop's earlier "
        "version, the run stops.",
    )
    max_swap_evidence: float = Field(
        0.1,
        ge=0,
        description="The run stops when the labels would read better by more than this, in nats a title, with two "
        "of them swapped.",
    )
    max_class_mix_shift: Share = Field(
        0.25, description="The run stops when the class mix is farther than this from that of the window."
    )
    max_not_portuguese_share: Share = Field(
        0.1, description="Above this share of titles that are not Portuguese the run stops."
    )
    max_unseen_word_excess: Share = Field(
        0.12,
        description="The run stops when the share of words that the window has never seen is this far above what the "
        "window itself leads to expect.",
    )
    expected_class_mix: Annotated[dict[str, float], NoDecode] = Field(
        {"negative": 0.23, "neutral": 0.71, "positive": 0.06},
        description="What a first night, which has no window, is compared with; `none` to compare it with nothing.",
    )

    # Text, as the model sees it
    lowercase: bool = Field(True, description="Lower-case the text.")
    strip_accents: bool = Field(True, description="Remove accents: `eleição` becomes `eleicao`.")
    strip_special_characters: bool = Field(True, description="Replace punctuation and symbols by a space.")
    replace_digits: bool = Field(True, description="Replace every run of digits by one `0`.")
    remove_stop_words: bool = Field(False, description="Remove Portuguese stop words.")

    # The quality bar. docs/quality-bar.md tells how a candidate is judged and where the limits come from.
    min_accuracy: Share = Field(0.50, description="A candidate below this accuracy is refused.")
    min_macro_f1: Share = Field(0.30, description="A candidate below this macro-F1 is refused.")
    min_recall: Annotated[dict[str, float], NoDecode] = Field(
        {"negative": 0.3, "neutral": 0.6, "positive": 0.05},
        description="A candidate is refused when the interval of a class's recall lies below this; `none` for no "
        "floors.",
    )
    max_accuracy_drop: Share = Field(
        0.02,
        description="A candidate is refused when it is less accurate than the champion by more than this, and beyond "
        "the interval.",
    )
    max_macro_f1_drop: Share = Field(0.03, description="The same for macro-F1.")
    max_log_loss_rise: float = Field(0.0, ge=0, description="The same for a greater log-loss.")
    max_accuracy_below_baseline: Share = Field(
        0.02,
        description="`MAX_ACCURACY_DROP` beside the LR baseline, and on a night without a champion beside the "
        "majority class; 1 to compare with neither.",
    )
    max_macro_f1_below_baseline: Share = Field(0.03, description="The same for macro-F1.")
    max_log_loss_above_baseline: float = Field(0.02, ge=0, description="The same for a greater log-loss.")
    min_mcnemar_p: Share = Field(
        0.05,
        description="A candidate whose accuracy is worse by more than its margin is refused when McNemar's test gives "
        "less than this.",
    )
    max_slice_drop: Share = Field(
        0.15,
        description="A candidate is refused when it is less accurate on a slice than the champion (or else the LR "
        "baseline) by more than this, and beyond the interval.",
    )
    judged_slices: Annotated[tuple[str, ...], NoDecode] = Field(
        ("sentiment", "night", "length", "digits", "quotes"),
        description="Groups of slices that are held to it, separated by spaces.",
    )
    min_slice_rows: int = Field(30, ge=1, description="Slices with fewer evaluation rows are shown and not judged.")
    slice_patterns: Annotated[dict[str, str], NoDecode] = Field(
        {"digits": "[0-9]", "quotes": "[\"'‘’“”]"},
        description="Groups of slices beside class, night and length, as JSON: a name, and a regular expression that "
        "is found in a title or not.",
    )

    # The run
    seed: int = Field(20220201, description="Seed of everything random.")
    hyperparameters: Annotated[dict[str, bool | int | float], NoDecode] = Field(
        {}, description='Those that differ from the defaults in modules/hyperparameters.py, as JSON: `{"epochs": 4}`.'
    )
    hyperparameters_file: Path | None = Field(
        None,
        description="A JSON file of hyperparameters, or one that tuning wrote, used instead of tuned ones. What "
        "`HYPERPARAMETERS` names wins over it.",
    )
    tuning_schedule: str = Field(
        "0 4 1,15 * *", description="Cron expression of the search for better hyperparameters; `none` for by hand only."
    )
    tuning_trials: int = Field(20, ge=1, description="Most trials of one search; the first is of the defaults.")
    tuning_minutes: float = Field(60.0, gt=0, description="A search begins no trial after this many minutes.")
    enable_cache: bool = Field(False, description="Reuse an identical execution's outputs instead of running it again.")
    beam_runner_args: Annotated[tuple[str, ...], NoDecode] = Field(
        (
            "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
            "--sdk_container_image=unused",
            "--direct_num_workers=1",
        ),
        description="Beam pipeline arguments, separated by spaces.",
    )
    preload: bool = Field(True, description="Import TFX once in the scheduler, so that tasks start warm.")

    # Databases. The embedded server serves both unless `POSTGRES_EMBEDDED=false`.
    postgres_embedded: bool = Field(
        True, description="Run a private Postgres in `state_dir`; false to use other servers."
    )
    postgres_host: str = Field("127.0.0.1", description="Server on which `retraining init` makes roles and databases.")
    postgres_port: Port = Field(15432, description="Its port; the embedded Postgres listens on it.")
    postgres_password: SecretStr | None = Field(
        None, description="Password of its superuser `postgres`. Made at first start."
    )
    mlmd_host: str = Field("127.0.0.1", description="Server of the MLMD database.")
    mlmd_port: Port | None = Field(None, description="Its port. Default: `POSTGRES_PORT`.")
    mlmd_database: str = Field("mlmd", description="Its name.")
    mlmd_user: str = Field("mlmd", description="Its role.")
    mlmd_password: SecretStr | None = Field(
        None, description="Its password: no spaces, quotes or backslashes. Made at first start."
    )
    airflow_db_host: str = Field("127.0.0.1", description="Server of Airflow's database.")
    airflow_db_port: Port | None = Field(None, description="Its port. Default: `POSTGRES_PORT`.")
    airflow_db_database: str = Field("airflow", description="Its name.")
    airflow_db_user: str = Field("airflow", description="Its role.")
    airflow_db_password: SecretStr | None = Field(None, description="Its password. Made at first start.")

    # Airflow
    webserver_host: str = Field("127.0.0.1", description="Address the web server binds to.")
    webserver_port: Port = Field(8080, description="Port of the Airflow web server.")
    supervisor_port: Port = Field(19001, description="Port of the process supervisor, on loopback.")
    supervisor_password: SecretStr | None = Field(None, description="Its password. Made at first start.")
    airflow_admin_password: SecretStr | None = Field(
        None, description="Password of the web user `admin`. Made at first start."
    )
    airflow_fernet_key: SecretStr | None = Field(
        None, description="Encrypts Airflow's connections. Made at first start."
    )
    airflow_secret_key: SecretStr | None = Field(None, description="Signs Airflow's sessions. Made at first start.")

    # The model server. Its other settings, SERVING_*, are in docs/serving.md; they too may be in .env.
    serving_host: str = Field("127.0.0.1", description="Address the model server binds to.")
    serving_port: Port = Field(8501, description="Port of the model server.")
    serving_token: SecretStr | None = Field(
        None, description="If set, the model server wants it as `Authorization: Bearer <token>`."
    )
    serving_request_log: Path | None = Field(
        None,
        description="File in which the model server keeps requests with their titles, for the nightly run to look at. "
        "Default: none is kept.",
    )
    max_traffic_skew: Share = Field(
        0.25,
        description="A notice is sent when a night's requests are farther than this from the window, in their length, "
        "unseen words or labels.",
    )
    max_traffic_drift: Share = Field(0.25, description="The same, from the earlier requests.")
    min_traffic_requests: int = Field(
        100, ge=1, description="With fewer requests no such notice is sent, nor one of answers below `MIN_ACCURACY`."
    )

    @field_validator("label_codes", mode="before")
    @classmethod
    def _parse_codes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("write code=label pairs separated by commas, such as 0=negative,1=neutral,2=positive")
        return {code.strip(): label.strip() for code, _, label in pairs}

    @field_validator("hyperparameters", "slice_patterns", mode="before")
    @classmethod
    def _parse_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f'it is not JSON ({error}); write it as {{"name": value}}') from None

    @field_validator("expected_class_mix", "min_recall", mode="before")
    @classmethod
    def _parse_shares(cls, value: object) -> object:
        return {} if value == "none" else cls._parse_codes(value)

    @field_validator("judged_slices", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("beam_runner_args", mode="before")
    @classmethod
    def _split_args(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("as_known_on")
    @classmethod
    def _end_of_day(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        moment = datetime.fromisoformat(value)
        if len(value) == len("YYYY-MM-DD"):
            moment = datetime.combine(moment, time.max)
        return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(info.data["timezone"]))).isoformat()

    @field_validator("mlmd_password")
    @classmethod
    def _plain_password(cls, value: SecretStr | None) -> SecretStr | None:
        # MLMD joins its connection string unquoted.
        if value and set(value.get_secret_value()) & set(" '\"\\"):
            raise ValueError("MLMD cannot use a password with a space, a quote or a backslash; choose another")
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: dict[str, object]) -> dict[str, object]:
        def given(name: str) -> object:
            return values.get(name) or cls.model_fields[name].default

        state = _locate(given("state_dir"))
        values["state_dir"] = state
        for name in ("drops_dir", "dags_dir"):
            values[name] = _locate(given(name))
        values["serving_dir"] = _locate(values.get("serving_dir") or state / "serving" / "headlines")
        values["pipeline_root"] = _locate(values.get("pipeline_root") or state / "pipelines")
        values["scores_dir"] = _locate(values.get("scores_dir") or state / "scores")
        if values.get("hyperparameters_file"):
            values["hyperparameters_file"] = _locate(values["hyperparameters_file"])
        if values.get("serving_request_log"):
            values["serving_request_log"] = _locate(values["serving_request_log"])
        for name in ("mlmd_port", "airflow_db_port"):
            values[name] = values.get(name) or given("postgres_port")
        return values

    @property
    def drop_rules(self) -> dict[str, Any]:
        """The settings that decide which rows of which drops are used, as HeadlineExampleGen takes them."""
        return self.model_dump(include=set(_DROP_RULES))

    @property
    def alarm_limits(self) -> dict[str, float]:
        """The settings that decide which figures of a drop stop a run, as `alarms.Limits` takes them."""
        return self.model_dump(include=set(_ALARM_LIMITS))

    @property
    def bar_limits(self) -> dict[str, Any]:
        """The settings that a candidate is judged by, as `verdict.Limits` takes them."""
        return self.model_dump(include=set(_BAR_LIMITS))

    @property
    def text_rules(self) -> dict[str, bool]:
        """The settings that decide how the model sees a title, as `modules.preprocessing` takes them."""
        return self.model_dump(include=set(_TEXT_RULES))

    @property
    def given_hyperparameters(self) -> dict[str, dict[str, Any]]:
        """The hyperparameters that a person decided, by the setting they come from; a later one wins.

        Raises:
          SettingsError: HYPERPARAMETERS_FILE cannot be read.
        """
        return {
            "HYPERPARAMETERS_FILE": _read_hyperparameters(self.hyperparameters_file),
            "HYPERPARAMETERS": self.hyperparameters,
        }

    @property
    def secrets_dir(self) -> Path:
        """Where the values made at first start are kept, one file (mode 0600) per setting."""
        return self.state_dir / "secrets"

    @property
    def airflow_home(self) -> Path:
        """Airflow's home: its configuration and its logs."""
        return self.state_dir / "airflow"

    @property
    def server_options(self) -> dict[str, str]:
        """What `.env` says to the model server beyond the settings here, as environment variables."""
        written = DotEnvSettingsSource(type(self), env_file=ENV_FILE).env_vars
        return {
            name.upper(): value
            for name, value in written.items()
            if value and name.startswith(_SERVER_PREFIX) and name not in type(self).model_fields
        }

    def secret(self, name: str) -> str:
        """The plain value of the secret setting `name`.

        Raises:
          SettingsError: it is not set.
        """
        value: SecretStr | None = getattr(self, name)
        if value is None:
            raise SettingsError(
                f"{name.upper()} is not set; run `retraining up` once, or copy .env.example to .env and set it"
            )
        return value.get_secret_value()

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Reads the settings.

        Args:
          **overrides: fields that win over the environment.

        Raises:
          SettingsError: one line per setting that is wrong.
        """
        try:
            located = _Places(_env_file=ENV_FILE)
            secrets_dir = _locate(overrides.get("state_dir") or located.state_dir) / "secrets"
            return cls(
                _env_file=ENV_FILE,
                _secrets_dir=secrets_dir if secrets_dir.is_dir() else None,
                **overrides,
            )
        except ValidationError as error:
            raise SettingsError(
                "\n".join(_explain(problem["loc"], problem["input"], problem["msg"]) for problem in error.errors())
            ) from None


def _read_hyperparameters(file: Path | None) -> dict[str, Any]:
    """Values by name: all there is in the file, or the `values` of one that keras-tuner wrote."""
    if file is None:
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        values = content.get("values", content)
        return dict(values)
    except OSError as error:
        problem = str(error.strerror)
    except (AttributeError, TypeError, ValueError) as error:
        problem = f'it is no JSON object such as {{"epochs": 4}} ({error})'
    raise SettingsError(f"HYPERPARAMETERS_FILE={file}: {problem}; correct the file, or unset it")


def _locate(path: object) -> Path:
    """An absolute path; a relative one counts from the checkout, so that every process sees the same place."""
    return CHECKOUT / Path(str(path)).expanduser()


def _explain(location: tuple[int | str, ...], value: object, problem: str) -> str:
    name = str(location[0]).upper() if location else "settings"
    secret = bool(location) and "Secret" in str(Settings.model_fields[str(location[0])].annotation)
    shown = "" if secret or not location else f"={value!r}"
    return f"{name}{shown}: {problem.removeprefix('Value error, ')}; correct it in .env or in the environment"


class _Places(BaseSettings):
    """What must be known before the secrets can be found."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    state_dir: Path = CHECKOUT / "var"
