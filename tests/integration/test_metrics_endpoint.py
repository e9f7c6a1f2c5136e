"""The endpoint on real nights, asked by a real Prometheus: what it tells, what it costs, what the dashboard gets."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import httpx
import psycopg2
import pytest
import yaml
from airflow.metrics.statsd_logger import get_statsd_logger
from airflow.stats import Stats
from postgres_server import Server, make_database
from prometheus_client import CollectorRegistry
from prometheus_tools import find_program, run_promtool
from status_server import StatusServer, run_status_server

from benchmarks.lineage_seed import FIRST_NIGHT, Nights
from benchmarks.metrics import counted
from headlines.durable import replace_file
from headlines.names import LAST_BACKUP_FILE
from retraining.local.airflow_series import SERIES, list_options
from retraining.local.service import Health
from retraining.metrics import collecting, endpoint, machine, nights
from retraining.metrics.catalogue import METRICS, Readings
from retraining.metrics.collecting import Sources
from retraining.settings import CHECKOUT, Settings
from serving.folder import Folder
from serving.metrics import Metrics
from serving.policy import Policy, PolicyFile

DEPLOY = CHECKOUT / "deploy"
# Nights of the seed: of these the third, eighth and thirteenth are refused, and the twelfth is stopped by the gate.
NIGHTS = 14
# Statements of one look of a source, whatever there is to look at; each is some milliseconds after three years.
MOST_STATEMENTS = {"lineage": 51, "nights": 25}


@pytest.fixture(scope="module")
def status_server() -> Iterator[StatusServer]:
    """A model server, which answers with the version that should serve."""
    with run_status_server() as server:
        server.states = {2020011401: "AVAILABLE"}
        yield server


@pytest.fixture(scope="module")
def settings(postgres: Server, status_server: StatusServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a service with two weeks of nights in MLMD, an Airflow without tables, and a model server."""
    place = tmp_path_factory.mktemp("measured")
    (place / "secrets").mkdir()
    (place / "secrets" / "mlmd_password").write_text("never shown")
    (place / LAST_BACKUP_FILE).touch()
    replace_file(place / "watch.json", json.dumps({"looked_at": "2022-02-02T05:00:00+00:00"}))
    settings = make_database(postgres, place).model_copy(
        update={"state_dir": place, "serving_urls": (status_server.url,), "metrics_port": free_port()}
    )
    writer = Nights(settings)
    for number in range(NIGHTS):
        writer.write(number)
    return settings


