"""The passwords and keys made at first start, one file (mode 0600) per setting, and those that are to follow them.

What is to follow lies beside it, as `<name>.next`, until whoever must know of it does: `retraining up` gives it to them
and renames it. Whatever is interrupted in between is gone through again by the next `retraining up`, to the same end.
"""

import base64
import datetime
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from headlines.durable import replace_file, sync
from retraining.settings import Settings


def _password() -> str:
    # Hexadecimal: MLMD joins its connection string unquoted (no issue known), and a shell never needs to quote it.
    return secrets.token_hex(20)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


_MAKERS: dict[str, Callable[[], str]] = {
    "postgres_password": _password,
    "mlmd_password": _password,
    "airflow_db_password": _password,
    "supervisor_password": _password,
    "airflow_admin_password": _password,
    "airflow_fernet_key": _fernet_key,
    "airflow_secret_key": _password,
    "redis_password": _password,
}
NAMES = tuple(_MAKERS)
"""The settings that are passwords and keys."""
_NEXT = ".next"
_KEPT = ("postgres_password", "airflow_fernet_key")
"""Those whose earlier value is needed for the change: it lets in, or decrypts. All others every start gives on."""


def make_missing(settings: Settings) -> Settings:
    """Makes what has never been made and was not set, and returns the settings with it.

    A value given by the environment or `.env` is never written to a file.
    """
    directory = settings.secrets_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    values: dict[str, object] = {}
    for name, make in _MAKERS.items():
        if getattr(settings, name) is None:
            values[name] = SecretStr(_write(settings, name, make()))
    if not settings.scheduled_from:
        today = datetime.datetime.now(ZoneInfo(settings.timezone)).date().isoformat()
        values["scheduled_from"] = _write(settings, "scheduled_from", today)
    return settings.model_copy(update=values)


def is_ours(settings: Settings, name: str) -> bool:
    """Whether a secret is the one that lies in our file, and no environment, `.env` or other place says another."""
    value = getattr(settings, name)
    return value is not None and read(settings, name) == value.get_secret_value()


def read(settings: Settings, name: str) -> str | None:
    """What our file holds of a secret; None where there is none."""
    path = settings.secrets_dir / name
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def stage_next(settings: Settings, names: Iterable[str]) -> None:
    """Makes what is to follow each of our secrets; what was made before and is not in use yet stays."""
    for name in names:
        if not _next_path(settings, name).is_file():
            _write(settings, name + _NEXT, _MAKERS.get(name, _password)())


def find_staged(settings: Settings) -> list[str]:
    """The secrets that something is to follow: a rotation has begun, and has not come to its end."""
    found = sorted(path.name.removesuffix(_NEXT) for path in settings.secrets_dir.glob(f"*{_NEXT}"))
    return [name for name in found if is_ours(settings, name)]


def take_next(settings: Settings) -> Settings:
    """Settings with what is to follow, for a start; nothing of the service may run.

    Of what is only put in the place of the earlier one that is done here. The superuser's password and the key that
    encrypts connections are put there by `finish`. Airflow is given both keys, of which it encrypts by the first.
    """
    values: dict[str, object] = {}
    for name in find_staged(settings):
        value = read(settings, name + _NEXT) or ""
        if name == "airflow_fernet_key":
            values[name] = SecretStr(f"{value},{settings.secret(name)}")
            continue
        values[name] = SecretStr(value)
    following = settings.model_copy(update=values)
    for name in values:
        if name not in _KEPT:
            finish(following, name)
    return following


def is_following(settings: Settings, name: str) -> bool:
    """Whether these settings have what is to follow a secret, which is not in its place yet."""
    value = read(settings, name + _NEXT)
    return value is not None and settings.secret(name).partition(",")[0] == value


def finish(settings: Settings, name: str) -> None:
    """Puts what follows a secret in its place, if these settings have it."""
    if is_following(settings, name):
        _next_path(settings, name).replace(settings.secrets_dir / name)
        sync(settings.secrets_dir)


def _next_path(settings: Settings, name: str) -> Path:
    return settings.secrets_dir / f"{name}{_NEXT}"


def _write(settings: Settings, name: str, value: str) -> str:
    """Writes the whole file or nothing, so that an interrupted start never leaves half a password."""
    replace_file(settings.secrets_dir / name, f"{value}\n", mode=0o600)
    return value
