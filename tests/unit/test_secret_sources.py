"""Secrets that stand elsewhere: in files, as Docker and Kubernetes mount them, or in Airflow's secrets backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from retraining import secret_sources
from retraining.local import airflow
from retraining.settings import CHECKOUT, Settings, SettingsError
from serving.settings import Settings as ServerSettings
from serving.settings import SettingsError as ServerSettingsError

SECRETS = [name for name, field in Settings.model_fields.items() if secret_sources.is_secret(field)]
BACKEND = "airflow.secrets.local_filesystem.LocalFilesystemBackend"


@pytest.fixture(autouse=True)
def state_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


def text_of(name: str) -> str:
    """A value that the setting takes."""
    return f"{'redis' if name == 'broker_url' else 'https'}://example.org/{name}"


def test_every_setting_that_is_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {"mlmd_password", "serving_token", "notify", "airflow_fernet_key"} <= set(SECRETS)
    for name in SECRETS:
        (tmp_path / name).write_text(f"{text_of(name)}\n")
        monkeypatch.setenv(f"{name.upper()}_FILE", str(tmp_path / name))
    settings = Settings.from_env()
    assert {name: settings.write(name) for name in SECRETS} == {name: text_of(name) for name in SECRETS}


def test_a_file_that_env_names_wins_over_what_was_made_at_first_start_and_counts_from_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = tmp_path / "state" / "secrets"
    made.mkdir(parents=True)
    (made / "mlmd_password").write_text("made")
    (tmp_path / "mounted").write_text("mounted")
    (tmp_path / ".env").write_text(f"MLMD_PASSWORD_FILE={os.path.relpath(tmp_path / 'mounted', CHECKOUT)}\n")
    assert Settings.from_env().secret("mlmd_password") == "mounted"


def test_what_is_wrong_with_a_file_is_told_and_never_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "mounted"
    monkeypatch.setenv("MLMD_PASSWORD_FILE", str(file))
    with pytest.raises(SettingsError, match=f"^MLMD_PASSWORD_FILE={file}: No such file"):
        Settings.from_env()
    file.write_text("\n")
    with pytest.raises(SettingsError, match="the file is empty"):
        Settings.from_env()
    file.write_text("top secret")
    with pytest.raises(SettingsError, match="MLMD_PASSWORD: MLMD cannot use") as refused:
        Settings.from_env()
    assert "top secret" not in str(refused.value)
    monkeypatch.setenv("MLMD_PASSWORD", "another")
    with pytest.raises(SettingsError, match="MLMD_PASSWORD and MLMD_PASSWORD_FILE are both set; leave one"):
        Settings.from_env()


def test_the_processes_of_the_service_get_the_secret_and_not_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in SECRETS:
        (tmp_path / name).write_text(text_of(name))
        monkeypatch.setenv(f"{name.upper()}_FILE", str(tmp_path / name))
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", BACKEND)
    monkeypatch.setenv("AIRFLOW__WEBSERVER__SECRET_KEY", "of somebody else")
    environment = airflow.environment(Settings.from_env())
    assert not set(environment) & Settings.secret_pointers()
    assert environment["AIRFLOW__SECRETS__BACKEND"] == BACKEND
    assert environment["AIRFLOW__WEBSERVER__SECRET_KEY"] == text_of("airflow_secret_key")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in SECRETS:
        monkeypatch.delenv(f"{name.upper()}_FILE")
    assert Settings.from_env().secret("mlmd_password") == text_of("mlmd_password")


def test_secrets_are_had_from_airflow_s_backend_and_airflow_s_connections_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "variables.json").write_text(json.dumps({"headlines-mlmd": "kept-there", "other": "x"}))
    (tmp_path / "connections.json").write_text(json.dumps({"held": "http://user:word@example.org"}))
    kept = {
        "variables_file_path": f"{tmp_path}/variables.json",
        "connections_file_path": f"{tmp_path}/connections.json",
    }
    (tmp_path / ".env").write_text(
        "MLMD_PASSWORD_SECRET=headlines-mlmd\n"
        f"AIRFLOW__SECRETS__BACKEND={BACKEND}\nAIRFLOW__SECRETS__BACKEND_KWARGS='{json.dumps(kept)}'\n"
    )
    settings = Settings.from_env()
    assert settings.secret("mlmd_password") == "kept-there"
    given = settings.model_copy(
        update={name: settings.mlmd_password for name in SECRETS if getattr(settings, name) is None}
        | {"airflow_fernet_key": SecretStr(Fernet.generate_key().decode())}
    )
    environment = airflow.environment(given) | {"AIRFLOW_HOME": str(tmp_path / "airflow")}
    asked = "from airflow.hooks.base import BaseHook; print(BaseHook.get_connection('held').password)"
    finished = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert finished.stdout.splitlines()[-1] == "word"

    (tmp_path / "variables.json").write_text("{}")
    secret_sources._ask_backend.cache_clear()
    with pytest.raises(SettingsError, match="MLMD_PASSWORD_SECRET='headlines-mlmd': Airflow's secrets backend has no"):
        Settings.from_env()


def test_a_backend_that_is_not_set_or_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMD_PASSWORD_SECRET", "headlines-mlmd-of-nobody")
    with pytest.raises(SettingsError, match="cannot be asked: AIRFLOW__SECRETS__BACKEND is not set"):
        Settings.from_env()


def test_the_model_server_takes_its_token_from_a_file_and_never_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SERVING_TOKEN", raising=False)
    monkeypatch.setenv("SERVING_DIR", str(tmp_path))
    file = tmp_path / "token"
    file.write_text("of the file\n")
    monkeypatch.setenv("SERVING_TOKEN_FILE", str(file))
    token = ServerSettings.from_env().token
    assert token and token.get_secret_value() == "of the file"
    file.write_text("")
    with pytest.raises(ServerSettingsError, match=f"^SERVING_TOKEN_FILE={file}: the file is empty"):
        ServerSettings.from_env()
    monkeypatch.setenv("SERVING_TOKEN", "another")
    with pytest.raises(ServerSettingsError, match="are both set"):
        ServerSettings.from_env()
