"""The grammars of settings: how the text in the environment becomes a value, is refused, and is written again.

A type here is all that a setting with a grammar needs: reading, checking and `Settings.write` go by it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from croniter import croniter
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr
from pydantic_settings import NoDecode

from headlines.objects.addresses import check_folder, is_address, to_path
from retraining.notify_addresses import parse_addresses

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where the rooms lie: the checkout or, of an installed wheel, where Python keeps its packages."""
IS_CHECKOUT = (CHECKOUT / "dags" / "headline_retraining.py").is_file()
BASE = CHECKOUT if IS_CHECKOUT else Path.cwd()
"""Where `.env` is and relative paths count from: the checkout, or else the folder in which the command is run."""
BUNDLE = CHECKOUT if IS_CHECKOUT else CHECKOUT / "retraining" / "bundled"
"""Where `dags/` and `plugins/` are: a wheel brings them inside a package, as they are none themselves."""
# https://docs.celeryq.dev/en/v5.6.2/getting-started/backends-and-brokers/index.html
_BROKERS = ("redis", "rediss", "amqp", "amqps")
NONE = "none"
"""How nothing is written, where an empty variable counts as not set."""


def _locate(value: object) -> object:
    """An absolute path; a relative one counts from `BASE`, and processes of the service are given absolute ones."""
    if not isinstance(value, str | Path):
        return value
    if is_address(str(value)):
        raise ValueError("it is an address, and only a path of this machine can be used; mount it, and give its path")
    if not str(value).strip():
        raise ValueError("it is blank; write a path, or nothing at all for the default")
    try:
        return BASE / Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{error}; write the path out") from None


def _locate_anywhere(value: object) -> object:
    """The same, or a folder on object storage."""
    if not isinstance(value, str | Path) or not is_address(str(value)):
        return _locate(value)
    return to_path(check_folder(str(value)).rstrip("/"))


def _check_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise ValueError("there is no such time zone; write it as in America/Sao_Paulo or UTC") from None
    return value


def _check_schedule(value: str) -> str:
    try:
        if value != NONE:
            if len(value.split()) != 5 and not value.startswith("@"):
                raise ValueError
            # 30 February is an expression, and never comes.
            croniter(value).get_next()
    except ValueError:
        raise ValueError(
            "it is no cron expression of five fields such as `0 2 * * *` that ever comes, nor `none`"
        ) from None
    return value


def check_night(value: str) -> str:
    """The text of a night, as it is.

    Raises:
      ValueError: it is no date `YYYY-MM-DD`.
    """
    # Late, as everything that a task must import anew after an edit: the scheduler reads settings before it forks.
    from headlines.drops.drops_folder import parse_night

    return parse_night(value).isoformat()


def _split_web_address(text: str) -> SplitResult:
    parts = urlsplit(text)
    try:
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("it is no address that begins with http:// or https://")
    return parts


def _check_web_address(value: SecretStr) -> SecretStr:
    _split_web_address(value.get_secret_value())
    return value


def _check_notify(value: SecretStr) -> SecretStr:
    parse_addresses(value.get_secret_value())
    return value


def _check_public_address(value: str) -> str:
    parts = _split_web_address(value)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it is sent to everybody who is told of anything: leave out user, password, ? and #")
    return value.rstrip("/")


EACH = "dns+"
"""What an address of model servers begins with whose name stands for several, as in dns+http://model-servers:8501."""


