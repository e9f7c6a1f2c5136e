"""The broker of workers, a real Redis: whether it answers, and what is said when it does not."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from free_ports import free_port
from pydantic import SecretStr
from waiting import wait_until

from retraining.local import redis_server
from retraining.local.redis_server import RedisError
from retraining.settings import Settings
from retraining.workers import asking
from retraining.workers.asking import BrokerError

pytestmark = pytest.mark.skipif(
    not shutil.which("redis-server"), reason="no redis-server here; on Debian: apt-get install redis-server"
)


class Redis:
    """The service's own, as the supervisor runs it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        redis_server.prepare(settings)
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            redis_server.PROGRAM.command.split(), cwd=self.settings.state_dir, stdout=subprocess.DEVNULL
        )
        wait_until(lambda: asking.is_broker_there(self.settings), "it answers", 20)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    monkeypatch.setattr("retraining.settings.ENV_FILE", tmp_path / ".env")
    # Whatever may be in a path or a password.
    place = tmp_path / 'a "state" \\ folder'
    place.mkdir()
    redis = Redis(
        Settings.from_env(state_dir=place, executor="celery", redis_port=free_port(), redis_password='p@ss "w\\rd')
    )
    yield redis
    redis.stop()


def test_it_answers_to_its_password_alone_and_keeps_what_it_has_for_this_user(redis: Redis) -> None:
    asking.check_broker(redis.settings)
    wrong = redis.settings.model_copy(update={"redis_password": SecretStr("wrong")})
    with pytest.raises(BrokerError, match=r"WRONGPASS|invalid") as told:
        asking.check_broker(wrong)
    assert "wrong@" not in str(told.value)
    assert "REDIS_PORT" in str(told.value)
    folder = redis.settings.state_dir / "redis"
    assert {path.stat().st_mode & 0o077 for path in (folder, folder / "redis.conf")} == {0}
    assert (folder / "appendonlydir").is_dir()


def test_a_process_that_has_asked_asks_again_after_it_was_started_anew(redis: Redis) -> None:
    assert asking.ask(redis.settings, 0.1) == []
    assert asking.find_answering(redis.settings, ["worker-1"], 0.1) == set()
    redis.stop()
    with pytest.raises(BrokerError, match="REDIS_PORT"):
        asking.ask(redis.settings, 0.1)
    assert asking.find_answering(redis.settings, ["worker-1"], 0.1) == set()
    redis.start()
    assert asking.ask(redis.settings, 0.1) == []
    assert asking.find_answering(redis.settings, ["worker-1"], 0.1) == set()


def test_one_that_is_there_and_says_nothing_is_not_waited_for_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings.from_env(executor="celery", broker_url=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        assert asking.find_answering(settings, ["worker-1"]) == set()
        with pytest.raises(BrokerError, match="BROKER_URL"):
            asking.ask(settings)
        assert time.monotonic() - began < 30


def test_without_the_program_it_is_told_how_to_get_it(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server.shutil, "which", lambda _: None)
    with pytest.raises(RedisError, match="apt-get install redis-server"):
        redis_server.prepare(redis.settings)
