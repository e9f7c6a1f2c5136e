"""What Prometheus and Grafana are given, as data; tests/integration/test_monitoring.py tries it on Prometheus."""

import json
import re
from typing import Any

import pytest
import yaml

from retraining.local.airflow_series import SERIES
from retraining.metrics.catalogue import METRICS
from retraining.settings import CHECKOUT
from retraining.web.views import HeadlinesView
from serving.metrics import Metrics

DEPLOY = CHECKOUT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text())
DOCUMENT = (CHECKOUT / "docs" / "metrics.md").read_text()
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
# Labels of ours, functions and keywords begin otherwise.
_NAME = re.compile(r"\b(?:headlines|airflow|serving)_\w+")


def read_job(name: str) -> dict[str, dict[str, Any]]:
    """The jobs of a configuration, by their names."""
    configuration = yaml.safe_load((DEPLOY / "prometheus" / name).read_text())
    return {job["job_name"]: job for job in configuration["scrape_configs"]}


def list_names() -> set[str]:
    """Every series that the endpoint and our model server have."""
    timers = {f"{one.full_name}{end}" for one in SERIES if one.kind == "ms" for end in ("_count", "_sum")}
    others = {one.full_name for one in SERIES if one.kind != "ms"}
    families = list(Metrics()._registry.collect())
    kinds = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    served = {f"{one.name}{end}" for one in families for end in kinds.get(one.type, ())}
    return {one.full_name for one in METRICS.values()} | timers | others | served


@pytest.mark.parametrize(
    "expression", sorted({target["expr"] for panel in PANELS for target in panel.get("targets", ())})
)
def test_a_panel_asks_only_for_what_there_is(expression: str) -> None:
    assert set(_NAME.findall(expression)) <= list_names()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alarm_asks_only_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    names = set(_NAME.findall(rule["expr"]))
    assert names <= list_names()
    assert rule["labels"]["severity"] in ("critical", "warning")
    annotations = rule["annotations"]
    assert annotations.keys() == {"summary", "description", "page", "runbook"}
    assert f"\n### {rule['alert']}\n" in DOCUMENT
    assert annotations["runbook"] == f"docs/metrics.md#{rule['alert'].lower()}"
    routes = {path for name in dir(HeadlinesView) for path, _ in getattr(getattr(HeadlinesView, name), "_urls", ())}
    assert annotations["page"].removeprefix("/headlines") in routes


def test_every_runbook_is_of_an_alarm() -> None:
    alarms = [one["alert"] for one in RULES]
    assert sorted(re.findall(r"^### (\w+)$", DOCUMENT, re.MULTILINE)) == sorted(alarms)
    assert len(set(alarms)) == len(alarms)


def test_panels_have_ids_units_and_descriptions_and_name_no_data_source() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    # Grafana's import would ask for each data source that is named.
    assert "uid" not in {key for panel in PANELS for key in panel}
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert sources == [{"type": "prometheus", "uid": "${datasource}"}] * len(sources)
        marks = [target["refId"] for target in panel["targets"]]
        assert len(set(marks)) == len(marks)
    [variable] = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_no_panel_lies_upon_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} and {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_compose_and_one_box_have_the_same_jobs_at_their_own_addresses() -> None:
    box, compose = read_job("prometheus.yml"), read_job("prometheus-compose.yml")
    assert box.keys() == compose.keys() == {"headlines", "headlines-serving"}
    environment = COMPOSE["services"]["watch"]["environment"]
    address = f"{environment['METRICS_HOST']}:{environment['METRICS_PORT']}"
    assert compose["headlines"]["static_configs"] == [{"targets": [address]}]
    assert environment["METRICS_HOST"] in COMPOSE["services"]
    assert COMPOSE["services"]["watch"]["ports"] == [f"127.0.0.1:${{METRICS_PORT:-9109}}:{environment['METRICS_PORT']}"]
    assert compose["headlines-serving"]["dns_sd_configs"][0]["names"] == ["page"]


def test_monitoring_is_there_only_when_asked_for_and_finds_its_files() -> None:
    for name in ("prometheus", "grafana"):
        service = COMPOSE["services"][name]
        assert service["profiles"] == ["monitoring"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            place, _, _ = volume.partition(":")
            assert place in COMPOSE["volumes"] or (CHECKOUT / place).exists()
    [path] = [one for one in COMPOSE["services"]["prometheus"]["command"] if one.startswith("--config.file=")]
    assert (DEPLOY / "prometheus" / path.rpartition("/")[2]).is_file()
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/headlines.yml").read_text())["providers"][0]
    assert f"{provider['options']['path']}/dashboard.json" in COMPOSE["services"]["grafana"]["volumes"][1]
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


def test_the_document_lists_every_series() -> None:
    ours = ["| gauge | labels | source | what it says |", "|---|---|---|---|"] + [
        f"| `{one.full_name}` | {_quote(one.labels)} | {one.source or 'each'} | {one.meaning} |"
        for one in METRICS.values()
    ]
    kinds = {"c": "counter", "g": "gauge", "ms": "timer"}
    airflow = ["| series | labels | Airflow's name | what it says |", "|---|---|---|---|"] + [
        f"| `{one.full_name}` ({kinds[one.kind]}) | {_quote(one.labels)} | `{one.statsd}` | {one.meaning} |"
        for one in SERIES
    ]
    for mark, table in (("metrics", ours), ("series", airflow)):
        between = DOCUMENT.split(f"<!-- {mark} -->")[1].strip().splitlines()
        assert between == table, "paste this into docs/metrics.md:\n" + "\n".join(table)


def _quote(labels: tuple[str, ...]) -> str:
    return ", ".join(f"`{label}`" for label in labels)


def test_no_two_series_have_one_name() -> None:
    names = [one.full_name for one in METRICS.values()] + [one.full_name for one in SERIES]
    assert len(set(names)) == len(names)
