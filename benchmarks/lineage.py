"""`make bench-lineage`: every question about lineage after 3 and after 30 years of nights, beside MLMD's own API.

Lineage is written by benchmarks/lineage_seed.py into a Postgres of its own. What a question takes is the median of
several times, in a transaction that is open; growth is compared with the growth of the answer.
"""

import argparse
import json
import os
import secrets
import shlex
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg2
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console
from rich.table import Table

import lineage
from benchmarks.lineage_seed import Nights, connect, multiply
from benchmarks.measurement import conclude
from benchmarks.serving import free_port
from headlines.names import DROP_PREFIX
from lineage import Reader, open_lineage
from retraining.local import postgres as embedded
from retraining.recording.store import connection_config
from retraining.settings import Settings

MAX_MILLISECONDS = 50.0
MAX_RECALL_MILLISECONDS = 200.0
# What became of every model is asked, for how many are in which state.
MAX_LIST_MILLISECONDS = 100.0
TIMES_AS_LONG = 10
# Above the growth of the answer: a deeper index, colder pages, noise.
MAX_GROWTH = 2.0
# Below this, growth is noise.
_FLOOR_MILLISECONDS = 5.0
_YEAR = 365
console = Console(width=110)

# Of each question, for each length of history: its median milliseconds, and its answer's size in bytes.
Timings = dict[str, list[tuple[float, int]]]


@dataclass(frozen=True)
class Question:
    """A question: its limit, and whether it asks about all nights, so that its answer grows with history."""

    ask: Callable[[Reader], object]
    limit_milliseconds: float = MAX_MILLISECONDS
    about_everything: bool = False


QUESTIONS: dict[str, Question] = {
    "serving_now, with its path": Question(lineage.serving_now),
    "champion_as_of a night": Question(lambda reader: lineage.champion_as_of(reader, "2021-06-01")),
    "reigns, newest 20": Question(lambda reader: lineage.reigns(reader, 20)),
    "path_back of a model": Question(lambda reader: lineage.path_back(reader, "2021-05-05")),
    "path_back, full": Question(lambda reader: lineage.path_back(reader, "2021-05-05", full=True)),
    "drops_of_model": Question(lambda reader: lineage.drops_of_model(reader, "2021-05-05")),
    "recall of the oldest drop": Question(lambda reader: lineage.recall(reader, "2020-01-01"), MAX_RECALL_MILLISECONDS),
    "recall of a late drop": Question(lambda reader: lineage.recall(reader, "2022-06-01"), MAX_RECALL_MILLISECONDS),
    "night_detail": Question(lambda reader: lineage.night_detail(reader, "2021-05-05")),
    "model_detail": Question(lambda reader: lineage.model_detail(reader, "2021-05-05")),
    "compare": Question(lambda reader: lineage.compare(reader, "2020-05-05", "2022-05-05")),
    "models, newest 100": Question(lineage.models),
    "list_models, the newest 50 of all": Question(lineage.list_models, MAX_LIST_MILLISECONDS, about_everything=True),
    "check_history of a year": Question(lambda reader: lineage.check_history(reader, "accuracy", newest=_YEAR)),
    "nights, newest 30": Question(lambda reader: lineage.nights(reader, newest=30)),
    "calendar of a year": Question(lambda reader: lineage.calendar(reader, newest=_YEAR)),
    "gaps of a year": Question(lambda reader: lineage.gaps(reader, newest=_YEAR)),
    "metrics": Question(lineage.metrics),
    "metric_history of a year": Question(lambda reader: lineage.metric_history(reader, "accuracy", newest=_YEAR)),
    "drift of a year": Question(lambda reader: lineage.drift(reader, newest=_YEAR), 100.0),
    "graph of 5 nights": Question(lineage.graph),
    "metric_history, all nights": Question(
        lambda reader: lineage.metric_history(reader, "accuracy"), about_everything=True
    ),
    "calendar, all nights": Question(lineage.calendar, about_everything=True),
    "drops, all nights": Question(lineage.drops, about_everything=True),
    "orphans, all of MLMD": Question(lineage.orphans, about_everything=True),
}


