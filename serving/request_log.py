"""The optional record of requests: a sample of titles with their answers, as JSON lines in files that rotate.

Off unless asked for, since titles are what people typed. Nothing else here writes a title anywhere.
"""

import json
import logging
import logging.handlers
import queue
import random
from datetime import UTC, datetime
from pathlib import Path

import tensorflow as tf

from serving.tensors import Tensors

TITLE = "title"
EXAMPLES = "examples"


class RequestLog:
    """Writes one line per row: time, version, signature, title, label and confidence."""

    def __init__(self, path: Path, share: float, max_bytes: int, files: int) -> None:
        """Opens the log.

        Args:
          path: the newest file; older ones get `.1`, `.2` and so on.
          share: how many of the requests are kept, from 0 to 1.
          max_bytes: size at which a new file is started.
          files: how many older files are kept.

        Raises:
          OSError: the file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")
        handler.setFormatter(_LineFormatter())
        # Requests only queue; a thread does the rest, and drops lines rather than hold up anyone.
        self._lines: queue.Queue[object] = queue.Queue(maxsize=10_000)
        self._listener = logging.handlers.QueueListener(self._lines, handler)
        self._share = share
        self._listener.start()

    def keep(self, version: int, signature: str, inputs: Tensors, outputs: Tensors) -> None:
        """Keeps an answered request, or not, by chance."""
        if random.random() >= self._share or not {TITLE, EXAMPLES} & inputs.keys():
            return
        record = logging.makeLogRecord(
            {"version": version, "signature": signature, "inputs": inputs, "outputs": outputs}
        )
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            return

    def close(self) -> None:
        """Writes what is queued and closes the file."""
        self._listener.stop()
        for handler in self._listener.handlers:
            handler.close()


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = vars(record)
        inputs, outputs = fields["inputs"], fields["outputs"]
        titles = inputs[TITLE] if TITLE in inputs else map(_read_title, inputs[EXAMPLES])
        answers = [outputs[name].tolist() if name in outputs else None for name in ("label", "confidence")]
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        lines = []
        for row, title in enumerate(titles):
            label, confidence = (answer[row] if answer else None for answer in answers)
            line = {
                "time": time,
                "version": fields["version"],
                "signature": fields["signature"],
                "title": title.decode("utf-8", "replace"),
                "label": label.decode("utf-8", "replace") if label else None,
                "confidence": confidence,
            }
            lines.append(json.dumps(line, ensure_ascii=False))
        return "\n".join(lines)


def _read_title(serialised: bytes) -> bytes:
    values = tf.train.Example.FromString(serialised).features.feature[TITLE].bytes_list.value
    return values[0] if values else b""
