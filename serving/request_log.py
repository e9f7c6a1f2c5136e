"""The optional record of requests: a sample of titles with their answers, as JSON lines in files that rotate.

Off unless asked for, since titles are what people typed. Nothing else here writes a title anywhere.
"""

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import queue
import random
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import tensorflow as tf
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from serving.settings import Settings, SettingsError
from serving.tensors import Array, Tensors

log = logging.getLogger(__name__)

TITLE = "title"
EXAMPLES = "examples"
TOO_MANY, NOT_WRITTEN, NOT_READ = "too many", "not written", "not read"
LOST = (TOO_MANY, NOT_WRITTEN, NOT_READ)
"""Why a row that was to be kept is not: more wait than may, the file takes none, or it makes no line."""

_MAX_WAITING_ROWS = 100_000
_TELL_SECONDS = 60.0
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class _Answer:
    at: float
    version: int
    signature: str
    inputs: Tensors
    outputs: Tensors
    rows: int


class RequestLog:
    """Writes one line per row: time, version, signature, title, label and confidence."""

    def __init__(
        self,
        path: Path,
        share: float,
        max_bytes: int,
        files: int,
        lost: Callable[[str, int], None] = lambda reason, rows: None,
        is_shared: bool = False,
    ) -> None:
        """Opens the log.

        Args:
          path: the newest file; older ones get `.1`, `.2` and so on.
          share: how many of the requests are kept, from 0 to 1.
          max_bytes: size at which a new file is started.
          files: how many older files are kept.
          lost: called with a reason of `LOST` and a number of rows that are not kept.
          is_shared: whether other processes write to the file and rotate it as well.

        Raises:
          OSError: the file cannot be written.
        """
        self._file = _RotatingFile(path, max_bytes, files, is_shared)
        self._file.open()
        self._share = share
        self._count_lost = lost
        # Requests only queue; a thread does the rest, and rows are dropped rather than that anyone is held up.
        self._waiting: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._waiting_rows = 0
        self._lock = threading.Lock()
        self._untold: dict[str, int] = {}
        self._problem = ""
        self._told_at = -math.inf
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, settings: Settings, lost: Counter) -> Self | None:
        """The log that the settings ask for, if any; `lost` counts by reason.

        Raises:
          SettingsError: it cannot be written.
        """
        path = settings.request_log
        if path is None:
            return None
        share, size, files = settings.request_log_share, settings.request_log_bytes, settings.request_log_files
        try:
            return cls(
                path,
                share,
                size,
                files,
                lambda reason, rows: lost.labels(reason).inc(rows),
                is_shared=settings.workers > 1,
            )
        except OSError as error:
            raise SettingsError(
                f"SERVING_REQUEST_LOG={path} cannot be written: {error}; name a file that user {os.geteuid()} may "
                "write, in a folder where files can be made"
            ) from None

    def keep(self, version: int, signature: str, inputs: Tensors, outputs: Tensors) -> None:
        """Keeps an answered request, or not, by chance."""
        name = TITLE if TITLE in inputs else EXAMPLES
        if random.random() >= self._share or name not in inputs or not (rows := inputs[name].size):
            return
        with self._lock:
            is_full = self._waiting_rows and self._waiting_rows + rows > _MAX_WAITING_ROWS
            self._waiting_rows += 0 if is_full else rows
        if is_full:
            self._lose(TOO_MANY, rows, f"more than {_MAX_WAITING_ROWS} rows wait")
        else:
            self._waiting.put(_Answer(time.time(), version, signature, inputs, outputs, rows))

    def close(self) -> None:
        """Writes what waits and closes the file; a disk that hangs is not waited for."""
        self._waiting.put(None)
        self._thread.join(_CLOSE_SECONDS)
        if self._waiting_rows:
            self._lose(NOT_WRITTEN, self._waiting_rows, "the server ends")
        self._tell()

    def _run(self) -> None:
        while (answer := self._waiting.get()) is not None:
            lines = []
            try:
                lines = list(_write_lines(answer))
            except (AttributeError, DecodeError, IndexError, TypeError, ValueError) as error:
                self._lose(NOT_READ, answer.rows, f"{answer.signature}: {type(error).__name__}")
            try:
                if lines:
                    self._file.write("".join(lines).encode())
            except OSError as error:
                self._lose(NOT_WRITTEN, answer.rows, str(error))
            with self._lock:
                self._waiting_rows -= answer.rows
            # Not held on to until the next one comes.
            del answer
        self._file.close()

    def _lose(self, reason: str, rows: int, problem: str) -> None:
        """Counts rows that are lost; a line in the server's log says so, at most one a minute."""
        self._count_lost(reason, rows)
        with self._lock:
            self._untold[reason] = self._untold.get(reason, 0) + rows
            self._problem = problem
            is_due = time.monotonic() - self._told_at >= _TELL_SECONDS
        if is_due:
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            untold, self._untold = self._untold, {}
            self._told_at = time.monotonic()
        if untold:
            counts = ", ".join(f"{rows} ({reason})" for reason, rows in untold.items())
            log.error("rows that the request log %s has lost: %s: %s", self._file.path, counts, self._problem)


