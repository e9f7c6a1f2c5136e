"""Where notices and signs of life arrive: a web server of the test's own."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """What was posted to `url`, oldest first, and how often it was asked for."""

    url: str
    notices: list[dict[str, Any]] = field(default_factory=list)
    signs_of_life: int = 0
    _taken: int = 0

    def take(self) -> list[tuple[str, str]]:
        """The event and the text of every notice since the last call."""
        new = self.notices[self._taken :]
        self._taken += len(new)
        return [(notice["event"], notice["text"]) for notice in new]


@contextmanager
def listen() -> Iterator[Webhook]:
    """Listens on a free port of this machine until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.notices.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            webhook.signs_of_life += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()