@contextmanager
def seeded(nights: int, place: Path) -> Iterator[Settings]:
    """A Postgres of its own with so many nights in it, as long as the block lasts.

    Args:
      nights: how many.
      place: an empty folder for the server.

    Yields:
      The settings that reach it; `lineage` and the pages need no others.
    """
    port = free_port()
    secret = secrets.token_urlsafe(16)
    settings = Settings.from_env(
        state_dir=place, postgres_port=port, postgres_password=secret, mlmd_host="127.0.0.1", mlmd_port=port,
        mlmd_password=secret, airflow_db_password=secret,
    )  # fmt: skip
    # The server may run as another user than root.
    place.chmod(0o755)
    embedded.make_data(settings)
    environment = os.environ | {"PATH": f"{embedded.find_binaries()}{os.pathsep}{os.environ['PATH']}"}
    with (place / "postgres.log").open("ab") as log:
        server = subprocess.Popen(
            shlex.split(embedded.server_command(settings)), cwd=place, env=environment, stdout=log, stderr=log
        )
    try:
        _await(settings, server)
        embedded.make_databases(settings)
        writer = Nights(settings)
        for number in range(nights):
            writer.write(number)
        tidy(settings)
        yield settings
    finally:
        # Not SIGTERM, on which a server waits for its clients.
        server.send_signal(signal.SIGINT)
        server.wait(60)


def tidy(settings: Settings) -> None:
    """Does what the server's autovacuum does within a minute of so many rows."""
    connection = connect(settings)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def _await(settings: Settings, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            embedded.connect_superuser(settings).close()
            return
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"Postgres did not start:\n{(settings.state_dir / 'postgres.log').read_text()}"
                ) from None
            time.sleep(0.1)


def measure(ask: Callable[[], object], times: int) -> float:
    """Median milliseconds of a question, after one time that does not count."""
    ask()
    milliseconds = []
    for _ in range(times):
        start = time.perf_counter()
        ask()
        milliseconds.append((time.perf_counter() - start) * 1000)
    return statistics.median(milliseconds)


def answer_size(answer: object) -> int:
    """How much an answer tells, in bytes of JSON."""
    return len(json.dumps(lineage.to_json(answer)))


def ask_subgraph(store: MetadataStore, artifacts: list[int], upstream: bool, hops: int) -> int:
    """Makes the same walk through `get_lineage_subgraph`; returns how many artifacts it reaches."""
    options = mlmd.LineageSubgraphQueryOptions(
        starting_artifacts=mlmd.LineageSubgraphQueryOptions.StartingNodes(
            filter_query=f"id IN ({', '.join(map(str, artifacts))})"
        ),
        max_num_hops=hops,
        direction=mlmd.LineageSubgraphQueryOptions.UPSTREAM
        if upstream
        else mlmd.LineageSubgraphQueryOptions.DOWNSTREAM,
    )
    return len(store.get_lineage_subgraph(options).artifacts)


