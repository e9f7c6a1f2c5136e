"""Two runs of the same night, at the same time: one trains, the other waits for it or fails clearly."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import launching
import pytest
from launching import launch
from postgres_server import Server
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model

from retraining.recording.advisory_locks import NightTakenError, hold_night
from retraining.recording.launcher import find_trained_night
from retraining.recording.store import connection_config
from retraining.settings import Settings

NIGHT = "2022-02-03"


@component
def TrainNight(model: OutputArtifact[Model], custom_config: Parameter[str]) -> None:
    launching.behaviour["train"](Path(model.uri))


def trainer(night: str = NIGHT) -> TrainNight:
    return TrainNight(custom_config=json.dumps({"night": night, "seed": 1}))


@pytest.fixture(autouse=True)
def well_behaved() -> Iterator[None]:
    yield
    launching.behaviour.clear()


def test_only_a_component_whose_configuration_names_a_night_trains_one() -> None:
    assert find_trained_night({"custom_config": '{"night": "2022-02-03"}'}) == NIGHT
    # TFX records `null` for none, and another's may be any text.
    for config in (None, "{}", "", "null", "[]", '"2022-02-03"', '{"night": null}', "night 2022-02-03"):
        assert find_trained_night({"custom_config": config}) is None
    for properties in ({}, {"night": NIGHT}):
        assert find_trained_night(properties) is None


def test_two_runs_of_a_night_never_train_at_once_and_two_nights_may(settings: Settings) -> None:
    at_work: list[str] = []
    seen: dict[str, list[str]] = {}

    def train(directory: Path) -> None:
        name = threading.current_thread().name
        at_work.append(name)
        time.sleep(1.0)
        seen[name] = list(at_work)
        time.sleep(1.0)
        at_work.remove(name)

    launching.behaviour["train"] = train
    launch(settings, trainer("2022-01-01"), "warm-up")
    threads = [
        threading.Thread(target=launch, args=(settings, trainer(night), run), name=run)
        for night, run in ((NIGHT, "scheduled"), (NIGHT, "by-hand"), ("2022-02-04", "other"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not {"scheduled", "by-hand"} <= set(seen["scheduled"])
    assert not {"scheduled", "by-hand"} <= set(seen["by-hand"])
    assert seen.keys() >= {"scheduled", "by-hand", "other"}


def test_who_does_not_wait_is_told_who_trains_the_night(settings: Settings) -> None:
    config = connection_config(settings)
    with hold_night(config, NIGHT, "process 7, run scheduled__1"):
        with (
            pytest.raises(NightTakenError, match=r"2022-02-03 is being trained \(by process 7, run scheduled__1\)"),
            hold_night(config, NIGHT, "me", wait=False),
        ):
            pytest.fail("two hold the night")
        with hold_night(config, "2022-02-04", "me", wait=False):
            pass
    with hold_night(config, NIGHT, "me", wait=False):
        pass


def test_a_night_is_free_again_when_the_process_that_trained_it_was_killed(settings: Settings) -> None:
    launching.behaviour["train"] = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if not pid:
        launch(settings, trainer())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with hold_night(connection_config(settings), NIGHT, "me", wait=True):
        pass


def test_a_wait_can_be_ended_by_a_signal(settings: Settings) -> None:
    def give_up(number: int, frame: object) -> None:
        raise TimeoutError("long enough")

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        with hold_night(connection_config(settings), NIGHT, "another"):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(TimeoutError, match="long enough"), hold_night(connection_config(settings), NIGHT, "me"):
                pytest.fail("two hold the night")
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_training_outlives_a_crash_of_postgres(settings: Settings, postgres: Server) -> None:
    with hold_night(connection_config(settings), NIGHT, "me"):
        postgres.crash()
        postgres.start()
    with hold_night(connection_config(settings), NIGHT, "me", wait=False):
        pass
