"""Every setting of the service, documented once, in one frozen object.

The only module that reads the environment; nothing here may import tfx, tensorflow or airflow.
"""

import errno
import json
import os
import tempfile
from dataclasses import fields
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from headlines.errors import HeadlinesError
from headlines.objects.addresses import is_object, to_path
from headlines.postgres_address import REQUIRES_TLS
from retraining import renamed_settings, secret_sources
from retraining import setting_types as types
from retraining.setting_types import BASE as BASE
from retraining.setting_types import BUNDLE as BUNDLE
from retraining.setting_types import CHECKOUT as CHECKOUT
from retraining.setting_types import EACH as EACH
from retraining.setting_types import parse_codes as parse_codes

if TYPE_CHECKING:
    from headlines.bar import verdict
    from headlines.drops import alarms
    from headlines.drops.rules import Rules
    from headlines.postgres_address import Postgres

ENV_FILE = BASE / ".env"
# Of the model server's own settings; those below are the ones that the service needs to know as well.
_SERVER_PREFIX = "serving_"
# https://airflow.apache.org/docs/apache-airflow/2.11.2/howto/set-config.html
_AIRFLOW_PREFIX = "airflow__"
# The folders that a command may find unusable; an inner one before the one it is in.
_PLACES = ("serving_dir", "pipeline_root", "scores_dir", "state_dir", "notices_dir", "task_logs_dir", "drops_dir")
# Which values of BEAM use a setting; the worker pool's are its own machine's, whatever the tasks' says.
_ENGINES_OF = {
    "beam_runner_args": ("args",),
    "flink_master": ("flink",),
    "flink_version": ("flink",),
    "spark_master": ("spark",),
    "beam_parallelism": ("flink", "spark"),
    "beam_job_server": ("flink", "spark"),
}
# Beam's runners that work in the process that runs the component.
_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
_OWNERS = {"mlmd": "MLMD", "airflow_db": "Airflow"}
_TEXT_RULES = ("lowercase", "strip_accents", "strip_special_characters", "replace_digits", "remove_stop_words")

Group = TypeVar("Group")


class SettingsError(HeadlinesError):
    """A setting is missing or cannot be used; the message names it, its value and what to do."""


