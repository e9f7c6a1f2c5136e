"""A stand-in for a model server: it answers TensorFlow Serving's status API, or as badly as it is told to."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class StatusServer:
    """What it answers, which a test may change at any time.

    Attributes:
      url: where.
      states: of versions, such as `AVAILABLE`.
      errors: of versions that could not be loaded.
      token: what it wants to see; empty for nothing.
      answer: HTTP status and body instead of all that.
      asked: the paths of the requests so far.
      waits: each request waits for it.
    """

    url: str
    states: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    token: str = ""
    answer: tuple[int, bytes] | None = None
    asked: list[str] = field(default_factory=list)
    waits: threading.Event = field(default_factory=threading.Event)

    def respond(self, path: str, authorization: str) -> tuple[int, bytes]:
        """HTTP status and body of an answer."""
        if self.answer:
            return self.answer
        if self.token and authorization != f"Bearer {self.token}":
            return 401, b'{"error": "send the header"}'
        if path != "/v1/models/headlines":
            # As TensorFlow Serving, which leaves what is not under /v1 to its HTTP library: http_server.cc.
            return 404, b"<HTML><HEAD><TITLE>404 Not Found</TITLE></HEAD></HTML>"
        if not self.states:
            return 404, b'{ "error": "Could not find any versions of model headlines" }'
        return 200, write_status(self.states, self.errors)


def write_status(states: Mapping[int, str], errors: Mapping[int, str]) -> bytes:
    """The answer of the status API, the newest version first."""
    entries = [
        {
            "version": str(version),
            "state": state,
            "status": {
                "error_code": "INTERNAL" if version in errors else "OK",
                "error_message": errors.get(version, ""),
            },
        }
        for version, state in sorted(states.items(), reverse=True)
    ]
    return json.dumps({"model_version_status": entries}, indent=1).encode()


@contextmanager
def run_status_server(host: str = "127.0.0.1", port: int = 0) -> Iterator[StatusServer]:
    """Listens until the end of the block: on a port of loopback, which is a free one unless it is said."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            made.waits.wait(30)
            status, body = made.respond(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: object) -> None:
            """Whoever asked may have gone: that is what some tests are about."""

    with Server((host, port), Handler) as server:
        made = StatusServer(f"http://{host}:{server.server_port}")
        made.waits.set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            made.waits.set()
            server.shutdown()
            thread.join()
