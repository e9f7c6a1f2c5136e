"""Memory that Python allocates for one call, measured where no server of another test allocates along."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def _measure(work: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    work(*arguments)  # what is loaded and kept once is not the call's
    tracemalloc.start()
    work(*arguments)
    return tracemalloc.get_traced_memory()[1]


def measure_peak(work: Callable[..., Any], *arguments: Any) -> int:
    """Returns the bytes that a call takes at most, in a process of its own; `work` stands at the top of its module."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, work, arguments).result()
