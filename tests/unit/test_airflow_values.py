"""What Airflow's chart is given, as data: its pods run what compose's containers run, with the same rights."""

import re
from typing import Any

import pytest
import yaml
from airflow.utils.state import TaskInstanceState
from pods import (
    CHECKOUT,
    FOLDER,
    GPU_SET,
    KUSTOMIZATION,
    SETTINGS,
    VALUES,
    find_chart_container,
    find_container,
    list_mounts,
    list_pods,
)

from headlines.names import SCHEDULER_QUEUE
from retraining.settings import Settings

COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text())
COMPONENTS = ("scheduler", "triggerer", "webserver", "worker")
WORKERS = VALUES["workers"]["celery"]


def read_env(values: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in values["env"]}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pod_of_the_chart_runs_and_is_asked_what_compose_has(component: str) -> None:
    assert "ENTRYPOINT" not in (CHECKOUT / "Dockerfile").read_text()
    service, container = COMPOSE["services"][component], find_chart_container(component)
    assert container["command"] == service["command"]
    probes = [
        container[probe]["command"]
        for probe in ("startupProbe", "livenessProbe")
        if "command" in container.get(probe, {})
    ]
    # The web server is asked over HTTP, at a port that the chart has by default.
    assert probes or (component, SETTINGS["WEBSERVER_PORT"]) == ("webserver", "8080")
    assert all(probe == service["healthcheck"]["test"][1:] for probe in probes)


def test_the_chart_runs_our_image_with_the_airflow_that_is_in_it() -> None:
    [image] = [one for one in KUSTOMIZATION["images"] if one["name"] == VALUES["images"]["airflow"]["repository"]]
    assert image["newTag"] == VALUES["images"]["airflow"]["tag"]
    pinned = re.search(r"^apache-airflow(?:\[.*\])?==(.+)$", (CHECKOUT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned and VALUES["airflowVersion"] == pinned[1]
    assert VALUES["executor"] == "CeleryExecutor" and SETTINGS["EXECUTOR"] == "celery"


def test_its_pods_have_the_settings_the_folders_and_the_rights_of_ours() -> None:
    ours = find_container("headlines-init")
    assert find_chart_container("scheduler")["envFrom"] == ours["envFrom"]
    assert list(list_mounts(find_chart_container("worker"))) == list(list_mounts(ours))
    pod = list_pods()["headlines-init"]["spec"]["securityContext"]
    assert VALUES["securityContexts"] == {"pod": pod, "containers": ours["securityContext"]}
    redis = VALUES["redis"]["securityContexts"]
    assert redis["container"] == ours["securityContext"]
    # The image's own user, as in compose.
    assert f"{redis['pod']['runAsUser']}:{redis['pod']['runAsGroup']}" == COMPOSE["services"]["redis"]["user"]
    for values in (VALUES["scheduler"], VALUES["webserver"], VALUES["triggerer"], WORKERS, VALUES["redis"]):
        assert values["serviceAccount"] == {"automountServiceAccountToken": False}


def test_what_the_chart_would_do_in_the_place_of_ours_is_off() -> None:
    for name in ("postgresql", "statsd", "createUserJob", "migrateDatabaseJob", "rbac"):
        assert VALUES[name] in ({"enabled": False}, {"create": False}), name
    for values in (VALUES["scheduler"], VALUES["webserver"], VALUES["triggerer"], WORKERS):
        assert values["waitForMigrations"] == {"enabled": False}
    for values in (VALUES["scheduler"], VALUES["triggerer"]):
        assert values["logGroomerSidecar"] == {"enabled": False}
    for values in (VALUES["triggerer"], WORKERS):
        assert values["persistence"] == {"enabled": False}
    given = VALUES["enableBuiltInSecretEnvVars"]
    assert [name for name, is_given in given.items() if is_given] == ["AIRFLOW_CONN_AIRFLOW_DB"]


@pytest.mark.parametrize("values", [WORKERS, GPU_SET], ids=["default", "gpu"])
def test_as_many_workers_are_asked_for_as_their_queues_have_tasks_for(values: dict[str, Any]) -> None:
    environment = read_env(values)
    assert set(environment) <= {field.upper() for field in Settings.model_fields}
    query = values["keda"]["query"]
    queues = set(re.findall(r"'(\w+)'", query.partition("queue")[2]))
    # What needs the scheduler's folder, every worker here can do; those without a GPU are counted for it.
    shared = {SCHEDULER_QUEUE} if values is WORKERS else set()
    assert queues == {*environment["WORKER_QUEUES"].split(), *shared}
    [divided] = re.findall(r"/ (\d+)", query) or ["1"]
    assert divided == environment["WORKER_SLOTS"]
    states = set(re.findall(r"'(\w+)'", query.partition("state IN")[2].partition("AND")[0]))
    assert states == {TaskInstanceState.RUNNING, TaskInstanceState.QUEUED}
    assert values["keda"]["minReplicaCount"] <= values["keda"]["maxReplicaCount"]


def test_the_queue_of_the_default_workers_is_the_one_that_tasks_go_to() -> None:
    assert read_env(WORKERS)["WORKER_QUEUES"] == Settings.model_fields["queue"].default
    # `status` tells of a queue from which nobody takes.
    assert WORKERS["keda"]["minReplicaCount"] >= 1
    assert f"# QUEUE_TRAINER: {read_env(GPU_SET)['WORKER_QUEUES']}" in (FOLDER / "settings.yaml").read_text()


def test_a_worker_that_is_wanted_no_more_may_end_its_task_first() -> None:
    task_seconds = 60 * Settings.model_fields["task_timeout_minutes"].default
    assert WORKERS["terminationGracePeriodSeconds"] > task_seconds
    minutes = COMPOSE["services"]["worker"]["stop_grace_period"].removesuffix("m")
    assert WORKERS["terminationGracePeriodSeconds"] >= 60 * int(minutes)


def test_the_chart_is_named_with_one_version() -> None:
    document = (CHECKOUT / "docs" / "kubernetes.md").read_text() + (FOLDER / "airflow-values.yaml").read_text()
    versions = re.findall(r"--version (\S+)|airflow/airflow (\d\S+),", document)
    assert len({one or other for one, other in versions}) == 1