def _check_servers(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for address in value or ():
        parts = _split_web_address(address.removeprefix(EACH))
        if address.startswith(EACH) and parts.scheme != "http":
            raise ValueError(
                f"{EACH} asks each server of a name by its number, for which no certificate is: use {EACH}http://"
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "an address of a model server is shown on pages, and is no more than http://host:port, perhaps with a "
                "path: leave out user, password, ? and #; SERVING_TOKEN is how one is let in"
            )
    return None if value is None else tuple(dict.fromkeys(address.rstrip("/") for address in value))


def _check_broker(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in _BROKERS or not parts.netloc:
        raise ValueError(f"it is no address that begins with one of {', '.join(f'{one}://' for one in _BROKERS)}")
    return value


def _check_host_port(value: str) -> str:
    host, separator, port = value.rpartition(":")
    if not (separator and host and "/" not in host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("write host:port, without http://")
    return value


def _check_spark_master(value: str) -> str:
    # `local-cluster[...]` is Spark's own test; a driver beside the workers is what BEAM=local is for.
    if not value.startswith("spark://"):
        raise ValueError("write spark://host:port, the address of a standalone cluster")
    _check_host_port(value.removeprefix("spark://"))
    return value


def _check_loopback(value: str) -> str:
    from headlines.postgres_address import is_local

    host, separator, port = value.rpartition(":")
    if not (separator and is_local(host) and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("write host:port of this machine, as 127.0.0.1:6432: from here to there nothing is encrypted")
    return value


def _refuse_unknown(labels: Iterable[str]) -> None:
    from modules.features import LABELS

    for name in labels:
        if name not in LABELS:
            raise ValueError(f"{name} is no label; the labels are {', '.join(LABELS)}")


def _check_labels(value: dict[str, Any]) -> dict[str, Any]:
    _refuse_unknown(value)
    return value


def _check_codes(value: dict[str, str]) -> dict[str, str]:
    from headlines.drops.version_folder import find_codes_problem
    from modules.features import LABELS

    _refuse_unknown(value.values())
    if problem := find_codes_problem(value):
        raise ValueError(problem)
    label_of: dict[str, str] = {}
    for code, label in value.items():
        if code.casefold() in LABELS:
            raise ValueError(f"{code} is a label, not a code, and always stands for itself; leave it out")
        if (other := label_of.setdefault(code.casefold(), label)) != label:
            raise ValueError(f"code {code} is both {other} and {label}; large and small letters are the same in codes")
    return value


def parse_codes(text: str) -> dict[str, str]:
    """Label codes, from a text as LABEL_CODES is written.

    Raises:
      ValueError: they are none; the message says why.
    """
    return _check_codes(_parse_pairs(text))


def _check_patterns(value: dict[str, str]) -> dict[str, str]:
    from headlines.bar.verdict import check_patterns

    check_patterns(value)
    return value


def _check_arguments(value: tuple[str, ...]) -> tuple[str, ...]:
    for argument in value:
        if not argument.startswith("--"):
            raise ValueError(f"{argument!r} is no argument; write each as --name=value, separated by spaces")
    return value


def _parse_pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value == NONE:
        return {}
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if not pairs or any(not separator for _, separator, _ in pairs):
        raise ValueError(
            f"write name=value pairs separated by commas, such as 0=negative,1=neutral,2=positive, or {NONE} for none"
        )
    return _collect((name.strip(), text.strip()) for name, _, text in pairs)


def _collect(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values by name; a name that has two would lose one."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if values.setdefault(name, value) != value:
            raise ValueError(f"{name} is given twice, as {values[name]} and as {value}")
    return values


def _write_pairs(value: Mapping[str, object]) -> str:
    return ",".join(f"{name}={text}" for name, text in value.items()) or NONE


def _parse_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, object_pairs_hook=_collect)
    except json.JSONDecodeError as error:
        raise ValueError(f'it is not JSON ({error}); write it as {{"name": value}}') from None


def _write_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _parse_words(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _parse_servers(value: object) -> object:
    return () if value == NONE else _parse_words(value) or None


def _write_servers(value: tuple[str, ...] | None) -> str | None:
    return None if value is None else " ".join(value) or NONE


def _parse_arguments(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


_PAIRS = (NoDecode, BeforeValidator(_parse_pairs), PlainSerializer(_write_pairs, when_used="json"))
_JSON = (NoDecode, BeforeValidator(_parse_json), PlainSerializer(_write_json, when_used="json"))
_WORDS = PlainSerializer(" ".join, when_used="json")

Port = Annotated[int, Field(ge=1, le=65535)]
PortOrNone = Annotated[int, Field(ge=0, le=65535)]
Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[Path, BeforeValidator(_locate)]
PlaceOrObjects = Annotated[Path, BeforeValidator(_locate_anywhere)]
Zone = Annotated[str, AfterValidator(_check_zone)]
Cron = Annotated[str, AfterValidator(_check_schedule)]
Night = Annotated[str, AfterValidator(check_night)]
Broker = Annotated[SecretStr, AfterValidator(_check_broker)]
Queue = Annotated[str, Field(pattern=r"^[\w.-]+$")]
WebAddress = Annotated[SecretStr, AfterValidator(_check_web_address)]
PublicAddress = Annotated[str, AfterValidator(_check_public_address)]
NotifyAddresses = Annotated[SecretStr, AfterValidator(_check_notify)]
HostPort = Annotated[str, AfterValidator(_check_host_port)]
SparkMaster = Annotated[str, AfterValidator(_check_spark_master)]
LoopbackAddress = Annotated[str, AfterValidator(_check_loopback)]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
Servers = Annotated[
    tuple[str, ...] | None,
    NoDecode,
    BeforeValidator(_parse_servers),
    AfterValidator(_check_servers),
    PlainSerializer(_write_servers, when_used="json"),
]
Codes = Annotated[dict[str, str], *_PAIRS, AfterValidator(_check_codes)]
LabelShares = Annotated[dict[str, Share], *_PAIRS, AfterValidator(_check_labels)]
Patterns = Annotated[dict[str, str], *_JSON, AfterValidator(_check_patterns)]
Hyperparameters = Annotated[dict[str, bool | int | float], *_JSON]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_words), _WORDS]
Arguments = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_parse_arguments), AfterValidator(_check_arguments), _WORDS
]
