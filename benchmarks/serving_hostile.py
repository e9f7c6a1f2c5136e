"""What clients that send 8 MB cost the others: one such request after another, and eight at once.

Meanwhile somebody asks for one headline at a time; what is judged is how much longer the slowest of these answers takes
than without. Run as a program, it is such a client: `python -m benchmarks.serving_hostile <port> <request> <clients>`.
"""

import base64
import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.table import Table

from modules.features import MODEL_NAME, TEXT_SIGNATURE

BODY_BYTES = 8 << 20
MANY = 8
_SECONDS = 4.0
_HEADLINE = "Governo anuncia novo pacote de 10 medidas para a economia"


@dataclass(frozen=True)
class Delay:
    """What an ordinary client met.

    Attributes:
      latencies: seconds that each of its requests took, in ascending order.
      failed: how many did not give 200.
      statuses: what the hostile clients were answered, and how often.
    """

    latencies: list[float]
    failed: int
    statuses: dict[str, int]

    def quantile_ms(self, share: float) -> float:
        """Milliseconds within which this share of the requests was answered."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))] * 1000


def make_requests() -> dict[str, bytes]:
    """HTTP requests by what they are; all but the first two are as large as a body may be."""
    title = "Chuva forte em São Paulo deixa ruas alagadas 12 "
    named = _write({"title": title})
    rows = f'{{"signature_name": "{TEXT_SIGNATURE}", "instances": ['
    columns = rows.replace("instances", "inputs")
    nested = "[" * 400 + "1" + "]" * 400
    members = ",".join(f'"{number}":{number}' for number in range(BODY_BYTES // 16))
    bodies: dict[str, str | bytes] = {
        "one title of 7 MB": f"{rows}{_write(title * (7_000_000 // 49))}]}}",
        "32 titles of 220 kB": f"{rows}{','.join([_write(title * (220_000 // 49))] * 32)}]}}",
        "titles as rows": _fill(rows, _write(title)),
        "titles as named rows": _fill(rows, named),
        "titles as columns": _fill(columns, _write(title)),
        "titles of one letter": _fill(rows, '"a"'),
        "titles as base64": _fill(columns, _write({"b64": base64.b64encode(title.encode()).decode()})),
        "16,000 titles of 500 characters": _fill(rows, _write((title * 20)[:500])),
        "tf.Examples": _fill('{"examples": [', named),
        "numbers": _fill(rows, "1.5"),
        "whole numbers": _fill(rows, "1"),
        "empty lists": _fill(rows, "[]"),
        "nested lists": _fill(rows, nested),
        "endlessly nested lists": rows + "[" * (BODY_BYTES - len(rows)),
        "members of an object": f"{{{members}}}",
        "an error that quotes it": _fill('{"x": [', "7"),
        "a string that does not end": rows + '"' + "x" * (BODY_BYTES - len(rows) - 1),
        "no UTF-8": rows.encode() + b'"' + b"\xff" * (BODY_BYTES - len(rows) - 4) + b'"]}',
    }
    requests = {
        name: _frame(
            "classify" if "Examples" in name else "predict", body if isinstance(body, bytes) else body.encode()
        )
        for name, body in bodies.items()
    }
    packed = gzip.compress(_fill(rows, _write(title)).encode())
    return requests | {"titles in 30 kB of gzip": _frame("predict", packed, "content-encoding: gzip\r\n")}


def measure_delays(port: int, pid: int) -> tuple[dict[str, list[Delay]], float]:
    """Asks without and amid hostile clients.

    Args:
      port: the server's.
      pid: its process.

    Returns:
      What an ordinary client met by kind of request, without it, amid one client and amid MANY; and the most memory
      that the server held, in MB.
    """
    delays = {}
    for name, request in make_requests().items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(request)
            file.flush()
            delays[name] = [_ask_amid(port, file.name, clients) for clients in (0, 1, MANY)]
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return delays, int(peak_kb) * 1024 / 1e6


def tabulate(delays: dict[str, list[Delay]]) -> Table:
    """A row for each kind of request."""
    table = Table("8 MB", "none", "one", "eight", "answered", title="p99 and slowest ms of one headline, amid how many")
    for name, met in delays.items():
        times = [f"{delay.quantile_ms(0.99):.0f} {delay.quantile_ms(1):.0f}" for delay in met]
        statuses = Counter[str]()
        for delay in met:
            statuses.update(delay.statuses)
        table.add_row(name, *times, " ".join(f"{count}x{status}" for status, count in sorted(statuses.items())))
    return table


def find_worst_ms(delays: dict[str, list[Delay]]) -> float:
    """The most that any of them adds to the slowest answer."""
    return max(met.quantile_ms(1) - calm.quantile_ms(1) for calm, *amid in delays.values() for met in amid)


def _write(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fill(before: str, element: str) -> str:
    """A document that opens with `before` and repeats an element until it is full."""
    count = (BODY_BYTES - len(before.encode()) - 2) // (len(element.encode()) + 1)
    return f"{before}{','.join([element] * count)}]}}"


def _frame(verb: str, body: bytes, headers: str = "") -> bytes:
    assert len(body) <= BODY_BYTES, len(body)
    head = f"POST /v1/models/{MODEL_NAME}:{verb} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def _ask_amid(port: int, request: str, clients: int) -> Delay:
    """Asks for one headline at a time while a program of its own sends a request over so many connections."""
    statuses = {}
    if clients:
        command = [sys.executable, "-m", "benchmarks.serving_hostile", str(port), request, str(clients)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as hostile:
            assert hostile.stdout and hostile.stdin
            hostile.stdout.readline()
            latencies, failed = _ask(port)
            statuses = json.loads(hostile.communicate("stop")[0])
        # What was begun for them ends.
        time.sleep(1)
    else:
        latencies, failed = _ask(port)
    return Delay(sorted(latencies), failed, statuses)


def _ask(port: int) -> tuple[list[float], int]:
    body = _write({"signature_name": TEXT_SIGNATURE, "instances": [_HEADLINE]}).encode()
    request = _frame("predict", body)
    latencies, failed, end = [], 0, time.perf_counter() + _SECONDS
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        while (began := time.perf_counter()) < end:
            connection.sendall(request)
            failed += _read_status(answers) != "200"
            latencies.append(time.perf_counter() - began)
            time.sleep(0.002)
    return latencies, failed


def _send_endlessly(port: int, request: bytes, statuses: Counter[str], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            statuses[_send(port, request)] += 1
        except OSError as error:
            statuses[type(error).__name__] += 1


def _send(port: int, request: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        # The server may answer, and close, before it has read all.
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        with connection.makefile("rb") as answers:
            return _read_status(answers)


def _read_status(answers: IO[bytes]) -> str:
    """The status of the next answer, all of which is read."""
    status, length = answers.readline(), 0
    while line := answers.readline().strip().lower():
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    answers.read(length)
    return status[9:12].decode()


def main() -> None:
    """Sends until it is told to stop, and prints what was answered."""
    port, request, clients = int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3])
    statuses, stop = Counter[str](), threading.Event()
    arguments = (port, request, statuses, stop)
    threads = [threading.Thread(target=_send_endlessly, args=arguments, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    print("started", flush=True)
    sys.stdin.readline()
    stop.set()
    print(json.dumps(statuses), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
