"""What a run would make of a file that is to be delivered, for a person to read, in at most 100 columns."""

from collections import Counter

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headlines.drops.delivery import Inspection
from headlines.drops.display import show_bytes

_ROWS_SHOWN = 20


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
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("line", justify="right", no_wrap=True)
        table.add_column("reason", no_wrap=True)
        table.add_column("detail", width=26)
        table.add_column("row", width=36, no_wrap=True, overflow="ellipsis")
        for entry in inspection.quarantined[:_ROWS_SHOWN]:
            raw = show_bytes(entry.row.raw)
            table.add_row(str(entry.row.line), entry.reason.value, Text(entry.detail), Text(" ".join(raw.split())))
        parts.append(table)
        more = len(inspection.quarantined) - _ROWS_SHOWN
        reasons = Counter(entry.reason.value for entry in inspection.quarantined)
        causes = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        parts.append(Text(f"{f'And {more} more. ' if more > 0 else ''}In all: {causes}."))
    parts.append(_render_figures(inspection))
    if inspection.remark:
        parts.append(Text(f"Not compared with the window: {inspection.remark}", style="yellow"))
    return Group(*parts)


def _render_figures(inspection: Inspection) -> Text:
    figures = inspection.figures
    parts = [f"{label} {count / figures.titles:.1%}" for label, count in figures.classes.items()]
    for name, share in (
        ("away from the window's class mix", figures.class_mix_shift),
        ("of the titles seen before with another label", figures.relabelled_share if figures.seen_titles else None),
        ("not Portuguese", figures.not_portuguese_share),
        ("of the words unseen", figures.unseen_word_share),
    ):
        if share is not None:
            parts.append(f"{share:.1%} {name}")
    return Text(f"Beside {inspection.compared_with} earlier nights: {', '.join(parts)}.")
