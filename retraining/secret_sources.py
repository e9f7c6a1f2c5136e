"""Secrets that stand elsewhere: in a file that `X_FILE` names, or in Airflow's secrets backend by `X_SECRET`.

Docker and Kubernetes mount secrets as files; a team keeps them in Vault or a cloud's store, which Airflow can read.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from headlines.errors import HeadlinesError
from retraining.setting_types import BASE

FILE, SECRET = "_file", "_secret"
"""What is put behind a setting's name, in small letters: its file's path, or its name in the backend follows."""
BACKEND_PREFIX = "AIRFLOW__SECRETS__"
"""How the variables begin that say which backend there is; Airflow's own."""
_ENDS = (FILE, SECRET)
_ASK_SECONDS = 120


class SourceError(HeadlinesError):
    """A secret cannot be had from where a setting says it is; the message names the setting, never a value."""


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting's value is shown to nobody."""
    return "Secret" in str(field.annotation)


def pointers(model: type[BaseSettings]) -> set[str]:
    """The variables, in capitals, that may say where a secret is: two for each."""
    return {f"{name}{end}".upper() for name, field in model.model_fields.items() if is_secret(field) for end in _ENDS}


class ElsewhereSource(PydanticBaseSettingsSource):
    """Reads the secrets whose place was given by `X_FILE` or `X_SECRET`, in the environment or in `.env`."""

    def __init__(self, model: type[BaseSettings], *given: PydanticBaseSettingsSource) -> None:
        """Takes the sources that have the variables, the one that wins first."""
        super().__init__(model)
        self._variables: dict[str, str] = {}
        for source in reversed(given):
            if isinstance(source, EnvSettingsSource):
                self._variables |= {name.lower(): value for name, value in source.env_vars.items() if value}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The place of one setting; asked for by pydantic's own sources alone."""
        return self._variables.get(field_name + FILE), field_name, False

    def __call__(self) -> dict[str, Any]:
        """The values.

        Raises:
          SourceError: a setting is given twice, a file cannot be read, or the backend does not have it.
        """
        files: dict[str, str] = {}
        keys: dict[str, str] = {}
        for name, field in self.settings_cls.model_fields.items():
            if not is_secret(field):
                continue
            given = [name + end for end in ("", *_ENDS) if name + end in self._variables]
            if len(given) > 1:
                raise SourceError(f"{' and '.join(map(str.upper, given))} are both set; leave one of them out")
            for end, places in ((FILE, files), (SECRET, keys)):
                if name + end in self._variables:
                    places[name] = self._variables[name + end]
        values = {name: _read(name, path) for name, path in files.items()}
        if keys:
            answers = _ask_backend(tuple(sorted(set(keys.values()))), tuple(self._backend().items()))
            for name, key in keys.items():
                value = answers[key]
                if value is None:
                    raise SourceError(
                        f"{name.upper()}_SECRET={key!r}: Airflow's secrets backend has no variable of that name; put "
                        "it there, or correct the name"
                    )
                values[name] = value
        return values

    def _backend(self) -> Mapping[str, str]:
        prefix = BACKEND_PREFIX.lower()
        return {name.upper(): value for name, value in self._variables.items() if name.startswith(prefix)}


def _read(name: str, path: str) -> str:
    """What a file holds, without the line's end that an editor leaves."""
    try:
        value = (BASE / path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{name.upper()}_FILE={path}: {getattr(error, 'strerror', None) or error}") from None
    if not value:
        raise SourceError(f"{name.upper()}_FILE={path}: the file is empty; write the secret into it")
    return value


@functools.cache
def _ask_backend(keys: tuple[str, ...], backend: tuple[tuple[str, str], ...]) -> dict[str, str | None]:
    """Asks Airflow's backend for variables: in a process of its own, for importing Airflow here would slow everything.

    The answer comes through a pipe, and is asked for once a process.
    """
    with tempfile.TemporaryDirectory() as home:
        # Airflow writes its configuration into its home when it is imported.
        environment = {"AIRFLOW_HOME": home, **os.environ, **dict(backend)}
        try:
            finished = subprocess.run(
                [sys.executable, "-m", "retraining.secret_backend", *keys],
                env=environment,
                cwd=BASE,
                capture_output=True,
                text=True,
                timeout=_ASK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SourceError(f"Airflow's secrets backend did not answer within {_ASK_SECONDS} s") from None
    if finished.returncode:
        last = finished.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise SourceError(f"Airflow's secrets backend cannot be asked: {last[0]}; correct AIRFLOW__SECRETS__BACKEND")
    answers: dict[str, str | None] = json.loads(finished.stdout.splitlines()[-1])
    return answers
