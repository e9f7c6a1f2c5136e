"""What is said of a candidate: the limits it is held to, and the verdict that the checks of them make."""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from headlines.bar.checks import WORST_SLICE, Check
from headlines.recorded import Recorded
from modules.features import LABEL, LABELS, NIGHT

LENGTH = "length"
SLICES = (LABEL, NIGHT, LENGTH)
"""Groups of slices that there are without any pattern."""


@dataclass(frozen=True)
class Limits(Recorded):
    """What a candidate must show.

    A comparison fails when the candidate is worse by more than the margin *and* the interval of the difference leaves
    no doubt that it is worse at all: the margin keeps a trifle on many rows from counting, the interval chance on few.

    Attributes:
      min_accuracy, min_macro_f1: floors of the value itself.
      min_recall: by class, floors of the whole interval: a class may have few rows.
      max_accuracy_drop, max_macro_f1_drop, max_log_loss_rise: margins against the champion.
      max_accuracy_below_baseline, max_macro_f1_below_baseline, max_log_loss_above_baseline: margins against the LR
        baseline, and on a night without a champion against the majority class.
      min_mcnemar_p: a worse accuracy beyond its margin also fails when McNemar's test gives less than this.
      max_slice_drop: margin in accuracy on a slice, against the champion or else the LR baseline.
      judged_slices: groups of slices that are held to it.
      min_slice_rows: smaller slices are shown and not judged.
      slice_patterns: groups of slices by regular expression, beside class, night and length.
    """

    min_accuracy: float
    min_macro_f1: float
    min_recall: dict[str, float]
    max_accuracy_drop: float
    max_macro_f1_drop: float
    max_log_loss_rise: float
    max_accuracy_below_baseline: float
    max_macro_f1_below_baseline: float
    max_log_loss_above_baseline: float
    min_mcnemar_p: float
    max_slice_drop: float
    judged_slices: tuple[str, ...]
    min_slice_rows: int
    slice_patterns: dict[str, str]

    def __post_init__(self) -> None:
        if set(self.min_recall) - set(LABELS):
            raise ValueError(f"recall floors are for {', '.join(LABELS)}, not {sorted(self.min_recall)}")
        check_patterns(self.slice_patterns)

    def margin(self, metric: str, opponent: str) -> float:
        """How much worse than an opponent a metric may be."""
        change, distance = ("rise", "above_baseline") if metric == "log_loss" else ("drop", "below_baseline")
        return float(getattr(self, f"max_{metric}_{change if opponent == 'champion' else distance}"))


def check_patterns(patterns: dict[str, str]) -> None:
    """Checks that the pattern of each group of slices is one.

    Raises:
      ValueError: one is no regular expression.
    """
    for name, pattern in patterns.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"slice {name}: {pattern!r} is no regular expression ({error})") from None


@dataclass(frozen=True)
class Verdict:
    """Every check of a candidate, and all that was measured on the pooled evaluation rows.

    Attributes:
      checks: in the order in which they are told.
      metrics: the candidate's; `confusion` holds the counts [actual][predicted].
      champion_metrics, lr_metrics, majority_metrics: the others' on the same rows; empty where there is none.
      champion_version: its pushed version; empty if there is none.
      intervals: of the candidate's metrics.
      slices: metrics of each slice, named `group=value`.
      worst_slice: the one that `worst_slice_change` is about.
      limits: what it was judged by.
    """

    checks: list[Check]
    metrics: dict[str, Any]
    champion_metrics: dict[str, Any]
    champion_version: str
    lr_metrics: dict[str, Any] = field(default_factory=dict)
    majority_metrics: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    slices: dict[str, dict[str, float]] = field(default_factory=dict)
    worst_slice: str = ""
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def blessed(self) -> bool:
        """Whether every check passed; a verdict without checks blesses nothing."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The verdict in one line."""
        if not self.checks:
            return "refused: no limit is configured, so nothing was checked"
        failed = [self._explain(check) for check in self.checks if not check.passed]
        if failed:
            return "refused: " + "; ".join(failed)
        against = f"champion {self.champion_version}" if self.champion_metrics else "no champion to compare with"
        return f"blessed: {len(self.checks)} of {len(self.checks)} checks passed, {against}"

    def tabulate(self) -> str:
        """The verdict as lines of text for a log: the checks, then the metrics beside the others'."""
        lines = [self.reason, f"{'check':<24}{'value':>9}{'limit':>9}{'95 % interval':>20}"]
        for check in self.checks:
            interval = "-" if check.low is None else f"{check.low:.3f} to {check.high:.3f}"
            lines.append(
                f"{check.name:<24}{show_figure(check.value):>9}{show_figure(check.limit):>9}{interval:>20}"
                f"  {'ok' if check.passed else 'FAILED'}: {check.rule}"
            )
        columns = (self.metrics, self.champion_metrics, self.lr_metrics, self.majority_metrics)
        lines.append(f"{'metric':<24}{'candidate':>10}{'champion':>10}{'LR':>10}{'majority':>10}")
        for name in self.metrics:
            if name != "confusion":
                lines.append(f"{name:<24}" + "".join(f"{show_figure(metrics.get(name)):>10}" for metrics in columns))
        lines.append(f"{'actual, predicted as':<24}" + "".join(f"{label:>10}" for label in LABELS))
        for label, row in zip(LABELS, self.metrics.get("confusion", []), strict=False):
            lines.append(f"{label:<24}" + "".join(f"{count:>10}" for count in row))
        lines.append(f"{'slice':<24}{'rows':>10}{'accuracy':>10}{'champion':>10}{'LR':>10}")
        for name, values in self.slices.items():
            shown = ("example_count", "accuracy", "champion_accuracy", "lr_accuracy")
            lines.append(f"{name:<24}" + "".join(f"{show_figure(values.get(key)):>10}" for key in shown))
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Everything, with `blessed` and `reason`."""
        confusion = {
            name: metrics["confusion"]
            for name, metrics in (("candidate", self.metrics), ("champion", self.champion_metrics))
            if metrics
        }
        return asdict(self) | {"confusion": confusion, "blessed": self.blessed, "reason": self.reason}

    def _explain(self, check: Check) -> str:
        clause = check.explain()
        return clause.replace(WORST_SLICE, f"accuracy on {self.worst_slice}") if self.worst_slice else clause


def show_figure(value: float | None) -> str:
    """A figure for a person: a count as it is, anything else to three digits, `-` for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"
