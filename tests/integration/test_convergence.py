"""However its runs come about, the same drops lead to the same state: versions, models, champions, clean lineage.

Each way of Airflow's is a sequence of launches: a schedule and a backfill differ in run ids and order, a clear is the
same node in the same run again, a retry is that after a failure.
"""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from launching import NAME, launch
from ml_metadata import MetadataStore
from ml_metadata.proto.metadata_store_pb2 import Execution
from quick_pipeline import accidents, champion_as_of, nodes

import lineage
from headlines.pushes.model_hash import hash_model
from retraining.recording.store import connection_config
from retraining.settings import Settings

NIGHTS = ("2022-02-01", "2022-02-02", "2022-02-03")
State = tuple[dict[str, str], list[str]]
Way = Callable[[Settings], None]


@pytest.fixture(autouse=True)
def no_accidents() -> Iterator[None]:
    yield
    accidents.clear()


def state_of(settings: Settings) -> State:
    """Every version with what its model is, and the champion as of every night and the one after."""
    versions = {path.name: hash_model(path) for path in sorted(settings.serving_dir.iterdir()) if path.name.isdecimal()}
    champions = [champion_as_of(settings, night) for night in (*NIGHTS, "2022-02-04")]
    with lineage.open_lineage(settings, lineage.Names(pipeline=NAME)) as told:
        reigns = [lineage.champion_as_of(told, night) for night in (*NIGHTS, "2022-02-04")]
    assert [str(reign.version) if reign else "" for reign in reigns] == champions
    return versions, champions


def run(settings: Settings, night: str, run_id: str, version: int = 1) -> None:
    for node in nodes(settings, night, version):
        launch(settings, node, run_id)


def by_schedule(settings: Settings) -> None:
    for night in NIGHTS:
        run(settings, night, f"scheduled__{night}")


def by_backfill_in_reverse(settings: Settings) -> None:
    for night in reversed(NIGHTS):
        run(settings, night, f"backfill__{night}")


def with_a_retry_of_each_node(settings: Settings) -> None:
    for night in NIGHTS:
        for node in nodes(settings, night):
            if node.id in ("Trainer", "Judge"):
                accidents.append(node.id)
                with pytest.raises(OSError, match="is down"):
                    launch(settings, node, f"scheduled__{night}")
            launch(settings, node, f"scheduled__{night}")


def with_a_training_that_is_killed(settings: Settings) -> None:
    for night in NIGHTS:
        for node in nodes(settings, night):
            if node.id == "Trainer":
                pid = os.fork()
                if not pid:
                    accidents.append("killed Trainer")
                    launch(settings, node, f"scheduled__{night}")
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            launch(settings, node, f"scheduled__{night}")


def with_a_push_that_was_published_but_not_recorded(settings: Settings) -> None:
    def die(self: object, *args: object, **kwargs: object) -> None:
        raise ConnectionError("Postgres is gone")

    for night in NIGHTS:
        for node in nodes(settings, night):
            if node.id == "Pusher":
                with pytest.MonkeyPatch.context() as patch, pytest.raises(ConnectionError):
                    patch.setattr("retraining.recording.attempts.AttemptMetadata.publish_execution", die)
                    launch(settings, node, f"scheduled__{night}")
            launch(settings, node, f"scheduled__{night}")


def and_cleared_whole_and_by_the_task(settings: Settings) -> None:
    by_schedule(settings)
    run(settings, NIGHTS[1], f"scheduled__{NIGHTS[1]}")
    for node in nodes(settings, NIGHTS[0])[-1:] + nodes(settings, NIGHTS[0])[:1]:
        launch(settings, node, f"scheduled__{NIGHTS[0]}")


def and_again_by_hand_for_the_same_nights_in_reverse(settings: Settings) -> None:
    by_schedule(settings)
    for night in reversed(NIGHTS):
        run(settings, night, f"manual__again-{night}")


def late_for_the_night_in_the_middle(settings: Settings) -> None:
    for night in (NIGHTS[0], NIGHTS[2], NIGHTS[1]):
        run(settings, night, f"scheduled__{night}")


WAYS = (
    by_schedule,
    by_backfill_in_reverse,
    with_a_retry_of_each_node,
    with_a_training_that_is_killed,
    with_a_push_that_was_published_but_not_recorded,
    and_cleared_whole_and_by_the_task,
    and_again_by_hand_for_the_same_nights_in_reverse,
    late_for_the_night_in_the_middle,
)


@pytest.fixture(scope="module")
def expected() -> dict[str, State]:
    """What the first way led to, for all the others."""
    return {}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_leads_to_the_same_state(way: Way, settings: Settings, expected: dict[str, State]) -> None:
    way(settings)
    versions, champions = state_of(settings)
    assert list(versions) == ["2022020101", "2022020201", "2022020301"]
    assert champions == ["", "2022020101", "2022020201", "2022020301"]
    assert (versions, champions) == expected.setdefault("state", (versions, champions))
    store = MetadataStore(connection_config(settings))
    counting = [e for e in store.get_executions() if "superseded_by" not in e.custom_properties]
    assert {e.last_known_state for e in counting} <= {Execution.COMPLETE, Execution.CACHED}
    assert not [e for e in store.get_executions() if e.last_known_state == Execution.RUNNING]


def test_a_corrected_night_and_those_after_it_backfilled_replace_nothing_that_is_newer(settings: Settings) -> None:
    by_schedule(settings)
    before, _ = state_of(settings)
    run(settings, NIGHTS[0], "manual__corrected", version=2)
    after, champions = state_of(settings)
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {"2022020102"}
    assert champions == ["", "2022020102", "2022020201", "2022020301"]
    # The nights after it, whose models have not changed, are judged anew and keep their versions.
    for night in NIGHTS[1:]:
        run(settings, night, f"manual__after-{night}")
    assert state_of(settings) == (after, champions)


def test_a_night_judged_before_an_earlier_one_was_corrected_is_not_pushed_until_it_is_judged_anew(
    settings: Settings,
) -> None:
    run(settings, NIGHTS[0], "scheduled__1")
    champion, trainer, judge, pusher = nodes(settings, NIGHTS[1])
    for node in (champion, trainer, judge):
        launch(settings, node, "scheduled__2")
    run(settings, NIGHTS[0], "manual__corrected", version=2)
    launch(settings, pusher, "scheduled__2")
    assert list(state_of(settings)[0]) == ["2022020101", "2022020102"]
    store = MetadataStore(connection_config(settings))
    refused = max(store.get_artifacts_by_type("PushedModel"), key=lambda push: push.id)
    assert refused.custom_properties["pushed"].int_value == 0
    assert "compared with champion 2022020101, but the champion as of its night is 2022020102 by now" in (
        refused.custom_properties["reason"].string_value
    )
    run(settings, NIGHTS[1], "scheduled__2")
    versions, champions = state_of(settings)
    assert list(versions) == ["2022020101", "2022020102", "2022020201"]
    assert champions == ["", "2022020102", "2022020201", "2022020201"]
