"""Runs the model server: `SERVING_DIR=... python -m serving`."""

import logging
import sys

from serving import processes
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
    if settings.workers == 1:
        return run(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return processes.keep(settings)


if __name__ == "__main__":
    sys.exit(main())
