"""Secrets that are rotated: whatever stops it at whatever step, the next start ends with one set that all agree on."""

import contextlib
import secrets as random
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from cryptography.fernet import Fernet, MultiFernet
from postgres_server import Server
from typer.testing import CliRunner

from retraining.cli import doctor
from retraining.cli.main import app
from retraining.local import airflow, ports, postgres, preparation, processes, secrets, service, supervisor
from retraining.settings import Settings
from retraining.upkeep import rotation

ALL = secrets.NAMES


class Killed(BaseException):
    """What no `except Exception` hears, as `kill -9`."""


class Box:
    """A service whose Postgres is real, whose Airflow is one encrypted connection, and which dies when it is told to.

    Attributes:
      connection: what Airflow keeps, encrypted.
      countdown: how many steps are taken until it dies; None to live.
      steps: the steps so far.
    """

    def __init__(self) -> None:
        self.connection = b""
        self.countdown: int | None = None
        self.steps: list[str] = []
        self.runs = True

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.countdown is not None:
            self.countdown -= 1
            if self.countdown < 0:
                raise Killed(name)

    def around(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        """Has a function be a step, both before and after it."""
        function: Callable[..., Any] = getattr(module, name)

        def taken(*args: Any, **kwargs: Any) -> Any:
            self.step(f"before {name}")
            answer = function(*args, **kwargs)
            self.step(f"after {name}")
            return answer

        monkeypatch.setattr(module, name, taken)

    @contextlib.contextmanager
    def encrypt(self, settings: Settings, environment: dict[str, str], name: str, *command: str) -> Iterator[None]:
        """What `airflow rotate-fernet-key` does to each connection."""
        assert (name, command) == ("fernet", ("airflow", "rotate-fernet-key"))
        keys = MultiFernet([Fernet(key) for key in environment["AIRFLOW__CORE__FERNET_KEY"].split(",")])
        self.connection = keys.rotate(self.connection)
        yield


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("POSTGRES_PORT", str(port))
    settings = secrets.make_missing(Settings.from_env())
    postgres.make_data(settings)
    server = Server(settings)
    server.start()
    postgres.make_databases(settings)
    yield settings
    server.crash()


@pytest.fixture
def box(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Box:
    box = Box()
    box.connection = Fernet(settings.secret("airflow_fernet_key")).encrypt(b"of a connection")

    def begin(*_: Any) -> None:
        box.runs = True

    def end(*_: Any) -> bool:
        box.runs = False
        return True

    monkeypatch.setattr(supervisor, "is_running", lambda _: box.runs)
    monkeypatch.setattr(supervisor, "start", begin)
    monkeypatch.setattr(supervisor, "run", lambda *_: None)
    monkeypatch.setattr(supervisor, "find_failing", lambda _: [])
    monkeypatch.setattr(service, "down", end)
    monkeypatch.setattr(processes, "end_all", lambda _: False)
    monkeypatch.setattr(service, "_check_place", lambda *_: None)
    monkeypatch.setattr(service, "health", lambda _: service.Health({"serving": "healthy"}))
    monkeypatch.setattr(ports, "check_free", lambda _: None)
    monkeypatch.setattr(preparation, "preparing", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(preparation, "make_admin", lambda *_: None)
    monkeypatch.setattr(preparation, "_begun", box.encrypt)
    monkeypatch.setattr(preparation, "_finish", lambda *_: None)
    monkeypatch.setattr(rotation, "_refuse_during_a_night", lambda _: None)
    for module, name in (
        *((secrets, name) for name in ("_write", "take_next", "finish")),
        *((postgres, name) for name in ("_encrypt", "follow_superuser_password", "make_databases")),
        (supervisor, "start"),
        (service, "down"),
        (preparation, "_finish"),
    ):
        box.around(monkeypatch, module, name)
    return box


def check_agreement(box: Box) -> Settings:
    """Checks that everybody goes by what the files hold, and nothing is left to be done."""
    settings = Settings.from_env()
    postgres.connect_superuser(settings).close()
    for which in ("mlmd", "airflow_db"):
        psycopg2.connect(**settings.database(which).arguments).close()
    assert Fernet(settings.secret("airflow_fernet_key")).decrypt(box.connection) == b"of a connection"
    assert not list(settings.secrets_dir.glob("*.next"))
    return settings


def test_every_secret_is_changed_and_the_earlier_ones_let_nobody_in(settings: Settings, box: Box) -> None:
    assert rotation.rotate(settings, ALL, lambda _: None)
    rotated = check_agreement(box)
    assert all(rotated.secret(name) != settings.secret(name) for name in ALL)
    for which in ("mlmd", "airflow_db"):
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            psycopg2.connect(**settings.database(which).arguments)
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        postgres.connect_superuser(settings, settings.secret("postgres_password"))
    assert rotated.scheduled_from == settings.scheduled_from


def test_a_rotation_that_is_killed_at_any_step_is_brought_to_its_end_by_the_next_start(
    settings: Settings, box: Box
) -> None:
    killed = 0
    while True:
        before = Settings.from_env()
        box.runs, box.countdown, box.steps = True, killed, []
        with contextlib.suppress(Killed):
            rotation.rotate(before, ALL, lambda _: None)
            break
        box.countdown, box.runs = None, False
        staged = secrets.find_staged(Settings.from_env())
        service.up(Settings.from_env(), lambda _: None)
        after = check_agreement(box)
        # What was on the disk is in use; what was not is as before.
        assert {name for name in staged if after.secret(name) == before.secret(name)} == set()
        killed += 1
    check_agreement(box)
    assert killed > 40
    assert {"after _encrypt", "after follow_superuser_password", "after _finish", "before finish"} <= set(box.steps)


def test_no_password_is_in_the_log_of_postgres_though_it_keeps_every_statement(settings: Settings, box: Box) -> None:
    with closing(postgres.connect_superuser(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET log_statement = 'all'")
        cursor.execute("SELECT pg_reload_conf()")
    rotation.rotate(settings, ALL, lambda _: None)
    log = (settings.state_dir / "postgres.log").read_text()
    assert "ALTER ROLE postgres PASSWORD 'SCRAM-SHA-256$" in log
    rotated = Settings.from_env()
    for name in ALL:
        assert settings.secret(name) not in log and rotated.secret(name) not in log, name


def test_what_a_user_set_is_not_changed_and_the_way_is_told_without_its_value(
    settings: Settings, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = random.token_hex(8)
    monkeypatch.setenv("AIRFLOW_SECRET_KEY", value)
    monkeypatch.setenv("SERVING_TOKEN", value)
    box.runs = False
    told = CliRunner().invoke(app, ["rotate-secrets"])
    assert told.exit_code == 0, told.output
    assert "retraining up` on: AIRFLOW_ADMIN_PASSWORD" in " ".join(told.output.split())
    assert "AIRFLOW_SECRET_KEY is not changed" in told.output and "SERVING_TOKEN is not changed" in told.output
    assert value not in told.output
    assert set(secrets.find_staged(Settings.from_env())) == set(ALL) - {"airflow_secret_key"}
    finding = doctor._secrets(Settings.from_env())
    assert finding.level == "warn" and "takes effect with the next `retraining up`" in finding.text


def test_on_a_server_of_ones_own_the_statements_are_told(settings: Settings) -> None:
    planned = rotation.plan(
        settings.model_copy(update={"postgres_embedded": False}), ["MLMD_PASSWORD", "postgres_password"]
    )
    assert planned.renewed == ()
    assert "\\password mlmd" in planned.by_hand["mlmd_password"]
    with pytest.raises(rotation.RotationError, match="no secret of that name; there are airflow_admin_password"):
        rotation.plan(settings, ["window_nights"])


def test_two_keys_are_given_to_airflow_until_everything_is_encrypted_by_the_new_one(settings: Settings) -> None:
    secrets.stage_next(settings, ["airflow_fernet_key"])
    following = secrets.take_next(settings)
    keys = airflow.environment(following)["AIRFLOW__CORE__FERNET_KEY"].split(",")
    assert keys[1] == settings.secret("airflow_fernet_key") != keys[0]
    assert service._configured(airflow.environment(following))["AIRFLOW__CORE__FERNET_KEY"] == keys[0]
    secrets.finish(following, "airflow_fernet_key")
    assert Settings.from_env().secret("airflow_fernet_key") == keys[0]
