"""The service's own Redis, where the scheduler leaves tasks for Celery workers: its configuration and its program."""

import shutil

from headlines.durable import replace_file
from retraining.local import LocalError
from retraining.local.supervisor import Program
from retraining.settings import Settings

PROGRAM = Program("redis", "redis-server redis/redis.conf", priority=2, stop_group=False)
# What was left for workers survives a restart; on loopback alone, and by password.
_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir {folder}
appendonly yes
save ""
"""


class RedisError(LocalError):
    """There is no Redis to run; the message says what to do."""


def prepare(settings: Settings) -> None:
    """Writes its configuration, which holds its password and is for this user alone.

    Raises:
      RedisError: the program is not installed.
    """
    if not shutil.which("redis-server"):
        raise RedisError(
            "EXECUTOR=celery without BROKER_URL runs a Redis of the service's own, and there is no redis-server here; "
            "on Debian: apt-get install redis-server; or set BROKER_URL to another"
        )
    folder = settings.state_dir / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    text = _CONFIGURATION.format(
        port=settings.redis_port, password=_quote(settings.secret("redis_password")), folder=_quote(str(folder))
    )
    replace_file(folder / "redis.conf", text, mode=0o600)


def _quote(text: str) -> str:
    """A text as Redis' configuration reads it (sdssplitargs in src/sds.c)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
