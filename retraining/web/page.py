"""What a page is to the code that makes it."""

from collections.abc import Collection
from typing import Any

from headlines.drops.drops_folder import DropError, parse_night
from lineage import UnknownError

Page = dict[str, Any]
"""The values of a page by name; its template and its JSON twin get the same ones."""

_RUNNING_SECONDS, _WAITING_SECONDS = 15, 60


def find_refresh(states: Collection[str]) -> int | None:
    """After how many seconds a page that shows nights in these states may tell something new; None for never."""
    if "running" in states:
        return _RUNNING_SECONDS
    # What is stuck goes on once somebody mends it, and that is done elsewhere.
    return _WAITING_SECONDS if {"waiting", "stuck"} & set(states) else None


def check_night(name: str) -> None:
    """Tells a night that may be unknown from what names none.

    Raises:
      UnknownError: it is no date.
    """
    try:
        parse_night(name)
    except DropError as error:
        raise UnknownError(str(error)) from None
