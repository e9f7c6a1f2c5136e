"""nginx before several model servers, as deploy/nginx/headlines.conf has it, on other ports."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retraining.settings import CHECKOUT

CONFIGURATION = CHECKOUT / "deploy" / "nginx" / "headlines.conf"
HTTP_PORT, GRPC_PORT = 8601, 8600
SERVERS = ((8501, 8500), (8511, 8510), (8521, 8520))
"""The ports of the configuration: its own, and those of its servers, by HTTP and by gRPC."""
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_MAIN = """
daemon off;
pid {place}/pid;
error_log {place}/log warn;
events {{}}
http {{
    access_log off;
    # Clients of a benchmark keep their connection for all that they ask.
    keepalive_requests 1000000;
    client_body_temp_path {place};
    proxy_temp_path {place};
    fastcgi_temp_path {place};
    uwsgi_temp_path {place};
    scgi_temp_path {place};
    include {place}/headlines.conf;
}}
"""


@contextmanager
def run_proxy(place: Path, http_port: int, grpc_port: int, servers: Sequence[tuple[int, int]]) -> Iterator[None]:
    """Runs it as long as the block lasts.

    Args:
      place: an empty folder.
      http_port: where it listens.
      grpc_port: where it listens for gRPC.
      servers: the ports of as many servers as the configuration has, by HTTP and by gRPC.
    """
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("no nginx here; on Debian: apt-get install nginx-light")
    ports = {HTTP_PORT: http_port, GRPC_PORT: grpc_port}
    for (http, grpc), (own_http, own_grpc) in zip(SERVERS, servers, strict=True):
        ports |= {http: own_http, grpc: own_grpc}
    text = CONFIGURATION.read_text(encoding="utf-8")
    moved = _ADDRESS.sub(lambda found: f"127.0.0.1:{ports[int(found[1])]}", text)
    (place / "headlines.conf").write_text(moved, encoding="utf-8")
    (place / "nginx.conf").write_text(_MAIN.format(place=place), encoding="utf-8")
    process = subprocess.Popen([program, "-p", place, "-e", place / "log", "-c", place / "nginx.conf"])
    try:
        while not _listens(http_port):
            assert process.poll() is None, (place / "log").read_text(encoding="utf-8")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
