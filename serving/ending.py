"""How the server ends: within a time of the signal, whatever hangs."""

import logging
import os
import sys
import threading
from types import FrameType

import uvicorn

log = logging.getLogger(__name__)

# After the time that requests have; retraining/local/model_server.py kills the process a second later.
_SPARE_SECONDS = 4.0
_FAILURE = 1


class EndingServer(uvicorn.Server):
    """Ends the process by itself where uvicorn would wait for a thread that does not end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Notes when the signal came."""
        if not self.should_exit:
            seconds = (self.config.timeout_graceful_shutdown or 0) + _SPARE_SECONDS - 1
            timer = threading.Timer(seconds, self._end, (seconds,))
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)

    def _end(self, seconds: float) -> None:
        names = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        log.error("not ended %.0f s after the signal, so ended now; its threads: %s", seconds, ", ".join(sorted(names)))
        end_at_once(_FAILURE)


def end_at_once(code: int) -> None:
    """Ends the process without waiting for threads: one that loads a model ends only with the process."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
