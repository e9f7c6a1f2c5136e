"""What is made at first start: kept to its owner, made once, never a copy of what a user set."""

import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from retraining.local import secrets
from retraining.settings import Settings

MADE = {name for name, field in Settings.model_fields.items() if "Made at first start" in (field.description or "")}


@pytest.fixture(autouse=True)
def state_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


def test_everything_that_the_settings_promise_is_made_and_read_back() -> None:
    made = secrets.make_missing(Settings.from_env())
    assert {path.name for path in made.secrets_dir.iterdir()} == MADE
    assert all(getattr(made, name) for name in MADE)
    assert Settings.from_env() == made


def test_only_the_owner_can_read_what_was_made() -> None:
    directory = secrets.make_missing(Settings.from_env()).secrets_dir
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_second_start_changes_nothing() -> None:
    first = secrets.make_missing(Settings.from_env())
    assert secrets.make_missing(Settings.from_env()) == first


def test_every_password_is_another() -> None:
    made = secrets.make_missing(Settings.from_env())
    values = [made.secret(name) for name in MADE if name != "scheduled_from"]
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 40


def test_a_password_that_was_set_is_used_and_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_ADMIN_PASSWORD", "chosen")
    made = secrets.make_missing(Settings.from_env())
    assert made.secret("airflow_admin_password") == "chosen"
    assert not (made.secrets_dir / "airflow_admin_password").exists()


def test_the_fernet_key_is_one_that_airflow_can_use() -> None:
    key = secrets.make_missing(Settings.from_env()).secret("airflow_fernet_key")
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"kept")) == b"kept"