class _RotatingFile:
    """A file of whole lines, begun anew when it is full, and when somebody has taken it away."""

    def __init__(self, path: Path, max_bytes: int, files: int, is_shared: bool) -> None:
        self.path = path
        self._is_shared = is_shared
        self._max_bytes = max_bytes
        self._files = files
        self._descriptor = -1

    def open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A pipe that nobody reads would be waited for.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, 0o666)
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is no file", str(self.path))
        with contextlib.suppress(BlockingIOError):
            # Where files cannot be locked that is seen at the start.
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock(fcntl.LOCK_UN)

    def write(self, lines: bytes) -> None:
        try:
            while (size := self._take()) and size + len(lines) > self._max_bytes:
                self._rotate()
            self._append(lines, size)
        finally:
            if self._descriptor >= 0:
                self._lock(fcntl.LOCK_UN)

    def _lock(self, operation: int) -> None:
        if self._is_shared:
            fcntl.flock(self._descriptor, operation)

    def _append(self, lines: bytes, size: int) -> None:
        try:
            # What was written when a server was killed may end in the middle of a line.
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                lines = b"\n" + lines
            while lines:
                lines = lines[os.write(self._descriptor, lines) :]
        except OSError:
            # Half a line would spoil the next one as well.
            os.ftruncate(self._descriptor, size)
            raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _take(self) -> int:
        """Locks the file that is in place; gives its size."""
        while True:
            if not self._is_in_place():
                self.close()
                self.open()
            self._lock(fcntl.LOCK_EX)
            if self._is_in_place():
                return os.fstat(self._descriptor).st_size

    def _is_in_place(self) -> bool:
        if self._descriptor < 0:
            return False
        try:
            there = self.path.stat()
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = Path(f"{self.path}.{number}")
            if older.exists():
                older.replace(f"{self.path}.{number + 1}")
        self.path.replace(f"{self.path}.1")


def _write_lines(answer: _Answer) -> Iterator[str]:
    # Whatever their shape: a title by itself, or several in a row.
    titles = answer.inputs[TITLE if TITLE in answer.inputs else EXAMPLES].ravel()
    labels = _by_title(answer.outputs.get("label"), len(titles))
    confidences = _by_title(answer.outputs.get("confidence"), len(titles))
    moment = datetime.fromtimestamp(answer.at, UTC).isoformat(timespec="milliseconds")
    for title, label, confidence in zip(titles.tolist(), labels, confidences, strict=True):
        line = {
            "time": moment,
            "version": answer.version,
            "signature": answer.signature,
            "title": _to_text(title if TITLE in answer.inputs else _read_title(title)),
            "label": None if label is None else _to_text(label),
            "confidence": confidence if isinstance(confidence, float) and math.isfinite(confidence) else None,
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"


def _by_title(output: Array | None, titles: int) -> list[Any]:
    """An answer for each title; none where there are not as many."""
    return [None] * titles if output is None or output.size != titles else output.ravel().tolist()


def _to_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read_title(serialised: bytes) -> bytes:
    values = tf.train.Example.FromString(serialised).features.feature[TITLE].bytes_list.value
    return values[0] if values else b""
