"""How a candidate is judged: its answers beside those of the champion and of the baselines, on the same rows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from headlines.bar.checks import LOWER_IS_BETTER, MCNEMAR, RECALL_PREFIX, SUFFIXES, WORST_SLICE, Check, explain_unjudged
from headlines.bar.intervals import Estimate, estimate, find_intervals
from headlines.bar.pairing import compare_errors
from headlines.bar.slices import find_slices
from headlines.bar.tally import METRICS, Answers, Floats, Integers, count_rows, decide, measure
from headlines.bar.verdict import Limits, Verdict
from modules.features import LABELS

_COMPARED = ("accuracy", "macro_f1", "log_loss")


def judge(
    titles: list[str],
    actual: Integers,
    nights: list[str],
    candidate: Answers,
    others: Mapping[str, Answers],
    limits: Limits,
    champion_version: str = "",
) -> Verdict:
    """Judges a candidate.

    Args:
      titles: of the evaluation rows.
      actual: their label ids.
      nights: theirs, `YYYY-MM-DD`.
      candidate: its answers to them.
      others: answers of `champion`, `lr` and `majority` to the same rows, as far as there are any.
      limits: what it is held to.
      champion_version: for the record.

    Returns:
      The verdict. The intervals are those of headlines/bar/intervals.py; each resample holds the same rows of everyone.
    """
    answers = {"candidate": candidate, **others}
    counts = {name: count_rows(actual, answer) for name, answer in answers.items()}
    slices = {f"{group}={value}": (group, rows) for group, value, rows in find_slices(
        titles, actual, nights, limits.slice_patterns
    )}  # fmt: skip
    reference = next((name for name in ("champion", "lr") if name in others), None)
    judged = {
        name: rows
        for name, (group, rows) in slices.items()
        if not explain_unjudged(
            group, rows.sum(), limits.judged_slices, limits.min_slice_rows, is_compared=reference is not None
        )
    }
    measured = {name: measure(count.sum(axis=0)) for name, count in counts.items()}
    usable = bool(len(actual) > 1 and np.isfinite(candidate.probabilities).all())
    if not usable:
        measured["candidate"] |= dict.fromkeys(set(METRICS) - {"example_count"})
    estimates = _estimate(actual, answers, counts, reference, judged) if usable else {}
    intervals = find_intervals(counts["candidate"].sum(axis=0), estimates) if usable else {}
    bar = _Bar(limits, measured, estimates, intervals)
    checks = [*bar.judge_floors(actual)]
    # The majority class is what a first night is measured by; later the champion is harder to match.
    for opponent in ("champion", "lr") if "champion" in others else ("lr", "majority"):
        if opponent in others:
            checks += [bar.compare(metric, opponent) for metric in _COMPARED]
            if opponent != "majority" and usable:
                checks.append(bar.test_errors(actual, answers, opponent))
    worst = ""
    if judged and usable and reference:
        worst, check = bar.judge_slices(judged, SUFFIXES[reference])
        checks.append(check)
    return Verdict(
        checks=checks,
        metrics=measured["candidate"],
        champion_metrics=measured.get("champion", {}),
        champion_version=champion_version,
        lr_metrics=measured.get("lr", {}),
        majority_metrics=measured.get("majority", {}),
        intervals=intervals,
        slices={name: _describe_slice(counts, rows) for name, (_, rows) in slices.items()},
        worst_slice=worst,
        limits=asdict(limits),
    )


def _estimate(
    actual: Integers,
    answers: Mapping[str, Answers],
    counts: Mapping[str, Floats],
    reference: str | None,
    judged: Mapping[str, Any],
) -> dict[str, Estimate]:
    """The candidate's metrics, its differences to the others, and those on each slice, with their intervals."""
    others = [name for name in answers if name != "candidate"]
    columns = [counts["candidate"], *(counts[name] for name in others)]
    if judged and reference:
        rows = np.stack(list(judged.values()), axis=1).astype(float)
        right = [(answers[name].predicted == actual).astype(float) for name in ("candidate", reference)]
        columns += [rows * (right[0] - right[1])[:, None], rows]
    width = counts["candidate"].shape[1]
    names = [*METRICS, *(f"{metric}{SUFFIXES[other]}" for other in others for metric in _COMPARED), *judged]

    def statistic(tallies: Floats) -> Floats:
        candidate = tallies[:, :width]
        values = [metric(candidate) for metric in METRICS.values()]
        for number in range(1, len(others) + 1):
            other = tallies[:, number * width : (number + 1) * width]
            values += [METRICS[metric](candidate) - METRICS[metric](other) for metric in _COMPARED]
        differences, sizes = np.split(tallies[:, (len(others) + 1) * width :], 2, axis=1)
        values += list((differences / np.maximum(sizes, 1.0)).T)
        return np.stack(values)

    estimates = zip(names, estimate(np.concatenate(columns, axis=1), statistic), strict=True)
    return {name: triple for name, triple in estimates if triple is not None}