def ask_hops(store: MetadataStore, artifacts: list[int], upstream: bool, hops: int) -> int:
    """Makes the same walk as most tools do, two calls a hop; returns how many artifacts it reaches."""
    come, go = (mlmd.Event.OUTPUT, mlmd.Event.INPUT) if upstream else (mlmd.Event.INPUT, mlmd.Event.OUTPUT)
    seen, edge = set(artifacts), set(artifacts)
    for _ in range(hops // 2):
        events = store.get_events_by_artifact_ids(list(edge))
        executions = {event.execution_id for event in events if event.type == come}
        if not executions:
            break
        events = store.get_events_by_execution_ids(list(executions))
        edge = {event.artifact_id for event in events if event.type == go} - seen
        seen |= edge
        if not edge:
            break
    store.get_artifacts_by_id(list(seen))
    return len(seen)


def compare_with_api(settings: Settings, reader: Reader, times: int) -> list[tuple[str, float, float, float]]:
    """Asks two questions three ways: through this package, `get_lineage_subgraph` and calls for each hop."""
    store = MetadataStore(connection_config(settings))
    model = lineage.find_model(reader, "2021-05-05").id
    drop = "2020-01-01"
    rows = reader.rows("SELECT artifact_id FROM artifactproperty WHERE name = :name", name=f"{DROP_PREFIX}{drop}")
    examples = [artifact for (artifact,) in rows]
    walks: list[tuple[str, Callable[[], object], tuple[list[int], bool, int]]] = [
        ("path_back of a model", lambda: lineage.path_back(reader, f"#{model}"), ([model], True, 8)),
        ("recall of the oldest drop", lambda: lineage.recall(reader, drop), (examples, False, 6)),
    ]
    fewer = max(3, times // 5)
    return [
        (
            name,
            measure(ask, times),
            measure(partial(ask_subgraph, store, *walk), fewer),
            measure(partial(ask_hops, store, *walk), fewer),
        )
        for name, ask, walk in walks
    ]


def count(reader: Reader) -> str:
    """How much lineage there is."""
    counts = [reader.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("execution", "artifact", "event")]
    return "{:,} executions, {:,} artifacts, {:,} events".format(*counts)


def main() -> None:
    """Measures and judges; exits with 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=1100)
    parser.add_argument("--times", type=int, default=25, help="how often each question is asked")
    options = parser.parse_args()
    timings: Timings = {name: [] for name in QUESTIONS}
    with tempfile.TemporaryDirectory() as place:
        console.print(f"writing {options.nights:,} nights through MLMD's API ...", style="dim")
        with seeded(options.nights, Path(place)) as settings:
            ask_all(settings, options.times, timings)
            with open_lineage(settings) as reader:
                api = compare_with_api(settings, reader, options.times)
            console.print(f"copying them to {TIMES_AS_LONG} times as many ...", style="dim")
            multiply(settings, options.nights, TIMES_AS_LONG)
            tidy(settings)
            ask_all(settings, options.times, timings)
    judge(timings, api)


def ask_all(settings: Settings, times: int, timings: Timings) -> None:
    """Asks every question; adds the median milliseconds and the size of the answer to `timings`."""
    with open_lineage(settings) as reader:
        console.print(count(reader), highlight=False)
        for name, question in QUESTIONS.items():
            with console.status(name):
                size = answer_size(question.ask(reader))
                timings[name].append((measure(partial(question.ask, reader), times), size))


def judge(timings: Timings, api: list[tuple[str, float, float, float]]) -> None:
    """Prints the tables and the closing line; exits with 1 when a promise is not kept."""
    table = Table("question", "3 years", "limit", f"{TIMES_AS_LONG} times", "growth", "of the answer", "")
    misses = []
    for name, question in QUESTIONS.items():
        (short, size), (long, size_after) = timings[name]
        growth, of_answer = long / max(short, _FLOOR_MILLISECONDS), max(1.0, size_after / size)
        # What is asked about all nights, with ten times the nights, has ten times the answer.
        allowed = (TIMES_AS_LONG if question.about_everything else of_answer) * MAX_GROWTH
        wrong = []
        if short > question.limit_milliseconds:
            wrong.append(f"{name} takes {short:.0f} ms, over {question.limit_milliseconds:.0f}")
        if not question.about_everything and long > question.limit_milliseconds:
            wrong.append(f"{name} takes {long:.0f} ms of {TIMES_AS_LONG} times, over {question.limit_milliseconds:.0f}")
        if growth > allowed:
            wrong.append(f"{name} grows {growth:.1f} times, its answer {of_answer:.1f}")
        misses += wrong
        mark = "[red]missed[/]" if wrong else "[green]kept[/]"
        table.add_row(
            name, f"{short:.1f} ms", f"{question.limit_milliseconds:.0f} ms", f"{long:.1f} ms", f"{growth:.1f}",
            f"{of_answer:.1f}", mark,
        )  # fmt: skip
    console.print(table)
    beside = Table("3 years", "here", "get_lineage_subgraph", "ratio", "calls for each hop", "ratio")
    for name, ours, subgraph, hops in api:
        ratios = (f"{subgraph / ours:.1f}", f"{hops / ours:.1f}")
        beside.add_row(name, f"{ours:.1f} ms", f"{subgraph:.1f} ms", ratios[0], f"{hops:.1f} ms", ratios[1])
    console.print(beside)
    slowest = max(value[0][0] for name, value in timings.items() if not name.startswith("recall"))
    summary = (
        f"slowest question {slowest:.0f} ms (target {MAX_MILLISECONDS:.0f}), recall of the oldest drop "
        f"{timings['recall of the oldest drop'][0][0]:.0f} ms (target {MAX_RECALL_MILLISECONDS:.0f}), "
        f"{min(one[2] / one[1] for one in api):.1f} times as fast as get_lineage_subgraph at least"
    )
    conclude(console, misses, summary)


if __name__ == "__main__":
    main()
