"""The embedded server, for real: who may see what, where it listens, and what survives an interrupted start."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
from postgres_server import Server

from retraining.local import postgres, secrets
from retraining.local.postgres import PostgresError
from retraining.settings import CHECKOUT, Settings


def settings_at(place: Path) -> Settings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return secrets.make_missing(Settings.from_env(state_dir=place, postgres_port=port))


def copy_binaries(place: Path) -> Path:
    """Copies the server's binaries and their libraries to the folder `place`; the folder of `postgres` there."""
    package = postgres.find_binaries().parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, place / folder.name)
    return place / postgres.find_binaries().relative_to(package.parent)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # As a checkout below /root is: environment and state in a folder that nobody else may enter, a space in the path.
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    binaries = copy_binaries(closed / "an environment")
    settings = settings_at(closed / "a state; 100 % #1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "find_binaries", lambda: binaries)
        postgres.make_data(settings)
        server = Server(settings)
        server.start()
        try:
            postgres.make_databases(settings)
            yield server
        finally:
            server.crash()


def connect(server: Server, user: str, password: str, database: str) -> None:
    psycopg2.connect(
        host="127.0.0.1", port=server.settings.postgres_port, user=user, password=password, dbname=database
    ).close()


@pytest.mark.parametrize(("user", "secret"), [("airflow", "airflow_db_password"), ("mlmd", "mlmd_password")])
def test_a_role_gets_into_its_own_database_and_into_no_other(server: Server, user: str, secret: str) -> None:
    password = server.settings.secret(secret)
    connect(server, user, password, user)
    for other in {"airflow", "mlmd", "postgres", "template1"} - {user}:
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            connect(server, user, password, other)


@pytest.mark.parametrize("user", ["airflow", "mlmd", "postgres"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_nobody_gets_in_without_the_right_password(server: Server, user: str, password: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password"):
        connect(server, user, password, "airflow")


def test_neither_role_has_more_rights_than_it_needs(server: Server) -> None:
    with closing(postgres.connect_superuser(server.settings)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """SELECT rolname FROM pg_roles WHERE rolcanlogin
               AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)"""
        )
        assert cursor.fetchall() == [("postgres",)]


def test_the_server_is_not_root_and_listens_on_loopback_alone(server: Server) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    assert process.uids().effective != 0
    assert {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    assert not [c for c in process.net_connections("unix") if c.status == psutil.CONN_LISTEN]


def test_making_the_databases_again_keeps_what_is_in_them_and_takes_new_passwords(server: Server) -> None:
    settings = server.settings
    with closing(
        psycopg2.connect(
            host="127.0.0.1",
            port=settings.postgres_port,
            user="mlmd",
            password=settings.secret("mlmd_password"),
            dbname="mlmd",
        )
    ) as connection:
        connection.cursor().execute("CREATE TABLE kept ()")
        connection.commit()
    changed = Settings.from_env(
        state_dir=settings.state_dir, postgres_port=settings.postgres_port, mlmd_password="another"
    )
    postgres.make_databases(changed)
    connect(server, "mlmd", "another", "mlmd")
    postgres.make_databases(settings)
    with closing(
        psycopg2.connect(
            host="127.0.0.1",
            port=settings.postgres_port,
            user="mlmd",
            password=settings.secret("mlmd_password"),
            dbname="mlmd",
        )
    ) as connection:
        connection.cursor().execute("SELECT * FROM kept")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts its server as another user")
def test_root_without_capabilities_is_told_which_folder_the_server_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    script = (
        "import sys; from pathlib import Path; from retraining.local import postgres\n"
        "from retraining.settings import Settings\n"
        "postgres.make_data(Settings.from_env(state_dir=Path(sys.argv[1])))"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all,+setuid,+setgid,+chown", sys.executable, "-c", script, closed / "state"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    first_closed = next(folder for folder in reversed((closed / "state").parents) if not folder.stat().st_mode & 0o001)
    assert f"`nobody` may not enter {first_closed}" in done.stderr
    assert "or do not run as root" in done.stderr
    assert not (closed / "state" / "postgres").exists()


def test_an_initdb_that_was_interrupted_is_begun_anew(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    half_made = postgres.data_dir(settings).parent / "half-made"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    postgres.make_data(settings)
    assert (postgres.data_dir(settings) / "global" / "pg_control").is_file()
    assert sorted(path.name for path in half_made.parent.iterdir()) == ["data"]


def test_an_initdb_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_at(tmp_path)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "initdb").write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    (binaries / "initdb").chmod(0o755)
    monkeypatch.setattr(postgres, "find_binaries", lambda: binaries)
    monkeypatch.setattr(postgres, "_unprivileged", list)
    with pytest.raises(PostgresError, match="no space left"):
        postgres.make_data(settings)
    assert list(postgres.data_dir(settings).parent.iterdir()) == []


def test_data_of_another_major_version_is_left_alone_with_what_to_do(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    data = postgres.data_dir(settings)
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="made by Postgres 9"):
        postgres.make_data(settings)
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