class _Bar:
    """The limits, held against what was measured."""

    def __init__(
        self,
        limits: Limits,
        measured: Mapping[str, Any],
        estimates: Mapping[str, Estimate],
        intervals: Mapping[str, tuple[float, float]],
    ) -> None:
        self._limits = limits
        self._candidate = measured["candidate"]
        self._estimates = estimates
        self._intervals = intervals

    def judge_floors(self, actual: Integers) -> list[Check]:
        checks = []
        for metric in ("accuracy", "macro_f1"):
            value, floor = self._candidate[metric], getattr(self._limits, f"min_{metric}")
            ends = self._intervals.get(metric, (None, None))
            checks.append(Check(metric, value, floor, value is not None and value >= floor, *ends))
        for label, floor in self._limits.min_recall.items():
            name = f"{RECALL_PREFIX}{label}"
            if name in self._intervals:
                low, high = self._intervals[name]
                checks.append(Check(name, self._candidate[name], floor, high >= floor, low, high))
            else:
                has_rows = bool((actual == LABELS.index(label)).any())
                checks.append(Check(name, None, floor, passed=not has_rows and bool(self._estimates)))
        return checks

    def compare(self, metric: str, opponent: str) -> Check:
        name, margin = f"{metric}{SUFFIXES[opponent]}", self._limits.margin(metric, opponent)
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        if name not in self._estimates:
            return Check(name, None, -sign * margin, passed=False)
        value, low, high = self._estimates[name]
        best = high if sign > 0 else -low
        return Check(name, value, -sign * margin, bool(sign * value >= -margin or best >= 0), low, high)

    def test_errors(self, actual: Integers, answers: Mapping[str, Answers], opponent: str) -> Check:
        p = compare_errors(actual, answers["candidate"], answers[opponent])
        suffix = SUFFIXES[opponent]
        tolerated = self._estimates[f"accuracy{suffix}"][0] >= -self._limits.margin("accuracy", opponent)
        least = self._limits.min_mcnemar_p
        return Check(f"{MCNEMAR}{suffix}", p, least, bool(tolerated or p >= least))

    def judge_slices(self, judged: Mapping[str, Any], suffix: str) -> tuple[str, Check]:
        margin = self._limits.max_slice_drop

        def holds(name: str) -> bool:
            value, _, high = self._estimates[name]
            return value >= -margin or high >= 0

        # The worst is one that fails, if any does.
        worst = min(judged, key=lambda name: (holds(name), self._estimates[name][0]))
        value, low, high = self._estimates[worst]
        return worst, Check(f"{WORST_SLICE}{suffix}", value, -margin, holds(worst), low, high)


def _describe_slice(counts: Mapping[str, Floats], rows: Any) -> dict[str, float]:
    described: dict[str, float] = {}
    for name, count in counts.items():
        metrics = measure(count[rows].sum(axis=0))
        prefix = "" if name == "candidate" else f"{name}_"
        shown = ("example_count", *_COMPARED) if name == "candidate" else ("accuracy",)
        described |= {f"{prefix}{metric}": metrics[metric] for metric in shown}
    return described


def majority(shares: Floats, rows: int) -> Answers:
    """What someone answers who knows only the classes' shares in the training rows."""
    return decide(np.tile(shares, (rows, 1)))
