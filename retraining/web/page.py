"""What a page is to the code that makes it."""

from collections.abc import Collection
from typing import Any

Page = dict[str, Any]
"""The values of a page by name; its template and its JSON twin get the same ones."""

_RUNNING_SECONDS, _WAITING_SECONDS = 15, 60


def find_refresh(states: Collection[str]) -> int | None:
    """After how many seconds a page that shows nights in these states may tell something new; None for never."""
    if "running" in states:
        return _RUNNING_SECONDS
    return _WAITING_SECONDS if "waiting" in states else None
