"""What Prometheus is given, checked by its own promtool."""

import re

import pytest
import yaml
from prometheus_tools import run_promtool

from retraining.settings import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "prometheus"


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-compose.yml"])
def test_prometheus_takes_the_configuration_with_its_rules(name: str) -> None:
    said = run_promtool("check", "config", FOLDER / name)
    assert re.search(r"SUCCESS: [1-9][0-9]* rules found", said)


def test_every_alarm_speaks_when_it_should_and_only_then() -> None:
    run_promtool("test", "rules", FOLDER / "alerts_test.yml")
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    alarms = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert alarms == set(re.findall(r"Headlines\w+", (FOLDER / "alerts_test.yml").read_text())), "each is tried"
