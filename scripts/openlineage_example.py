"""Writes one night's OpenLineage events to a file, as an endpoint gets them: docs/openlineage-example.json is its work.

Beside a service that was started with OPENLINEAGE_URL=http://127.0.0.1:5000, in the same environment:

    .venv/bin/python scripts/openlineage_example.py docs/openlineage-example.json & retraining run --night 2022-02-02

It ends with the night. What Airflow's provider repeats in every event is left out, and paths of this machine are
replaced. Whoever wants to see every event as it is, gives `--whole`.
"""

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from headlines.names import NIGHTLY_DAG
from retraining.settings import Settings

# The form of the DAG, the run and the task as Airflow has them; versions of libraries; empty tags.
REPEATED = ("airflow", "airflowDagRun", "airflowState", "processing_engine", "tags", "unknownSourceAttribute")
ENDS = ("COMPLETE", "FAIL")


def trim(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what every other says as well."""
    for holder in (event["run"], event["job"]):
        for name in REPEATED:
            holder["facets"].pop(name, None)
    return event


def replace_paths(text: str, settings: Settings) -> str:
    """Puts a place that may be anywhere for those of this machine."""
    places = {"serving_dir": "var/serving/headlines", "scores_dir": "var/scores", "pipeline_root": "var/pipelines"}
    for name, place in {**places, "state_dir": "var", "drops_dir": "drops"}.items():
        path = Path(getattr(settings, name))
        for written in (path.as_uri().removeprefix("file://"), str(path)):
            text = text.replace(written, f"/srv/headlines/{place}")
    return text


def receive_night(port: int) -> list[dict[str, Any]]:
    """The events that are posted until a run of the nightly DAG ends."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            # A push begins a run of another DAG's as well.
            if event["job"]["name"].partition(".")[0] == NIGHTLY_DAG:
                events.append(event)
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", port), Handler) as server:
        while not (events and events[-1]["job"]["name"] == NIGHTLY_DAG and events[-1]["eventType"] in ENDS):
            server.handle_request()
    return events


def main() -> None:
    """Receives, trims and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--whole", action="store_true", help="leave nothing out, and no path")
    arguments = parser.parse_args()
    events = receive_night(arguments.port)
    content = json.dumps(events if arguments.whole else [trim(event) for event in events], indent=1, ensure_ascii=False)
    if not arguments.whole:
        content = replace_paths(content, Settings.from_env())
    arguments.file.write_text(content + "\n", encoding="utf-8")
    sys.stdout.write(f"{arguments.file}: {len(events)} events\n")


if __name__ == "__main__":
    main()
