"""The model server as a program of the service, and how long its end may take."""

from pathlib import Path
from unittest.mock import create_autospec

import pytest

from retraining.boot import unit
from retraining.local import model_server, roster
from retraining.settings import Settings
from serving.settings import Settings as ServerSettings
from serving.settings import SettingsError as ServerSettingsError


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 36),
        ({"SERVING_DRAIN_SECONDS": "10"}, 46),
        ({"SERVING_TIMEOUT_SECONDS": "0.5", "serving_drain_seconds": "2"}, 9),
    ],
)
def test_the_model_server_is_not_killed_before_it_may_have_ended(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seconds: int
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert model_server.make_program(Settings.from_env()).stop_seconds == seconds
    # A second later what keeps several workers kills one that hangs.
    assert seconds > ServerSettings.from_env(dir=Path("/srv/models")).end_seconds + 1


@pytest.mark.parametrize("wrong", ["long", "inf", "nan"])
def test_what_the_server_refuses_to_begin_with_is_left_to_it_to_tell(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("SERVING_TIMEOUT_SECONDS", wrong)
    assert model_server.make_program(Settings.from_env()).stop_seconds == 36
    with pytest.raises(ServerSettingsError, match="SERVING_TIMEOUT_SECONDS"):
        ServerSettings.from_env(dir=Path("/srv/models"))


def test_whoever_stops_the_service_waits_for_the_longest_end_of_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_DRAIN_SECONDS", "300")
    settings = Settings.from_env(state_dir=Path("/srv/state"))
    programs = {program.name: program.stop_seconds for program in roster.list_programs(settings)}
    assert roster.find_stop_seconds(settings) == sum(programs.values()) > programs["serving"] == 336
    monkeypatch.setattr(unit, "_check_path", create_autospec(unit._check_path))
    assert f"TimeoutStopSec={sum(programs.values()) + 60}" in unit.write_unit(settings, "system")
