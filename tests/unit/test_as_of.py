import itertools
from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.common.resolver import Resolver
from tfx.types import Artifact, Channel
from tfx.types.standard_artifacts import HyperParameters, Model, PushedModel

from retraining.pipelines.as_of import (
    ChampionAsOf,
    ChampionResolver,
    HyperparametersAsOf,
    HyperparametersResolver,
    PushedModelResolver,
    PushedVersion,
    RollbackRecord,
)

FIRST = date(2022, 2, 1)
identities = itertools.count(1000)


@dataclass(frozen=True)
class Push:
    """What one run of a night left in the store."""

    night: int
    revision: int = 1
    pushed: bool = True
    push_live: bool = True
    model_live: bool = True

    @property
    def version(self) -> int:
        return int(f"{FIRST + timedelta(days=self.night):%Y%m%d}") * 100 + self.revision


def name(night: int) -> str:
    return (FIRST + timedelta(days=night)).isoformat()


def state(live: bool) -> int:
    return metadata_store_pb2.Artifact.LIVE if live else metadata_store_pb2.Artifact.ABANDONED


def store(history: list[Push]) -> tuple[list[Model], list[PushedModel]]:
    """The artifacts of a history, in the order in which its runs ended: model 1 and push 101 are the first run's."""
    models, pushes = [], []
    for index, one in enumerate(history, start=1):
        model, push = Model(), PushedModel()
        model.id, push.id = index, 100 + index
        model.mlmd_artifact.state, push.mlmd_artifact.state = state(one.model_live), state(one.push_live)
        push.set_int_custom_property("pushed", int(one.pushed))
        push.set_string_custom_property("night", name(one.night))
        push.set_int_custom_property("model_id", index)
        if one.pushed:
            push.set_string_custom_property("pushed_version", str(one.version))
        models.append(model)
        pushes.append(push)
    return models, pushes


def rollback(to: Push, *withdrawn: Push, counts_from: int, live: bool = True) -> RollbackRecord:
    """A rollback as MLMD holds it; ids in the order in which they are made."""
    record = RollbackRecord()
    record.id = next(identities)
    record.mlmd_artifact.state = state(live)
    record.set_int_custom_property("to_version", to.version)
    record.set_int_custom_property("from_version", 0)
    for about, text in (("by", "ana"), ("reason", "a bad drop"), ("at", "2022-02-04T08:00:00+00:00")):
        record.set_string_custom_property(about, text)
    record.set_string_custom_property("night", name(counts_from))
    for one in withdrawn:
        record.set_int_custom_property(f"withdrawn:{one.version}", 1)
    return record


def champion(history: list[Push], night: int, *rollbacks: RollbackRecord) -> int | None:
    """The index in `history` of the champion as of a night."""
    models, pushes = store(history)
    resolved = ChampionAsOf(name(night)).resolve_artifacts(
        None, {"model": models, "pushed_model": pushes, "rollback": list(rollbacks)}
    )
    assert set(resolved) == {"model", "pushed_model", "rollback"}
    assert resolved["rollback"] == []
    assert [model.id + 100 for model in resolved["model"]] == [push.id for push in resolved["pushed_model"]]
    return resolved["model"][0].id - 1 if resolved["model"] else None


def test_the_first_night_has_no_champion() -> None:
    assert champion([], 0) is None


def test_the_champion_is_the_model_pushed_on_the_night_before() -> None:
    assert champion([Push(0), Push(1)], 2) == 1


def test_a_refused_night_leaves_the_earlier_champion() -> None:
    assert champion([Push(0), Push(1, pushed=False)], 2) == 0


def test_a_rerun_of_a_night_is_not_compared_with_itself() -> None:
    assert champion([Push(0), Push(1)], 1) == 0


def test_a_backfill_never_sees_a_later_night_however_early_it_was_pushed() -> None:
    assert champion([Push(5), Push(6), Push(1)], 3) == 2


