"""Several workers on one box: starts them, starts one anew that has ended, and ends them all.

This process answers nobody and has no model.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from uvicorn.config import STARTUP_FAILURE

from serving import ports
from serving.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
# Between the end of a worker and its next start, from the first to the longest; one that lived for so long begins anew.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
# A worker ends itself within `end_seconds`; so much later it is killed.
_SPARE_SECONDS = 1.0
# What a worker ends with that none of them can begin with: a setting, or a port.
_HOPELESS = (2, STARTUP_FAILURE)


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    started: float
    wait: float = _FIRST_WAIT_SECONDS
    # When it is to be started anew; None while it runs.
    due: float | None = None
    is_first: bool = True


def keep(settings: Settings) -> int:
    """Keeps `settings.workers` workers running until a signal ends them.

    Returns:
      The exit code: 0 after an interrupt, a worker's own if none can begin; SIGTERM ends this process as it would
      without a handler.
    """
    signals: list[int] = []
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda number, _: signals.append(number))
    try:
        ports.check_free(settings.host, settings.port, "SERVING_PORT")
        if settings.grpc_port:
            ports.check_free(settings.host, settings.grpc_port, "SERVING_GRPC_PORT")
    except ports.PortError as error:
        log.error("%s", error)
        return STARTUP_FAILURE
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        workers = [_Worker(n, _start(n, folder), time.monotonic()) for n in range(1, settings.workers + 1)]
        log.info("%d workers on %s:%d", settings.workers, settings.host, settings.port)
        code = None
        while code is None and not signals:
            time.sleep(_LOOK_SECONDS)
            code = _look(workers, folder)
        _end(workers, signals, settings)
    if code is None and signals[0] == signal.SIGTERM:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return code or 0


def _start(number: int, folder: str) -> subprocess.Popen[bytes]:
    # In a group of its own: what a terminal tells all processes, it hears from this one alone, and once. The pipe ends
    # with this process, whatever ends that.
    return subprocess.Popen(
        [sys.executable, "-m", "serving.process", str(number), folder], stdin=subprocess.PIPE, process_group=0
    )


def _look(workers: list[_Worker], folder: str) -> int | None:
    """Starts anew what has ended and is due; gives the exit code if no worker can begin."""
    now = time.monotonic()
    for worker in workers:
        if worker.due is None and (code := worker.process.poll()) is not None:
            if worker.is_first and code in _HOPELESS:
                return code
            if now - worker.started > _LONGEST_WAIT_SECONDS:
                worker.wait = _FIRST_WAIT_SECONDS
            worker.due = now + worker.wait
            log.error("worker %d ended with %d, and starts anew in %g s", worker.number, code, worker.wait)
            worker.wait = min(2 * worker.wait, _LONGEST_WAIT_SECONDS)
        elif worker.due is not None and now >= worker.due:
            worker.process, worker.started, worker.due = _start(worker.number, folder), now, None
            worker.is_first = False
    return None


def _end(workers: list[_Worker], signals: list[int], settings: Settings) -> None:
    """Hands on the signals that came and come, and kills what does not end by itself."""
    deadline = time.monotonic() + settings.end_seconds + _SPARE_SECONDS
    handed_on = 0
    signals = signals or [signal.SIGTERM]
    while running := [worker for worker in workers if worker.process.poll() is None]:
        for number in signals[handed_on:]:
            for worker in running:
                worker.process.send_signal(number)
        handed_on = len(signals)
        if time.monotonic() > deadline:
            for worker in running:
                log.error("worker %d does not end, so it is killed", worker.number)
                worker.process.kill()
                worker.process.wait()
        time.sleep(_LOOK_SECONDS)
