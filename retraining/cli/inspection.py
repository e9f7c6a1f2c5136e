"""What a run would make of a file that is to be delivered: for a person, at any width from 60 columns on; as JSON."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headlines.display import count, show_bytes
from headlines.drops import measures
from headlines.drops.alarms import Limits
from headlines.drops.delivery import Inspection
from headlines.drops.measures import Measure
from headlines.names import LABEL_CODES, PASSED_OVER
from retraining.cli.fitting import Fitting, show

_ROWS_SHOWN = 20
_ROW_SHOWN = 200


def render_inspection(inspection: Inspection, limits: Limits) -> RenderableType:
    """Where the rows of the file would go, the first of the bad ones one by one, and the figures that alarms go by."""
    version = inspection.version
    parts: list[RenderableType] = [
        Text(
            f"{version.files[0].name} as version {version.number} of night {version.night}: "
            f"{count(inspection.rows, 'row')}, {inspection.used} used, {len(inspection.quarantined)} quarantined, "
            f"{count(len(inspection.folded), 'duplicate')} folded."
        )
    ]
    if inspection.quarantined:
        table = Fitting("line", "reason", "detail", "row", right=["line"])
        for entry in inspection.quarantined[:_ROWS_SHOWN]:
            row = " ".join(show_bytes(entry.row.raw).split())
            row = row if len(row) <= _ROW_SHOWN else f"{row[:_ROW_SHOWN]}..."
            table.add_row(str(entry.row.line), entry.reason.value, entry.detail, row)
        parts.append(table)
        more = len(inspection.quarantined) - _ROWS_SHOWN
        causes = ", ".join(f"{reason} {count}" for reason, count in _count_reasons(inspection).most_common())
        parts.append(Text(f"{f'And {more} more: --json shows all. ' if more > 0 else ''}In all: {causes}."))
    parts.append(_render_figures(inspection, limits))
    if version.passed_over:
        parts.append(Text(f"Passed over in the folder of the night: {', '.join(version.passed_over)}.", style="yellow"))
    parts += [Text(f"{notice[0].upper()}{notice[1:]}.", style="yellow") for notice in inspection.notices]
    return Group(*parts)


def render_problems(problems: Iterable[str]) -> RenderableType:
    """Why the run would stop, each with a mark before it that its further lines are not below."""
    # Each is a table of its own, so that none is filled up to the length of another.
    grids = []
    for problem in problems:
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column()
        grid.add_column(overflow="fold")
        grid.add_row(Text("-", style="red"), show(Text(problem, style="red")))
        grids.append(grid)
    return Group(*grids)


def describe_inspection(inspection: Inspection, delivered: Path | None) -> dict[str, Any]:
    """The same for a script, every row among it, and where the file was delivered."""
    version = inspection.version
    rows = [
        {"line": entry.row.line, "reason": entry.reason.value, "detail": entry.detail, "row": show_bytes(entry.row.raw)}
        for entry in inspection.quarantined
    ]
    return {
        "night": str(version.night),
        "drop_version": version.number,
        "file": str(version.files[0]),
        PASSED_OVER: version.passed_over,
        "rows": inspection.rows,
        "used": inspection.used,
        "quarantined": rows,
        "reasons": dict(_count_reasons(inspection)),
        "folded": len(inspection.folded),
        "compared_with": inspection.compared_with,
        "figures": inspection.figures,
        LABEL_CODES: inspection.label_codes,
        "notices": inspection.notices,
        "problems": inspection.problems,
        "delivered": None if delivered is None else str(delivered),
    }


def _count_reasons(inspection: Inspection) -> Counter[str]:
    return Counter(entry.reason.value for entry in inspection.quarantined)


def _render_figures(inspection: Inspection, limits: Limits) -> Text:
    figures = inspection.figures
    judged = {one.kind.name: one for one in measures.measure(figures.to_properties(), asdict(limits))}
    parts = [f"{label} {titles / figures.titles:.1%}" for label, titles in figures.classes.items()]
    if figures.expected_rows is not None:
        rows = count(figures.readable_rows, "readable row")
        parts.append(f"{rows} where {figures.expected_rows:.0f} are usual")
    parts.append(
        f"{figures.repeated_rows / max(1, figures.readable_rows):.1%} of the rows with a title that came before"
    )
    for name, of_whom, is_known in (
        (measures.LOST_SHARE, "of the corrected titles lost", figures.earlier_titles),
        (measures.CLASS_MIX_SHIFT, "away from the window's class mix", True),
        (measures.RELABELLED_SHARE, "of the titles seen before with another label", figures.seen_titles),
        (measures.NOT_PORTUGUESE_SHARE, "not Portuguese", True),
    ):
        if judged[name].value is not None and is_known:
            parts.append(f"{judged[name].shown} {of_whom}{_tell_spared(judged[name])}")
    excess = judged[measures.UNSEEN_WORD_EXCESS]
    if excess.value is not None:
        side = "above" if excess.value >= 0 else "below"
        parts.append(
            f"words unseen {abs(excess.value) * 100:.1f} points {side} expected (at most "
            f"{limits.max_unseen_word_excess * 100:.1f}){_tell_spared(excess)}"
        )
    return Text(f"Beside {count(inspection.compared_with, 'earlier night')}: {', '.join(parts)}.")


def _tell_spared(measure: Measure) -> str:
    """That a value beyond its limit is let pass, since it is of so few titles."""
    if measure.passed is None and measure.may_be_chance:
        return f" (not judged: {count(measure.judged_on or 0, 'title')})"
    return ""
