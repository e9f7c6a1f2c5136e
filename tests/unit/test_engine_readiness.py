"""A cluster is asked before a job is handed to it: what does not answer, or is of another version, is told at once."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flink_rest import OVERVIEW, answering

from retraining.engines import EngineError, UnreachableEngineError, readiness


@pytest.fixture
def pool() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"localhost:{listening.getsockname()[1]}"


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def list_flink(master: str, pool: str, version: str = "1.20") -> list[str]:
    return [
        *("--runner=FlinkRunner", f"--flink_master={master}", f"--flink_version={version}"),
        *("--environment_type=EXTERNAL", f"--environment_config={pool}"),
    ]


def test_what_answers_is_told(pool: str) -> None:
    with answering({"/overview": json.dumps(OVERVIEW)}) as master:
        found = readiness.check(list_flink(master, pool))
    assert found == f"Flink 1.20.3 at {master} with 2 slots; worker pool at {pool}"


def test_a_master_that_does_not_answer_is_told_and_may_pass(pool: str, nowhere: str) -> None:
    with pytest.raises(UnreachableEngineError, match=f"FLINK_MASTER={nowhere} does not answer") as refused:
        readiness.check(list_flink(nowhere, pool))
    assert refused.value.may_pass
    with pytest.raises(UnreachableEngineError, match=f"SPARK_MASTER={nowhere} does not answer"):
        readiness.check([f"--spark_master_url=spark://{nowhere}"])


def test_what_answers_as_no_flink_is_told(pool: str) -> None:
    for body in ("{}", "[]", "welcome"):
        with (
            answering({"/overview": body}) as master,
            pytest.raises(UnreachableEngineError, match="does not answer as a Flink"),
        ):
            readiness.check(list_flink(master, pool))


def test_a_cluster_without_a_task_manager_would_let_a_job_wait(pool: str) -> None:
    with (
        answering({"/overview": json.dumps(OVERVIEW | {"slots-total": 0})}) as master,
        pytest.raises(UnreachableEngineError, match="has no task manager"),
    ):
        readiness.check(list_flink(master, pool))


@pytest.mark.parametrize("found", ["2.0.0", "1.19.1", "1.2.0"])
def test_another_version_than_the_jobs_are_for_is_refused_for_good(pool: str, found: str) -> None:
    with (
        answering({"/overview": json.dumps(OVERVIEW | {"flink-version": found})}) as master,
        pytest.raises(EngineError, match=f"is Flink {found}, and jobs would be for 1.20; set FLINK_VERSION") as no,
    ):
        readiness.check(list_flink(master, pool))
    assert not no.value.may_pass


def test_a_pool_beside_a_cluster_of_this_machine_must_answer(nowhere: str) -> None:
    with (
        answering({"/overview": json.dumps(OVERVIEW)}) as master,
        pytest.raises(UnreachableEngineError, match=f"BEAM_WORKER_POOL={nowhere} .*`retraining beam-pool`"),
    ):
        readiness.check(list_flink(master, nowhere))


def test_a_pool_beside_a_far_cluster_is_its_own_machines(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    asked = []
    monkeypatch.setattr(readiness, "_connect", lambda setting, address, advice: asked.append(setting))
    arguments = [
        "--spark_master_url=spark://far:7077",
        "--environment_type=EXTERNAL",
        "--environment_config=localhost:5",
    ]
    assert "which only its own machine can ask" in readiness.check(arguments)
    assert asked == ["SPARK_MASTER"]


def test_a_jar_that_is_gone_and_a_missing_java_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jar = tmp_path / "server.jar"
    with pytest.raises(EngineError, match=f"the job server's jar {jar} is not there"):
        readiness.check([f"--flink_job_server_jar={jar}"])
    jar.touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="java is not on PATH"):
        readiness.check([f"--flink_job_server_jar={jar}"])


@pytest.mark.parametrize("master", ["--flink_master=[auto]", "--flink_master=[local]", "--spark_master_url=local[4]"])
def test_a_master_within_the_job_server_is_asked_nothing(master: str, pool: str, nowhere: str) -> None:
    assert readiness.check([master]) == "this process"
    external = [master, "--environment_type=EXTERNAL"]
    assert readiness.check([*external, f"--environment_config={pool}"]) == f"worker pool at {pool}"
    with pytest.raises(UnreachableEngineError, match="BEAM_WORKER_POOL"):
        readiness.check([*external, f"--environment_config={nowhere}"])


def test_one_box_needs_nothing() -> None:
    assert readiness.check(["--runner=FnApiRunner"]) == "this process"