def free_port() -> int:
    """A port that is free by TCP and by UDP."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        return port


def read(settings: Settings, source: str) -> dict[str, dict[tuple[str, ...], float]]:
    readings = Readings(source)  # type: ignore[arg-type]
    [one] = [one for one in collecting.SOURCES if one.name == source]
    one.read(settings, readings)
    return readings.values


def test_lineage_tells_what_serves_and_what_the_newest_nights_were_measured_by(settings: Settings) -> None:
    told = read(settings, "lineage")
    assert told["serving_version"] == {(): 2020011401}
    assert told["mlmd_schema_version"] == {(): 10}
    assert told["drop_rows"] == {(): 430}
    assert told["drop_quarantined_rows"] == {(): 8}
    assert told["drop_quarantined_ratio"][()] == pytest.approx(8 / 430)
    assert told["drop_measure_limit"][("quarantined_share",)] == settings.max_quarantined_share
    assert sum(told["drop_label_ratio"].values()) == pytest.approx(1)
    assert told["window_nights"] == {(): 12}
    assert told["window_missing_nights"] == {(): 0}
    assert told["candidate_check_low"][("accuracy",)] < told["candidate_check"][("accuracy",)]
    assert told["candidate_check_passed"] == {("accuracy",): 1, ("macro_f1",): 1}
    assert told["fresh_rows"] == {(): 84}
    assert told["fresh_accuracy_ratio"].keys() == {("champion",), ("lr",)}, "what was not measured has no value"
    assert told["fresh_accuracy_ratio"][("champion",)] < told["candidate_accuracy_ratio"][()]
    assert not {"traffic_measure", "headlines_scheduler_heartbeat_timestamp_seconds"} & told.keys()
    moments = {"serving_night", "measured_night", "judged_night"}
    assert {told[f"{name}_timestamp_seconds"][()] for name in moments} == {
        nights._begin(settings, str(FIRST_NIGHT.replace(day=14)))
    }


def test_nights_are_told_by_their_states(settings: Settings) -> None:
    told = read(settings, "nights")
    assert {state: count for (state,), count in told["recent_nights"].items() if count} == {
        "pushed": 10,
        "refused": 3,
        "blocked": 1,
    }
    assert len(told["recent_nights"]) == 10
    assert [state for (state,), is_so in told["newest_night_state"].items() if is_so] == ["pushed"]
    assert told["last_verdict"] == {("pushed",): 1, ("refused",): 0}
    assert told["refused_nights_in_a_row"] == told["nights_without_verdict_in_a_row"] == {(): 0}
    blocked = told["newest_night_in_state_timestamp_seconds"][("blocked",)]
    assert told["newest_night_timestamp_seconds"][()] - blocked == 2 * 86400
    assert not {"scheduler_heartbeat_timestamp_seconds", "next_night_is_held_up"} & told.keys(), "no Airflow is known"


def test_a_model_server_is_asked_whether_it_answers_as_it_should(
    settings: Settings, status_server: StatusServer
) -> None:
    told = read(settings, "replicas")
    assert told["replica_version"] == {(status_server.url,): 2020011401}
    assert told["replica_state"][(status_server.url, "agrees")] == 1
    assert told["replicas_are_right"] == {(): 1}


def test_a_service_without_a_night_tells_nothing_of_nights_and_fails_nowhere(postgres: Server, tmp_path: Path) -> None:
    empty = make_database(postgres, tmp_path)
    Nights(empty)
    told = read(empty, "lineage") | read(empty, "nights")
    nothing = {"removed_artifacts", "removed_artifact_bytes"}
    assert [told[name] for name in nothing] == [{(): 0}, {(): 0}]
    assert told.keys() - nothing == {"mlmd_schema_version", "min_accuracy_ratio", "recent_nights", "night_is_overdue"}
    assert set(told["recent_nights"].values()) == {0}


@pytest.mark.parametrize("source", MOST_STATEMENTS)
def test_a_look_asks_the_databases_no_more_than_so_many_times(settings: Settings, source: str) -> None:
    with counted() as statements:
        read(settings, source)
    assert 0 < len(statements) <= MOST_STATEMENTS[source]


def test_without_a_database_the_rest_is_told_at_once(settings: Settings) -> None:
    gone = settings.model_copy(update={"mlmd_port": free_port()})
    registry = CollectorRegistry()
    registry.register(Sources(gone))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"headlines_{name}", labels)

    assert value("source_up", source="lineage") == value("source_up", source="nights") == 0
    assert value("source_up", source="places") == 1
    assert value("disk_free_bytes", setting="STATE_DIR")
    assert value("serving_version") is value("night_is_overdue") is value("replicas_are_right") is None


class ModelServer:
    """The metrics of our model server, as its program writes them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.loaded(2020011401)
        self.metrics.looked(PolicyFile(Path("models.config"), "headlines", Policy(newest=2)), Folder(), {"absent": 0})
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(owner.metrics.write())

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self) -> None:
        self.metrics.requests.labels("/v1/models/headlines:predict", "200").inc()
        self.metrics.seconds.labels("raw_text", "2020011401").observe(0.01)


@pytest.fixture(scope="module")
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(scope="module")
def opened(settings: Settings) -> Iterator[str]:
    """The address of the endpoint, of a service whose programs run and whose live traffic was looked at."""

    def read_more(given: Settings, readings: Readings) -> None:
        nights.read_lineage(given, readings)
        # The seed has no live traffic.
        readings.put("traffic_measure", 0.1, "skew:length")

    with pytest.MonkeyPatch.context() as patch:
        programs = {"watch": {"start": int(time.time())}}
        patch.setattr(machine.supervisor, "states", create_autospec(machine.supervisor.states, return_value=programs))
        health = create_autospec(machine.service.health, return_value=Health({"watch": "healthy"}))
        patch.setattr(machine.service, "health", health)
        lineage, *others = collecting.SOURCES
        sources = (collecting.Source(lineage.name, read_more, lineage.every_seconds), *others)
        patch.setattr(collecting.Sources.__init__, "__defaults__", (sources,))
        for option, value in list_options(settings).items():
            patch.setenv(f"AIRFLOW__METRICS__{option.upper()}", str(value))
        endpoint.serve(settings)
        yield f"127.0.0.1:{settings.metrics_port}"


