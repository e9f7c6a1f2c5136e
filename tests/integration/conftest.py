"""A real Postgres for the tests: one server for the session, and an MLMD database for each test; a web server."""

import csv
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from object_servers import VARIABLES, ObjectServer, serve_objects
from pages_server import FORMULAS, ROLES, TITLE, PagesServer, show
from postgres_server import Server, lend_database, make_database

from headlines.objects import buckets
from headlines.objects.paths import ObjectPath
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


@pytest.fixture(scope="session", params=["s3", "gs"])
def object_server(request: pytest.FixtureRequest) -> Iterator[ObjectServer]:
    """A server of each kind of object storage."""
    with serve_objects(request.param) as server:
        yield server


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """A folder in an empty bucket, to which this process and those that it starts are led."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    # The client of a bucket of this name may lead to a server of before.
    monkeypatch.setattr(buckets, "_open", {})
    return object_server.make_bucket()


@pytest.fixture
def settings(postgres: Server, tmp_path: Path) -> Iterator[Settings]:
    """Settings with an empty MLMD database of their own, and a state directory under `tmp_path`."""
    with lend_database(postgres, tmp_path / "state") as settings:
        yield settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesServer]:
    """Airflow's web application with the pages in it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = PagesServer(tmp_path_factory.mktemp("airflow"), port)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def story(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that lead to a short history of nights, a drop with odd titles, and pushed versions to go back to."""
    # It brings TFX, which most tests do without.
    from lineage_story import Story

    settings = make_database(postgres, tmp_path_factory.mktemp("story"))
    story = Story(settings)
    story.tell()
    story.write_card("2022-02-07")
    for night, rows in (("2022-02-09", 66), ("2022-02-10", 227)):
        story.run(night, {"2022-02-07": 1, night: 1}, accuracy=0.6, rows=rows)
    drop = settings.drops_dir / "2022-02-01" / "headlines.csv"
    drop.parent.mkdir(parents=True)
    with drop.open("w", newline="") as stream:
        csv.writer(stream).writerows([("title", "sentiment"), *((title, "neutral") for title in (TITLE, *FORMULAS))])
    for version in (2022020101, 2022020501, 2022020702):
        folder = settings.serving_dir / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    return settings


@pytest.fixture
def told(server: PagesServer, story: Settings) -> PagesServer:
    """The web application, showing the story."""
    show(server, story)
    return server


@pytest.fixture(scope="module")
def clients(server: PagesServer) -> dict[str, httpx.Client]:
    """A logged-in client of each user."""
    return {user: server.log_in(user) for user in ROLES}
