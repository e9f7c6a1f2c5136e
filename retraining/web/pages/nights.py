"""The calendar of a year."""

from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

import lineage
from headlines.schedule import find_cut_off
from lineage import Reader
from retraining.settings import Settings
from retraining.web.page import Page


def nights(reader: Reader, settings: Settings, year: int | None = None) -> Page:
    """A year as months of nights, newest month first, the nights that came to no verdict, and those with a late drop.

    Args:
      reader: of lineage.
      settings: how long a night waits for its drop.
      year: None for that of the newest night.
    """
    delivered = [night for night, _ in lineage.drops(reader)]
    runs = lineage.models(reader, limit=1)
    newest = max([*delivered, *(model.night for model in runs)], default=None)
    chosen = year or (int(newest[:4]) if newest else datetime.now(UTC).year)
    first, last = f"{chosen:04}-01-01", f"{chosen:04}-12-31"
    cells = lineage.calendar(reader, first, last)
    months = [
        {"month": month, "offset": date.fromisoformat(f"{month}-01").weekday(), "nights": _fill(list(group))}
        for month, group in groupby(cells, key=lambda cell: cell.night[:7])
    ]
    return {
        "year": chosen,
        "years": sorted({int(night[:4]) for night in delivered} | {chosen}, reverse=True),
        "months": months[::-1],
        "gaps": lineage.find_gaps(reversed(cells)),
        "noted": lineage.count_notes(reader, first, last),
        "late": [cell.night for cell in cells if _is_late(settings, cell)],
    }


def _is_late(settings: Settings, cell: lineage.NightSummary) -> bool:
    if cell.delivered is None:
        return False
    cut_off = find_cut_off(settings, cell.night)
    return cut_off is not None and datetime.fromisoformat(cell.delivered) > cut_off


def _fill(cells: list[Any]) -> list[Any]:
    """Every day of a month up to its last known night; None before the first."""
    by_day = {int(cell.night[8:]): cell for cell in cells}
    return [by_day.get(day) for day in range(1, max(by_day) + 1)]