class Settings(BaseSettings):
    """Settings from the environment, then `.env`, then what was made at first start, then these defaults.

    The environment variable of a field is its name in capitals: `window_nights` is `WINDOW_NIGHTS`. A secret may be
    named by its place instead, as `MLMD_PASSWORD_FILE` or `MLMD_PASSWORD_SECRET`: secret_sources.py.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True)

    # Places
    state_dir: types.Place = Field(
        BASE / "var", description="Everything the service writes: databases, models, logs, secrets."
    )
    drops_dir: types.PlaceOrObjects = Field(
        BASE / "drops",
        description="Where drops are delivered: `<drops_dir>/<YYYY-MM-DD>/*.csv`. A folder, or `s3://bucket/folder` or "
        "`gs://bucket/folder`: docs/object-storage.md.",
    )
    dags_dir: types.Place = Field(BUNDLE / "dags", description="The DAG files that Airflow reads.")
    serving_dir: types.PlaceOrObjects = Field(
        default_factory=lambda settings: settings["state_dir"] / "serving" / "headlines",
        description="Where pushed models go, a folder per version; a folder, or an address like that of `DROPS_DIR`. "
        "Default: `<state_dir>/serving/headlines`.",
    )
    pipeline_root: types.PlaceOrObjects = Field(
        default_factory=lambda settings: settings["state_dir"] / "pipelines",
        description="Where artifacts go; a folder, or an address like that of `DROPS_DIR`. Default: "
        "`<state_dir>/pipelines`.",
    )
    scores_dir: types.PlaceOrObjects = Field(
        default_factory=lambda settings: settings["state_dir"] / "scores",
        description="Where scores of unlabelled headlines go, `<night>/<version>.csv`; a folder, or an address like "
        "that of `DROPS_DIR`. Default: `<state_dir>/scores`.",
    )
    notices_dir: types.Place = Field(
        default_factory=lambda settings: settings["state_dir"] / "notices",
        description="Where it is kept what people were told, and what they are still to be. Default: "
        "`<state_dir>/notices`.",
    )
    task_logs_dir: types.Place = Field(
        default_factory=lambda settings: settings["state_dir"] / "airflow" / "logs",
        description="Where Airflow keeps the logs of tasks. Default: `<state_dir>/airflow/logs`.",
    )

    min_free_gb: float = Field(
        2.0,
        ge=0,
        description="A night fails at once, and a notice is sent, when less than this is free on a disk that it writes "
        "to; in GB of 2**30 bytes.",
    )

    # Schedule
    schedule: types.Cron = Field(
        "0 2 * * *", description="Cron expression of the nightly run; `none` for runs by hand only."
    )
    timezone: types.Zone = Field("America/Sao_Paulo", description="Time zone of the schedule and of a night's date.")
    start_date: types.Night = Field("2022-01-01", description="First night that may be run or caught up, `YYYY-MM-DD`.")
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
    notify: types.NotifyAddresses | None = Field(
        None,
        description="Who is told what docs/notices.md lists: addresses separated by spaces, such as `slack://...`, "
        "`mailto://...` or `https://...` for a JSON POST, each perhaps with the least severity that it is told of "
        "before it. Default: only the log.",
    )
    digest_schedule: types.Cron = Field(
        "none", description="Cron expression of the digest of how things stand: `0 9 * * *` for nine in the morning."
    )
    web_address: types.PublicAddress | None = Field(
        None,
        description="Where people reach the web UI by a reverse proxy, such as `https://airflow.example.org`: what "
        "notices lead to. The proxy's forwarded headers are then trusted, and with https cookies are for https alone. "
        "Default: no proxy, `WEBSERVER_HOST` and `WEBSERVER_PORT`.",
    )
    night_due_minutes: int = Field(
        420,
        ge=1,
        description="A night without a verdict is overdue this long after its scheduled start: a notice says why, "
        "`retraining status` exits with 1. The default is nine in the morning.",
    )
    heartbeat_url: types.WebAddress | None = Field(
        None,
        description="Asked for (GET) after each night that came to a verdict, by what waits outside to be asked. "
        "Default: nothing is.",
    )

    openlineage_url: types.WebAddress | None = Field(
        None,
        description="Receives OpenLineage events of every task and rollback, at `/api/v1/lineage` below it, as "
        "Marquez, DataHub and others do: docs/openlineage.md. Default: nothing is sent.",
    )
    openlineage_api_key: SecretStr | None = Field(
        None, description="If set, it goes with each event as `Authorization: Bearer <key>`."
    )
    openlineage_namespace: str = Field(
        "headlines", min_length=1, description="Under which the jobs, which are DAGs and tasks, are told."
    )
    openlineage_dataset_namespace: str = Field(
        "file",
        pattern=r"^file(://[^/\s]+)?$",
        description="Under which datasets, which are folders, are told: `file`, or `file://<host>` where several "
        "services tell one catalogue.",
    )

    # Drops and the window
    window_nights: int = Field(
        12, ge=0, description="Nights a run trains on, the night itself included; 0 for all so far."
    )
    half_life_nights: float = Field(3.0, ge=0, description="Age at which an example weighs half; 0 for no decay.")
    max_missing_nights: int = Field(3, ge=0, description="Nights of the window that may have no drop.")
    max_quarantined_share: types.Share = Field(
        0.05, description="Above this share of bad rows in the night's drop the run stops."
    )
    min_headlines: int = Field(200, ge=1, description="Fewer usable headlines in the window stop the run.")
    max_title_characters: int = Field(500, ge=1, description="A longer title is quarantined.")
    label_codes: types.Codes = Field(
        {"0": "negative", "1": "neutral", "2": "positive"},
        description="Codes that new deliveries may use for labels, in large or small letters: "
        "`0=negative,1=neutral,2=positive`. A version keeps those it was delivered or first read with.",
    )
    unbalanced_quotes: Literal["refuse", "quarantine"] = Field(
        "refuse",
        description="What becomes of a row whose quotes are not balanced: its file is `refuse`d, or it alone "
        "is put into `quarantine`.",
    )
    require_success_marker: bool = Field(False, description="Read a drop only when it holds a `_SUCCESS` file.")
    drop_settle_seconds: float = Field(
        10.0,
        ge=0,
        description="A drop whose files changed or arrived more recently may still be growing and waits; 0 to read it "
        "at once.",
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
    max_relabelled_share: types.Share = Field(
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
    max_class_mix_shift: types.Share = Field(
        0.25, description="The run stops when the class mix is farther than this from that of the window."
    )
    max_not_portuguese_share: types.Share = Field(
        0.1, description="Above this share of titles that are not Portuguese the run stops."
    )
    max_unseen_word_excess: types.Share = Field(
        0.12,
        description="The run stops when the share of words that the window has never seen is this far above what the "
        "window itself leads to expect.",
    )
    max_lost_share: types.Share = Field(
        0.1,
        description="The run stops when a correction loses more than this share of the titles that it corrects, with "
        "no others in their place.",
    )
    max_surprisal: float = Field(
        4.0,
        ge=0,
        description="The run stops when a night's rows, repeated titles, count of a label or unknown labels come by "
        "chance more rarely than once in 10 to the power of this: 4 is one night in 10,000.",
    )
    expected_class_mix: types.LabelShares = Field(
        {"negative": 0.23, "neutral": 0.71, "positive": 0.06},
        description="The long-run class mix: every night is compared with it, and a first night, which has no window, "
        "with nothing else; `none` to compare with the window alone.",
    )

    # Text, as the model sees it
    lowercase: bool = Field(True, description="Lower-case the text.")
    strip_accents: bool = Field(True, description="Remove accents: `eleição` becomes `eleicao`.")
    strip_special_characters: bool = Field(True, description="Replace punctuation and symbols by a space.")
    replace_digits: bool = Field(True, description="Replace every run of digits by one `0`.")
    remove_stop_words: bool = Field(False, description="Remove Portuguese stop words.")

    # The quality bar. docs/quality-bar.md tells how a candidate is judged and where the limits come from.
    min_accuracy: types.Share = Field(0.50, description="A candidate below this accuracy is refused.")
    min_macro_f1: types.Share = Field(0.30, description="A candidate below this macro-F1 is refused.")
    min_recall: types.LabelShares = Field(
        {"negative": 0.3, "neutral": 0.6, "positive": 0.05},
        description="A candidate is refused when the interval of a class's recall lies below this; `none` for no "
        "floors.",
    )
    max_accuracy_drop: types.Share = Field(
        0.02,
        description="A candidate is refused when it is less accurate than the champion by more than this, and beyond "
        "the interval.",
    )
    max_macro_f1_drop: types.Share = Field(0.03, description="The same for macro-F1.")
    max_log_loss_rise: float = Field(0.0, ge=0, description="The same for a greater log-loss.")
    max_accuracy_below_baseline: types.Share = Field(
        0.02,
        description="`MAX_ACCURACY_DROP` beside the LR baseline, and on a night without a champion beside the "
        "majority class; 1 to compare with neither.",
    )
    max_macro_f1_below_baseline: types.Share = Field(0.03, description="The same for macro-F1.")
    max_log_loss_above_baseline: float = Field(0.02, ge=0, description="The same for a greater log-loss.")
    min_mcnemar_p: types.Share = Field(
        0.05,
        description="A candidate whose accuracy is worse by more than its margin is refused when McNemar's test gives "
        "less than this.",
    )
    max_slice_drop: types.Share = Field(
        0.15,
        description="A candidate is refused when it is less accurate on a slice than the champion (or else the LR "
        "baseline) by more than this, and beyond the interval.",
    )
    slice_patterns: types.Patterns = Field(
        {"digits": "[0-9]", "quotes": "[\"'‘’“”]"},
        description="Groups of slices beside class, night and length, as JSON: a name, and a regular expression that "
        "is found in a title or not.",
    )
    judged_slices: types.Words = Field(
        ("sentiment", "night", "length", "digits", "quotes"),
        description="Groups of slices that are held to it, separated by spaces.",
    )
    min_slice_rows: int = Field(30, ge=1, description="Slices with fewer evaluation rows are shown and not judged.")

    # The run
    seed: int = Field(20220201, description="Seed of everything random.")
    hyperparameters: types.Hyperparameters = Field(
        {}, description='Those that differ from the defaults in modules/hyperparameters.py, as JSON: `{"epochs": 4}`.'
    )
    hyperparameters_file: types.Place | None = Field(
        None,
        description="A JSON file of hyperparameters, or one that tuning wrote, used instead of tuned ones. What "
        "`HYPERPARAMETERS` names wins over it.",
    )
    tuning_schedule: types.Cron = Field(
        "0 4 1,15 * *", description="Cron expression of the search for better hyperparameters; `none` for by hand only."
    )
    tuning_trials: int = Field(20, ge=1, description="Most trials of one search; the first is of the defaults.")
    tuning_minutes: float = Field(60.0, gt=0, description="A search begins no trial after this many minutes.")
    enable_cache: bool = Field(False, description="Reuse an identical execution's outputs instead of running it again.")
    preload: bool = Field(True, description="Import TFX once in the scheduler, so that tasks start warm.")

    # What the data nodes run on: docs/data-engines.md
    beam: Literal["local", "flink", "spark", "args"] = Field(
        "local",
        description="Where the Beam pipelines of the data nodes run: in the task's process, on a `flink` or a `spark` "
        "cluster, or by `args`, as `BEAM_RUNNER_ARGS` says.",
    )
    beam_runner_args: types.Arguments = Field(
        (), validate_default=True, description="Beam pipeline arguments for `BEAM=args`, separated by spaces."
    )
    flink_master: types.HostPort | None = Field(
        None, validate_default=True, description="REST address of the Flink cluster, as `flink:8081`."
    )
    flink_version: Literal["1.17", "1.18", "1.19", "1.20"] = Field(
        "1.20", description="Its version; Beam's Python SDK takes none of Flink 2."
    )
    spark_master: types.SparkMaster | None = Field(
        None, validate_default=True, description="Address of the Spark 3 cluster, as `spark://spark:7077`."
    )
    beam_worker_pool: types.HostPort = Field(
        "localhost:50000",
        description="Where each task manager or executor finds the worker pool beside it, which `retraining beam-pool` "
        "runs; the pool listens on this port.",
    )
    beam_pool_host: str = Field("127.0.0.1", description="Address that `retraining beam-pool` binds to.")
    beam_parallelism: int = Field(
        1, ge=1, description="Parts in which a cluster works at a time: as many as it has slots or cores."
    )
    beam_job_server: types.Place | None = Field(
        None, description="Jar of Beam's job server for the cluster. Default: where Maven keeps it, `~/.m2/repository`."
    )

    # Tasks on several workers: docs/scaling.md
    executor: Literal["local", "celery"] = Field(
        "local",
        description="Where tasks run: in the scheduler's own processes, or on `celery` workers, on any machine.",
    )
    broker_url: types.Broker | None = Field(
        None,
        description="Where the scheduler leaves tasks for Celery workers, such as `redis://:<password>@redis:6379/0`. "
        "Default: a Redis of the service's own, on `REDIS_PORT`.",
    )
    redis_port: types.Port = Field(16379, description="Port of the service's own Redis, on loopback.")
    redis_password: SecretStr | None = Field(None, description="Its password. Made at first start.")
    workers: int = Field(
        1,
        ge=1,
        description="Celery workers that `retraining up` runs here; what only this machine can do, one of them does.",
    )
    worker_slots: int = Field(
        default_factory=lambda: os.cpu_count() or 2,
        ge=1,
        description="Tasks that a worker runs at a time. Default: as many as its machine has processors.",
    )
    worker_queues: types.Words = Field((), description="Queues from which a worker takes tasks. Default: all of them.")
    queue: types.Queue = Field("default", description="The queue of every task that has none of its own.")
    queue_trainer: types.Queue | None = Field(
        None, description="The queue of the Trainer, such as `gpu`. Default: `QUEUE`."
    )
    queue_tuner: types.Queue | None = Field(None, description="The same for the Tuner.")
    queue_evaluator: types.Queue | None = Field(None, description="The same for the Evaluator.")
    worker_log_port: types.PortOrNone = Field(
        0,
        description="Port on which a worker gives its tasks' logs to the web server, by Airflow's log server, which "
        "listens on every address; `0` where logs are in a folder that both see.",
    )

    # What is kept of the past. docs/retention.md tells what is needed, and how large it becomes.
    keep_artifact_nights: int = Field(
        90,
        ge=2,
        description="Nights, the newest, whose artifacts are kept whole: for a rerun, a replay or a comparison. At "
        "some 15 MB a night 90 take 1.4 GB.",
    )
    keep_served_versions: int = Field(
        10,
        ge=2,
        description="Pushed versions, the newest that no rollback has withdrawn, to which a rollback may always "
        "return. Beyond the nights that are kept, 11 MB each.",
    )
    keep_log_days: int = Field(
        30, ge=1, description="Days for which Airflow's log files and side records are kept. At 12 MB a day, 0.4 GB."
    )
    housekeeping_schedule: types.Cron = Field(
        "0 12 * * 0",
        description="Cron expression of the removal of what is not needed any more; `none` for `retraining prune` by "
        "hand only.",
    )

    # What Prometheus reads: docs/metrics.md
    metrics_port: types.PortOrNone = Field(
        0,
        description="Port of the watch's endpoint for Prometheus, and by UDP for what Airflow counts, such as 9109; "
        "`0` for none.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address that the endpoint binds to, and to which Airflow sends what it counts."
    )

    # Databases. The embedded server serves both unless `POSTGRES_EMBEDDED=false`.
    postgres_embedded: bool = Field(
        True, description="Run a private Postgres in `state_dir`; false to use other servers."
    )
    postgres_host: str = Field("127.0.0.1", description="Server on which `retraining init` makes roles and databases.")
    postgres_port: types.Port = Field(15432, description="Its port; the embedded Postgres listens on it.")
    postgres_password: SecretStr | None = Field(
        None, description="Password of its superuser `postgres`. Made at first start."
    )
    postgres_sslmode: types.SslMode = Field(
        "prefer",
        description="TLS of the connections to both databases, as libpq has it: `verify-full` checks who answers. Not "
        "of MLMD's own client, which has none: `MLMD_TUNNEL`.",
    )
    postgres_sslrootcert: types.Place | None = Field(
        None, description="File of the certificates that have signed the servers'. Default: where libpq looks."
    )
    mlmd_host: str = Field("127.0.0.1", description="Server of the MLMD database.")
    mlmd_port: types.Port = Field(
        default_factory=lambda settings: settings["postgres_port"], description="Its port. Default: `POSTGRES_PORT`."
    )
    mlmd_database: str = Field("mlmd", description="Its name.")
    mlmd_user: str = Field("mlmd", description="Its role.")
    mlmd_password: SecretStr | None = Field(
        None, description="Its password: no spaces, quotes or backslashes. Made at first start."
    )
    mlmd_tunnel: types.LoopbackAddress | None = Field(
        None,
        description="Near end of a TLS tunnel to MLMD's database, `127.0.0.1:6432`: MLMD's own client goes through it. "
        "Default: it goes to `MLMD_HOST`, which it refuses over a network where `POSTGRES_SSLMODE` requires TLS.",
    )
    airflow_db_host: str = Field("127.0.0.1", description="Server of Airflow's database.")
    airflow_db_port: types.Port = Field(
        default_factory=lambda settings: settings["postgres_port"], description="Its port. Default: `POSTGRES_PORT`."
    )
    airflow_db_database: str = Field("airflow", description="Its name.")
    airflow_db_user: str = Field("airflow", description="Its role.")
    airflow_db_password: SecretStr | None = Field(None, description="Its password. Made at first start.")

    # Airflow
    webserver_host: str = Field("127.0.0.1", description="Address the web server binds to.")
    webserver_port: types.Port = Field(8080, description="Port of the Airflow web server.")
    session_lifetime_minutes: int = Field(
        720, ge=1, description="A browser that has asked for nothing this long must log in again."
    )
    supervisor_port: types.Port = Field(19001, description="Port of the process supervisor, on loopback.")
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
    serving_port: types.Port = Field(8501, description="Port of the model server.")
    serving_grpc_port: types.PortOrNone = Field(8500, description="Its port for gRPC; with `0` it does not speak gRPC.")
    serving_token: SecretStr | None = Field(
        None, description="If set, the model server wants it as `Authorization: Bearer <token>`."
    )
    serving_urls: types.Servers = Field(
        None,
        description="Addresses of the model servers that are asked which version answers, separated by spaces: every "
        "replica; `dns+http://name:port` is each address of a name. Default: the service's own; `none` to ask none.",
    )
    serving_request_log: types.Place | None = Field(
        None,
        description="File in which the model server keeps requests with their titles, for the nightly run to look at. "
        "Default: none is kept.",
    )
    max_traffic_skew: types.Share = Field(
        0.25,
        description="A notice is sent when a night's requests are farther than this from the window, in their length, "
        "unseen words or labels.",
    )
    max_traffic_drift: types.Share = Field(0.25, description="The same, from the earlier requests.")
    min_traffic_requests: int = Field(
        100, ge=1, description="With fewer requests no such notice is sent, nor one of answers below `MIN_ACCURACY`."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: Any,
        dotenv_settings: Any,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Where settings come from, the first wins: old names count where nothing says the name of now."""
        old_names = renamed_settings.RenamedSource(settings_cls, env_settings.env_vars, dotenv_settings.env_vars)
        elsewhere = secret_sources.ElsewhereSource(settings_cls, env_settings, dotenv_settings)
        return init_settings, env_settings, dotenv_settings, old_names, elsewhere, file_secret_settings

    @field_validator("scheduled_from")
    @classmethod
    def _check_first_day(cls, value: str) -> str:
        return value and types.check_night(value)

    @field_validator("judged_slices")
    @classmethod
    def _check_slices(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        from headlines.bar.verdict import SLICES

        if value == cls.model_fields["judged_slices"].default:
            # Nobody named them: those that SLICE_PATTERNS leaves out are not judged.
            return value
        names = [*SLICES, *info.data.get("slice_patterns", value)]
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"there is no slice {', '.join(unknown)}; there are {', '.join(names)}")
        return value

    @field_validator("as_known_on")
    @classmethod
    def _end_of_day(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("it is neither a date `YYYY-MM-DD` nor a moment `YYYY-MM-DDTHH:MM:SS+00:00`") from None
        if len(value) == len("YYYY-MM-DD"):
            moment = datetime.combine(moment, time.max)
        return (
            moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(info.data.get("timezone", "UTC")))
        ).isoformat()

    @field_validator(*_ENGINES_OF)
    @classmethod
    def _belong_to_engine(cls, value: object, info: ValidationInfo) -> object:
        # One that says another engine than BEAM would be passed over without a word.
        field, engines = cls.model_fields[str(info.field_name)], _ENGINES_OF[str(info.field_name)]
        chosen = info.data.get("beam")
        if chosen and chosen not in engines and value != field.default:
            raise ValueError(f"BEAM={chosen} does not use it; set BEAM={' or '.join(engines)}, or unset it")
        # Where an engine can do without a setting, its default is not looked at.
        if chosen in engines and not value and field.validate_default:
            raise ValueError(f"BEAM={chosen} needs it; set it, or unset BEAM")
        return value

    @field_validator("beam", "beam_runner_args")
    @classmethod
    def _share_places(cls, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if isinstance(value, str):
            runner = "" if value == "local" else value
            # What BEAM_RUNNER_ARGS names may read artifacts in the task's process; drops are read as on a cluster.
            names = ["drops_dir"] if value == "args" else ["drops_dir", "pipeline_root"]
        else:
            runner = next((one.partition("=")[2] for one in reversed(value) if one.startswith("--runner=")), "")
            names = [] if runner.rpartition(".")[2] in _LOCAL_RUNNERS else ["pipeline_root"]
        for name in names:
            place = info.data.get(name)
            if runner and place and is_object(place):
                raise ValueError(
                    f"{runner} works in processes that read folders, and {name.upper()}={place} is none; set "
                    f"{name.upper()} to a folder that they share, or run Beam in the task's process: BEAM=local"
                )
        return value

    @field_validator("postgres_sslmode")
    @classmethod
    def _check_sslmode(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("postgres_embedded") and value in REQUIRES_TLS:
            raise ValueError(
                "the embedded Postgres has no TLS and listens on loopback alone; unset it, or set "
                "POSTGRES_EMBEDDED=false to use another server"
            )
        return value

    @field_validator("mlmd_password")
    @classmethod
    def _plain_password(cls, value: SecretStr | None) -> SecretStr | None:
        # MLMD joins its connection string unquoted (no issue known).
        if value and set(value.get_secret_value()) & set(" '\"\\"):
            raise ValueError("MLMD cannot use a password with a space, a quote or a backslash; choose another")
        return value

    @property
    def drop_rules(self) -> "Rules":
        """The settings that decide which rows of which drops are used."""
        from headlines.drops.rules import Rules

        return self._group(Rules)

    @property
    def alarm_limits(self) -> "alarms.Limits":
        """The settings that decide which figures of a drop stop a run."""
        from headlines.drops.alarms import Limits

        return self._group(Limits)

    @property
    def bar_limits(self) -> "verdict.Limits":
        """The settings that a candidate is judged by."""
        from headlines.bar.verdict import Limits

        return self._group(Limits)

    def _group(self, kind: type[Group]) -> Group:
        """The settings of a rule of the domain's, whose fields have the settings' names.

        Domain modules are imported late: the scheduler reads settings before it forks its tasks, which must import anew
        what decides what a model is.
        """
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})  # type: ignore[arg-type]

    @property
    def text_rules(self) -> dict[str, bool]:
        """The settings that decide how the model sees a title, as `modules.text` takes them."""
        return self.model_dump(include=set(_TEXT_RULES))

    @property
    def mlmd(self) -> "Postgres":
        """Where MLMD's database is.

        Raises:
          SettingsError: MLMD_PASSWORD is not set.
        """
        return self.database("mlmd")

    @property
    def airflow_db(self) -> "Postgres | None":
        """Where Airflow's database is; None where no password for it is set."""
        return self.database("airflow_db") if self.airflow_db_password else None

    def database(self, prefix: Literal["mlmd", "airflow_db"]) -> "Postgres":
        """Where a database is.

        Args:
          prefix: how the names of its settings begin.

        Raises:
          SettingsError: its password is not set.
        """
        from headlines.postgres_address import Postgres

        host, port, name, user = (getattr(self, f"{prefix}_{part}") for part in ("host", "port", "database", "user"))
        password = self.secret(f"{prefix}_password")
        return Postgres(_OWNERS[prefix], prefix.upper(), host, port, name, user, password, self.tls_options)

    @property
    def broker(self) -> str:
        """The address of the broker, with its password.

        Raises:
          SettingsError: REDIS_PASSWORD is not set.
        """
        if self.broker_url is not None:
            url = self.broker_url.get_secret_value()
            if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
                # Unless it is told, kombu checks nobody's certificate (celery/kombu, transport/redis.py).
                url += f"{'&' if '?' in url else '?'}ssl_cert_reqs=CERT_REQUIRED"
            return url
        return f"redis://:{quote(self.secret('redis_password'), safe='')}@127.0.0.1:{self.redis_port}/0"

    @property
    def has_own_redis(self) -> bool:
        """Whether the service runs a Redis itself."""
        return self.executor == "celery" and self.broker_url is None

    @property
    def queues(self) -> dict[str, str]:
        """The queue of each node that has one of its own, by node."""
        from headlines.names import EVALUATOR, TRAINER, TUNER

        own = {TRAINER: self.queue_trainer, TUNER: self.queue_tuner, EVALUATOR: self.queue_evaluator}
        return {node: queue for node, queue in own.items() if queue and queue != self.queue}

    @property
    def queues_taken(self) -> tuple[str, ...]:
        """The queues from which a worker with these settings takes tasks."""
        return self.worker_queues or tuple(dict.fromkeys([self.queue, *self.queues.values()]))

    @property
    def tls_options(self) -> dict[str, str]:
        """What libpq is told of TLS beyond its own defaults, by its parameters."""
        options = {} if self.postgres_sslmode == "prefer" else {"sslmode": self.postgres_sslmode}
        return options | ({"sslrootcert": str(self.postgres_sslrootcert)} if self.postgres_sslrootcert else {})

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

    def make_state_dir(self) -> None:
        """Makes the state folder where it is not there.

        Raises:
          SettingsError: it cannot be made.
        """
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(_explain_place("STATE_DIR", self.state_dir, error)) from None

    def explain(self, error: OSError) -> str | None:
        """What to do about a file that cannot be used, where it is in or above the folder of a setting; else None."""
        for name in _PLACES:
            place: Path = getattr(self, name)
            for file in filter(None, (error.filename2, error.filename)):
                if is_object(str(file)):
                    one = to_path(str(file))
                    # What goes with the versions lies beside them.
                    is_there = one.is_relative_to(place) or place.is_relative_to(one)
                    if is_object(place) and (is_there or (name == "serving_dir" and one.parent == place.parent)):
                        return _explain_objects(name.upper(), place, error)
                    continue
                path = Path(os.fsdecode(file))
                if path.is_absolute() and (path.is_relative_to(place) or place.is_relative_to(path)):
                    return _explain_place(name.upper(), place, error)
        return None

    @property
    def secrets_dir(self) -> Path:
        """Where the values made at first start are kept, one file (mode 0600) per setting."""
        return self.state_dir / "secrets"

    @property
    def written_places(self) -> tuple[Path, ...]:
        """The folders of this machine in which a night leaves something; each may be on a disk of its own."""
        of_nights = (self.pipeline_root, self.serving_dir, self.scores_dir)
        places = [self.state_dir, *of_nights, self.notices_dir, self.task_logs_dir]
        if is_object(self.pipeline_root):
            # Where a component runs on copies.
            places.append(Path(tempfile.gettempdir()))
        return tuple(place for place in places if not is_object(place))

    @property
    def airflow_home(self) -> Path:
        """Airflow's home: its configuration and its logs."""
        return self.state_dir / "airflow"

    @property
    def log_folders(self) -> tuple[Path, ...]:
        """Where Airflow's logs are: those of the tasks, and of its own programs beside them unless they are apart."""
        return tuple(dict.fromkeys((self.airflow_home / "logs", self.task_logs_dir)))

    @property
    def server_options(self) -> dict[str, str]:
        """What `.env` says to the model server beyond the settings here, as environment variables."""
        options = {
            name: value for name, value in self._beyond(_SERVER_PREFIX).items() if name not in self.secret_pointers()
        }
        # Its own default is below the home folder, where a unit may not write.
        copies = {"SERVING_CACHE_DIR": str(self.state_dir / "serving-copies")} if is_object(self.serving_dir) else {}
        return copies | options

    @property
    def airflow_options(self) -> dict[str, str]:
        """What `.env` says to Airflow by variables of Airflow's own."""
        return self._beyond(_AIRFLOW_PREFIX)

    def given_airflow_options(self) -> dict[str, str]:
        """What `.env` and this process' environment say to Airflow by variables of Airflow's own."""
        given = {name: value for name, value in os.environ.items() if name.lower().startswith(_AIRFLOW_PREFIX)}
        return self.airflow_options | given

    def given_server_options(self) -> dict[str, str]:
        """What `.env` and this process' environment say to the model server beyond the settings here."""
        given = {
            name.upper(): value
            for name, value in os.environ.items()
            if name.lower().startswith(_SERVER_PREFIX) and name.lower() not in type(self).model_fields
        }
        return self.server_options | given

    def _beyond(self, prefix: str) -> dict[str, str]:
        variables = DotEnvSettingsSource(type(self), env_file=ENV_FILE).env_vars
        return {
            name.upper(): value
            for name, value in variables.items()
            if value and name.startswith(prefix) and name not in type(self).model_fields
        }

    @classmethod
    def find_old_names(cls) -> list[str]:
        """One sentence for each setting that the environment or `.env` calls by a name it has no more."""
        environment = EnvSettingsSource(cls).env_vars
        file = DotEnvSettingsSource(cls, env_file=ENV_FILE).env_vars
        return renamed_settings.find_problems(
            {name: text for name, text in environment.items() if text},
            {name: text for name, text in file.items() if text},
            ENV_FILE,
        )

    @classmethod
    def secret_pointers(cls) -> set[str]:
        """The variables that may say where a secret is; who is given the secret itself must not see them."""
        return secret_sources.pointers(cls)

    @classmethod
    def given_by_environment(cls) -> dict[str, str]:
        """What only this process' environment gives, by variable: settings, the model server's, Airflow's own."""
        variables = EnvSettingsSource(cls).env_vars
        return {
            name.upper(): value
            for name, value in variables.items()
            if value and (name in cls.model_fields or name.startswith((_SERVER_PREFIX, _AIRFLOW_PREFIX)))
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

    def write(self, name: str) -> str | None:
        """The text from which a setting is read as it is; None for one that is not set."""
        value = getattr(self, name)
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        text = self.model_dump(mode="json", include={name})[name]
        return None if text is None else str(text).lower() if isinstance(text, bool) else str(text)

    def to_environment(self) -> dict[str, str]:
        """The settings as the environment variables they are read from."""
        texts = {name.upper(): self.write(name) for name in type(self).model_fields}
        return {name: text for name, text in texts.items() if text is not None}

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Reads the settings.

        Args:
          **overrides: fields that win over the environment.

        Raises:
          SettingsError: one line per setting that is wrong.
        """
        secrets_dir = BASE / "var" / "secrets"
        try:
            located = _Places(_env_file=ENV_FILE)
            if not (overrides.get("state_dir") or "state_dir" in located.model_fields_set):
                _check_base()
            secrets_dir = BASE / (overrides.get("state_dir") or located.state_dir) / "secrets"
            return cls(_env_file=ENV_FILE, _secrets_dir=secrets_dir if secrets_dir.is_dir() else None, **overrides)
        except secret_sources.SourceError as error:
            raise SettingsError(str(error)) from None
        except OSError as error:
            raise SettingsError(_explain_place("STATE_DIR", secrets_dir.parent, error)) from None
        except ValidationError as error:
            raise SettingsError(
                "\n".join(
                    _explain(problem["loc"], problem["input"], problem["msg"])
                    for problem in error.errors()
                    # It follows another setting, which is named already.
                    if problem["type"] != "default_factory_not_called"
                )
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


def _check_base() -> None:
    """Refuses to write beside what is not the service's: a wheel may be used anywhere, as by a daemon in `/`.

    Raises:
      SettingsError: the folder is the root of the file system, or where Python keeps packages.
    """
    if not types.IS_CHECKOUT and BASE in (Path(BASE.anchor), CHECKOUT):
        raise SettingsError(
            f"STATE_DIR is not set, there is no checkout, and this process runs in {BASE}, which is no place for it; "
            "set STATE_DIR and DROPS_DIR, or run it in a folder of your own"
        )


def _explain_place(setting: str, place: Path, error: OSError) -> str:
    """Why a folder cannot be used, and what to do."""
    from headlines import disk

    file = Path(os.fsdecode(error.filename2 or error.filename or place))
    other = f"set {setting} to a folder of your own"
    if isinstance(error, FileExistsError | NotADirectoryError):
        blocking = next((path for path in reversed([file, *file.parents]) if path.exists() and not path.is_dir()), file)
        why = f"{blocking} is a file where a folder should be; move it away, or {other}"
    elif error.errno == errno.EROFS:
        why = f"{disk.find_disk(file).name} is mounted read-only, so {file} cannot be written; {other}"
    elif isinstance(error, PermissionError):
        why = f"this user may not use {file}; give it the right, run this as who may, or {other}"
    elif full := disk.tell_full(error, [place]):
        why = f"{file} cannot be written: {full}; free some there, or {other}"
    else:
        why = f"{file} cannot be used: {error.strerror or error}; mend that, or {other}"
    return f"{setting}={str(place)!r}: {why}"


def _explain_objects(setting: str, place: Path, error: OSError) -> str:
    """Why a folder on object storage cannot be used, and what to do."""
    return (
        f"{setting}={str(place)!r}: {error.filename} cannot be used: {error.strerror}; correct {setting}, or what the "
        "environment says of object storage: docs/object-storage.md names its variables"
    )


def _explain(location: tuple[int | str, ...], value: object, problem: str) -> str:
    setting, *keys = map(str, location)
    # Of a setting that has keys, the one that is wrong.
    name = setting.upper() + "".join(f" of {key}" for key in keys)
    shown = "" if "Secret" in str(Settings.model_fields[setting].annotation) else f"={value!r}"
    for old in renamed_settings.find_old_names(setting):
        shown += f" (or {old.upper()}, as it was called)"
    return f"{name}{shown}: {problem.removeprefix('Value error, ')}; correct it in .env or in the environment"


class _Places(BaseSettings):
    """What must be known before the secrets can be found."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    state_dir: types.Place = BASE / "var"
