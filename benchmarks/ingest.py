"""`make bench-ingest`: HeadlineExampleGen over a year of drops, beside stock CsvExampleGen, and over one large night.

Every figure is measured in this run, each in a process of its own; the headlines are made up on the spot.
"""

import argparse
import csv
import random
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from rich.console import Console

from benchmarks.measurement import Clock, conclude, measure, print_measurement, tabulate
from headlines.names import HEADLINES_FILE, ROWS_USED, SUCCESS_MARKER
from modules.features import LABEL, TITLE

FIRST_NIGHT = date(2022, 1, 1)
MAX_GIGABYTES = 1.5
# Of one night of a million: TensorFlow, and a kilobyte a headline.
MAX_GIGABYTES_OF_LARGE_NIGHT = 2.0
# From half the nights to all of them, time may grow by this factor: twice is linear, the rest is noise.
MAX_GROWTH = 2.5
_WINDOW_NIGHTS = 12
_LABELS = ("negative", "neutral", "neutral", "neutral", "positive")
_LETTERS = str.maketrans("0123456789", "abcdefghij")
console = Console(width=100)


def write_drops(drops_dir: Path, nights: int, headlines: int) -> None:
    """Writes clean drops: no bad row and no title twice, so that both readers must write every row."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdeilmnorstuvãçéô", k=chance.randint(2, 9))) for _ in range(20_000)]
    for night in range(nights):
        folder = drops_dir / (FIRST_NIGHT + timedelta(night)).isoformat()
        folder.mkdir(parents=True)
        with (folder / HEADLINES_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((TITLE, LABEL))
            for number in range(headlines):
                # Few words are frequent, most are rare.
                choice = (words[int(len(words) * chance.random() ** 3)] for _ in range(10))
                # In letters, since titles that differ in their numbers alone are one headline.
                mark = f"{night} {number}".translate(_LETTERS)
                writer.writerow((f"{' '.join(choice)} {mark}", chance.choice(_LABELS)))
        (folder / SUCCESS_MARKER).touch()


def run_ours(drops_dir: Path, night: str, window_nights: int, output: Path, clock: Clock) -> int:
    """Runs HeadlineExampleGen's executor; returns how many rows it wrote."""
    from tfx.types.standard_artifacts import Examples

    from retraining.settings import Settings
    from tfx_components.headline_example_gen.component import HeadlineExampleGen, Quarantine
    from tfx_components.headline_example_gen.executor import Executor

    rules = replace(Settings.from_env().drop_rules, window_nights=window_nights)
    properties = HeadlineExampleGen(drops_dir=str(drops_dir), night=night, rules=rules).exec_properties
    examples, quarantine = Examples(), Quarantine()
    examples.uri, quarantine.uri = str(output / "examples"), str(output / "quarantine")
    with clock:
        Executor().Do({}, {"examples": [examples], "quarantine": [quarantine]}, properties)
    rows_used: int = examples.get_int_custom_property(ROWS_USED)
    return rows_used


def run_stock(drops_dir: Path, night: str, window_nights: int, output: Path, clock: Clock) -> int:
    """Runs CsvExampleGen's executor with the service's Beam arguments; returns how many rows it wrote."""
    import tensorflow as tf
    from tfx.components.example_gen.csv_example_gen.executor import Executor
    from tfx.components.example_gen.utils import make_default_input_config
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.proto import example_gen_pb2
    from tfx.types.standard_artifacts import Examples
    from tfx.utils import proto_utils

    from retraining.engines.arguments import list_arguments
    from retraining.settings import Settings

    splits = [("train", 4), ("eval", 1)]
    output_config = example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=buckets) for name, buckets in splits]
        )
    )
    properties = {
        "input_base": str(drops_dir),
        "input_config": proto_utils.proto_to_json(make_default_input_config(f"*/{HEADLINES_FILE}")),
        "output_config": proto_utils.proto_to_json(output_config),
        "output_data_format": example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE,
        "output_file_format": example_gen_pb2.FileFormat.FORMAT_TFRECORDS_GZIP,
    }
    examples = Examples()
    examples.uri = str(output / "examples")
    arguments = list_arguments(Settings.from_env())
    with clock:
        Executor(BaseBeamExecutor.Context(beam_pipeline_args=arguments)).Do({}, {"examples": [examples]}, properties)
    files = [str(path) for path in Path(examples.uri).rglob("*.gz")]
    return sum(1 for _ in tf.data.TFRecordDataset(files, "GZIP"))


