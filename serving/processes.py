"""Several workers on one box: starts them, starts one anew that has ended, and ends them all.

This process answers nobody and has no model.
"""

import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

from uvicorn.config import STARTUP_FAILURE

from serving.process import HURRY, STOP
from serving.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
# Between the end of a worker and its next start, from the first to the longest; one that lived for so long begins anew.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
# A worker ends itself within `end_seconds`; so much later it is killed.
_SPARE_SECONDS = 1.0
# What a worker ends with that none of them can begin with: a setting, or a port.
_HOPELESS = (2, STARTUP_FAILURE)


class _Worker:
    """One of the workers: its process, and when it is started anew after that has ended."""

    def __init__(self, number: int, group: str, environment: dict[str, str]) -> None:
        self.number = number
        self._command = [sys.executable, "-m", "serving.process", str(number), group]
        self._environment = environment
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._starts = 0
        # When it is to be started anew; None while it runs.
        self._due: float | None = None
        self._start()

    def _start(self) -> None:
        # In a group of its own: what a terminal tells all processes, it hears from this one alone. The pipe ends with
        # this process, whatever ends that.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, env=self._environment, process_group=0, bufsize=0
        )
        self._started, self._due = time.monotonic(), None
        self._starts += 1

    def look(self) -> int | None:
        """Starts it anew if it has ended and is due; gives its exit code if none can begin."""
        now = time.monotonic()
        if self._due is None:
            code = self._process.poll()
            if code is None:
                return None
            if self._starts == 1 and code in _HOPELESS:
                return code
            if now - self._started > _LONGEST_WAIT_SECONDS:
                self._wait_seconds = _FIRST_WAIT_SECONDS
            self._defer(f"ended with {code}")
        elif now >= self._due:
            try:
                self._start()
            except OSError as error:
                # No memory, or no process more; the others answer meanwhile.
                self._defer(f"could not be started: {error}")
        return None

    def _defer(self, what: str) -> None:
        log.error("worker %d %s, and starts anew in %g s", self.number, what, self._wait_seconds)
        self._due = time.monotonic() + self._wait_seconds
        self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def tell(self, word: bytes) -> None:
        """Hands on what it is to do; by the pipe, since a signal may come to it from elsewhere as well."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(word)

    def kill(self) -> None:
        log.error("worker %d does not end, so it is killed", self.number)
        self._process.kill()
        self._process.wait()


def keep(settings: Settings) -> int:
    """Keeps `settings.workers` workers running until a signal ends them.

    Returns:
      The exit code: 0 after an interrupt, a worker's own if none can begin; SIGTERM ends this process as it would
      without a handler.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signals: list[int] = []
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda number, _: signals.append(number))
    group, environment = secrets.token_hex(8), _hand_down(settings)
    workers = [_Worker(number, group, environment) for number in range(1, settings.workers + 1)]
    log.info("%d workers on %s:%d", settings.workers, settings.host, settings.port)
    code = None
    while code is None and not signals:
        time.sleep(_LOOK_SECONDS)
        code = next(filter(None, [worker.look() for worker in workers]), None)
    _end(workers, signals, settings.end_seconds + _SPARE_SECONDS, is_hurried=code is not None)
    if code is None and signals[0] == signal.SIGTERM:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return code or 0


def _hand_down(settings: Settings) -> dict[str, str]:
    """The workers' environment; a token is read once, so that one that starts anew wants the same as the others."""
    environment = dict(os.environ)
    if settings.token:
        environment.pop("SERVING_TOKEN_FILE", None)
        environment["SERVING_TOKEN"] = settings.token.get_secret_value()
    return environment


def _end(workers: Iterable[_Worker], signals: list[int], seconds: float, is_hurried: bool) -> None:
    """Ends them, at once after a second signal, and kills what does not end by itself."""
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.tell(STOP)
    while running := [worker for worker in workers if worker.is_running]:
        if is_hurried or len(signals) > 1:
            for worker in running:
                worker.tell(HURRY)
        if time.monotonic() > deadline:
            for worker in running:
                worker.kill()
        time.sleep(_LOOK_SECONDS)
