"""Versions that could not be loaded, and when each is worth another try."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from serving.model import LoadError

# What is wrong with these lies in the files, and ends when they change; a load that takes too long goes on. Anything
# else may pass by itself: memory, a disk or a network that fails, a permission further up.
_LASTING = {
    "ALREADY_EXISTS", "DATA_LOSS", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND",
    "OUT_OF_RANGE", "UNIMPLEMENTED",
}  # fmt: skip
_FIRST_SECONDS, _LONGEST_SECONDS = 5.0, 300.0


@dataclass(frozen=True)
class _Refusal:
    """Why a version was refused, what its files were then and at the last look, and when it may be tried again."""

    code: str
    message: str
    stamp: object
    seen: object
    wait_seconds: float
    again_at: float
    is_ready: bool = False


class Refusals:
    """Remembers the versions that were refused."""

    def __init__(self, stamp: Callable[[Path], object]) -> None:
        """Remembers none.

        Args:
          stamp: gives what changes when the files of a version do.
        """
        self._stamp = stamp
        self._refusals: dict[int, _Refusal] = {}

    @property
    def reasons(self) -> dict[int, str]:
        """Why each was refused."""
        return {version: one.message for version, one in self._refusals.items()}

    @property
    def slow(self) -> list[int]:
        """Those whose load takes too long."""
        return [version for version, one in self._refusals.items() if one.code == "DEADLINE_EXCEEDED"]

    def is_refused(self, version: int) -> bool:
        """Whether a version is refused, and not worth another try as of the last look."""
        return version in self._refusals and not self._refusals[version].is_ready

    def add(self, version: int, before: object, error: LoadError) -> bool:
        """Refuses a version.

        Args:
          version: its number.
          before: the stamp of its files before they were read.
          error: why.

        Returns:
          Whether that is news: it was not refused for the same reason before.
        """
        last = self._refusals.get(version)
        wait = min(last.wait_seconds * 2, _LONGEST_SECONDS) if last and last.stamp == before else _FIRST_SECONDS
        again_at = float("inf") if error.code in _LASTING else time.monotonic() + wait
        self._refusals[version] = _Refusal(error.code, error.message, before, before, wait, again_at)
        return last is None or last.message != error.message

    def remove(self, version: int) -> None:
        """Forgets a version: it was loaded."""
        self._refusals.pop(version, None)

    def look(self, present: Mapping[int, Path]) -> None:
        """Finds out which of them are worth another try, and forgets those that are there no more.

        One is when its files have changed and rest: a folder that is being copied is not tried at each file. And one
        whose trouble may pass by itself, after a wait that doubles with each try.
        """
        looked = {}
        for version, one in self._refusals.items():
            if version in present:
                now = self._stamp(present[version])
                has_changed = now != one.stamp and now == one.seen
                is_ready = has_changed or time.monotonic() >= one.again_at
                looked[version] = replace(one, seen=now, is_ready=is_ready)
        self._refusals = looked
