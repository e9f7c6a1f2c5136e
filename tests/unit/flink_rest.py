"""What answers as the REST endpoint of a Flink cluster does, and remembers which jobs it was told to end."""

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# The body that Flink 1.20.3 gave for GET /overview.
OVERVIEW = {
    "taskmanagers": 2,
    "slots-total": 2,
    "slots-available": 2,
    "jobs-running": 0,
    "jobs-finished": 0,
    "jobs-cancelled": 0,
    "jobs-failed": 0,
    "flink-version": "1.20.3",
    "flink-commit": "01e3a6d",
}


@contextmanager
def answering(bodies: Mapping[str, str], patched: list[str] | None = None) -> Iterator[str]:
    """Answers on a port of loopback, which it gives with its host.

    Args:
      bodies: by path.
      patched: gets the path of each PATCH.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path in bodies else 404, bodies.get(self.path, ""))

        def do_PATCH(self) -> None:
            if patched is not None:
                patched.append(self.path)
            self.answer(202, "{}")

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
