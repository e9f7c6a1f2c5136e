"""`make bench-scoring`: a million headlines from CSV to scores through the scoring nodes, beside a plain tf.data loop.

Every figure is measured in this run, each in a process of its own, with the newest pushed model (`make demo` pushes
some) or `--model`; the headlines are made up on the spot. The loop is the least that gives the same file: it reads the
CSV file by batches, asks the same model, and writes.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.ingest import FIRST_NIGHT, write_drops
from benchmarks.measurement import Clock, conclude, measure, print_measurement, tabulate
from benchmarks.serving import find_model
from headlines.names import HEADLINES_FILE, version_of
from modules.features import PROBABILITIES, TEXT_SIGNATURE
from retraining.engines.arguments import list_arguments
from retraining.settings import Settings

NIGHT, VERSION = FIRST_NIGHT.isoformat(), str(version_of(FIRST_NIGHT))
_UNLABELLED_FILE = "unlabelled.csv"
# The nodes keep a record of every headline on disk on its way, which the loop does not; more than this is too much.
MAX_SLOWDOWN = 3.0
MAX_GIGABYTES = 2.5
# From half the headlines to all of them the most memory may grow by this factor: not with their number.
MAX_MEMORY_GROWTH = 1.25
_LOOP_BATCH = 1024
console = Console(width=100)


def write_unlabelled(labelled: Path, target: Path) -> None:
    """Writes the titles of a labelled file as an unlabelled one."""
    target.parent.mkdir(parents=True)
    with labelled.open(encoding="utf-8", newline="") as source, target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows((row[0],) for row in csv.reader(source))


def run_nodes(model_uri: Path, drops_dir: Path, output: Path) -> tuple[int, dict[str, float]]:
    """Runs the executors of the three nodes as the service does; returns the rows scored and the seconds of each."""
    from tfx.components.bulk_inferrer.executor import Executor as BulkInferrer
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types.standard_artifacts import Examples, Model

    from retraining.pipelines.scoring import create_scoring_pipeline
    from tfx_components.headline_example_gen.component import Quarantine
    from tfx_components.score_writer import Scores

    settings = Settings.from_env(
        drops_dir=drops_dir, state_dir=output / "state", scores_dir=output / "scores", mlmd_password="none"
    )
    nodes = {node.id: node for node in create_scoring_pipeline(settings, NIGHT, VERSION).components}
    examples, predictions, quarantine, scores, model = Examples(), Examples(), Quarantine(), Scores(), Model()
    for artifact, name in ((examples, "examples"), (predictions, "predictions"), (quarantine, "bad"), (scores, "made")):
        artifact.uri = str(output / name)
        Path(artifact.uri).mkdir(parents=True)
    model.uri = str(model_uri)
    beam = BaseBeamExecutor.Context(beam_pipeline_args=list_arguments(settings))
    seconds = {}
    for name, inputs, outputs in (
        ("UnlabelledExampleGen", {}, {"examples": [examples], "quarantine": [quarantine]}),
        ("BulkInferrer", {"examples": [examples], "model": [model]}, {"output_examples": [predictions]}),
        ("ScoreWriter", {"examples": [examples], "predictions": [predictions], "model": [model]}, {"scores": [scores]}),
    ):
        node, started = nodes[name], time.perf_counter()
        executor = BulkInferrer(beam) if name == "BulkInferrer" else node.executor_spec.executor_class()
        executor.Do(inputs, outputs, dict(node.exec_properties))
        seconds[name] = time.perf_counter() - started
    return scores.get_int_custom_property(f"rows:{NIGHT}"), seconds


def run_loop(model_uri: Path, drops_dir: Path, output: Path) -> tuple[int, dict[str, float]]:
    """Scores the same file with nothing but TensorFlow; returns the rows scored, and no nodes."""
    import tensorflow as tf

    def read_titles() -> Iterator[str]:
        with (drops_dir / NIGHT / _UNLABELLED_FILE).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            yield from (row[0] for row in rows)

    model = tf.saved_model.load(str(model_uri / "Format-Serving"))
    ask = model.signatures[TEXT_SIGNATURE]
    titles = tf.data.Dataset.from_generator(read_titles, output_signature=tf.TensorSpec([], tf.string))
    rows = 0
    with (output / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for batch in titles.batch(_LOOP_BATCH).prefetch(1):
            answer = {name: value.numpy() for name, value in ask(title=batch).items()}
            rows += len(answer["label"])
            for title, label, probabilities in zip(
                batch.numpy(), answer["label"], answer[PROBABILITIES].tolist(), strict=True
            ):
                writer.writerow((title.decode(), label.decode(), max(probabilities), *probabilities, VERSION))
    return rows, {}


def run_one(kind: str, model_uri: Path, drops_dir: Path) -> None:
    """Runs one of the two in this process and prints what it took."""
    # Imports are no part of it.
    import tensorflow as tf
    from tfx import v1 as tfx

    assert tf and tfx
    with tempfile.TemporaryDirectory() as output:
        clock = Clock()
        with clock:
            rows, nodes = (run_nodes if kind == "nodes" else run_loop)(model_uri, drops_dir, Path(output))
    print_measurement(rows, clock, nodes)


def main() -> None:
    """Measures and judges; exits with 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headlines", type=int, default=1_000_000)
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), help="SavedModel of this code")
    parser.add_argument("--run", nargs=3, metavar=("KIND", "MODEL", "DROPS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, model_uri, drops_dir = options.run
        run_one(kind, Path(model_uri), Path(drops_dir))
        return
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        # As the Trainer leaves it.
        (place / "model").mkdir()
        (place / "model" / "Format-Serving").symlink_to(options.model or find_model(Settings.from_env()))
        for name, headlines in (("all", options.headlines), ("half", options.headlines // 2)):
            with console.status(f"writing {headlines:,} headlines"):
                write_drops(place / f"{name}-labelled", 1, headlines)
                write_unlabelled(
                    place / f"{name}-labelled" / NIGHT / HEADLINES_FILE, place / name / NIGHT / _UNLABELLED_FILE
                )
        measurements = []
        for name, kind, drops in (
            ("the scoring nodes", "nodes", "all"),
            ("half the headlines", "nodes", "half"),
            ("a plain tf.data loop", "loop", "all"),
        ):
            with console.status(name):
                measurement = measure("benchmarks.scoring", kind, str(place / "model"), str(place / drops))
                measurements.append((name, measurement))
    console.print(tabulate(measurements))
    nodes, half, loop = (one for _, one in measurements)
    console.print("seconds by node: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in nodes.nodes.items()))
    slowdown, growth = loop.rate / nodes.rate, nodes.gigabytes / half.gigabytes
    misses = [
        text
        for missed, text in (
            (nodes.headlines != options.headlines, f"{nodes.headlines:,} headlines are not all"),
            (nodes.gigabytes > MAX_GIGABYTES, f"{nodes.gigabytes:.2f} GB is over {MAX_GIGABYTES} GB"),
            (growth > MAX_MEMORY_GROWTH, f"twice the headlines take {growth:.2f} times the memory"),
            (slowdown > MAX_SLOWDOWN, f"the loop is {slowdown:.1f} times as fast, over {MAX_SLOWDOWN:.0f}"),
        )
        if missed
    ]
    summary = (
        f"{nodes.headlines:,} of {options.headlines:,} headlines; {nodes.rate:,.0f} headlines/s, the loop "
        f"{loop.rate:,.0f}: {slowdown:.1f} times (at most {MAX_SLOWDOWN:.0f}); {nodes.gigabytes:.2f} GB (at most "
        f"{MAX_GIGABYTES}), {growth:.2f} times that of half as many (at most {MAX_MEMORY_GROWTH})"
    )
    conclude(console, misses, summary)


if __name__ == "__main__":
    main()
