"""Where events go, under which night, and what becomes of one that is not taken."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage_sink import receive

from retraining.local import airflow
from retraining.openlineage import transport
from retraining.openlineage.options import airflow_options, make_transport
from retraining.openlineage.transport import SinkError, tell_nominal_time
from retraining.settings import Settings

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"


def settings_for(tmp_path: Path, url: str, **more: Any) -> Settings:
    return Settings.from_env(state_dir=tmp_path, openlineage_url=url, **more)


def client_of(settings: Settings) -> OpenLineageClient:
    return OpenLineageClient(config={"transport": make_transport(settings)})


def event(job: str = "headline_retraining.Trainer") -> RunEvent:
    return RunEvent(
        eventTime="2022-02-02T05:00:00+00:00",
        eventType=RunState.START,
        run=Run(RUN),
        job=Job("headlines", job),
        producer="https://example.org",
    )


def test_without_an_address_the_provider_has_no_listener_and_nothing_else_is_set(tmp_path: Path) -> None:
    assert airflow_options(Settings.from_env(state_dir=tmp_path)) == {"disabled": True}


def test_the_processes_of_a_service_are_given_the_address_as_airflow_options(tmp_path: Path) -> None:
    names = ("airflow_db_password", "airflow_fernet_key", "airflow_secret_key", "mlmd_password")
    settings = settings_for(
        tmp_path, "https://marquez:5000", openlineage_namespace="newsroom", **dict.fromkeys(names, "secret")
    )
    environment = airflow.environment(settings)
    given = {
        name.removeprefix("AIRFLOW__OPENLINEAGE__"): value
        for name, value in environment.items()
        if name.startswith("AIRFLOW__OPENLINEAGE__")
    }
    assert (given["DISABLED"], given["NAMESPACE"]) == ("False", "newsroom")
    assert json.loads(given["TRANSPORT"])["url"] == "https://marquez:5000"


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("", "/api/v1/lineage"),
        ("/", "/api/v1/lineage"),
        ("/openapi/openlineage", "/openapi/openlineage/api/v1/lineage"),
        ("/api/v1/openlineage/lineage", "/api/v1/openlineage/lineage"),
    ],
)
def test_an_event_is_posted_below_the_path_of_the_address_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, path: str
) -> None:
    with receive() as sink:
        settings = settings_for(tmp_path, sink.url + address, openlineage_api_key="k1")
        # The client reads these by itself, and the service's processes have them.
        monkeypatch.setenv("OPENLINEAGE_URL", sink.url + address)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", "k1")
        client_of(settings).emit(event())
        assert sink.requests == [(path, "Bearer k1")]
        assert sink.events[0]["job"]["name"] == "headline_retraining.Trainer"


def test_an_endpoint_that_does_not_answer_is_left_alone_for_a_while_by_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receive() as sink:
        settings = settings_for(tmp_path, sink.url)
        sink.delay_seconds = 1.5
        monkeypatch.setattr("retraining.openlineage.options._TIMEOUT_SECONDS", 0.3)
        with pytest.raises(
            SinkError, match=r"START of headline_retraining.Trainer \(run .*\) was not sent to 127.0.0.1"
        ):
            client_of(settings).emit(event())
        sink.delay_seconds = 0
        # Another process: it knows by the file.
        with pytest.raises(SinkError, match=r"did not answer before; it is tried again in .* s. Check OPENLINEAGE_URL"):
            client_of(settings).emit(event())
        monkeypatch.setattr(transport, "PAUSE_SECONDS", 0.0)
        client_of(settings).emit(event("headline_retraining.Pusher"))
        assert [one["job"]["name"] for one in sink.events][-1:] == ["headline_retraining.Pusher"]


def test_an_endpoint_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    with receive() as sink:
        gone = sink.url
    with pytest.raises(SinkError, match=r"\(ConnectionError\); nothing is sent there for 60 s. Check OPENLINEAGE_URL"):
        client_of(settings_for(tmp_path, gone)).emit(event())


def test_a_refusal_is_told_with_its_status_and_the_next_event_is_sent_all_the_same(tmp_path: Path) -> None:
    with receive() as sink:
        client = client_of(settings_for(tmp_path, sink.url))
        for status in (401, 503):
            sink.status = status
            with pytest.raises(SinkError, match=rf"not taken by 127.0.0.1 \(HTTP {status}\). Check .*_API_KEY"):
                client.emit(event())
        sink.status = 201
        client.emit(event())
        assert len(sink.events) == 1


def about(job: str, **run_facets: Any) -> dict[str, Any]:
    return {"run": {"runId": RUN, "facets": run_facets}, "job": {"namespace": "headlines", "name": job}}


@pytest.mark.parametrize(
    ("job", "run_facets"),
    [
        # By lineage, whichever DAG it is; by the parameter of the run; by the logical date where the schedule lives.
        ("headline_tuning.Tuner", {"headlines_night": {"night": "2022-02-02"}}),
        (
            "headline_retraining.wait_for_drop",
            {"airflow": {"dagRun": {"conf": {"night": "2022-02-02"}, "logical_date": "2022-03-09T05:00:00+00:00"}}},
        ),
        (
            "headline_retraining",
            {"airflowDagRun": {"dagRun": {"conf": {}, "execution_date": "2022-02-03T02:30:00+00:00"}}},
        ),
    ],
)
def test_the_nominal_time_is_the_night_whatever_airflows_interval_is(job: str, run_facets: dict[str, Any]) -> None:
    told = tell_nominal_time(about(job, nominalTime={"nominalStartTime": "x"}, **run_facets), "America/Sao_Paulo")
    nominal = told["run"]["facets"]["nominalTime"]
    assert nominal["nominalStartTime"] == "2022-02-02T00:00:00-03:00"
    assert nominal["nominalEndTime"] == "2022-02-03T00:00:00-03:00"


def test_what_is_about_no_night_keeps_airflows_interval() -> None:
    conf = {"airflowDagRun": {"dagRun": {"conf": {"night": "2022-02-02"}}}}
    told = tell_nominal_time(about("headline_scoring", nominalTime={"nominalStartTime": "x"}, **conf), "UTC")
    assert told["run"]["facets"]["nominalTime"] == {"nominalStartTime": "x"}


def test_where_nothing_is_sent_airflow_loads_neither_listener_nor_client(tmp_path: Path) -> None:
    options = airflow_options(Settings.from_env(state_dir=tmp_path))
    code = (
        "import sys; from airflow.providers.openlineage.plugins.openlineage import OpenLineageProviderPlugin; "
        "print(OpenLineageProviderPlugin.listeners, [name for name in sys.modules if name.startswith('openlineage')])"
    )
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        # The client's own variable, which a service's processes may have from elsewhere.
        "OPENLINEAGE_URL": "http://127.0.0.1:9",
        **{f"AIRFLOW__OPENLINEAGE__{name.upper()}": str(value) for name, value in options.items()},
    }
    ran = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[] []"
