"""Waiting, in tests, for what another thread, process or machine does."""

import time
from collections.abc import Callable
from contextlib import suppress


def wait_until(
    is_so: Callable[[], object],
    what: str = "it comes about",
    seconds: float = 60,
    every: float = 0.05,
    unanswered: tuple[type[Exception], ...] = (),
) -> None:
    """Looks until it is so.

    Args:
      is_so: the question.
      what: what is waited for, for the message.
      seconds: how long.
      every: seconds between two looks.
      unanswered: errors after which it is asked again.

    Raises:
      TimeoutError: it does not come about.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(*unanswered):
            if is_so():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(every)
