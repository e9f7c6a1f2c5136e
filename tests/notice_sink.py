"""Where notices and signs of life arrive in tests: real servers, for HTTP and for mail, that keep what comes."""

import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests


@dataclass
class Post:
    """What was sent: the host that it was meant for, the path with its query, and the body."""

    host: str
    path: str
    body: str


@dataclass
class Sink:
    """A web server.

    Attributes:
      port: on 127.0.0.1.
      status: what it answers with.
      hangs: until set, it does not answer.
      posts: what arrived and was answered with 2xx.
      asked: how often anything arrived.
      signs_of_life: how often it was asked for its page.
    """

    port: int
    status: int = 200
    hangs: bool = False
    posts: list[Post] = field(default_factory=list)
    asked: int = 0
    signs_of_life: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def notices(self) -> list[dict[str, Any]]:
        """What arrived, where each is a notice as JSON."""
        return [json.loads(post.body) for post in self.posts]


@contextmanager
def listen() -> Iterator[Sink]:
    """Listens for HTTP on a free port until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            sink.asked += 1
            if sink.hangs:
                # A byte now and then, so that no limit between two bytes is ever reached.
                while not sink.ended.wait(0.2):
                    self.wfile.write(b"H")
                return
            if sink.status < 300:
                sink.posts.append(Post(self.headers["Host"], self.path, body))
            answer = b"ok" if "slack" in self.headers["Host"] else b"{}"
            self.send_response(sink.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST

        def do_GET(self) -> None:
            sink.signs_of_life += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        sink = Sink(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield sink
        finally:
            sink.ended.set()
            server.shutdown()
            thread.join()


def lead_to(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads every request of `requests`, whatever its host, to a sink; nothing else of it is changed."""
    send = requests.adapters.HTTPAdapter.send

    def redirect(self: requests.adapters.HTTPAdapter, request: requests.PreparedRequest, **how: object) -> object:
        parts = urlsplit(str(request.url))
        request.headers["Host"] = str(parts.hostname)
        request.url = f"{sink.url}{parts.path}{f'?{parts.query}' if parts.query else ''}"
        return send(self, request, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirect)


@contextmanager
def take_mail() -> Iterator[tuple[int, list[EmailMessage]]]:
    """Takes mail on a free port by SMTP (RFC 5321) until the end of the block; yields the port and what came."""
    mails: list[EmailMessage] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 localhost")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                if verb == "DATA":
                    self._say("354 go on")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part.removeprefix(b"."))
                    mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
                self._say("221 bye" if verb == "QUIT" else "250 ok")
                if verb == "QUIT":
                    return

        def _say(self, answer: str) -> None:
            self.wfile.write(f"{answer}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1], mails
        finally:
            server.shutdown()
            thread.join()
