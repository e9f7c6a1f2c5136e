"""The Postgres of the tests: the one the service embeds, on a free port."""

import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from pydantic import SecretStr

from retraining.local import postgres as embedded
from retraining.settings import Settings


@dataclass
class Server:
    """The server of the session; `settings` say where it is."""

    settings: Settings
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        home = self.settings.state_dir
        environment = os.environ | {"PATH": f"{embedded.find_binaries()}{os.pathsep}{os.environ['PATH']}"}
        command = [*shlex.split(embedded.server_command(self.settings)), "-c", "fsync=off"]
        with (home / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                embedded.connect_superuser(self.settings).close()
                return
            except psycopg2.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Postgres did not start:\n{(home / 'postgres.log').read_text()}") from None
                time.sleep(0.05)

    def crash(self) -> None:
        """Stops it without a good-bye to its clients."""
        assert self.process
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)


@contextmanager
def lend_database(server: Server, state_dir: Path) -> Iterator[Settings]:
    """Settings with an empty MLMD database of their own, which is dropped in the end."""
    name = f"mlmd_{secrets.token_hex(4)}"
    settings = Settings.from_env(
        state_dir=state_dir,
        postgres_port=server.settings.postgres_port,
        postgres_password=server.settings.postgres_password,
        mlmd_host="127.0.0.1",
        mlmd_port=server.settings.postgres_port,
        mlmd_database=name,
        mlmd_user=name,
        mlmd_password="right",
        airflow_db_password="unused",
    )
    embedded.make_databases(settings)
    try:
        yield settings
    finally:
        with closing(embedded.connect_superuser(settings)) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            cursor.execute(f"DROP ROLE {name}")


def share_with_airflow(settings: Settings) -> Settings:
    """The settings with Airflow's tables in MLMD's database: the names of the two differ."""
    names = ("port", "database", "user", "password")
    return settings.model_copy(update={f"airflow_db_{name}": getattr(settings, f"mlmd_{name}") for name in names})


def make_database(server: Server, place: Path) -> Settings:
    """Settings with an empty MLMD database of their own, and with folders for models, drops and versions in a place."""
    name = f"pages_{secrets.token_hex(4)}"
    settings = server.settings.model_copy(
        update={
            "mlmd_host": "127.0.0.1",
            "mlmd_port": server.settings.postgres_port,
            "mlmd_database": name,
            "mlmd_user": name,
            "mlmd_password": SecretStr("right"),
            "airflow_db_password": SecretStr("unused"),
            "pipeline_root": place / "pipelines",
            "drops_dir": place / "drops",
            "serving_dir": place / "serving" / "headlines",
        }
    )
    embedded.make_databases(settings)
    return settings


def query(settings: Settings, statement: str) -> list[tuple[Any, ...]]:
    """The rows of one statement in the MLMD database."""
    with (
        closing(
            psycopg2.connect(
                host=settings.mlmd_host,
                port=settings.mlmd_port,
                dbname=settings.mlmd_database,
                user=settings.mlmd_user,
                password=settings.secret("mlmd_password"),
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        connection.commit()
        return cursor.fetchall()
