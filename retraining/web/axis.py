"""A check of the quality bar as a picture: value, interval and limit on one axis."""

from dataclasses import dataclass

from headlines.bar.checks import MCNEMAR, Check, split

WIDTH, HEIGHT = 200, 28
_MARGIN = 8
# What the axis is longer than what is on it, at each end.
_ROOM = 0.12


@dataclass(frozen=True)
class Axis:
    """Where everything is drawn, in pixels from the left; None for what there is not.

    Attributes:
      value, low, high, limit, zero: of the check; `zero` of a difference.
      bad_from, bad_to: the side of the limit on which a value lies beyond it.
      label: the picture in words.
    """

    value: float
    low: float | None
    high: float | None
    limit: float
    zero: float | None
    bad_from: float
    bad_to: float
    label: str
    width: int = WIDTH
    height: int = HEIGHT


def draw(check: Check) -> Axis | None:
    """Draws a check; None for one without a value."""
    if check.value is None:
        return None
    metric, opponent = split(check.name)
    marks = [check.value, check.limit, *(end for end in (check.low, check.high) if end is not None)]
    if metric == MCNEMAR:
        marks += [0.0, 1.0]
    elif opponent:
        marks.append(0.0)
    room = (max(marks) - min(marks) or 1.0) * _ROOM
    first, last = min(marks) - room, max(marks) + room

    def place(mark: float | None) -> float | None:
        return None if mark is None else round(_MARGIN + (WIDTH - 2 * _MARGIN) * (mark - first) / (last - first), 1)

    value, limit = place(check.value) or 0.0, place(check.limit) or 0.0
    interval = "" if check.low is None else f", 95 % interval {check.low:.3f} to {check.high:.3f}"
    return Axis(
        value=value,
        low=place(check.low),
        high=place(check.high),
        limit=limit,
        zero=place(0.0) if opponent and metric != MCNEMAR else None,
        bad_from=limit if check.fails_above else _MARGIN,
        bad_to=WIDTH - _MARGIN if check.fails_above else limit,
        label=f"value {check.value:.3f}{interval}; limit: {check.rule}",
    )
