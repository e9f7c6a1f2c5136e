"""Rollback against a real Postgres: what serves, what MLMD remembers, what later and earlier nights make of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from launching import NAME, launch
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Artifact, Event, Execution
from quick_pipeline import champion_as_of, nodes

from headlines.pushes import rollbacks
from headlines.pushes.rollbacks import find_served, read
from lineage import OURS, open_lineage
from retraining.recording.rollback import RollbackError, roll_back, settle_rollbacks
from retraining.recording.store import StoreError, connection_config
from retraining.settings import Settings
from retraining.web import pages
from serving.policy import read_policy

FIRST, SECOND, THIRD = 2022020101, 2022020201, 2022020301


def run(settings: Settings, *nights: str, run_id: str = "scheduled", version: int = 1) -> None:
    for night in nights:
        for node in nodes(settings, night, version):
            launch(settings, node, f"{run_id}__{night}")


@pytest.fixture
def three_nights(settings: Settings) -> Settings:
    run(settings, "2022-02-01", "2022-02-02", "2022-02-03")
    return settings


def store_of(settings: Settings) -> MetadataStore:
    return MetadataStore(connection_config(settings))


def last_push(settings: Settings) -> Artifact:
    return max(store_of(settings).get_artifacts_by_type("PushedModel"), key=lambda push: push.id)


def pinned(settings: Settings) -> tuple[int, ...]:
    return read_policy(settings.serving_dir.parent / "models.config", "headlines").specific


def test_the_version_before_serves_and_mlmd_remembers_who_when_why_and_from_which_to_which(
    three_nights: Settings,
) -> None:
    done = roll_back(three_nights, "rótulos trocados em 3/2", "ana")
    assert (done.from_version, done.to_version, done.withdrawn) == (THIRD, SECOND, (THIRD,))
    assert pinned(three_nights) == (SECOND,)
    store = store_of(three_nights)
    [artifact] = store.get_artifacts_by_type("Rollback")
    [execution] = store.get_executions_by_type("Rollback")
    assert artifact.id == done.id
    assert (artifact.state, execution.last_known_state) == (Artifact.LIVE, Execution.COMPLETE)
    for record in (artifact, execution):
        properties = record.custom_properties
        assert (properties["from_version"].int_value, properties["to_version"].int_value) == (THIRD, SECOND)
        assert properties["by"].string_value == "ana"
        assert properties["reason"].string_value == "rótulos trocados em 3/2"
        assert properties["night"].string_value == "2022-02-04"
        at = datetime.fromisoformat(properties["at"].string_value)
        assert abs((datetime.now(ZoneInfo("UTC")) - at).total_seconds()) < 120
    versions = {}
    for event in store.get_events_by_execution_ids([execution.id]):
        if event.type == Event.INPUT:
            [push] = store.get_artifacts_by_id([event.artifact_id])
            versions[event.path.steps[0].key] = push.custom_properties["pushed_version"].string_value
    assert versions == {"from": str(THIRD), "to": str(SECOND)}
    assert [context.type for context in store.get_contexts_by_execution(execution.id)] == ["pipeline"]


def test_the_champion_of_later_nights_follows_and_that_of_earlier_ones_stays(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana", FIRST)
    assert champion_as_of(three_nights, "2022-02-04") == str(FIRST)
    assert champion_as_of(three_nights, "2022-02-03") == str(SECOND)


def test_the_next_nights_run_is_judged_against_it_and_its_push_serves(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana", FIRST)
    run(three_nights, "2022-02-04")
    push = last_push(three_nights)
    assert push.custom_properties["reason"].string_value == (
        f"pushed as 2022020401; it takes over from {FIRST}, which was rolled back to"
    )
    assert pinned(three_nights) == ()
    assert find_served(three_nights.serving_dir) == 2022020401
    assert champion_as_of(three_nights, "2022-02-05") == "2022020401"
    blessings = store_of(three_nights).get_artifacts_by_type("ModelBlessing")
    assert max(blessings, key=lambda one: one.id).custom_properties["champion_version"].string_value == str(FIRST)


def test_that_night_may_be_run_again_after_its_push_ended_the_rollback(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana", FIRST)
    run(three_nights, "2022-02-04")
    run(three_nights, "2022-02-04", run_id="again")
    assert last_push(three_nights).custom_properties["reason"].string_value.startswith("kept 2022020401")


def test_a_rolled_back_model_is_not_pushed_again_and_a_corrected_one_is(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana")
    run(three_nights, "2022-02-03", run_id="again")
    push = last_push(three_nights)
    assert push.custom_properties["pushed"].int_value == 0
    reason = push.custom_properties["reason"].string_value
    assert f"the same model again as {THIRD}, which ana rolled back at" in reason
    assert "(a bad drop)" in reason
    assert pinned(three_nights) == (SECOND,)
    run(three_nights, "2022-02-03", run_id="corrected", version=2)
    assert find_served(three_nights.serving_dir) == THIRD + 1
    assert champion_as_of(three_nights, "2022-02-04") == str(THIRD + 1)
    # Nor is it by a later rerun with the drop as it was first.
    run(three_nights, "2022-02-03", run_id="once more")
    assert last_push(three_nights).custom_properties["pushed"].int_value == 0


def test_a_backfill_of_an_earlier_night_neither_ends_the_rollback_nor_is_refused_for_it(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana", SECOND)
    run(three_nights, "2022-02-01", run_id="corrected", version=2)
    assert last_push(three_nights).custom_properties["pushed"].int_value == 1
    assert pinned(three_nights) == (SECOND,)
    assert champion_as_of(three_nights, "2022-02-04") == str(SECOND)


def test_a_model_judged_before_the_rollback_against_what_was_withdrawn_is_judged_anew(three_nights: Settings) -> None:
    champion, trainer, judge, pusher = nodes(three_nights, "2022-02-04")
    for node in (champion, trainer, judge):
        launch(three_nights, node, "scheduled__2022-02-04")
    roll_back(three_nights, "a bad drop", "ana")
    launch(three_nights, pusher, "scheduled__2022-02-04")
    push = last_push(three_nights)
    assert push.custom_properties["pushed"].int_value == 0
    assert (
        f"compared with champion {THIRD}, which was rolled back since" in push.custom_properties["reason"].string_value
    )
    run(three_nights, "2022-02-04")
    assert last_push(three_nights).custom_properties["pushed"].int_value == 1


def test_a_rollback_can_be_taken_back(three_nights: Settings) -> None:
    roll_back(three_nights, "a bad drop", "ana", FIRST)
    done = roll_back(three_nights, "the drop was fine", "rui", THIRD)
    assert (done.from_version, done.to_version, done.withdrawn) == (FIRST, THIRD, ())
    assert find_served(three_nights.serving_dir) == THIRD
    assert champion_as_of(three_nights, "2022-02-04") == str(THIRD)


def test_a_newer_version_that_was_removed_from_disk_is_no_champion_either(three_nights: Settings) -> None:
    shutil.rmtree(three_nights.serving_dir / str(SECOND))
    roll_back(three_nights, "a bad drop", "ana")
    assert find_served(three_nights.serving_dir) == FIRST
    assert champion_as_of(three_nights, "2022-02-04") == str(FIRST)


@pytest.mark.parametrize(
    ("to", "reason", "message"),
    [
        (THIRD, "why not", f"{THIRD} serves already"),
        (2021010101, "why not", f"there is no pushed model 2021010101 in .*; there are: {SECOND}, {FIRST}"),
        (FIRST, "  ", "a rollback needs a reason"),
    ],
)
def test_what_cannot_be_rolled_back_to_is_told_and_leaves_no_trace(
    to: int, reason: str, message: str, three_nights: Settings
) -> None:
    with pytest.raises(RollbackError, match=message):
        roll_back(three_nights, reason, "ana", to)
    assert read(three_nights.serving_dir) == []
    assert store_of(three_nights).get_artifacts_by_type("Rollback") == []


def test_the_first_version_has_nothing_before_it(settings: Settings) -> None:
    with pytest.raises(RollbackError, match="nothing was pushed to"):
        roll_back(settings, "why not", "ana")
    run(settings, "2022-02-01")
    with pytest.raises(RollbackError, match=f"{FIRST} serves, and there is no earlier version"):
        roll_back(settings, "why not", "ana")


def test_without_its_database_nothing_is_rolled_back(three_nights: Settings) -> None:
    lost = three_nights.model_copy(update={"mlmd_database": "lost"})
    with pytest.raises(StoreError, match='database "lost" does not exist'):
        roll_back(lost, "a bad drop", "ana")
    assert find_served(three_nights.serving_dir) == THIRD


def test_a_folder_that_cannot_be_written_leaves_what_serves_and_a_failed_record(
    three_nights: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch, pytest.raises(RollbackError, match=f"No space left.* {THIRD} serves on"):
        patch.setattr("headlines.pushes.rollbacks.replace_file", fail)
        roll_back(three_nights, "a bad drop", "ana")
    assert find_served(three_nights.serving_dir) == THIRD
    [artifact] = store_of(three_nights).get_artifacts_by_type("Rollback")
    assert artifact.state == Artifact.ABANDONED
    assert champion_as_of(three_nights, "2022-02-04") == str(THIRD)


def test_a_rollback_that_servers_could_not_be_told_of_says_so_and_is_completed_by_the_same_command(
    three_nights: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = rollbacks.replace_file

    def fail(path: Path, text: str) -> None:
        if path.name == "models.config":
            raise OSError("No space left on device")
        write(path, text)

    with monkeypatch.context() as patch, pytest.raises(RollbackError) as told:
        patch.setattr(rollbacks, "replace_file", fail)
        roll_back(three_nights, "a bad drop", "ana")
    assert f"{SECOND} is the champion from now on, but the model servers have not been told" in str(told.value)
    assert f"give the command again with --to {SECOND}" in str(told.value)
    assert find_served(three_nights.serving_dir) == SECOND
    with pytest.raises(
        RollbackError, match=f"{SECOND} serves already; the rollback to {SECOND} .* is COMPLETE only now"
    ):
        roll_back(three_nights, "a bad drop", "ana", SECOND)
    assert pinned(three_nights) == (SECOND,)
    assert champion_as_of(three_nights, "2022-02-04") == str(SECOND)


def test_a_config_file_that_is_none_stops_a_rollback_before_it_changes_anything(three_nights: Settings) -> None:
    config = three_nights.serving_dir.parent / "models.config"
    config.write_text("model_config_list { config {")
    with pytest.raises(RollbackError, match=rf"models\.config is no model config .* {THIRD} serves on"):
        roll_back(three_nights, "a bad drop", "ana")
    assert find_served(three_nights.serving_dir) == THIRD
    assert champion_as_of(three_nights, "2022-02-04") == str(THIRD)


def test_a_lock_that_cannot_be_taken_is_told(three_nights: Settings) -> None:
    lock = three_nights.serving_dir / ".push.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(
        RollbackError, match=r"cannot be written .*\.push\.lock.*; free space or correct the permissions"
    ):
        roll_back(three_nights, "a bad drop", "ana")
    assert not store_of(three_nights).get_artifacts_by_type("Rollback")


def test_the_form_offers_what_the_command_takes_and_preselects_what_it_would_choose(three_nights: Settings) -> None:
    def offered(to: int | None = None) -> tuple[list[int], int | None, str | None]:
        with open_lineage(three_nights, replace(OURS, pipeline=NAME)) as reader:
            page = pages.rollback_choices(reader, three_nights, to)
        return page["versions"], page["to"], page["problem"]

    assert offered() == ([SECOND, FIRST], SECOND, None)
    roll_back(three_nights, "a bad drop", "ana", FIRST)
    run(three_nights, "2022-02-04")
    # Those that were withdrawn can be chosen, but are not the choice.
    assert offered() == ([THIRD, SECOND, FIRST], FIRST, None)
    assert offered(THIRD) == ([THIRD, SECOND, FIRST], THIRD, None)
    shutil.rmtree(three_nights.serving_dir / str(SECOND))
    assert offered(SECOND) == ([THIRD, FIRST], None, f"there is no pushed model {SECOND} to go back to")
    assert roll_back(three_nights, "a bad drop", "ana").to_version == FIRST


def die(*args: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "settled_by", [settle_rollbacks, lambda settings: roll_back(settings, "further", "rui", FIRST)]
)
@pytest.mark.parametrize(
    ("where", "artifact_state", "execution_state"),
    [
        ("headlines.pushes.rollbacks.add", Artifact.ABANDONED, Execution.FAILED),
        ("headlines.pushes.rollbacks.tell_servers", Artifact.LIVE, Execution.COMPLETE),
        ("retraining.recording.rollback._end", Artifact.LIVE, Execution.COMPLETE),
    ],
)
def test_a_rollback_whose_process_died_is_settled_by_what_the_files_say(
    where: str,
    artifact_state: int,
    execution_state: int,
    settled_by: Callable[[Settings], object],
    three_nights: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, die)
        roll_back(three_nights, "a bad drop", "ana")
    settled_by(three_nights)
    store = store_of(three_nights)
    died = min(store.get_artifacts_by_type("Rollback"), key=lambda one: one.id)
    execution = min(store.get_executions_by_type("Rollback"), key=lambda one: one.id)
    assert (died.state, execution.last_known_state) == (artifact_state, execution_state)
    if settled_by is settle_rollbacks:
        serves = SECOND if artifact_state == Artifact.LIVE else THIRD
        assert find_served(three_nights.serving_dir) == serves
        assert champion_as_of(three_nights, "2022-02-04") == str(serves)
        assert not settle_rollbacks(three_nights)
        if serves == SECOND:
            assert pinned(three_nights) == (SECOND,)
