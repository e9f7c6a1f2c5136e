"""What the service sees of real model servers: a damaged version, replicas that differ, a rollback, a load."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import create_autospec

import httpx
import pytest
from google.protobuf.json_format import MessageToJson
from running_server import Gate, RunningServer
from server_process import ServerProcess
from status_server import write_status
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from waiting import wait_until

import lineage
from headlines.pushes import rollbacks
from headlines.pushes.champion import Rollback
from lineage import Reader, Reign
from retraining.settings import Settings
from retraining.watching import replicas

FIRST, SECOND = 2022020101, 2022020201
LONG_AGO = datetime(2022, 2, 3, 5, tzinfo=UTC)


@pytest.fixture
def observe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., replicas.Observation]:
    """Asks servers while lineage says that a version should serve."""

    serving, pushed = create_autospec(lineage.serving_version), create_autospec(lineage.pushed_versions)
    pushed.return_value = {FIRST: False, SECOND: False}
    monkeypatch.setattr(lineage, "serving_version", serving)
    monkeypatch.setattr(lineage, "pushed_versions", pushed)

    def observe(expected: int, *servers: RunningServer | ServerProcess, seconds: float = 30) -> replicas.Observation:
        serving.return_value = Reign(expected, 7, "2022-02-02", LONG_AGO, None)
        urls = tuple(server.url for server in servers)
        settings = Settings.from_env(state_dir=tmp_path, serving_dir=tmp_path / "headlines", serving_urls=urls)
        return replicas.observe(settings, create_autospec(Reader, instance=True), seconds)

    return observe


def damage(folder: Path) -> None:
    """As a disk that was full: the weights end too early."""
    [weights] = folder.glob("variables/variables.data-*")
    weights.write_bytes(weights.read_bytes()[:10])


def test_a_version_that_loads_is_told_with_since_when_and_where_its_page_is(
    push: Callable[[int], Path], start: Callable[..., RunningServer], observe: Callable[..., replicas.Observation]
) -> None:
    push(FIRST)
    running = start()
    running.wait_until_ready()
    [replica] = observe(FIRST, running).replicas
    loaded_at = running.get("/version").json()["loaded_at"]
    assert (replica.version, replica.state, replica.has_page) == (FIRST, "agrees", True)
    assert replica.since == datetime.fromisoformat(loaded_at)


def test_the_only_version_damaged_answers_nothing_and_says_why(
    push: Callable[[int], Path], start: Callable[..., RunningServer], observe: Callable[..., replicas.Observation]
) -> None:
    damage(push(SECOND))
    running = start()
    wait_until(lambda: running.state(SECOND) == "END")
    assert running.get("/healthz").status_code == 200
    seen = observe(SECOND, running)
    [replica] = seen.replicas
    assert (seen.is_right, replica.state, replica.version, replica.has_page) == (False, "nothing", None, True)
    assert f"answers nothing: it cannot load {SECOND}: " in replica.text
    assert list(replica.refused) == [SECOND] and replica.refused[SECOND]


def test_a_damaged_newest_version_leaves_the_one_before_which_is_not_what_should_serve(
    push: Callable[[int], Path], start: Callable[..., RunningServer], observe: Callable[..., replicas.Observation]
) -> None:
    push(FIRST)
    damage(push(SECOND))
    running = start()
    wait_until(lambda: running.state(SECOND) == "END" and running.state(FIRST) == "AVAILABLE")
    [replica] = observe(SECOND, running).replicas
    assert (replica.state, replica.version) == ("differs", FIRST)
    assert f"answers {FIRST}: it cannot load {SECOND}" in replica.text


def test_two_replicas_that_differ_are_told_apart(
    push: Callable[[int], Path],
    start: Callable[..., RunningServer],
    observe: Callable[..., replicas.Observation],
    tmp_path: Path,
) -> None:
    push(FIRST)
    push(SECOND)
    other = tmp_path / "another machine" / "headlines"
    shutil.copytree(tmp_path / "headlines" / str(FIRST), other / str(FIRST))
    newer, older = start(), start(dir=other)
    newer.wait_until_ready()
    older.wait_until_ready()
    wait_until(lambda: newer.state(SECOND) == "AVAILABLE")
    seen = observe(SECOND, newer, older)
    assert [(one.version, one.state) for one in seen.replicas] == [(SECOND, "agrees"), (FIRST, "differs")]
    assert (seen.state, seen.is_right) == ("differs", False)
    older.stop()
    assert [one.state for one in observe(SECOND, newer, older).replicas] == ["agrees", "unreachable"]


def test_after_a_rollback_the_one_gone_back_to_is_what_should_answer(
    push: Callable[[int], Path],
    start: Callable[..., RunningServer],
    observe: Callable[..., replicas.Observation],
    tmp_path: Path,
) -> None:
    push(FIRST)
    push(SECOND)
    running = start()
    wait_until(lambda: {running.state(FIRST), running.state(SECOND)} == {"AVAILABLE"})
    assert observe(FIRST, running).state == "differs", "the files are not told of it"
    rollbacks.add(tmp_path / "headlines", Rollback(1, SECOND, FIRST, "ana", "bad", LONG_AGO, "2022-02-03", (SECOND,)))
    wait_until(lambda: running.state(SECOND) in ("UNLOADING", "END"))
    assert observe(FIRST, running).state == "agrees"


@contextmanager
def opened(gate: Gate) -> Iterator[None]:
    try:
        yield
    finally:
        gate.open()


def test_a_version_that_is_being_loaded_is_no_fault(
    push: Callable[[int], Path],
    start: Callable[..., RunningServer],
    observe: Callable[..., replicas.Observation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(FIRST)
    running = start()
    running.wait_until_ready()
    versions = running.app.state.server.versions
    gate = Gate(versions._load)
    monkeypatch.setattr(versions, "_load", gate)
    with opened(gate):
        push(SECOND)
        gate.wait_until_reached()
        seen = observe(SECOND, running)
    assert (seen.state, seen.is_right) == ("loading", True)
    assert seen.replicas[0].text == f"loads {SECOND}, and meanwhile answers {FIRST}"


def test_a_config_file_that_is_not_followed_is_told_whether_or_not_the_right_version_answers(
    push: Callable[[int], Path],
    start: Callable[..., RunningServer],
    observe: Callable[..., replicas.Observation],
    tmp_path: Path,
) -> None:
    push(FIRST)
    running = start()
    running.wait_until_ready()
    config = tmp_path / "models.config"
    config.write_text("model_config_list { confg {} }")
    # For a moment the file may be seen empty, which is no model config for another reason.
    wait_until(lambda: "it is no model config" in running.get("/readyz").text)
    [replica] = observe(FIRST, running).replicas
    assert (replica.state, replica.version) == ("agrees", FIRST)
    assert f"It says: {config} is not used, the policy stays: it is no model config" in replica.text
    anew = start()
    wait_until(lambda: "is not used" in anew.get("/readyz").text)
    [replica] = observe(FIRST, anew).replicas
    assert replica.state == "nothing"
    assert f"{config} is not used, nothing is loaded" in replica.text
    config.unlink()
    wait_until(lambda: running.get("/readyz").json()["problems"] == [])
    assert observe(FIRST, running).replicas[0].warning == ""


def test_a_worker_that_does_not_answer_as_the_others_is_told(
    push: Callable[[int], Path], observe: Callable[..., replicas.Observation], tmp_path: Path
) -> None:
    push(FIRST)
    with ServerProcess(tmp_path / "headlines", workers=2) as server:
        wait_until(lambda: server.answers("/readyz") and server.problems() == "")
        [replica] = observe(FIRST, server).replicas
        assert (replica.state, replica.workers) == ("agrees", (FIRST, FIRST))
        second = server.find_workers()[1]
        os.kill(second, signal.SIGSTOP)
        told = [observe(FIRST, server, seconds=replicas.PAGE_SECONDS) for _ in range(20)]
        # One that hangs is asked half of the times itself; at no time is all called right.
        assert not any(seen.is_right for seen in told)
        assert {seen.replicas[0].workers for seen in told} == {(), (FIRST, None)}
        os.kill(second, signal.SIGKILL)
        said = "worker 2 of 2 does not answer"
        wait_until(lambda: said in server.problems(), every=0.02, unanswered=(httpx.TransportError,))
        seen = observe(FIRST, server)
        [replica] = seen.replicas
        assert (replica.state, replica.version, replica.workers) == ("differs", FIRST, (FIRST, None))
        assert replica.text == f"answers {FIRST}, but 1 of its 2 workers with: nothing"
        assert not seen.is_right
        wait_until(lambda: observe(FIRST, server).state == "agrees", "the worker is back")


def test_the_stand_in_of_other_tests_answers_as_tensorflow_serving_s_own_message_is_written() -> None:
    # With the names of the proto and every primitive field: model_servers/http_rest_api_util.cc, util/status.proto.
    response = GetModelStatusResponse()
    for version, state, code, message in (
        (SECOND, ModelVersionStatus.END, 13, "damaged"),
        (FIRST, ModelVersionStatus.AVAILABLE, 0, ""),
    ):
        entry = response.model_version_status.add(version=version, state=state)
        entry.status.error_code, entry.status.error_message = code, message
    written = MessageToJson(response, preserving_proto_field_name=True, including_default_value_fields=True)
    assert json.loads(write_status({FIRST: "AVAILABLE", SECOND: "END"}, {SECOND: "damaged"})) == json.loads(written)
