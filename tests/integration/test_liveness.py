"""Whether a process is at work: what others see of one that runs, that ends, and whose connection is lost."""

import os
import signal
from contextlib import closing, suppress

import pytest
from postgres_server import query
from waiting import wait_until

from retraining.recording import advisory_locks, liveness
from retraining.recording.store import StoreError, connection_config
from retraining.settings import Settings

HOLDERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"


def test_a_process_is_shown_to_be_at_work_until_its_block_ends(settings: Settings) -> None:
    config = connection_config(settings)
    with liveness.show(config) as key:
        assert liveness.is_shown(config, key)
        with liveness.show(config) as another:
            assert another != key
        assert not liveness.is_shown(config, another)
        assert liveness.is_shown(config, key)
    assert not liveness.is_shown(config, key)
    assert query(settings, HOLDERS) == []


def test_one_that_is_killed_is_not_shown_any_more(settings: Settings) -> None:
    config = connection_config(settings)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        with suppress(BaseException), liveness.show(config) as key:
            os.write(writing, key.encode())
            signal.pause()
        os._exit(1)
    key = os.read(reading, 100).decode()
    assert liveness.is_shown(config, key)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until(lambda: not liveness.is_shown(config, key), "Postgres sees its end", 10)


def test_one_whose_connection_is_lost_shows_itself_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "_LOOK_SECONDS", 0.05)
    config = connection_config(settings)
    with liveness.show(config) as key:
        [(holder,)] = query(settings, HOLDERS)
        # As Postgres' own start does, and a network that has gone.
        query(settings, f"SELECT pg_terminate_backend({holder})")
        wait_until(lambda: query(settings, HOLDERS) not in ([], [(holder,)]), "it has another connection", 10)
        assert liveness.is_shown(config, key)


def test_the_database_asks_a_machine_that_is_silent_and_forgets_it_after_half_a_minute(settings: Settings) -> None:
    with closing(advisory_locks.open_session(connection_config(settings))) as connection:
        values = []
        with connection.cursor() as cursor:
            for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"):
                cursor.execute(f"SHOW {name}")
                values.append(cursor.fetchone()[0])
        idle, interval, count = map(int, values)
        assert idle + interval * count == 30
        options = connection.info.dsn_parameters
    assert [int(options[f"keepalives_{name}"]) for name in ("idle", "interval", "count")] == [idle, interval, count]
    assert options["tcp_user_timeout"] == "30000"


def test_a_database_that_does_not_answer_is_told(settings: Settings) -> None:
    wrong = settings.model_copy(update={"mlmd_port": 1})
    with pytest.raises(StoreError, match="port 1"), liveness.show(connection_config(wrong)):
        pytest.fail("it is shown nowhere")
    with pytest.raises(StoreError, match="port 1"):
        liveness.is_shown(connection_config(wrong), "key")
