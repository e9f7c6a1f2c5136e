"""The calendar of a year."""

from datetime import date, datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import lineage
from headlines.schedule import find_cut_off
from lineage import Reader
from retraining.settings import Settings
from retraining.web.page import Page, find_refresh


def nights(reader: Reader, settings: Settings, year: int | None = None) -> Page:
    """A year as months of nights, newest month first, the nights that came to no verdict, and those with a late drop.

    Args:
      reader: of lineage.
      settings: how long a night waits for its drop, and where its day begins.
      year: None for that of the newest night.
    """
    delivered = [night for night, _ in lineage.drops(reader)]
    runs = lineage.models(reader, limit=1)
    newest = max([*delivered, *(model.night for model in runs if model.night)], default=None)
    today = datetime.now(ZoneInfo(settings.timezone)).date().isoformat()
    chosen = year or int((newest or today)[:4])
    # Also those of nights that lineage has never heard of.
    scheduled = reader.scheduling.years() if reader.scheduling else set()
    first, last = f"{chosen:04}-01-01", f"{chosen:04}-12-31"
    cells = lineage.calendar(reader, first, last)
    by_month = {month: list(group) for month, group in groupby(cells, key=lambda cell: cell.night[:7])}
    if cells and first <= today <= last:
        by_month.setdefault(today[:7], [])
    months = [
        {"month": month, "offset": date.fromisoformat(f"{month}-01").weekday(), "nights": _fill(nights, month, today)}
        for month, nights in sorted(by_month.items())
    ]
    return {
        "year": chosen,
        "today": today,
        "zone": settings.timezone,
        "refresh_seconds": find_refresh({cell.state for cell in cells}),
        "years": sorted({int(night[:4]) for night in delivered} | {chosen} | scheduled, reverse=True),
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


def _fill(cells: list[Any], month: str, today: str) -> list[Any]:
    """Every day of a month up to its last known night, or to today; None where there is no night to tell of."""
    by_day = {int(cell.night[8:]): cell for cell in cells}
    last = max([*by_day, int(today[8:]) if today.startswith(month) else 0])
    return [by_day.get(day) for day in range(1, last + 1)]
