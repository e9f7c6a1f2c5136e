"""Runs the model server: `SERVING_DIR=... python -m serving`."""

import sys

from uvicorn.config import STARTUP_FAILURE

from serving import ports, processes
from serving.process import run
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
    try:
        with ports.hold(settings.host, {"SERVING_PORT": settings.port, "SERVING_GRPC_PORT": settings.grpc_port}):
            return run(settings) if settings.workers == 1 else processes.keep(settings)
    except ports.PortError as error:
        print(error, file=sys.stderr)
        return STARTUP_FAILURE


if __name__ == "__main__":
    sys.exit(main())
