"""What a run would make of a file that is to be delivered: for a person, at any width from 60 columns on; as JSON."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from headlines.display import show_bytes
from headlines.drops.delivery import Inspection
from headlines.names import PASSED_OVER
from retraining.cli.fitting import Fitting

_ROWS_SHOWN = 20
_ROW_SHOWN = 200


def render_inspection(inspection: Inspection) -> RenderableType:
    """Where every row of the file would go, the bad ones one by one, and the figures that alarms go by."""
    version = inspection.version
    parts: list[RenderableType] = [
        Text(
            f"{version.files[0].name} as version {version.number} of night {version.night}: {inspection.rows} rows, "
            f"{inspection.used} used, {len(inspection.quarantined)} quarantined, {len(inspection.folded)} duplicates "
            "folded."
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
        parts.append(Text(f"{f'And {more} more. ' if more > 0 else ''}In all: {causes}."))
    parts.append(_render_figures(inspection))
    if version.passed_over:
        parts.append(Text(f"Passed over in the folder of the night: {', '.join(version.passed_over)}.", style="yellow"))
    if inspection.remark:
        parts.append(Text(f"Not compared with the window: {inspection.remark}", style="yellow"))
    parts += [Text(f"{notice[0].upper()}{notice[1:]}.", style="yellow") for notice in inspection.notices]
    return Group(*parts)


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
        "remark": inspection.remark or None,
        "notices": inspection.notices,
        "problems": inspection.problems,
        "delivered": None if delivered is None else str(delivered),
    }


def _count_reasons(inspection: Inspection) -> Counter[str]:
    return Counter(entry.reason.value for entry in inspection.quarantined)


def _render_figures(inspection: Inspection) -> Text:
    figures = inspection.figures
    parts = [f"{label} {count / figures.titles:.1%}" for label, count in figures.classes.items()]
    if figures.expected_rows is not None:
        parts.append(f"{figures.readable_rows} readable rows where {figures.expected_rows:.0f} are usual")
    for name, share in (
        ("of the rows with a title that came before", figures.repeated_rows / max(1, figures.readable_rows)),
        ("of the corrected titles lost", figures.lost_share if figures.earlier_titles else None),
        ("away from the window's class mix", figures.class_mix_shift),
        ("of the titles seen before with another label", figures.relabelled_share if figures.seen_titles else None),
        ("not Portuguese", figures.not_portuguese_share),
        ("of the words unseen", figures.unseen_word_share),
    ):
        if share is not None:
            parts.append(f"{share:.1%} {name}")
    return Text(f"Beside {inspection.compared_with} earlier nights: {', '.join(parts)}.")
