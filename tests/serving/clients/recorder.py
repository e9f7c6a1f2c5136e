"""Stands between a client and a server, and keeps what the client sends, byte for byte, with the status it got."""

import base64
import socket
import socketserver
import threading
from typing import Any


class Recorder:
    """Listens on a free port.

    Attributes:
      url: where it listens.
      requests: `head` and `body` (base64) of each request, and the `status` of its answer, in order.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("http://").partition(":")
        self.requests: list[dict[str, Any]] = []
        requests = self.requests

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port))) as server, server.makefile("rb") as answers:
                    while message := _read(self.rfile):
                        server.sendall(b"".join(message))
                        answer = _read(answers)
                        head, body = message
                        requests.append(
                            {
                                "head": head.decode("latin-1"),
                                "body": base64.b64encode(body).decode(),
                                "status": int(answer[0].split()[1]),
                            }
                        )
                        self.wfile.write(b"".join(answer))

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Listens no longer."""
        self._server.shutdown()
        self._server.server_close()


def _read(stream: Any) -> tuple[bytes, ...]:
    """Head and body of a message; nothing at the end of the connection."""
    head, length = b"", 0
    while line := stream.readline():
        head += line
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
        if line == b"\r\n":
            return head, stream.read(length)
    return ()