@pytest.fixture
def airflow(opened: str) -> Iterator[Callable[[], None]]:
    """Sends each of Airflow's series once."""
    logger = get_statsd_logger(Stats)

    def send() -> None:
        for one in SERIES:
            tags = dict.fromkeys(one.labels, "a")
            {"c": logger.incr, "g": logger.gauge, "ms": logger.timing}[one.kind](one.statsd, 1, tags=tags)

    yield send
    logger.statsd.close()


def test_the_page_is_as_prometheus_wants_it_and_holds_only_what_is_written_down(
    opened: str, airflow: Callable[[], None]
) -> None:
    airflow()
    page = httpx.get(f"http://{opened}/metrics", trust_env=False).text
    run_promtool("check", "metrics", page=page)
    told = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    known = {one.full_name for one in METRICS.values()} | {one.full_name for one in SERIES}
    known.add("headlines_statsd_lines_not_read_total")
    assert {name for name in told if name.startswith(("headlines_", "airflow_"))} <= known
    assert {one.full_name for one in SERIES} <= told
    assert "headlines_serving_version 2.020011401e+09" in page


class Prometheus:
    """A real one, with the files of `deploy/` and the targets of the test."""

    def __init__(self, place: Path, targets: dict[str, str]) -> None:
        configuration: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        configuration["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yml")]
        for job in configuration["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets.pop(job["job_name"])]}]
        assert not targets
        place.joinpath("prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = free_port()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False)
        self._log = (place / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *(find_program("prometheus"), f"--config.file={place / 'prometheus.yml'}"),
                *(f"--storage.tsdb.path={place / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self._client.get("/query", params={"query": expression}).raise_for_status().json()
        return list(answer["data"]["result"])

    def wait(self, expression: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.query(expression):
                    return
            except httpx.HTTPError:
                assert self._process.poll() is None, Path(self._log.name).read_text()
            assert time.monotonic() < deadline, f"{expression} has no value"
            time.sleep(0.2)

    def rules(self) -> list[dict[str, Any]]:
        groups = self._client.get("/rules").raise_for_status().json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def stop(self) -> None:
        self._client.close()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)
        self._log.close()


@pytest.fixture
def prometheus(opened: str, model_server: ModelServer, tmp_path: Path) -> Iterator[Prometheus]:
    running = Prometheus(tmp_path, {"headlines": opened, "headlines-serving": model_server.address})
    yield running
    running.stop()


def test_every_panel_of_the_dashboard_has_data_in_a_real_prometheus(
    prometheus: Prometheus, airflow: Callable[[], None]
) -> None:
    # From Airflow's database, which has no tables here: test_airflow_runs.py has.
    elsewhere = {
        "headlines_next_night_is_held_up",
        "time() - headlines_scheduler_heartbeat_timestamp_seconds",
        "time() - headlines_triggerer_heartbeat_timestamp_seconds",
        "time() - headlines_dag_success_timestamp_seconds",
    }
    airflow()
    prometheus.wait("airflow_task_duration_seconds_count")
    [before] = prometheus.query("airflow_task_duration_seconds_count")
    airflow()
    prometheus.wait(f"airflow_task_duration_seconds_count > {before['value'][1]}")
    prometheus.wait("rate(serving_request_seconds_count[5m]) > 0")
    board = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    empty = [one for one in expressions if not prometheus.query(one)]
    assert set(empty) == elsewhere
    assert not [rule for rule in prometheus.rules() if rule["health"] == "err"]


def test_postgres_is_left_without_a_connection_of_ours(settings: Settings) -> None:
    read(settings, "lineage")
    place = settings.mlmd
    with closing(psycopg2.connect(**place.arguments)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'retraining lineage' AND "
                       "datname = current_database()")  # fmt: skip
        assert cursor.fetchall() == [(0,)]
