"""The commands of the pods of deploy/kubernetes, each in the environment of its manifest, on a real Postgres."""

import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import psycopg2
import pytest
from cryptography.fernet import Fernet
from free_ports import free_port
from pods import VALUES, ContainerProcess, find_chart_container, find_container
from postgres_server import Server
from waiting import wait_until as wait

from retraining.local import postgres as embedded

Run = Callable[..., ContainerProcess]
wait_until = partial(wait, every=1)


@pytest.fixture(scope="module")
def secret() -> dict[str, str]:
    """The Secret `headlines`, as .env makes it."""
    names = ("MLMD_PASSWORD", "AIRFLOW_DB_PASSWORD", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_SECRET_KEY", "REDIS_PASSWORD")
    return {name: secrets.token_hex(16) for name in names} | {"AIRFLOW_FERNET_KEY": Fernet.generate_key().decode()}


@pytest.fixture(scope="module")
def changed(postgres: Server) -> Iterator[dict[str, str]]:
    """What is another thing here: addresses, ports, and databases apart from those of other tests."""
    mark = secrets.token_hex(4)
    port = str(postgres.settings.postgres_port)
    names = {
        f"{of}_{what}": f"pods_{of.lower()}_{mark}" for of in ("MLMD", "AIRFLOW_DB") for what in ("DATABASE", "USER")
    }
    yield {
        **names,
        **dict.fromkeys(
            ("POSTGRES_HOST", "MLMD_HOST", "AIRFLOW_DB_HOST", "METRICS_HOST", "WEBSERVER_HOST"), "127.0.0.1"
        ),
        **dict.fromkeys(("POSTGRES_PORT", "MLMD_PORT", "AIRFLOW_DB_PORT"), port),
        **{name: str(free_port()) for name in ("METRICS_PORT", "WEBSERVER_PORT", "REDIS_PORT")},
        "SERVING_URLS": f"http://127.0.0.1:{free_port()}",
        "POSTGRES_PASSWORD": postgres.settings.secret("postgres_password"),
    }
    with closing(embedded.connect_superuser(postgres.settings)) as connection, connection.cursor() as cursor:
        for of in ("MLMD", "AIRFLOW_DB"):
            cursor.execute(f"DROP DATABASE IF EXISTS {names[f'{of}_DATABASE']} WITH (FORCE)")
            cursor.execute(f"DROP ROLE IF EXISTS {names[f'{of}_USER']}")


@pytest.fixture(scope="module")
def run(
    secret: dict[str, str], changed: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ContainerProcess]:
    """Runs a container whose claims are folders of one cluster, once the Job `headlines-init` has run."""
    folder = tmp_path_factory.mktemp("cluster")
    broker = {"BROKER_URL": f"redis://:{secret['REDIS_PASSWORD']}@127.0.0.1:{changed['REDIS_PORT']}/0"}
    run = partial(ContainerProcess, folder=folder, secret=secret | broker, changed=changed)
    with run(find_container("headlines-init")) as init:
        assert init.process.wait(300) == 0, init.log
    return run


def test_the_job_prepares_databases_folders_and_the_policy_of_the_model_servers(run: Run) -> None:
    with run(find_container("headlines-watch")) as watch:
        models = Path(watch.environment["SERVING_DIR"])
        assert models.is_dir() and (models.parent / "models.config").is_file()
        assert (Path(watch.environment["STATE_DIR"]) / ".headlines-service").is_file()


def test_the_watch_passes_its_probes_is_asked_by_prometheus_and_ends_when_told(
    run: Run, changed: dict[str, str]
) -> None:
    with run(find_container("headlines-watch")) as watch:
        wait_until(lambda: watch.passes("startupProbe"), "it has looked", 120)
        assert watch.passes("livenessProbe")
        page = httpx.get(f"http://127.0.0.1:{changed['METRICS_PORT']}/metrics", timeout=30).text
        assert "headlines_watch_look_timestamp_seconds" in page
        watch.process.send_signal(signal.SIGTERM)
        # Kubernetes' own terminationGracePeriodSeconds.
        watch.process.wait(30)


def test_the_question_by_which_workers_are_scaled_counts_the_tasks_that_run_or_wait_for_them(run: Run) -> None:
    with run(find_container("headlines-watch")) as watch:
        given = watch.environment
    # As docs/kubernetes.md has KEDA told of it.
    role = f"{given['AIRFLOW_DB_USER']}:{given['AIRFLOW_DB_PASSWORD']}"
    place = f"{given['AIRFLOW_DB_HOST']}:{given['AIRFLOW_DB_PORT']}/{given['AIRFLOW_DB_DATABASE']}"
    with closing(psycopg2.connect(f"postgresql://{role}@{place}")) as connection, connection.cursor() as cursor:
        # Of the columns of Airflow's table, without the runs that its rows belong to.
        cursor.execute("CREATE TEMP TABLE task_instance (LIKE public.task_instance INCLUDING DEFAULTS)")
        for tasks, workers in (
            ([], 0),
            ([("queued", "default")], 1),
            ([("running", "default"), ("queued", "default"), ("running", "scheduler")], 2),
            ([("deferred", "default"), ("success", "default"), ("scheduled", "default"), ("running", "gpu")], 0),
        ):
            cursor.execute("TRUNCATE pg_temp.task_instance")
            for number, (state, queue) in enumerate(tasks):
                cursor.execute(
                    """INSERT INTO task_instance (task_id, dag_id, run_id, pool, pool_slots, state, queue)
                       VALUES (%s, 'd', 'r', 'p', 1, %s, %s)""",
                    (str(number), state, queue),
                )
            cursor.execute(VALUES["workers"]["celery"]["keda"]["query"])
            assert cursor.fetchone() == (workers,), tasks


@pytest.fixture(scope="module")
def redis(run: Run, secret: dict[str, str], changed: dict[str, str]) -> Iterator[None]:
    if not shutil.which("redis-server"):
        pytest.skip("no redis-server here; on Debian: apt-get install redis-server")
    # The chart's own command, on loopback.
    command = ["redis-server", "--requirepass", secret["REDIS_PASSWORD"], "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen([*command, "--port", changed["REDIS_PORT"]], stdout=subprocess.DEVNULL)
    yield
    process.terminate()
    process.wait(20)


@pytest.mark.long
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(
    ("component", "seconds"), [("worker", 3660), ("scheduler", 10), ("triggerer", 60), ("webserver", 30)]
)
def test_a_pod_of_the_chart_passes_its_probes_and_ends_when_told(
    run: Run, changed: dict[str, str], component: str, seconds: int
) -> None:
    # The seconds are the chart's own terminationGracePeriodSeconds, but for the worker.
    container = find_chart_container(component)
    if component == "webserver":
        container["livenessProbe"] = {"httpGet": {"path": "/health", "port": "airflow-ui"}, "timeoutSeconds": 5}
    with run(container) as pod:
        ports = {"airflow-ui": int(changed["WEBSERVER_PORT"])}
        wait_until(lambda: pod.passes("livenessProbe", ports), f"{component} is alive", 300)
        pod.process.send_signal(signal.SIGTERM)
        pod.process.wait(min(seconds, 120))
    assert "Traceback" not in pod.last_words
