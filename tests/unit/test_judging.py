"""The rule of the quality bar, on answers made up for it."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

from headlines.bar.judging import judge, majority
from headlines.bar.tally import Answers, count_rows, decide, measure
from headlines.bar.verdict import Limits, Verdict
from modules.features import LABELS
from retraining.settings import Settings

ROWS = 800
ACTUAL = np.repeat([0, 1, 2], [200, 540, 60])
TITLES = [f"título {'número 7 ' * (row % 3)}{row}" if row % 2 else "o 'boletim' de hoje" for row in range(ROWS)]
NIGHTS = [f"2022-02-{1 + row % 12:02}" for row in range(ROWS)]


def right_on(share: float, seed: int = 0, sure: float = 0.8, only: int | None = None) -> Answers:
    """Answers that are right on so many of the rows, and name the next class on the others."""
    chance = np.random.default_rng(seed)
    wrong = chance.permutation(ROWS) >= round(share * ROWS)
    if only is not None:
        wrong &= only == ACTUAL
    predicted = (ACTUAL + wrong) % 3
    probabilities = np.full((ROWS, 3), (1 - sure) / 2)
    probabilities[np.arange(ROWS), predicted] = sure
    return decide(probabilities)


def limits(**changed: Any) -> Limits:
    return Limits(**{**asdict(Settings().bar_limits), "min_recall": {}, **changed})


def give(candidate: Answers, changed: dict[str, Any] | None = None, **others: Answers) -> Verdict:
    return judge(TITLES, ACTUAL, NIGHTS, candidate, others, limits(**changed or {}), "2022013101")


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.passed}


def test_the_metrics_are_those_of_scikit_learn() -> None:
    answers = right_on(0.8)
    metrics = measure(count_rows(ACTUAL, answers).sum(axis=0))
    precision, recall, _, _ = precision_recall_fscore_support(ACTUAL, answers.predicted)
    assert metrics["macro_f1"] == pytest.approx(f1_score(ACTUAL, answers.predicted, average="macro"))
    assert metrics["log_loss"] == pytest.approx(log_loss(ACTUAL, answers.probabilities))
    assert [metrics[f"precision_{label}"] for label in LABELS] == pytest.approx(list(precision))
    assert [metrics[f"recall_{label}"] for label in LABELS] == pytest.approx(list(recall))
    assert metrics["calibration_error"] == pytest.approx(0.0, abs=1e-9)
    overconfident = measure(count_rows(ACTUAL, right_on(0.8, sure=0.9)).sum(axis=0))
    assert overconfident["calibration_error"] == pytest.approx(0.1)


def test_macro_f1_counts_only_classes_that_occur_or_are_predicted() -> None:
    actual = np.array([0, 1])
    assert measure(count_rows(actual, decide(np.eye(3)[actual])).sum(axis=0))["macro_f1"] == 1.0


def test_the_label_that_a_model_names_counts_and_not_the_most_probable() -> None:
    answers = decide([[0.5, 0.3, 0.2]], [b"positive"])
    assert answers.predicted.tolist() == [2]
    assert measure(count_rows(np.array([2]), answers).sum(axis=0))["accuracy"] == 1.0


def test_an_equal_candidate_is_blessed_and_each_check_tells_its_interval() -> None:
    verdict = give(right_on(0.82), champion=right_on(0.82, seed=1), lr=right_on(0.82, seed=2))
    assert verdict.blessed, verdict.reason
    change = next(check for check in verdict.checks if check.name == "accuracy_change")
    assert change.value == 0.0
    # Two models that err on different rows, so about twice the variance of one: 1.96 * sqrt(2 * 0.82 * 0.18 / 800).
    assert (change.low, change.high) == (pytest.approx(-0.038, abs=0.004), pytest.approx(0.038, abs=0.004))
    low, high = verdict.intervals["accuracy"]
    assert low < verdict.metrics["accuracy"] < high


def test_a_candidate_worse_than_the_champion_beyond_margin_and_interval_is_refused() -> None:
    verdict = give(right_on(0.74), champion=right_on(0.82, seed=1))
    assert failed(verdict) >= {"accuracy_change", "log_loss_change", "mcnemar_change"}
    assert "accuracy is 0.080 below that of the champion (95 % interval -0.1" in verdict.reason


def test_a_loss_within_the_margin_is_no_reason_however_certain() -> None:
    best = right_on(0.82)
    predicted = best.predicted.copy()
    predicted[np.flatnonzero(predicted == ACTUAL)[:12]] = 2
    verdict = give(Answers(best.probabilities, predicted), champion=best)
    change = next(check for check in verdict.checks if check.name == "accuracy_change")
    assert change.high is not None and change.high < 0
    assert change.passed and verdict.blessed
    assert "mcnemar_change" in failed(
        give(Answers(best.probabilities, predicted), {"max_accuracy_drop": 0.01}, champion=best)
    )


def test_a_loss_beyond_the_margin_that_may_be_chance_is_no_reason() -> None:
    chosen = np.arange(0, ROWS, 10)
    worse, better = right_on(0.8), right_on(0.84, seed=3)
    titles, nights = ([column[row] for row in chosen] for column in (TITLES, NIGHTS))

    def at(answers: Answers) -> Answers:
        return Answers(answers.probabilities[chosen], answers.predicted[chosen])

    verdict = judge(titles, ACTUAL[chosen], nights, at(worse), {"champion": at(better)}, limits())
    change = next(check for check in verdict.checks if check.name == "accuracy_change")
    assert change.value is not None and change.value < -0.02
    assert change.passed


def test_a_worse_log_loss_alone_is_reason_enough() -> None:
    verdict = give(right_on(0.82, sure=0.98), champion=right_on(0.82))
    assert failed(verdict) == {"log_loss_change"}
    assert "log_loss is 0." in verdict.reason and "above that of the champion" in verdict.reason


def test_a_candidate_below_the_lr_baseline_is_refused_also_when_it_matches_the_champion() -> None:
    verdict = give(right_on(0.76), champion=right_on(0.76, seed=1), lr=right_on(0.84, seed=2))
    assert failed(verdict) == {"accuracy_vs_lr", "log_loss_vs_lr", "macro_f1_vs_lr", "mcnemar_vs_lr"}


def test_the_majority_class_is_the_measure_only_without_a_champion() -> None:
    shares = majority(np.array([0.25, 0.675, 0.075]), ROWS)
    first = give(right_on(0.6), lr=right_on(0.6, seed=1), majority=shares)
    assert "accuracy_vs_majority" in failed(first)
    later = give(right_on(0.6), lr=right_on(0.6, seed=1), majority=shares, champion=right_on(0.6, seed=2))
    assert later.blessed
    assert later.majority_metrics["accuracy"] == 0.675


def test_a_class_is_below_its_floor_only_when_its_whole_interval_is() -> None:
    def recall_of(positives: float) -> Verdict:
        return give(right_on(1 - positives, only=2), {"min_recall": {"positive": 0.5}})

    few = recall_of(0.58)
    assert few.metrics["recall_positive"] < 0.5
    assert few.blessed, few.reason
    assert failed(recall_of(0.8)) == {"recall_positive"}


def test_a_class_without_rows_is_not_held_against_the_candidate() -> None:
    chosen = np.flatnonzero(ACTUAL != 2)
    answers = right_on(0.82)
    answers = Answers(answers.probabilities[chosen], answers.predicted[chosen])
    verdict = judge(
        [TITLES[row] for row in chosen],
        ACTUAL[chosen],
        [NIGHTS[row] for row in chosen],
        answers,
        {},
        limits(min_recall={"positive": 0.5}),
    )
    assert [(check.name, check.value) for check in verdict.checks if check.name.startswith("recall")] == [
        ("recall_positive", None)
    ]
    assert verdict.blessed


def test_a_collapsed_slice_is_named_and_a_small_one_is_only_shown() -> None:
    broken = right_on(1.0)
    predicted = broken.predicted.copy()
    of_night = np.flatnonzero(np.array(NIGHTS) == "2022-02-05")
    predicted[of_night[:20]] = (ACTUAL[of_night[:20]] + 1) % 3
    broken = Answers(broken.probabilities, predicted)
    loose = {"max_accuracy_drop": 0.2, "max_macro_f1_drop": 0.2}
    verdict = give(broken, loose, champion=right_on(1.0))
    assert failed(verdict) == {"worst_slice_change"}
    assert "accuracy on night=2022-02-05 is 0." in verdict.reason
    assert give(broken, loose | {"min_slice_rows": 100}, champion=right_on(1.0)).blessed
    assert verdict.slices["night=2022-02-05"]["champion_accuracy"] == 1.0
    assert {"length=short", "digits=yes", "quotes=no", "sentiment=positive"} <= verdict.slices.keys()


def test_slices_can_be_added_by_a_regular_expression() -> None:
    verdict = give(right_on(0.8), {"slice_patterns": {"bulletin": "boletim"}})
    assert verdict.slices["bulletin=yes"]["example_count"] == ROWS / 2
    with pytest.raises(ValueError, match="slice odd: '\\(' is no regular expression"):
        limits(slice_patterns={"odd": "("})


def test_a_limit_that_is_missing_or_a_class_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match=r"missing .* 'min_accuracy'"):
        Limits.from_json("{}")
    with pytest.raises(ValueError, match="recall floors are for"):
        limits(min_recall={"good": 0.1})


def test_the_same_rows_give_the_same_verdict_and_the_limits_are_in_it() -> None:
    def verdict() -> dict[str, Any]:
        return give(right_on(0.8), champion=right_on(0.8, seed=1)).to_json()

    assert verdict() == verdict()
    assert verdict()["limits"]["max_accuracy_drop"] == 0.02
