"""The passwords and keys made at first start, one file (mode 0600) per setting."""

import base64
import datetime
import os
import secrets
from collections.abc import Callable
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from headlines.durable import replace_file
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
}
NAMES = tuple(_MAKERS)
"""The settings that are passwords and keys."""


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


def _write(settings: Settings, name: str, value: str) -> str:
    """Writes the whole file or nothing, so that an interrupted start never leaves half a password."""
    replace_file(settings.secrets_dir / name, f"{value}\n", mode=0o600)
    return value
