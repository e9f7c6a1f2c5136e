"""What the model servers answer with, beside what lineage says should: every verdict, and that none is waited for."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from free_ports import free_port
from pydantic import SecretStr
from status_server import StatusServer, run_status_server

import lineage
from headlines.pushes.champion import Rollback
from lineage import Reader, Reign
from retraining.settings import Settings
from retraining.watching import replicas

OLD, NEW = 2022020101, 2022020201
LONG_AGO = datetime(2022, 2, 3, 5, tzinfo=UTC)


class Known:
    """What lineage knows: what should serve, and what was pushed, each with whether it was rolled back."""

    def __init__(self) -> None:
        self.reign: Reign | None = None
        self.pushed: dict[int, bool] = {}

    def push(self, version: int, since: datetime = LONG_AGO) -> None:
        night = f"{version // 1000000}-{version // 10000 % 100:02}-{version // 100 % 100:02}"
        self.pushed[version] = False
        self.reign = Reign(version, 7, night, since, None)

    def roll_back(self, to: int, *withdrawn: int, since: datetime = LONG_AGO) -> None:
        self.push(to, since)
        self.pushed |= dict.fromkeys(withdrawn, True)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    made = Known()
    serving, pushed = create_autospec(lineage.serving_version), create_autospec(lineage.pushed_versions)
    serving.side_effect, pushed.side_effect = lambda _: made.reign, lambda _: made.pushed
    monkeypatch.setattr(lineage, "serving_version", serving)
    monkeypatch.setattr(lineage, "pushed_versions", pushed)
    return made


@pytest.fixture
def servers() -> Iterator[tuple[StatusServer, StatusServer]]:
    with ExitStack() as stack:
        yield stack.enter_context(run_status_server()), stack.enter_context(run_status_server())


@pytest.fixture
def server(servers: tuple[StatusServer, StatusServer]) -> StatusServer:
    return servers[0]


@pytest.fixture
def settings(tmp_path: Path, server: StatusServer) -> Settings:
    return Settings.from_env(state_dir=tmp_path, serving_urls=(server.url,))


Observe = Callable[..., replicas.Observation]


@pytest.fixture
def observe(settings: Settings, known: Known) -> Observe:
    reader = create_autospec(Reader, instance=True)
    return lambda seconds=5.0, **changed: replicas.observe(settings.model_copy(update=changed), reader, seconds)


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_the_greatest_version_that_is_available_is_what_answers(
    observe: Observe, known: Known, server: StatusServer
) -> None:
    known.push(NEW)
    server.states = {OLD: "AVAILABLE", NEW: "AVAILABLE", 2022020301: "END"}
    seen = observe()
    [replica] = seen.replicas
    assert (replica.version, replica.state, replica.since, replica.has_page) == (NEW, "agrees", None, False)
    assert (seen.state, seen.is_right) == ("agrees", True)
    assert seen.text == (
        f"version {NEW} of night 2022-02-02 serves, since 2022-02-03 05:00 UTC; {server.url} answers {NEW}"
    )


def test_a_version_that_cannot_be_loaded_is_told_with_the_reason_in_one_line_and_what_to_do(
    observe: Observe, known: Known, server: StatusServer
) -> None:
    known.push(NEW)
    server.states, server.errors = {NEW: "END"}, {NEW: "Data loss:\n truncated \x1b[31m record" + "!" * 9999}
    seen = observe()
    assert (seen.state, seen.is_right) == ("nothing", False)
    [replica] = seen.replicas
    assert replica.text.startswith(f"answers nothing: it cannot load {NEW}: Data loss: truncated [31m record!!!")
    assert replica.text.isprintable() and len(replica.text) < 600
    assert "`retraining run --night 2022-02-02 --force`" in replica.text
    assert "should serve since 2022-02-03 05:00 UTC, and no model server answers with it" in seen.verdict

    server.states[OLD] = "AVAILABLE"
    known.pushed[OLD] = False
    [replica] = observe().replicas
    assert (replica.state, replica.version) == ("differs", OLD)
    assert replica.text.startswith(f"answers {OLD}: it cannot load {NEW}: Data loss")


def test_what_was_rolled_back_and_answers_still_is_told(observe: Observe, known: Known, server: StatusServer) -> None:
    known.roll_back(OLD, NEW)
    server.states = {OLD: "AVAILABLE", NEW: "AVAILABLE"}
    seen = observe()
    assert not seen.is_right
    assert seen.replicas[0].text.startswith(f"answers {NEW}, which was rolled back: it does not see {OLD}")
    server.states[NEW] = "UNLOADING"
    assert observe().state == "agrees"


@pytest.mark.parametrize("state", ["START", "LOADING"])
def test_what_the_server_is_loading_is_no_fault_however_long_it_should_serve(
    observe: Observe, known: Known, server: StatusServer, state: str
) -> None:
    known.push(OLD)
    known.push(NEW)
    server.states = {OLD: "AVAILABLE", NEW: state}
    seen = observe()
    assert (seen.state, seen.is_right) == ("loading", True)
    assert seen.replicas[0].text == f"loads {NEW}, and meanwhile answers {OLD}"


def test_a_server_has_a_minute_to_see_a_push_and_no_more(observe: Observe, known: Known, server: StatusServer) -> None:
    known.push(OLD)
    server.states = {OLD: "AVAILABLE"}
    known.push(NEW, datetime.now(UTC) - timedelta(seconds=5))
    assert (observe().state, observe().is_right) == ("loading", True)
    known.push(NEW, datetime.now(UTC) - timedelta(seconds=70))
    seen = observe()
    assert (seen.state, seen.is_right) == ("differs", False)
    assert seen.replicas[0].text.startswith(f"answers {OLD}: it does not see {NEW}: compare its folder")
    server.states = {}
    assert observe().state == "nothing"


def test_a_version_of_which_lineage_knows_no_push_is_given_the_time_to_be_recorded(
    observe: Observe, known: Known, server: StatusServer, settings: Settings
) -> None:
    known.push(OLD)
    server.states = {NEW: "AVAILABLE"}
    folder = settings.serving_dir / str(NEW)
    folder.mkdir(parents=True)
    assert (observe().state, observe().is_right) == ("loading", True)
    os.utime(folder, times=(time.time() - 100,) * 2)
    seen = observe()
    assert (seen.state, seen.is_right) == ("differs", False)
    assert "lineage knows no push of it" in seen.text


def test_before_the_first_push_nobody_need_answer_but_what_answers_is_told(
    observe: Observe, server: StatusServer
) -> None:
    seen = observe()
    assert (seen.state, seen.is_right) == ("agrees", True)
    assert "nothing was pushed yet" in seen.text
    dead = observe(serving_urls=(free_address(),))
    assert (dead.state, dead.is_right) == ("unreachable", True)
    server.states = {OLD: "AVAILABLE"}
    seen = observe()
    assert (seen.state, seen.is_right) == ("differs", False)
    assert f"answers {OLD}, of which lineage knows no push" in seen.text


def test_each_replica_has_a_verdict_of_its_own(
    observe: Observe, known: Known, servers: tuple[StatusServer, StatusServer]
) -> None:
    known.push(OLD)
    known.push(NEW)
    servers[0].states, servers[1].states = {NEW: "AVAILABLE"}, {OLD: "AVAILABLE"}
    dead = free_address()
    seen = observe(serving_urls=(servers[0].url, dead, servers[1].url))
    assert [(one.address, one.state) for one in seen.replicas] == [
        (servers[0].url, "agrees"), (dead, "unreachable"), (servers[1].url, "differs")
    ]  # fmt: skip
    assert (seen.state, seen.is_right) == ("differs", False)
    assert "not every model server answers with it" in seen.verdict
    assert "refused" in seen.replicas[1].text


def test_a_server_that_hangs_holds_nobody_up(
    observe: Observe, known: Known, servers: tuple[StatusServer, StatusServer]
) -> None:
    known.push(NEW)
    servers[0].states = servers[1].states = {NEW: "AVAILABLE"}
    servers[1].waits.clear()
    began = time.monotonic()
    seen = observe(2, serving_urls=(servers[1].url, servers[0].url))
    assert time.monotonic() - began < 4
    assert [one.state for one in seen.replicas] == ["unreachable", "agrees"]
    assert "no answer" in seen.replicas[0].text


def test_an_answer_that_comes_byte_by_byte_is_given_up(known: Known, observe: Observe) -> None:
    known.push(NEW)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(40):
                    time.sleep(0.1)
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        seen = observe(1, serving_urls=(address,))
        assert time.monotonic() - began < 3
        assert seen.state == "unreachable"
        dripping.join()


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>", "does not speak TensorFlow Serving's status API"),
        (200, b'{"model_version_status": [{"version": "x"}]}', "does not speak TensorFlow Serving's status API"),
        (200, b"[]", "does not speak TensorFlow Serving's status API"),
        (404, b"<html>", "HTTP status 404"),
        (302, b"", "HTTP status 302"),
        (503, b"Service Unavailable", "HTTP status 503"),
        (200, b" " * (5 << 20), "does not end"),
    ],
)
def test_what_is_no_model_server_is_told(
    observe: Observe, known: Known, server: StatusServer, status: int, body: bytes, why: str
) -> None:
    known.push(NEW)
    server.answer = status, body
    seen = observe()
    assert (seen.state, seen.is_right) == ("unreachable", False)
    assert why in seen.replicas[0].text


def test_the_token_of_the_settings_lets_one_in(observe: Observe, known: Known, server: StatusServer) -> None:
    known.push(NEW)
    server.states, server.token = {NEW: "AVAILABLE"}, "secret"
    assert "set SERVING_TOKEN" in observe().text
    assert observe(serving_token=SecretStr("secret")).state == "agrees"


def test_without_addresses_the_own_server_is_asked_and_with_none_nobody(
    settings: Settings, observe: Observe, known: Known
) -> None:
    own = settings.model_copy(update={"serving_urls": None, "serving_host": "0.0.0.0", "serving_port": 8600})
    assert replicas.find_addresses(own) == {"http://127.0.0.1:8600": ""}
    assert replicas.own_address(own.model_copy(update={"serving_host": "::"})) == "http://[::1]:8600"
    known.push(NEW)
    seen = observe(serving_urls=())
    assert (seen.state, seen.is_right, seen.replicas) == ("unasked", True, ())
    assert "SERVING_URLS=none" in seen.text


def name_servers(monkeypatch: pytest.MonkeyPatch, look_up: Callable[[int], list[str]]) -> None:
    """Lets a name be looked up otherwise, and every other as before."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        if host != "model-servers":
            return real(host, port, *arguments, **options)
        return [answer for address in look_up(port) for answer in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_behind_a_name_every_server_is_asked(observe: Observe, known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    known.push(NEW)
    port = free_port()
    with run_status_server("127.0.0.2", port) as first, run_status_server("127.0.0.3", port) as second:
        first.states, second.states = {NEW: "AVAILABLE"}, {OLD: "AVAILABLE"}
        name_servers(monkeypatch, lambda _: ["127.0.0.3", "127.0.0.2", "127.0.0.3"])
        seen = observe(serving_urls=(f"dns+http://model-servers:{port}",))
    assert [(one.address, one.version, one.state) for one in seen.replicas] == [
        (first.url, NEW, "agrees"),
        (second.url, OLD, "differs"),
    ]


def test_a_name_that_nobody_knows_is_told_and_one_that_hangs_holds_nobody_up(
    observe: Observe, known: Known, server: StatusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.push(NEW)
    server.states = {NEW: "AVAILABLE"}
    unknown, there = observe(serving_urls=("dns+http://no-such-host.invalid:8501", server.url)).replicas
    assert (unknown.address, unknown.state) == ("dns+http://no-such-host.invalid:8501", "unreachable")
    assert unknown.text.startswith("cannot be asked: no-such-host.invalid: ")
    assert there.state == "agrees"
    hung = threading.Event()
    name_servers(monkeypatch, lambda _: [str(hung.wait(30))])
    began = time.monotonic()
    unknown, there = observe(2, serving_urls=("dns+http://model-servers:8501", server.url)).replicas
    hung.set()
    assert time.monotonic() - began < 5
    assert (unknown.problem, there.state) == ("nobody says in time where model-servers is", "agrees")


def test_an_observation_is_the_same_json_wherever_it_is_shown(
    observe: Observe, known: Known, server: StatusServer
) -> None:
    known.push(NEW)
    rollback = Rollback(3, NEW, OLD, "ana", "bad", LONG_AGO, "2022-02-03", (NEW,))
    known.reign = Reign(OLD, 7, "2022-02-01", LONG_AGO, None, rollback)
    server.states, server.errors = {NEW: "AVAILABLE", OLD: "END"}, {OLD: "damaged"}
    told = lineage.to_json(observe())
    assert set(told) == {"expected", "replicas", "state", "is_right", "verdict", "text"}
    assert (told["expected"]["version"], told["expected"]["since"]) == (OLD, "2022-02-03T05:00:00+00:00")
    assert told["expected"]["rollback"]["by"] == "ana"
    assert set(told["replicas"][0]) == {
        *("address", "version", "since", "loading", "refused", "has_page", "warning", "workers", "problem"),
        *("state", "text"),
    }
    assert (told["replicas"][0]["version"], told["replicas"][0]["refused"]) == (NEW, {str(OLD): "damaged"})
