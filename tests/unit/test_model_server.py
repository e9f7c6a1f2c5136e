"""The model server as a program of the service."""

import pytest

from retraining.local import model_server
from retraining.settings import Settings


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 35),
        ({"SERVING_DRAIN_SECONDS": "10"}, 45),
        ({"SERVING_TIMEOUT_SECONDS": "0.5", "serving_drain_seconds": "2"}, 8),
    ],
)
def test_the_model_server_is_not_killed_before_it_may_have_ended(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seconds: int
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert model_server.make_program(Settings.from_env()).stop_seconds == seconds


def test_what_the_server_refuses_to_begin_with_is_left_to_it_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVING_TIMEOUT_SECONDS", "long")
    assert model_server.make_program(Settings.from_env()).stop_seconds == 35