def test_a_backfilled_older_night_does_not_outrank_a_newer_one() -> None:
    assert champion([Push(5), Push(2)], 6) == 0


def test_the_latest_revision_of_a_night_is_its_champion() -> None:
    assert champion([Push(1, revision=2), Push(1, revision=10), Push(1, revision=1)], 2) == 1


def test_of_two_records_of_one_version_the_later_counts() -> None:
    assert champion([Push(1), Push(1)], 2) == 1


def test_what_a_failed_attempt_left_behind_is_not_a_champion() -> None:
    assert champion([Push(0), Push(1, push_live=False)], 2) == 0
    assert champion([Push(0), Push(1, model_live=False)], 2) == 0


def test_after_a_rollback_the_champion_is_the_version_it_went_back_to() -> None:
    first, second = Push(0), Push(1)
    assert champion([first, second], 2, rollback(first, second, counts_from=2)) == 0
    assert champion([first, second], 5, rollback(first, second, counts_from=2)) == 0


def test_a_night_before_the_rollback_counts_keeps_the_champion_it_had() -> None:
    first, second = Push(0), Push(1)
    assert champion([first, second], 2, rollback(first, second, counts_from=3)) == 1


def test_a_push_after_a_rollback_is_champion_again() -> None:
    first, second, third = Push(0), Push(1), Push(2)
    assert champion([first, second, third], 3, rollback(first, second, counts_from=2)) == 2


def test_a_corrected_model_of_the_withdrawn_night_is_champion_but_not_the_withdrawn_one() -> None:
    first, second, corrected = Push(0), Push(1), Push(1, revision=2)
    assert champion([first, second, corrected], 2, rollback(first, second, counts_from=2)) == 2


def test_a_second_rollback_can_go_forward_again() -> None:
    first, second, third = Push(0), Push(1), Push(2)
    back = rollback(first, second, third, counts_from=3)
    forward = rollback(second, third, counts_from=3)
    assert champion([first, second, third], 3, forward, back) == 1


def test_a_rollback_that_was_given_up_changes_nothing() -> None:
    first, second = Push(0), Push(1)
    assert champion([first, second], 2, rollback(first, second, counts_from=2, live=False)) == 1


def test_a_night_that_was_never_rendered_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\{\{ ds \}\}"):
        ChampionAsOf("{{ ds }}").resolve_artifacts(None, {"model": [], "pushed_model": [], "rollback": []})


pushes = st.builds(
    Push,
    night=st.integers(0, 6),
    revision=st.integers(1, 12),
    pushed=st.booleans(),
    push_live=st.booleans(),
    model_live=st.booleans(),
)


@given(st.lists(pushes, max_size=12), st.integers(0, 7))
def test_the_champion_is_the_greatest_live_version_of_an_earlier_night(history: list[Push], night: int) -> None:
    eligible = {one.version for one in history if one.pushed and one.push_live and one.model_live and one.night < night}
    chosen = champion(history, night)
    if chosen is None:
        assert not eligible
    else:
        assert history[chosen].night < night
        assert history[chosen].version == max(eligible)


@given(st.lists(pushes, max_size=12), st.integers(0, 7))
def test_later_nights_change_nothing(history: list[Push], night: int) -> None:
    known = [one for one in history if one.night < night]
    with_future, without = champion(history, night), champion(known, night)
    assert (history[with_future] if with_future is not None else None) == (
        known[without] if without is not None else None
    )


@given(st.lists(pushes, max_size=8), st.integers(0, 7), st.randoms(use_true_random=False))
def test_the_order_in_which_the_store_lists_artifacts_never_matters(history, night, random) -> None:
    models, records = store(history)
    ordered = ChampionAsOf(name(night)).resolve_artifacts(
        None, {"model": models[:], "pushed_model": records[:], "rollback": []}
    )
    random.shuffle(models)
    random.shuffle(records)
    shuffled = ChampionAsOf(name(night)).resolve_artifacts(
        None, {"model": models, "pushed_model": records, "rollback": []}
    )
    assert ordered == shuffled


