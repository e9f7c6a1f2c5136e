"""Nights on several workers: one beside the scheduler, others on machines of their own, killed, cut off and added.

The tests of this file build on one another, in order.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import waiting
from driving import SMALL_TRAINING, Service, free_port, query, start_service
from far_worker import CAN_HAVE_HOSTS, FarWorker, lay_line

import lineage
from retraining.workers import asking

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.long,
    pytest.mark.skipif(not CAN_HAVE_HOSTS, reason="another host name needs root"),
]

DAG = "headline_retraining"
HERE = socket.gethostname()
# Long enough to be found at it.
LONG = "Transform"
# Of MLMD's Execution.State.
RUNNING, COMPLETE, FAILED = 2, 3, 4
wait_until = partial(waiting.wait_until, every=0.5)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, twelve_nights: Path) -> Iterator[Service]:
    port = free_port()
    settings = {
        **SMALL_TRAINING,
        "MAX_QUARANTINED_SHARE": "0.5",
        "EXECUTOR": "celery",
        "WORKER_SLOTS": "1",
        "SERVING_PORT": str(port),
        "SERVING_URLS": f"http://127.0.0.1:{port}",
    }
    with start_service(tmp_path_factory.mktemp("celery"), twelve_nights, 4, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def far(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarWorker]:
    worker = FarWorker(service, tmp_path_factory.mktemp("far"), "far")
    try:
        wait_until(worker.has_started, "the far worker takes tasks", 180)
        yield worker
    finally:
        worker.end()


def test_the_service_runs_a_worker_and_says_which_answer(service: Service, far: FarWorker) -> None:
    assert {"redis", "worker-1"} <= {line.split()[0] for line in service("status").stdout.splitlines() if line.strip()}
    listed = service("workers").stdout
    assert "worker@far" in listed
    assert "worker-1@" in listed


def test_a_night_runs_on_both_and_its_model_is_the_one_that_one_process_makes(service: Service, far: FarWorker) -> None:
    service("run", "--night", "2022-02-01")
    hosts = {node: host for host, node, _ in attempts(service)}
    assert set(hosts.values()) == {"far", HERE}
    assert hosts["LiveTraffic"] == HERE, "the requests are in a file of the scheduler's machine"
    assert lineage.nights(service.settings)[-1].state == "pushed"
    service("replay", "--night", "2022-02-01")


def attempts(service: Service) -> list[tuple[str, str, int]]:
    """Host, node and state of every attempt, oldest first."""
    return [
        (str(host), str(node), int(state))
        for host, node, state in query(
            service,
            """SELECT h.string_value, c.string_value, e.last_known_state FROM execution e
               JOIN executionproperty h ON h.execution_id = e.id AND h.name = 'host' AND h.is_custom_property
               JOIN executionproperty c ON c.execution_id = e.id AND c.name = 'component_id'
               ORDER BY e.id""",
        )
    ]


def test_the_web_ui_shows_the_logs_of_both(service: Service, far: FarWorker) -> None:
    run = lineage.nights(service.settings)[-1].run_id
    instances = service.api("GET", f"dags/{DAG}/dagRuns/{run}/taskInstances")["task_instances"]
    for host in ("far", HERE):
        one = next(instance for instance in instances if instance["hostname"] == host and instance["try_number"])
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{one['task_id']}/logs/{one['try_number']}"
        shown = service.api("GET", path, params={"full_content": "true"}, headers={"Accept": "application/json"})
        assert "Marking task as SUCCESS" in shown["content"], (host, shown)


def begin(service: Service, night: str) -> "subprocess.Popen[str]":
    """Begins a night by the command, which ends with it."""
    command = [sys.executable, "-m", "retraining", "run", "--night", night]
    return subprocess.Popen(
        command,
        cwd=service.checkout,
        env=service.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def find_running(service: Service, host: str) -> list[str]:
    """The nodes that run on a host."""
    return [node for where, node, state in attempts(service) if state == RUNNING and where == host]


@contextmanager
def holding_back(service: Service) -> Iterator[None]:
    """The scheduler's own worker takes nothing but what only it can do, so that another has to."""
    here = [f"worker-1@{HERE}"]
    queue = service.settings.queue
    with asking._connected(service.settings) as (control, connection):
        control.cancel_consumer(queue, destination=here, connection=connection, reply=True)
    yield
    with asking._connected(service.settings) as (control, connection):
        control.add_consumer(queue, destination=here, connection=connection, reply=True)


def test_a_machine_that_loses_its_power_in_mid_task_costs_one_attempt(service: Service, far: FarWorker) -> None:
    with holding_back(service):
        run = begin(service, "2022-02-02")
        wait_until(lambda: LONG in find_running(service, "far"), f"{LONG} runs on the far machine", 600)
        far.kill()
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 0, output
    assert [(host, state) for host, node, state in attempts(service) if node == LONG][-2:] == [
        ("far", FAILED),
        (HERE, COMPLETE),
    ]
    told = query(service, "SELECT string_value FROM executionproperty WHERE name = 'error' AND is_custom_property")
    assert any(" on far died when attempt 2 started" in error for (error,) in told), told
    assert not find_running(service, "far")


def test_a_worker_that_is_added_takes_tasks_and_one_whose_network_goes_silent_publishes_nothing(
    service: Service, tmp_path: Path
) -> None:
    # To the databases alone: a worker that has the broker still goes on taking tasks.
    with lay_line(service.settings.mlmd_port) as line:
        ports = {"MLMD_PORT": str(line.port), "AIRFLOW_DB_PORT": str(line.port)}
        added = FarWorker(service, tmp_path / "added", "added", **ports)
        try:
            wait_until(added.has_started, "the added worker takes tasks", 180)
            assert "worker@added" in service("workers").stdout
            with holding_back(service):
                run = begin(service, "2022-02-03")
                wait_until(lambda: LONG in find_running(service, "added"), f"{LONG} runs on the added machine", 600)
                line.silence()
            output, _ = run.communicate(timeout=900)
            # It has said why, and ends by itself, however long its system would wait for an answer.
            added.process.wait(300)
            assert "does not let user" in added.log.read_text()
        finally:
            added.end()
    assert run.returncode == 0, output
    assert [(host, state) for host, node, state in attempts(service) if node == LONG][-2:] == [
        ("added", FAILED),
        (HERE, COMPLETE),
    ]
    assert not find_running(service, "added")
    reports = lineage.nights(service.settings)
    assert [report.night for report in reports] == ["2022-02-01", "2022-02-02", "2022-02-03"]
    assert service.versions() == [report.pushed_version for report in reports if report.pushed_version]


def test_what_a_machine_does_not_share_is_told_before_it_takes_a_task(service: Service, tmp_path: Path) -> None:
    elsewhere = tmp_path / "pipelines"
    elsewhere.mkdir()
    stranger = FarWorker(service, tmp_path / "stranger", "stranger", PIPELINE_ROOT=str(elsewhere), SEED="1")
    assert stranger.process.wait(120) == 1
    told = " ".join(stranger.log.read_text().split())
    assert f"PIPELINE_ROOT={elsewhere}, but {service.settings.pipeline_root} on {HERE}" in told
    assert f"SEED is another than on {HERE}" in told
    assert "Traceback" not in told
