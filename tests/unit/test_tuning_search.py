"""A search on a few invented headlines: what it tries, in which order, and when it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.components.trainer.fn_args_utils import FnArgs

from modules import tuning
from modules.hyperparameters import Hyperparameters
from modules.tuning import OBJECTIVE, SEARCHED, tuner_fn

GIVEN = {"epochs": 1, "min_steps": 4, "dropout": 0.25}


def search(
    transformed: Path, folder: Path, given: dict[str, Any] = GIVEN, trials: int = 2, minutes: float = 60.0
) -> tuning.Tuner:
    """Searches as TFX's Tuner does. The arguments hold no evaluation files: whoever reads them fails."""
    result = tuner_fn(
        FnArgs(
            train_files=[str(transformed / "examples*.gz")],
            transform_graph_path=str(transformed / "graph"),
            working_dir=str(folder),
            custom_config={"hyperparameters": given, "seed": 7, "trials": trials, "minutes": minutes},
        )
    )
    result.tuner.search(**result.fit_kwargs)
    assert isinstance(result.tuner, tuning.Tuner)
    return result.tuner


def results(tuner: tuning.Tuner) -> list[tuple[float, dict[str, Any]]]:
    trials = [tuner.oracle.trials[identity] for identity in tuner.oracle.start_order]
    return [(trial.score, trial.hyperparameters.values) for trial in trials]


def test_every_searched_default_lies_within_its_bounds_and_every_bound_is_a_hyperparameter_of_a_model() -> None:
    for name, declare in SEARCHED.items():
        default = getattr(Hyperparameters(), name)
        space = tuning.keras_tuner.HyperParameters()
        declare(space, name, default)
        [parameter] = space.space
        for value in (parameter.prob_to_value(0.001), parameter.prob_to_value(0.999), default):
            Hyperparameters.from_overrides({name: value})
        assert parameter.prob_to_value(parameter.value_to_prob(default)) == pytest.approx(default)


def test_the_defaults_are_tried_first_what_is_given_is_not_searched_and_the_same_seed_searches_the_same(
    transformed_folder: Path, tmp_path: Path
) -> None:
    first = results(search(transformed_folder, tmp_path / "one"))
    assert len(first) == 2
    assert first[0][1] == {name: getattr(Hyperparameters(), name) for name in SEARCHED.keys() - GIVEN.keys()}
    assert first[1][1].keys() == first[0][1].keys()
    assert first[1][1] != first[0][1]
    assert results(search(transformed_folder, tmp_path / "another")) == first


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> list[Hyperparameters]:
    """Trials that train nothing; each is appended."""
    tried: list[Hyperparameters] = []

    def measure_once(hyperparameters: Hyperparameters, *args: Any) -> float:
        tried.append(hyperparameters)
        return abs(hyperparameters.learning_rate - 0.002)

    monkeypatch.setattr(tuning, "measure_once", measure_once)
    return tried


def test_the_best_of_many_trials_is_better_than_the_defaults(
    transformed_folder: Path, tmp_path: Path, no_training: list[Hyperparameters]
) -> None:
    given = {name: getattr(Hyperparameters(), name) for name in SEARCHED if name not in ("learning_rate", "dropout")}
    tuner = search(transformed_folder, tmp_path, given, trials=10)
    assert len(no_training) == 10
    [best] = tuner.get_best_hyperparameters(1)
    assert abs(best.values["learning_rate"] - 0.002) < abs(Hyperparameters().learning_rate - 0.002) / 2
    table = [line.split() for line in tuner.tabulate().splitlines()]
    assert table[0] == ["trial", OBJECTIVE, "seconds", "dropout", "learning_rate"]
    assert [float(row[1]) for row in table[1:]] == sorted(float(row[1]) for row in table[1:])
    assert sorted(int(row[0]) for row in table[1:]) == list(range(1, 11))


def test_no_trial_begins_when_the_time_is_over(
    transformed_folder: Path, tmp_path: Path, no_training: list[Hyperparameters]
) -> None:
    search(transformed_folder, tmp_path, minutes=0.0)
    assert no_training == []


def test_a_trial_that_fails_is_told_and_passed_over_and_three_in_a_row_end_the_search(
    transformed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scores = [0.5, None, 0.4, None, None, None]

    def measure_once(*args: Any) -> float:
        score = scores.pop(0)
        if score is None:
            raise MemoryError("too big")
        return score

    monkeypatch.setattr(tuning, "measure_once", measure_once)
    tuner = search(transformed_folder, tmp_path / "one", trials=3)
    assert [row.split()[0] for row in tuner.tabulate().splitlines()] == ["trial", "3", "1"]
    assert any("MemoryError: too big" in record.message for record in caplog.records)
    with pytest.raises(RuntimeError, match="too big"):
        search(transformed_folder, tmp_path / "another", trials=5)


def test_with_everything_given_there_is_nothing_to_search_for(transformed_folder: Path, tmp_path: Path) -> None:
    given = {name: getattr(Hyperparameters(), name) for name in SEARCHED}
    with pytest.raises(ValueError, match="given already; take some out of HYPERPARAMETERS"):
        search(transformed_folder, tmp_path, json.loads(json.dumps(given)))


def test_given_hyperparameters_win_over_tuned_ones_and_those_over_the_defaults() -> None:
    assert Hyperparameters.choose(None, None) == (Hyperparameters(), "")
    chosen, misfit = Hyperparameters.choose({"epochs": 3}, {"epochs": 9, "dropout": 0.1})
    assert (chosen, misfit) == (Hyperparameters(epochs=3, dropout=0.1), "")


@pytest.mark.parametrize("tuned", [{"dropout": 0.1, "gone": 1}, {"embedding_size": 34}, {"epochs": "many"}])
def test_tuned_ones_that_do_not_fit_are_left_out_together(tuned: dict[str, Any]) -> None:
    chosen, misfit = Hyperparameters.choose({"attention_heads": 4}, tuned)
    assert chosen == Hyperparameters(attention_heads=4)
    assert misfit
    with pytest.raises(ValueError, match="gone"):
        Hyperparameters.choose({"gone": 1}, None)
