"""What receives OpenLineage events in tests, and what holds them to OpenLineage's own schemas."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from retraining.settings import CHECKOUT

SPEC = Path(__file__).parent / "data" / "openlineage"
OURS = CHECKOUT / "retraining" / "openlineage" / "facets.json"
RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
Event = dict[str, Any]


@dataclass
class Sink:
    """What was posted to `url`, oldest first.

    Attributes:
      requests: path and Authorization header of each event.
      status: that the next ones are answered with.
      delay_seconds: before each answer.
    """

    url: str
    events: list[Event] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    status: int = 201
    delay_seconds: float = 0.0

    def of(self, job: str, kind: str | None = None) -> list[Event]:
        """The events of a job, of one type if that is named."""
        return [one for one in self.events if one["job"]["name"] == job and kind in (None, one["eventType"])]


@contextmanager
def receive() -> Iterator[Sink]:
    """Listens on a free port of this machine until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(sink.delay_seconds)
            sink.requests.append((self.path, self.headers["Authorization"]))
            if sink.status < 300:
                sink.events.append(event)
            self.send_response(sink.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink = Sink(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()


def find_problems(event: Event) -> list[str]:
    """Where an event is not as OpenLineage demands it: as a whole, and each facet by the schema that it names."""
    found = [f"{problem.json_path}: {problem.message}" for problem in _validator(RUN_EVENT).iter_errors(event)]
    for place, facet in _find_facets(event):
        address, _, part = facet["_schemaURL"].partition("#")
        # The client is newer than the snapshot by a patch of some facets.
        same = next((name for name in _known() if name.rpartition("/")[2] == address.rpartition("/")[2]), None)
        schema = f"{same}#{part}"
        if same:
            problems = _validator(schema).iter_errors(facet)
            found += [f"{place} {problem.json_path}: {problem.message}" for problem in problems]
        elif not address.startswith("https://raw.githubusercontent.com/OpenLineage/OpenLineage/"):
            found.append(f"{place}: there is no schema {address}")
    return found


def _find_facets(event: Event) -> Iterator[tuple[str, Event]]:
    holders = [("run", event["run"]), ("job", event["job"])]
    for side in ("inputs", "outputs"):
        holders += [(f"{side}.{dataset['name']}", dataset) for dataset in event.get(side, ())]
    for place, holder in holders:
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from ((f"{place}.{name}", facet) for name, facet in holder.get(kind, {}).items())


@cache
def _known() -> dict[str, Any]:
    contents = [json.loads(path.read_text()) for path in (OURS, SPEC / "OpenLineage.json", *SPEC.glob("facets/*.json"))]
    return {content["$id"]: content for content in contents}


@cache
def _validator(schema: str) -> Draft202012Validator:
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(content)) for name, content in _known().items()
    )
    return Draft202012Validator({"$ref": schema}, registry=registry, format_checker=FormatChecker())
