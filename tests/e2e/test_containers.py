"""docker-compose.yaml's services in the images that the Dockerfiles make: a night on the scheduler, one on workers.

`make test-containers` builds the images and runs this file. The tests of this file build on one another, in order.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import waiting
from compose_file import read_compose
from containers import Container, Image, Project, compose
from cryptography.fernet import Fernet
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from driving import CHECKOUT, SMALL_TRAINING

PLACE = os.environ.get("CONTAINERS_PLACE")
pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.long,
    pytest.mark.skipif(not PLACE, reason="the images are built by `make test-containers`"),
]

# Without a registry there is no image of these, nor a package of TensorFlow Serving's, for which `page` serves here.
NOT_RUN = {"serving", "prometheus", "grafana"}
DAG = "headline_retraining"
PASSWORD = "letters0and1digits"
EACH = ("scheduler", "triggerer", "webserver", "watch", "page")
ON_WORKERS = ("redis", "worker", "flower")
wait_until = partial(waiting.wait_until, every=2)


def write_env(path: Path, drops: Path, **more: str) -> Path:
    """A `.env` as README says: a copy of the example, its first block filled in, and what the test wants besides."""
    first = {
        "POSTGRES_PASSWORD": PASSWORD,
        "MLMD_PASSWORD": f"{PASSWORD}2",
        "AIRFLOW_DB_PASSWORD": f"{PASSWORD}3",
        "AIRFLOW_ADMIN_PASSWORD": f"{PASSWORD}4",
        "AIRFLOW_FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW_SECRET_KEY": f"{PASSWORD}5",
    }
    if path.exists():
        # The keys are those that the databases were made with.
        text = path.read_text()
    else:
        text = (CHECKOUT / ".env.example").read_text()
        for name, value in first.items():
            assert f"\n{name}=\n" in text, name
            text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
        quick = SMALL_TRAINING | {"MAX_QUARANTINED_SHARE": "0.5", "SERVING_URLS": "http://page:8501"}
        text += f"DROPS={drops}\n" + "".join(f"{name}={value}\n" for name, value in quick.items())
    path.write_text(text + "".join(f"{name}={value}\n" for name, value in more.items()))
    return path


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory, twelve_nights: Path) -> Path:
    folder = tmp_path_factory.mktemp("drops")
    for night in ("2022-02-01", "2022-02-02"):
        shutil.copytree(twelve_nights / night, folder / night)
    # pytest's own folders are closed to others; a user of Compose delivers where user 1000 may read.
    for path in [folder, *folder.parents][:3]:
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory, drops: Path) -> Path:
    return write_env(tmp_path_factory.mktemp("env") / ".env", drops)


@pytest.fixture(scope="module")
def project(env_file: Path) -> Iterator[Project]:
    assert PLACE
    place = Path(PLACE)
    services = read_compose(CHECKOUT / "docker-compose.yaml", env_file)
    store = ("buildah", "--root", f"{place}/storage", "--runroot", "/run/storage", "--storage-driver", "vfs")
    images = {service.image: Image(service.image, store) for name, service in services.items() if name not in NOT_RUN}
    logs = place / "project"
    logs.mkdir()
    with compose(services, images, logs, CHECKOUT) as project:
        yield project


def ask(project: Project, name: str, path: str, **options: Any) -> httpx.Response:
    """Asks a service at its first published port, as it is inside."""
    port = project.services[name].ports[0]
    address = f"http://{project[name].address}:{port}{path}"
    return httpx.request(options.pop("method", "GET"), address, timeout=60, trust_env=False, **options)


def ask_airflow(project: Project, path: str, **options: Any) -> Any:
    password = project.services["webserver"].environment["AIRFLOW_ADMIN_PASSWORD"]
    answer = ask(project, "webserver", f"/api/v1/{path}", auth=("admin", password), **options)
    answer.raise_for_status()
    return answer.json()


def run_night(project: Project, night: str) -> list[dict[str, Any]]:
    """Runs a night from inside, to its verdict; the tasks of its run."""
    said = project["webserver"]("retraining", "run", "--night", night)
    assert "Pusher" in said, said
    runs = ask_airflow(project, f"dags/{DAG}/dagRuns")["dag_runs"]
    # Beside the schedule's own runs, which wait for their drops.
    [run] = [run for run in runs if run["dag_run_id"].startswith(f"manual__{night}")]
    assert run["state"] == "success"
    return ask_airflow(project, f"dags/{DAG}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]  # type: ignore[no-any-return]


def read_log(project: Project, task: dict[str, Any]) -> str:
    """The log of a task as the web server shows it."""
    path = f"dags/{DAG}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/logs/{task['try_number']}"
    shown = ask_airflow(project, path, params={"full_content": "true"}, headers={"Accept": "application/json"})
    return str(shown["content"])


def wait_until_served(project: Project, version: str) -> None:
    wait_until(lambda: ask(project, "page", "/version").json().get("version") == version, f"{version} is served", 180)


def predict(project: Project) -> dict[str, Any]:
    answer = ask(project, "page", "/predict", method="POST", json={"title": "Inflação cai e bolsa sobe"})
    answer.raise_for_status()
    return answer.json()  # type: ignore[no-any-return]


def test_every_service_of_the_file_is_run_here_but_for_those_without_an_image(project: Project) -> None:
    assert set(project.services) == {"postgres", "init", *EACH, *ON_WORKERS, *NOT_RUN}
    for service in project.services.values():
        assert service.is_read_only and service.drops_all_capabilities and service.gains_no_privileges
    built = {(service.image, service.build[0]) for service in project.services.values() if service.build}
    assert built == {("headline-retraining:latest", "Dockerfile"), ("headline-serving:latest", "serving/Dockerfile")}


def test_everything_that_one_scheduler_needs_starts_and_is_healthy_on_fresh_volumes(project: Project) -> None:
    project.up(*EACH)
    for name in ("postgres", *EACH):
        project[name].wait_until_healthy()


def find_rights(container: Container) -> tuple[list[str], set[int], str]:
    """Of process 1: its users and groups, all of its capabilities, and whether it can come to no others."""
    status = dict(line.split(":\t") for line in container("cat", "/proc/1/status").splitlines() if ":\t" in line)
    capabilities = {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    return status["Uid"].split() + status["Gid"].split(), capabilities, status["NoNewPrivs"]


@pytest.mark.parametrize("name", EACH)
def test_a_container_is_user_1000_without_rights_and_writes_to_its_volumes_and_tmp_alone(
    project: Project, name: str
) -> None:
    container = project[name]
    assert find_rights(container) == (["1000"] * 8, {0}, "1")
    writable = [volume.target for volume in container.service.volumes if not volume.is_read_only]
    for place in ("/opt", "/opt/headlines", "/opt/venv", "/home/headlines", "/etc", "/srv/drops", "/srv/models"):
        can_write = container.execute("sh", "-c", f"echo x >{place}/probe && rm {place}/probe").returncode == 0
        assert can_write == (place in writable), place
    container("sh", "-c", "echo x >/tmp/probe && rm /tmp/probe")


def test_the_web_server_lets_its_user_in_and_nobody_else(project: Project) -> None:
    assert ask(project, "webserver", "/health").json()["metadatabase"]["status"] == "healthy"
    assert ask(project, "webserver", "/api/v1/dags").status_code == 403
    assert DAG in {dag["dag_id"] for dag in ask_airflow(project, "dags")["dags"]}
    with httpx.Client(base_url=f"http://{project['webserver'].address}:8080", timeout=60, trust_env=False) as browser:
        [token] = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get("/login/").text)
        password = project.services["webserver"].environment["AIRFLOW_ADMIN_PASSWORD"]
        browser.post("/login/", data={"username": "admin", "password": password, "csrf_token": token})
        assert browser.get("/headlines/nights").status_code == 200


def test_a_night_on_the_scheduler_reaches_its_verdict_and_its_model_answers(project: Project) -> None:
    tasks = run_night(project, "2022-02-01")
    assert {task["hostname"] for task in tasks if task["hostname"]} == {project["scheduler"].name}
    trainer = next(task for task in tasks if task["task_id"] == "Trainer")
    assert "Marking task as SUCCESS" in read_log(project, trainer)
    wait_until_served(project, "2022020101")
    assert predict(project)["version"] == "2022020101"


def test_the_models_that_containers_make_are_the_same_again(project: Project) -> None:
    assert "identical" in project["webserver"]("retraining", "replay", "--night", "2022-02-01")


def test_the_watch_says_to_prometheus_what_was_pushed(project: Project) -> None:
    assert ask(project, "watch", "/metrics").text.count("headlines_") > 10


def test_what_a_person_asks_by_exec_answers(project: Project) -> None:
    digest = project["webserver"]("retraining", "digest")
    assert "http://page:8501 answers 2022020101" in digest
    assert "2022-02-01" in project["scheduler"]("retraining", "lineage", "runs")


def test_each_ends_in_time_when_it_is_asked_and_works_on_after_a_restart(project: Project) -> None:
    for name in EACH:
        took = project[name].restart()
        assert took < project.services[name].stop_grace_seconds, f"{name} had to be killed"
        project[name].wait_until_healthy()
    wait_until_served(project, "2022020101")


def test_a_database_that_is_restarted_takes_nobody_down_for_good(project: Project) -> None:
    assert project["postgres"].restart() < project.services["postgres"].stop_grace_seconds
    for name in ("postgres", *EACH):
        project[name].wait_until_healthy()


def test_with_the_profile_workers_take_the_tasks_of_a_night(project: Project, env_file: Path, drops: Path) -> None:
    write_env(env_file, drops, EXECUTOR="celery", REDIS_PASSWORD=PASSWORD)
    # `up` makes anew whatever has another setting now.
    for name in (*reversed(EACH), "init"):
        project[name].remove()
    project.services = read_compose(CHECKOUT / "docker-compose.yaml", env_file)
    project.up(*EACH, *ON_WORKERS)
    project.start("worker")
    workers = [container for container in project.containers if container.service.name == "worker"]
    for container in [*project.containers]:
        if container.service.name != "init":
            container.wait_until_healthy()
    listed = project["webserver"]("retraining", "workers")
    assert len(workers) == 2 and all(f"worker@{worker.name}" in listed for worker in workers), listed

    tasks = run_night(project, "2022-02-02")
    hosts = {task["hostname"] for task in tasks if task["hostname"]}
    assert hosts <= {worker.name for worker in workers}
    for host in hosts:
        task = next(task for task in tasks if task["hostname"] == host)
        assert "Marking task as SUCCESS" in read_log(project, task)
    wait_until_served(project, "2022020201")
    assert predict(project)["version"] == "2022020201"


def test_flower_shows_the_workers(project: Project) -> None:
    assert project["worker"].name in ask(project, "flower", "/workers").text


@pytest.mark.parametrize(("name", "user"), [("redis", "999"), ("worker", "1000"), ("flower", "1000")])
def test_what_the_profile_adds_has_no_rights_either(project: Project, name: str, user: str) -> None:
    assert find_rights(project[name]) == ([user] * 8, {0}, "1")
    assert project[name].execute("sh", "-c", "echo x >/opt/probe").returncode != 0


def test_the_broker_is_not_for_whoever_has_no_password(project: Project) -> None:
    assert "NOAUTH" in project["redis"]("redis-cli", "ping")


def test_what_the_profile_adds_works_on_after_a_restart(project: Project) -> None:
    for name in ON_WORKERS:
        took = project[name].restart()
        assert took < project.services[name].stop_grace_seconds, f"{name} had to be killed"
        project[name].wait_until_healthy()


def test_everything_ends_in_time_and_what_volumes_hold_is_there_for_the_next_start(project: Project) -> None:
    running = [container for container in reversed(project.containers) if container.is_running()]
    seconds = {f"{container.service.name} {container.number}": container.stop() for container in running}
    late = [name for name, took in seconds.items() if took >= project.services[name.split()[0]].stop_grace_seconds]
    assert late == [], seconds
    for container in [*project.containers]:
        container.remove()
    project.up("page")
    project["page"].wait_until_healthy()
    wait_until_served(project, "2022020201")


@pytest.mark.parametrize("service", ["scheduler", "page"])
def test_an_image_carries_its_bill_of_materials(project: Project, service: str) -> None:
    text = (image_of(project, service).root / "opt/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {component["purl"].split("@")[0] for component in json.loads(text)["components"]}
    assert {"pkg:deb/debian/libc6", "pkg:pypi/tensorflow-cpu", "pkg:generic/python"} <= names


def image_of(project: Project, service: str) -> Image:
    return project.images[project.services[service].image]


def test_an_image_holds_nothing_of_a_checkout_but_its_code(project: Project) -> None:
    root = image_of(project, "scheduler").root / "opt/headlines"
    rooms = {"dags", "docs", "headlines", "lineage", "modules", "plugins", "retraining", "serving", "tfx_components"}
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock", "requirements-celery.lock"}
    assert {path.name for path in root.iterdir()} == rooms | files | {"scripts"}
    assert not any(path.stat().st_uid for path in root.rglob("*")), "no file of it is the service's to write"
