"""Ends a worker whose code has changed since it started, or which has the broker and is cut off from the databases.

Whatever keeps it running starts it anew: with the new code, or again and again until the databases answer. One that is
cut off would go on taking tasks, fail each, and could tell nobody, so that Airflow waits ten minutes for each.
"""

import logging
import os
import signal
import time
from typing import Any

import psycopg2

from headlines.postgres_address import Postgres
from retraining.settings import BUNDLE, CHECKOUT, Settings

_SHARED = (CHECKOUT / "lineage", CHECKOUT / "retraining", BUNDLE / "plugins")
"""What is in the first process' memory, or may come to be, and is not imported anew by each task."""
_LOOK_SECONDS = 15.0
_MISSES = 2
"""So many looks in a row at databases that do not answer: within the minute after which Airflow gives its task on."""

Stamps = dict[str, int]
log = logging.getLogger(__name__)


def read_stamps() -> Stamps:
    """When each file of the shared code was written, in nanoseconds since the epoch."""
    files = (path for folder in _SHARED for path in folder.rglob("*.py"))
    return {str(path): path.stat().st_mtime_ns for path in files}


class SelfWatch:
    """Ends this process, after its running tasks and once, when it should not go on as it is."""

    def __init__(self, settings: Settings) -> None:
        """Takes the code as it is now for that of the process."""
        self._databases = [settings.database("airflow_db"), settings.mlmd]
        self._stamps = read_stamps()
        self._looked_at = time.monotonic()
        self._misses = 0
        self._is_ending = False

    def look(self, **_: Any) -> None:
        """Looks, if the last look is a while ago."""
        if self._is_ending or time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        reason = self._find_reason()
        self._looked_at = time.monotonic()
        if reason:
            self._is_ending = True
            log.warning("%s; this worker ends its tasks, then itself.", reason)
            os.kill(os.getpid(), signal.SIGTERM)

    def _find_reason(self) -> str | None:
        try:
            stamps = read_stamps()
        except FileNotFoundError:
            # It is being written just now.
            return None
        changed = sorted(path for path in stamps.keys() | self._stamps if stamps.get(path) != self._stamps.get(path))
        if changed:
            return f"Code has changed ({changed[0]}, {len(changed)} files)"
        problem = next(filter(None, map(_find_problem, self._databases)), None)
        self._misses = self._misses + 1 if problem else 0
        return problem if self._misses >= _MISSES else None


def _find_problem(database: Postgres) -> str | None:
    try:
        psycopg2.connect(**database.arguments).close()
    except psycopg2.OperationalError as error:
        return database.explain(error)
    return None