def run_one(kind: str, drops_dir: Path, night: str, window_nights: int) -> None:
    """Runs a reader in this process and prints what it took."""
    with tempfile.TemporaryDirectory() as output:
        run = run_ours if kind == "ours" else run_stock
        clock = Clock()
        headlines = run(drops_dir, night, window_nights, Path(output), clock)
    print_measurement(headlines, clock)


def main() -> None:
    """Measures and judges; exits with 1 when a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--headlines", type=int, default=1000, help="per night")
    parser.add_argument("--large", type=int, default=1_000_000, help="headlines of the night that is read alone")
    parser.add_argument("--run", nargs=4, metavar=("KIND", "DROPS", "NIGHT", "WINDOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        kind, drops_dir, night, window_nights = options.run
        run_one(kind, Path(drops_dir), night, int(window_nights))
        return
    with tempfile.TemporaryDirectory() as place:
        drops_dir, large_dir = Path(place) / "drops", Path(place) / "large"
        with console.status(f"writing {options.nights} nights x {options.headlines} headlines, and a large one"):
            write_drops(drops_dir, options.nights, options.headlines)
            write_drops(large_dir, 1, options.large)
        last = (FIRST_NIGHT + timedelta(options.nights - 1)).isoformat()
        half = (options.nights + 1) // 2
        measurements = []
        for name, kind, drops, night, window in (
            (f"window of {_WINDOW_NIGHTS} nights", "ours", drops_dir, last, _WINDOW_NIGHTS),
            (f"window of {half} nights", "ours", drops_dir, last, half),
            (f"window of {options.nights} nights", "ours", drops_dir, last, options.nights),
            (f"stock CsvExampleGen, {options.nights} nights", "stock", drops_dir, last, options.nights),
            ("one large night", "ours", large_dir, FIRST_NIGHT.isoformat(), 1),
        ):
            with console.status(name):
                measurements.append((name, measure("benchmarks.ingest", kind, str(drops), night, str(window))))
    console.print(tabulate(measurements))
    window, by_half, by_all, stock, large = (one for _, one in measurements)
    growth = by_all.cpu_seconds / by_half.cpu_seconds
    misses = [
        text
        for missed, text in (
            (by_all.headlines != options.nights * options.headlines, f"{by_all.headlines:,} headlines are not all"),
            (window.headlines != min(_WINDOW_NIGHTS, options.nights) * options.headlines, "the window is not read"),
            (by_all.gigabytes > MAX_GIGABYTES, f"{by_all.gigabytes:.2f} GB is over {MAX_GIGABYTES} GB"),
            (growth > MAX_GROWTH, f"twice the nights take {growth:.1f} times as long, over {MAX_GROWTH}"),
            (by_all.rate < stock.rate, "it is slower than stock CsvExampleGen"),
            (large.headlines != options.large, f"{large.headlines:,} headlines of the large night are not all"),
            (
                large.gigabytes > MAX_GIGABYTES_OF_LARGE_NIGHT,
                f"the large night's {large.gigabytes:.2f} GB are over {MAX_GIGABYTES_OF_LARGE_NIGHT} GB",
            ),
        )
        if missed
    ]
    summary = (
        f"{by_all.rate:,.0f} headlines/s, {by_all.rate / stock.rate:.1f} times stock; twice the nights take "
        f"{growth:.1f} times as long; at most {by_all.gigabytes:.2f} GB, for one large night {large.gigabytes:.2f} GB"
    )
    conclude(console, misses, summary)


if __name__ == "__main__":
    main()
