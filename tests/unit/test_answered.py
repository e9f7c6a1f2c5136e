"""What models answered row by row, kept and compared later: on the rows that both answered, as the quality bar does."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from headlines.bar import answered
from headlines.bar.intervals import find_intervals
from headlines.bar.judging import judge
from headlines.bar.pairing import compare_errors, pair
from headlines.bar.tally import Answers, count_rows, decide
from headlines.bar.verdict import Limits
from retraining.settings import Settings

ROWS = 200
TITLES = [f"título {number}" for number in range(ROWS)]
ACTUAL = np.arange(ROWS) % 3


def wrong_every(rows: int) -> Answers:
    predicted = (ACTUAL + (np.arange(ROWS) % rows == 0)) % 3
    return decide(0.7 * np.eye(3)[predicted] + 0.1)


def keep(folder: Path, chosen: slice, answers: Answers) -> answered.Answered:
    folder.mkdir()
    own = Answers(answers.probabilities[chosen], answers.predicted[chosen])
    answered.write(folder, TITLES[chosen], ACTUAL[chosen], {answered.CANDIDATE: own})
    kept = answered.read(folder)
    assert kept
    return kept


def test_two_models_are_compared_on_the_rows_that_both_answered_and_no_others(tmp_path: Path) -> None:
    one, other = (
        keep(tmp_path / "a", slice(0, 120), wrong_every(4)),
        keep(tmp_path / "b", slice(80, 200), wrong_every(5)),
    )
    actual, a, b = answered.join(one, other)
    assert actual.tolist() == ACTUAL[80:120].tolist()
    assert a.predicted.tolist() == wrong_every(4).predicted[80:120].tolist()
    assert b.probabilities.tolist() == wrong_every(5).probabilities[80:120].round(9).tolist()


def test_a_title_that_was_labelled_anew_is_no_common_row(tmp_path: Path) -> None:
    one = keep(tmp_path / "a", slice(0, 10), wrong_every(4))
    (tmp_path / "b").mkdir()
    answers = {answered.CANDIDATE: Answers(*(part[:10] for part in wrong_every(5)))}
    answered.write(tmp_path / "b", TITLES[:10], (ACTUAL[:10] + np.eye(10, dtype=int)[0]) % 3, answers)
    other = answered.read(tmp_path / "b")
    assert other
    actual, _, _ = answered.join(one, other)
    assert len(actual) == 9


def test_what_is_no_number_is_kept_as_none_and_what_was_not_kept_is_none(tmp_path: Path) -> None:
    broken = decide(np.full((ROWS, 3), np.nan))
    kept = keep(tmp_path / "nan", slice(0, 3), broken)
    assert np.isnan(kept.answers[answered.CANDIDATE].probabilities).all()
    assert answered.read(tmp_path) is None


def test_a_pair_is_compared_with_the_interval_and_the_test_of_the_quality_bar() -> None:
    candidate, champion = wrong_every(4), wrong_every(7)
    limits = Limits(**{**asdict(Settings().bar_limits), "min_recall": {}})
    verdict = judge(TITLES, ACTUAL, ["2022-02-01"] * ROWS, candidate, {"champion": champion}, limits)
    checks = {check.name: check for check in verdict.checks}
    paired = pair(ACTUAL, champion, candidate)
    for metric in ("accuracy", "macro_f1", "log_loss"):
        a, b, low, high = paired[metric]
        change = checks[f"{metric}_change"]
        assert (a, b) == (verdict.champion_metrics[metric], verdict.metrics[metric])
        assert (round(b - a, 9), low, high) == (change.value, change.low, change.high)
    assert compare_errors(ACTUAL, champion, candidate) == checks["mcnemar_change"].value


def test_a_metric_has_one_interval_whoever_tells_it() -> None:
    answers = wrong_every(4)
    limits = Limits(**{**asdict(Settings().bar_limits), "min_recall": {"negative": 0.3}})
    verdict = judge(TITLES, ACTUAL, ["2022-02-01"] * ROWS, answers, {}, limits)
    checks = {check.name: (check.low, check.high) for check in verdict.checks}
    assert checks == {name: verdict.intervals[name] for name in ("accuracy", "macro_f1", "recall_negative")}


def test_few_rows_that_all_agree_leave_a_chance_beyond_them() -> None:
    never = decide(np.tile([0.0, 1.0, 0.0], (ROWS, 1)))
    limits = Limits(**{**asdict(Settings().bar_limits), "min_recall": {}})
    verdict = judge(TITLES[:60], ACTUAL[:60], ["2022-02-01"] * 60, Answers(*(part[:60] for part in never)), {}, limits)
    # Wilson's interval of 0 of 20: 1.96² / (20 + 1.96²).
    assert verdict.intervals["recall_negative"] == (0.0, pytest.approx(0.161125, abs=1e-6))
    assert verdict.metrics["recall_negative"] == 0.0
    assert verdict.intervals["recall_neutral"] == (pytest.approx(0.838875, abs=1e-6), 1.0)
    # A bootstrap of rows that all agree has no width, and is no interval.
    right = count_rows(ACTUAL, wrong_every(1000)).sum(axis=0)
    assert "macro_f1" not in find_intervals(right, {"macro_f1": (1.0, 1.0, 1.0)})
