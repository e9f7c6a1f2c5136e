"""One process that answers: the whole server, or one worker of several on the same ports."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from serving import ports
from serving.settings import Settings, SettingsError
from serving.siblings import Siblings

STOP, HURRY = b"s", b"h"
"""What serving/processes.py tells a worker: to end, and to wait for nobody who still asks."""


class Keeper:
    """The process that keeps the workers, as one of them hears it: by a pipe, which ends with that process."""

    def __init__(self) -> None:
        self._hurry: Callable[[], None] | None = None
        threading.Thread(target=self._hear, name="keeper", daemon=True).start()

    def know(self, hurry: Callable[[], None]) -> None:
        """Learns what ends the wait for who still asks."""
        self._hurry = hurry

    def _hear(self) -> None:
        # Not by `sys.stdin`, whose lock would be held when the interpreter ends, and abort it.
        while word := os.read(sys.stdin.fileno(), 1):
            if word == HURRY and self._hurry:
                self._hurry()
            else:
                os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, siblings: Siblings | None = None, keeper: Keeper | None = None) -> int:
    """Serves until a signal stops it.

    Args:
      settings: of the server.
      siblings: the other workers; None if there are none.
      keeper: what keeps the workers; None if there are none.

    Returns:
      The exit code: 2 if a setting is wrong, uvicorn's own if the server could not start.
    """
    worker = f" {siblings.name}" if siblings else ""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s{worker} %(name)s: %(message)s")
    # Before TensorFlow is imported: its banners are no news, and at a title a request oneDNN, with which the models are
    # trained, is slower than Eigen (no issue known).
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    # How long the thread of the large requests keeps the interpreter from the event loop, which asks for it several
    # times a request.
    sys.setswitchinterval(0.001)
    import tensorflow as tf
    from uvicorn.config import STARTUP_FAILURE

    from serving.app import create_app
    from serving.ending import end_at_once
    from serving.listener import Listener

    tf.get_logger().setLevel(logging.ERROR)
    try:
        app = create_app(settings, siblings)
        sockets = ports.open_shared(settings.host, settings.port, "SERVING_PORT") if siblings else None
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except ports.PortError as error:
        logging.error("%s", error)
        return STARTUP_FAILURE
    server = Listener(app, settings)
    if keeper:
        keeper.know(server.hurry)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    code = 0 if server.started else STARTUP_FAILURE
    if app.state.server.versions.unfinished:
        end_at_once(code)
    return code


def main() -> int:
    """Runs a worker, as serving/processes.py starts it: `python -m serving.process <number> <group>`."""
    settings, keeper = Settings.from_env(), Keeper()
    return run(settings, Siblings(sys.argv[2], int(sys.argv[1]), settings.workers), keeper)


if __name__ == "__main__":
    sys.exit(main())
