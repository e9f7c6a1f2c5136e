"""Clients that are silent, slow or endless: each is given up, and the others are served."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running_server import RunningServer, wait_until

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
# Its answer is larger than what the system keeps for a connection.
ECHO = b'{"signature_name": "echo", "instances": ["' + b"x" * (7 << 20) + b'"]}'
LARGE = b"POST /v1/models/headlines:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ECHO) + ECHO


@contextlib.contextmanager
def connect(running: RunningServer, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        client.sendall(sent)
        yield client


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while received := client.recv(65536):
            answer += received
    return answer


def take(client: socket.socket) -> bytes:
    """Some of what comes, while the connection is open."""
    received = client.recv(65536)
    assert received, "the server has closed the connection"
    return received


def drip(client: socket.socket) -> None:
    """Sends a byte now and then for as long as the connection is open."""
    with contextlib.suppress(OSError):
        while not threading.Event().wait(0.05):
            client.sendall(b"x")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [(b"", b""), (GET + b"x", b""), (POST + b'content-length: 100\r\n\r\n{"title"', b"HTTP/1.1 408 ")],
    ids=["silent", "headers", "body"],
)
def test_a_client_that_stops_in_the_middle_is_given_up(
    start: Callable[..., RunningServer], sent: bytes, answer: bytes
) -> None:
    running = start(timeout_seconds=0.3)
    with connect(running, sent) as client:
        assert read_all(client).startswith(answer)
    wait_until(lambda: running.connections == 0)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (GET + b"x: ", b""),
        (GET + b"\r\n" + GET + b"x: ", b"HTTP/1.1 200 "),
        (GET + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 200 "),
        (POST + b"content-length: 1000000\r\n\r\n", b"HTTP/1.1 408 "),
    ],
    ids=["headers", "next headers", "body that nobody reads", "body"],
)
def test_a_client_that_goes_on_too_slowly_is_given_up(
    start: Callable[..., RunningServer], sent: bytes, answer: bytes
) -> None:
    running = start(timeout_seconds=0.3)
    with connect(running, sent) as client:
        dripping = threading.Thread(target=drip, args=(client,))
        dripping.start()
        assert read_all(client).startswith(answer)
        dripping.join()


def test_a_client_that_does_not_take_its_answer_is_given_up(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start(timeout_seconds=1)
    wait_until(lambda: bool(running.app.state.server.versions.loaded))
    with connect(running, LARGE) as client:
        client.recv(1)
        wait_until(lambda: running.connections == 0)


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(
    start: Callable[..., RunningServer], push: Callable[[int], Path]
) -> None:
    push(1)
    running = start()
    wait_until(lambda: bool(running.app.state.server.versions.loaded))
    with connect(running, LARGE) as client:
        received = client.recv(65536)
        connection = running.only_connection
        wait_until(lambda: connection.timeout_keep_alive_task is not None)
        # As if the time had passed: uvicorn closes the connection once all is taken, and we look how that goes.
        running.call(connection.timeout_keep_alive_handler)
        connection._since -= running.settings.timeout_seconds
        for _ in range(3):
            running.call(connection._look)
            unsent = connection.transport.get_write_buffer_size()
            while connection.transport.get_write_buffer_size() >= unsent:
                received += take(client)
        length = int(received.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(received.partition(b"\r\n\r\n")[2]) < length:
            received += take(client)
    assert received.endswith(b"}")


def test_a_client_that_leaves_in_the_middle_harms_nobody(start: Callable[..., RunningServer]) -> None:
    running = start()
    with connect(running, POST + b'content-length: 100\r\n\r\n{"title"'):
        wait_until(lambda: running.connections == 1)
    wait_until(lambda: running.connections == 0)
    assert running.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [GET, GET + b"x: ", POST + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: "],
    ids=["many", "one", "after a body"],
)
def test_headers_without_end_are_refused(server: RunningServer, sent: bytes) -> None:
    piece = b"x" * 65536 if sent.endswith(b": ") else b"x: y\r\n" * 10_000
    with connect(server, sent) as client, pytest.raises(ConnectionError):
        for _ in range(1000):
            client.sendall(piece)


def test_long_headers_and_a_body_in_small_chunks_are_read(server: RunningServer) -> None:
    headers = {f"x-{number}": "x" * 1000 for number in range(50)}

    def chunks() -> Iterator[bytes]:
        yield b'{"title": "bom", "more": "'
        yield from (b"xy" for _ in range(50_000))
        yield b'"}'

    assert server.post("/predict", content=chunks(), headers=headers).json()["label"] == "positive"


def test_more_connections_than_allowed_are_refused_until_one_goes(start: Callable[..., RunningServer]) -> None:
    running = start(max_connections=3)
    with connect(running):
        with connect(running):
            wait_until(lambda: running.connections == 2)
            assert httpx.get(f"{running.url}/healthz").status_code == 503
        wait_until(lambda: running.connections == 1)
        assert httpx.get(f"{running.url}/healthz").status_code == 200
