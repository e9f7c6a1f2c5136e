"""Runs the model server: `SERVING_DIR=... python -m serving`."""

import contextlib
import logging
import os
import sys

from serving.settings import Settings, SettingsError


def main() -> int:
    """Serves until a signal stops it.

    Returns:
      The exit code: 2 if a setting is wrong, uvicorn's own if the server could not start.
    """
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
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
        app = create_app(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    server = Listener(app, settings)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    code = 0 if server.started else STARTUP_FAILURE
    if app.state.server.versions.unfinished:
        end_at_once(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
