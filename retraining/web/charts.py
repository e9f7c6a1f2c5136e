"""Charts over nights: their lines, and marks of what became of each night's candidate."""

from collections.abc import Iterable, Sequence
from typing import Any

from lineage import Happening

Line = tuple[str, Sequence[float | None], str, list[int]]
"""Label, a value for each night, colour, dashes."""

MOST_ROWS = 365
"""How many of the newest nights a table under a chart has: all would take longer to draw than to read."""

# Each has a shape of its own: a colour alone says nothing to who cannot tell it.
_MARKS = (
    ("pushed", "triangle", "#0b6b34"),
    ("refused", "crossRot", "#a61b1b"),
    ("rolled back after it", "rectRot", "#7a4b00"),
)


def chart(nights: Sequence[str], lines: Iterable[Line], happenings: Sequence[Happening]) -> dict[str, Any]:
    """What headlines.js draws: the lines that have a value, and marks on the first of them.

    Args:
      nights: oldest first.
      lines: with a value, or None, for each night.
      happenings: what became of each night.
    """
    drawn = [
        {"label": label, "values": list(values), "colour": colour, "dash": dash}
        for label, values, colour, dash in lines
        if any(value is not None for value in values)
    ]
    heights = [next((line["values"][at] for line in drawn if line["values"][at] is not None), None)
               for at in range(len(nights))]  # fmt: skip
    told = [(one.pushed_version is not None, one.is_refused, bool(one.rollbacks)) for one in happenings]
    marks = [
        {"label": label, "style": style, "colour": colour,
         "values": [height if is_so[at] else None for height, is_so in zip(heights, told, strict=True)]}
        for at, (label, style, colour) in enumerate(_MARKS)
        if any(is_so[at] for is_so in told)
    ]  # fmt: skip
    return {"nights": list(nights), "lines": drawn, "marks": marks}
