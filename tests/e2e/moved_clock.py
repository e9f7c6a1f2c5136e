"""A clock that can be moved, for programs that are started with it: libfaketime between them and the system's.

Only what a program reads as the time of day is moved. It goes on at its usual pace; waits and monotonic clocks are the
system's own, and so are the times of files. This process keeps the true time.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_READ_AGAIN_SECONDS = 1
"""How old the offset may be that a program goes by."""


def find_library() -> Path | None:
    """The library of the package `libfaketime`, or None where it is not installed or not for this machine."""
    # Importing the package would look for other programs' variables (no issue known); only its place is needed.
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    return Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


class MovedClock:
    """The time of day of every program that is started with `environment`.

    Args:
      library: libfaketime.
      place: a folder of its own, whose path holds no space and no colon, since LD_PRELOAD takes them for its own.
      moment: what time it is to be now.
    """

    def __init__(self, library: Path, place: Path, moment: datetime) -> None:
        self._file = place / "offset"
        self._set_to(moment)
        self.environment = {
            # The library's own path may hold a space.
            "LD_PRELOAD": str(shutil.copy(library, place)),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(_READ_AGAIN_SECONDS),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self._share_memory()

    def now(self) -> datetime:
        """What time it is, in UTC."""
        return datetime.fromtimestamp(time.time() + self._offset_seconds, UTC)

    def jump_to(self, moment: datetime) -> None:
        """Moves the clock on, and returns when every program goes by it.

        Args:
          moment: later than now: programs are not made for a clock that goes back.
        """
        assert moment > self.now(), f"it is {self.now()} already, later than {moment}"
        self._set_to(moment)
        time.sleep(_READ_AGAIN_SECONDS + 0.5)

    def close(self) -> None:
        """Removes what the programs shared; to be called when none of them runs any more."""
        for path in self._shared:
            path.unlink(missing_ok=True)

    def _set_to(self, moment: datetime) -> None:
        self._offset_seconds = round(moment.timestamp() - time.time())
        # Whoever reads it finds all of it.
        partial = self._file.with_suffix(".partial")
        partial.write_text(f"{self._offset_seconds:+d}\n")
        partial.replace(self._file)

    def _share_memory(self) -> None:
        """Makes once what the library shares between programs.

        Or each would make its own and leave it behind (wolfcw/libfaketime#96).
        """
        # A process that ends in the usual way removes its own.
        script = "import os; print(os.environ['FAKETIME_SHARED'], flush=True); os._exit(0)"
        shared = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        self.environment["FAKETIME_SHARED"] = shared
        semaphore, memory = (name.lstrip("/") for name in shared.split())
        self._shared = [_SHARED_MEMORY / f"sem.{semaphore}", _SHARED_MEMORY / memory]
        for path in self._shared:
            # Where root runs the suite, Postgres is another user's.
            path.chmod(0o666)
