"""The checks of the quality bar in words: what each asks, in which direction its limit lies, how a value stands to it.

Whoever shows a check (page, model card, command, log) takes its words from here.
"""

from dataclasses import dataclass

DOC = "docs/quality-bar.md"
SECTION = "the-checks"
"""Of the document, the part that tells of the checks: its heading as an address has it."""

# How the name of a check says whom the candidate is compared with, and how a person says it.
SUFFIXES = {"champion": "_change", "lr": "_vs_lr", "majority": "_vs_majority"}
_OPPONENTS = {"champion": "the champion", "lr": "the LR baseline", "majority": "the majority class"}
LOWER_IS_BETTER = ("log_loss",)
"""Metrics of which less is better."""
RECALL_PREFIX = "recall_"
MCNEMAR = "mcnemar"
WORST_SLICE = "worst_slice"

_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "log_loss": "log-loss"}
_MEANINGS = {
    "accuracy": "The share of the headlines that it labels as a person did.",
    "macro_f1": "How well it finds each label and keeps it off other headlines; the rare label counts as much as the "
    "common one.",
    "log_loss": "How far its probabilities are from the truth: 0 is perfect, and to be sure and wrong costs most.",
}
_NO_VALUE = "it could not be computed"


@dataclass(frozen=True)
class Check:
    """One limit and what was measured against it, with the value's 95 % interval.

    A value that could not be computed is None and does not pass, but for the recall of a class without rows.
    """

    name: str
    value: float | None
    limit: float
    passed: bool
    low: float | None = None
    high: float | None = None

    @property
    def title(self) -> str:
        """What is checked, in a few words."""
        metric, opponent = split(self.name)
        if metric.startswith(RECALL_PREFIX):
            return f"recall of {metric.removeprefix(RECALL_PREFIX)} headlines"
        if metric == MCNEMAR:
            return f"errors beside those of {opponent} (McNemar's test)"
        if metric == WORST_SLICE:
            return f"accuracy on the worst slice, beside {opponent}"
        name = _METRICS.get(metric, metric)
        return f"{name} beside {opponent}" if opponent else name

    @property
    def rule(self) -> str:
        """What the value has to be, with the direction of the limit."""
        metric, opponent = split(self.name)
        margin = f"{abs(self.limit):.3f}"
        if metric.startswith(RECALL_PREFIX):
            return f"the upper end of its 95 % interval at least {margin}"
        if not opponent:
            return f"at least {self.limit:.3f}"
        if metric == MCNEMAR:
            return f"p at least {margin}, or accuracy within its own margin"
        side = "above" if metric in LOWER_IS_BETTER else "below"
        allowed = f"at most {margin} {side}" if self.limit else f"not {side}"
        return f"{allowed} that of {opponent}; more is held to be chance if the 95 % interval reaches 0"

    @property
    def meaning(self) -> str:
        """One sentence on what the value says, for who does not know the word."""
        metric, opponent = split(self.name)
        if metric.startswith(RECALL_PREFIX):
            label = metric.removeprefix(RECALL_PREFIX)
            return f"The share of the headlines that a person called {label} which it calls {label} too."
        if metric == MCNEMAR:
            return (
                f"Of the headlines that only one of it and {opponent} labels rightly: how probable so uneven a split "
                "is where both are equally good."
            )
        if metric == WORST_SLICE:
            return (
                f"The group of headlines (a label, a night, a length) on which it loses most accuracy to {opponent}: "
                "below 0 it is worse there."
            )
        if not opponent or metric not in _MEANINGS:
            return _MEANINGS.get(metric, "")
        worse = "above" if metric in LOWER_IS_BETTER else "below"
        return f"Its {_METRICS[metric]} less that of {opponent} on the same headlines: {worse} 0 it is worse."

    @property
    def note(self) -> str:
        """Why it passed or missed where value and limit alone do not tell; empty where they do."""
        metric, opponent = split(self.name)
        if self.value is None:
            return "no evaluation row is of this label" if self.passed else _NO_VALUE
        if not self.passed or not self.is_beyond:
            return ""
        if metric.startswith(RECALL_PREFIX):
            return "the value is below it, the interval is not: so few rows may show less by chance"
        if metric == MCNEMAR:
            return "p is below it, but accuracy is within its own margin"
        return "beyond it, but the interval reaches 0: this may be chance" if opponent else ""

    @property
    def is_beyond(self) -> bool:
        """Whether the value itself lies on the wrong side of the limit."""
        if self.value is None:
            return False
        return self.value > self.limit if self.fails_above else self.value < self.limit

    @property
    def fails_above(self) -> bool:
        """On which side of the limit a value fails: above it where less is better, else below it."""
        return split(self.name)[0] in LOWER_IS_BETTER

    def explain(self) -> str:
        """Says in one clause how the value stands to its limit."""
        metric, opponent = split(self.name)
        if self.value is None:
            return f"{metric} could not be computed"
        if not opponent:
            beyond = self.is_beyond
            because = f", {self.note}" if self.note else ""
            return f"{metric} {self.value:.3f} is {'' if beyond else 'not '}below its floor {self.limit:.3f}{because}"
        if metric == MCNEMAR:
            return (
                f"McNemar's test of the errors beside those of {opponent} gives p = {self.value:.3f}, "
                f"{'with' if self.passed else 'below'} the limit {self.limit:.3f}"
            )
        interval = "" if self.low is None else f" (95 % interval {self.low:+.3f} to {self.high:+.3f})"
        return (
            f"{metric} is {abs(self.value):.3f} {'below' if self.value < 0 else 'above'} that of {opponent}"
            f"{interval}, {'within' if self.passed else 'beyond'} the {abs(self.limit):.3f} allowed"
        )


def split(name: str) -> tuple[str, str]:
    """The metric that a check is about, and whom the candidate is compared with; empty for nobody."""
    for opponent, suffix in SUFFIXES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), _OPPONENTS[opponent]
    return name, ""


def explain_unjudged(
    group: str, rows: float, judged_slices: tuple[str, ...] | list[str], min_slice_rows: int, is_compared: bool
) -> str:
    """Why a slice is shown and not judged; empty for one that is.

    Args:
      group: of slices, such as `night`.
      rows: of the slice.
      judged_slices: the groups that are judged.
      min_slice_rows: the least rows of a slice that is.
      is_compared: whether there is a champion or an LR baseline to compare the slice with.
    """
    if not is_compared:
        return "there was nothing to compare it with"
    if group not in judged_slices:
        return f"JUDGED_SLICES does not name the group {group}"
    if rows < min_slice_rows:
        return f"it has fewer rows than MIN_SLICE_ROWS, {min_slice_rows}"
    return ""
