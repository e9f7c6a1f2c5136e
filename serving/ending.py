"""How the server ends: it is left time to be taken out of use, and ends within a time of the signal, whatever hangs."""

import asyncio
import logging
import os
import sys
import threading
from types import FrameType

import uvicorn

from serving.readiness import Readiness
from serving.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_FAILURE = 1


class EndingServer(uvicorn.Server):
    """Answers on for a while after the signal to end, and ends the process where uvicorn would wait without end."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, settings: Settings, is_worker: bool) -> None:
        """Begins nothing yet.

        Args:
          config: how uvicorn runs the application.
          readiness: what probes are told.
          settings: how long the end may take.
          is_worker: whether it is one of several.
        """
        super().__init__(config)
        self._readiness = readiness
        self._drain_seconds = settings.drain_seconds
        self._end_seconds = settings.end_seconds
        self._is_worker = is_worker
        self._is_draining = self._is_hurried = False

    def hurry(self) -> None:
        """Ends the wait for who still asks."""
        self._is_hurried = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Notes when the signal came; a second one ends the wait for who still asks."""
        if self.should_exit:
            if self._is_worker:
                # It may hear of one signal twice, from systemd and from who keeps it; that one tells it to hurry.
                return
            if self._is_draining:
                self.hurry()
                return
        else:
            timer = threading.Timer(self._end_seconds, self._end)
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)

    async def main_loop(self) -> None:
        """Answers until the signal to end, and then for as long as load balancers need to notice."""
        await super().main_loop()
        self._readiness.leave(self._drain_seconds)
        if self._drain_seconds:
            log.info("told to stop: not ready from now on, and answering for %g s more", self._drain_seconds)
        self._is_draining = True
        deadline, ticks = asyncio.get_running_loop().time() + self._drain_seconds, 0
        while not self._is_hurried and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(_LOOK_SECONDS, left))
            # Once a second uvicorn says anew what the date is.
            ticks += 1
            await self.on_tick(ticks % 10)
        self._is_draining = False

    def _end(self) -> None:
        names = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        text = "not ended %.0f s after the signal, so ended now; its threads: %s"
        log.error(text, self._end_seconds, ", ".join(sorted(names)))
        end_at_once(_FAILURE)


def end_at_once(code: int) -> None:
    """Ends the process without waiting for threads: one that loads a model ends only with the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
