"""What must be kept, by the one rule; what it reads is in tests/integration/test_retention.py."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from headlines.names import NIGHTLY_DAG, POLICY_FILE, SCORING_DAG, TUNING_DAG, version_of
from headlines.pushes.champion import Rollback
from headlines.pushes.rollbacks import ConfigError, find_named
from retraining.retention.needed import Facts, Needed, RunFacts, find_needed

FIRST = date(2022, 1, 1)
NOW = datetime(2022, 1, 21, 12, tzinfo=UTC)
NIGHTS = [(FIRST + timedelta(number)).isoformat() for number in range(20)]
VERSIONS = [version_of(date.fromisoformat(night)) for night in NIGHTS]


def run_of(
    night: str, pipeline: str = NIGHTLY_DAG, began: datetime | None = None, is_at_work: bool = False
) -> RunFacts:
    begin = began or datetime.fromisoformat(f"{night}T02:00:00+00:00")
    return RunFacts(
        pipeline, f"scheduled__{night or begin.date()}", night, begin, begin + timedelta(minutes=1), is_at_work
    )


# Twenty nights, each of which pushed its model: the artifact of night n is n + 100.
FACTS = Facts(
    NOW,
    tuple(map(run_of, NIGHTS)),
    {version: 100 + number for number, version in enumerate(VERSIONS)},
    present=tuple(VERSIONS),
)


def decide(facts: Facts, keep_nights: int = 3, keep_versions: int = 4) -> Needed:
    return find_needed(facts, keep_nights, keep_versions)


def back(to: int, *withdrawn: int, identity: int = 1, night: str = "2022-01-21") -> Rollback:
    return Rollback(identity, max(withdrawn), to, "ana", "why", datetime(2022, 1, 20, 8, tzinfo=UTC), night, withdrawn)


def test_of_the_newest_nights_every_run_is_kept_and_of_earlier_ones_none() -> None:
    needed = decide(FACTS)
    assert needed.nights == tuple(NIGHTS[-3:])
    assert set(needed.runs) == {f"{NIGHTLY_DAG}.scheduled__{night}" for night in NIGHTS[-3:]}


def test_the_newest_versions_are_kept_and_the_champion_of_each_kept_night_each_with_its_model_and_why() -> None:
    needed = decide(FACTS)
    assert set(needed.versions) == set(VERSIONS[-4:])
    assert set(needed.models) == {116, 117, 118, 119}
    assert needed.versions[VERSIONS[-1]] == "it is what should serve"
    assert needed.models[116] == "it is the champion of night 2022-01-18"


def test_a_champion_is_kept_however_old_it_is() -> None:
    # For two weeks no candidate was good enough.
    pushes = {VERSIONS[4]: 104}
    needed = decide(replace(FACTS, pushes=pushes, present=(VERSIONS[4],)))
    assert (set(needed.versions), set(needed.models)) == ({VERSIONS[4]}, {104})


def test_a_champion_that_a_rollback_withdrew_later_is_kept_for_the_night_that_it_judged() -> None:
    facts = replace(FACTS, rollbacks=(back(VERSIONS[2], *VERSIONS[3:]),))
    needed = decide(facts, keep_versions=2)
    assert needed.versions[VERSIONS[2]] == "it is what should serve"
    assert {116, 117, 118}.issubset(needed.models)


def test_what_is_withdrawn_takes_no_place_of_those_that_a_rollback_may_return_to() -> None:
    facts = replace(FACTS, rollbacks=(back(VERSIONS[9], *VERSIONS[10:15], night="2022-01-16"),))
    needed = decide(facts, keep_versions=9)
    assert {9, 8, 7, 6} <= {VERSIONS.index(version) for version in needed.versions}
    assert not {10, 11, 12, 13} & {VERSIONS.index(version) for version in needed.versions}


def test_what_is_withdrawn_and_newer_than_what_serves_can_still_be_returned_to() -> None:
    facts = replace(FACTS, rollbacks=(back(VERSIONS[9], *VERSIONS[10:]),))
    assert set(VERSIONS[9:]) <= set(decide(facts, keep_versions=2).versions)


def test_a_rollback_may_return_to_what_the_newest_rollbacks_name_and_older_ones_are_let_go() -> None:
    old = [back(VERSIONS[number], VERSIONS[number + 1], identity=number, night="2022-01-03") for number in (0, 3, 6)]
    needed = decide(replace(FACTS, rollbacks=tuple(reversed(old))), keep_versions=2)
    assert {3, 4, 6, 7} <= {VERSIONS.index(version) for version in needed.versions}
    assert not {0, 1, 2, 5} & {VERSIONS.index(version) for version in needed.versions}


def test_what_a_model_server_answers_with_is_kept_whatever_the_rule_of_champions_says() -> None:
    needed = decide(replace(FACTS, served={VERSIONS[1]: "http://replica:8501 answers with it"}))
    assert needed.versions[VERSIONS[1]] == "http://replica:8501 answers with it"
    assert needed.models[101] == "http://replica:8501 answers with it"


def test_a_folder_that_is_no_version_of_a_night_is_left_to_who_put_it_there() -> None:
    assert 7 in decide(replace(FACTS, present=(7, *VERSIONS))).versions


def test_an_old_night_that_is_run_again_is_kept_with_its_champion_until_it_has_rested() -> None:
    at_work = replace(FACTS, runs=(*FACTS.runs, run_of(NIGHTS[5], began=NOW - timedelta(days=9), is_at_work=True)))
    needed = decide(at_work)
    assert NIGHTS[5] in needed.nights
    assert f"{NIGHTLY_DAG}.scheduled__{NIGHTS[5]}" in needed.runs
    # Its champion, and its own version, with which its new one is compared.
    assert {VERSIONS[4], VERSIONS[5]} <= set(needed.versions)
    rests = replace(FACTS, runs=(*FACTS.runs, run_of(NIGHTS[5], began=NOW - timedelta(hours=20))))
    assert NIGHTS[5] in decide(rests).nights
    rested = replace(FACTS, runs=(*FACTS.runs, run_of(NIGHTS[5], began=NOW - timedelta(hours=30))))
    assert NIGHTS[5] not in decide(rested).nights


def test_a_search_is_kept_like_its_night_and_scoring_which_names_none_by_its_day() -> None:
    others = [run_of(NIGHTS[2], TUNING_DAG), run_of(NIGHTS[-2], TUNING_DAG)]
    others += [run_of("", SCORING_DAG, datetime(2022, 1, day, 3, tzinfo=UTC)) for day in (10, 19)]
    runs = decide(replace(FACTS, runs=(*FACTS.runs, *others))).runs
    assert {name for name in runs if not name.startswith(NIGHTLY_DAG)} == {
        f"{TUNING_DAG}.scheduled__{NIGHTS[-2]}",
        f"{SCORING_DAG}.scheduled__2022-01-19",
    }


def test_nights_are_counted_by_the_nightly_pipeline_alone() -> None:
    search = run_of("2022-01-30", TUNING_DAG, datetime(2022, 1, 19, tzinfo=UTC))
    assert decide(replace(FACTS, runs=(*FACTS.runs, search))).nights == tuple(NIGHTS[-3:])


def test_the_hyperparameters_of_each_kept_night_and_of_the_next_are_needed() -> None:
    tuned = ((1, NIGHTS[3]), (2, NIGHTS[5]), (3, NIGHTS[18]), (4, NIGHTS[5]))
    # The newest two nights and the one after them: the search of night 18 counts from night 19 on.
    assert set(decide(replace(FACTS, tuned=tuned), keep_nights=2).hyperparameters) == {3, 4}


def test_before_the_first_night_nothing_is_needed() -> None:
    assert decide(Facts(NOW)) == Needed((), {}, {}, {}, {})


def test_the_model_servers_config_file_names_versions_to_load_and_to_label(tmp_path: Path) -> None:
    serving_dir = tmp_path / "headlines"
    assert find_named(serving_dir) == set()
    (tmp_path / POLICY_FILE).write_text(
        'model_config_list { config { name: "headlines" base_path: "/models/headlines" '
        "model_version_policy { specific { versions: 2022010101 versions: 2022010201 } } "
        'version_labels { key: "canary" value: 2022010301 } } '
        'config { name: "other" model_version_policy { specific { versions: 7 } } } }'
    )
    assert find_named(serving_dir) == {2022010101, 2022010201, 2022010301}
    (tmp_path / POLICY_FILE).write_text("nonsense")
    with pytest.raises(ConfigError, match="is no model config"):
        find_named(serving_dir)
