"""The Postgres of the tests: the one the service embeds, on a free port."""

import os
import shlex
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2

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
