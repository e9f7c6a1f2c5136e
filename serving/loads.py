"""A load of one version, in a thread of its own: whatever it hangs at, the server goes on, and may end."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.folder import Source
from serving.model import LoadError, Model

log = logging.getLogger(__name__)


class Load:
    """One load, under way or over.

    Attributes:
      version: what is loaded.
      started: by the monotonic clock.
      stamp: of the version's files before they were read.
      model: what came of it; None until it is over, and where it failed.
      error: why it failed.
    """

    def __init__(
        self, source: Source, load: Callable[[Path, int], Model], path: Path, version: int, ended: Callable[[], None]
    ) -> None:
        """Starts it.

        Args:
          source: where the folder comes from.
          load: makes a model of a folder and a version.
          path: the folder.
          version: its number.
          ended: called when it is over.
        """
        self.version = version
        self.started = time.monotonic()
        self.stamp: object = None
        self.model: Model | None = None
        self.error = LoadError("INTERNAL", "the load was broken off")
        self._over = threading.Event()
        self._source = source
        self._load = load
        self._path = path
        self._ended = ended
        # A load cannot be ended from outside; as a daemon it does not keep the process from it.
        threading.Thread(target=self._run, name=f"load-{version}", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits for its end; returns whether it has come."""
        return self._over.wait(seconds)

    def _run(self) -> None:
        try:
            self.stamp = self._source.stamp(self._path)
            self._source.fetch(self._path)
            model = self._load(self._path, self.version)
            if self._source.stamp(self._path) != self.stamp:
                raise LoadError("UNAVAILABLE", "its files changed while it was loaded; it is loaded once they rest")
            self.model = model
        except LoadError as error:
            # Not the error itself: with it, all that its frames refer to would stay.
            self.error = LoadError(error.code, error.message)
        except Exception as error:
            if not isinstance(error, OSError | MemoryError):
                log.exception("loading version %d failed", self.version)
            self.error = LoadError.of(error)
        finally:
            self._over.set()
            self._ended()