def test_a_rendered_night_reaches_the_strategy() -> None:
    node = ChampionResolver("{{ ds }}", Channel(type=Model), Channel(type=PushedModel))
    rendered = {**node.exec_properties, "source_uri": {"night": "2022-02-03"}}
    # This is what the Airflow runner does with the rendered values before it launches the node.
    node.exec_properties.update(rendered)
    assert node.exec_properties["source_uri"] == {"night": "2022-02-03"}


def test_the_resolver_has_the_id_and_the_type_that_runners_and_lineage_know() -> None:
    node = ChampionResolver("2022-02-03", Channel(type=Model), Channel(type=PushedModel))
    assert node.id == "ChampionResolver"
    assert node.type == "tfx.dsl.components.common.resolver.Resolver" == Resolver.get_class_type()


def keep(*artifacts: Artifact) -> MetadataStore:
    """A store in memory with artifacts of every pipeline, which gives those of a type their ids in this order."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.fake_database.SetInParent()
    kept = MetadataStore(connection)
    for artifact in artifacts:
        record = metadata_store_pb2.Artifact()
        record.CopyFrom(artifact.mlmd_artifact)
        record.ClearField("id")
        record.type_id = kept.put_artifact_type(artifact.artifact_type)
        kept.put_artifacts([record])
    return kept


def search(night: int | None, live: bool = True) -> HyperParameters:
    """What a search left in the store; one that has not ended knows no night yet."""
    found = HyperParameters()
    found.mlmd_artifact.state = state(live)
    if night is not None:
        found.set_string_custom_property("night", name(night))
    return found


def tuned(searches: list[HyperParameters], night: int) -> int | None:
    resolved = HyperparametersAsOf(name(night)).resolve_artifacts(keep(*searches), {})["hyperparameters"]
    return resolved[0].id if resolved else None


def test_before_the_first_search_there_are_no_tuned_hyperparameters() -> None:
    assert tuned([], 3) is None
    assert tuned([search(3), search(4)], 3) is None


def test_hyperparameters_are_those_of_the_latest_earlier_night_and_of_its_last_search() -> None:
    searches = [search(1), search(5), search(2), search(2), search(0)]
    assert [tuned(searches, night) for night in range(8)] == [None, 5, 1, 4, 4, 4, 2, 2]
    assert [tuned(searches[::-1], night) for night in range(8)] == [None, 1, 5, 3, 3, 3, 4, 4]


def test_a_search_that_failed_or_goes_on_counts_for_nothing() -> None:
    assert tuned([search(0), search(1, live=False), search(None)], 3) == 1


def test_a_pushed_version_resolves_to_its_model_and_to_no_other() -> None:
    models, pushes = store([Push(0), Push(1), Push(1, revision=2), Push(2, pushed=False), Push(3, model_live=False)])
    everything = keep(*models, *pushes)
    for version, expected in (("2022020201", models[1]), ("2022020202", models[2])):
        resolved = PushedVersion(version).resolve_artifacts(everything, {})["model"]
        assert [model.id for model in resolved] == [expected.id]
    for unknown in ("2022020301", "2022020401", "", "{{ version }}"):
        with pytest.raises(LookupError, match="retraining status"):
            PushedVersion(unknown).resolve_artifacts(everything, {})


@pytest.mark.parametrize(
    ("node", "identity", "outputs"),
    [
        (HyperparametersResolver("{{ ds }}"), "HyperparametersResolver", ["hyperparameters"]),
        (PushedModelResolver("{{ version }}"), "PushedModelResolver", ["model"]),
    ],
)
def test_every_resolver_keeps_what_is_rendered(node: Resolver, identity: str, outputs: list[str]) -> None:
    assert (node.id, node.type, list(node.outputs)) == (identity, Resolver.get_class_type(), outputs)
    node.exec_properties["source_uri"] = "rendered"
    assert node.exec_properties["source_uri"] == "rendered"
