"""A real Postgres for the tests: one server for the session, and an MLMD database for each test."""

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import Server, lend_database

from retraining.local import postgres as embedded
from retraining.settings import Settings


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = Settings.from_env(
        state_dir=tmp_path_factory.mktemp("postgres"), postgres_port=port, postgres_password=secrets.token_urlsafe(16)
    )
    embedded.make_data(settings)
    server = Server(settings)
    server.start()
    yield server
    server.crash()


@pytest.fixture
def settings(postgres: Server, tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty MLMD database of their own, and a state directory under `tmp_path`."""
    with lend_database(postgres, tmp_path / "state") as settings:
        yield settings
