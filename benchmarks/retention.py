"""`make bench-retention`: what three years of nights leave on the disk, with housekeeping every week and without.

Lineage is written by benchmarks/lineage_seed.py into a Postgres of its own. Beside it lie files as large as those that
real nights left (of the made-up drops of a newspaper, a window of twelve nights), with nothing in them: as sizes count,
what is stored once under two names counts once. Removal is the service's own, with the settings' defaults.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from benchmarks.lineage import seeded
from benchmarks.lineage_seed import FIRST_NIGHT, Nights, connect
from benchmarks.measurement import conclude
from headlines.names import SAVED_MODEL_FILE, SERVING_FORMAT
from retraining.retention import removal
from retraining.retention.plan import list_files
from retraining.settings import Settings

MAX_GIGABYTES = 3.0
# Verdicts, quarantined rows, model cards and the like are kept for ever, and lineage is.
MAX_GROWTH_GIGABYTES_A_YEAR = 0.3
_NIGHTS = 3 * 365
_MONTH = 365 / 12

# Bytes of the files of each type of artifact.
_FILES = {
    "Model": {
        f"{SERVING_FORMAT}/{SAVED_MODEL_FILE}": 2_298_894,
        f"{SERVING_FORMAT}/variables/variables.data-00000-of-00001": 8_869_035,
        f"{SERVING_FORMAT}/assets.extra/tf_serving_warmup_requests": 14_400,
        f"{SERVING_FORMAT}/assets/tokens": 5_709,
        "reference_answers.json": 10_619,
    },
    "ModelRun": {"train/events": 6_000, "hyperparameters.json": 520},
    "TransformGraph": {"transform_fn/saved_model.pb": 2_000_000},
    "TransformCache": {"cache": 42_000},
    "Examples": {"Split-train/data.gz": 250_000, "Split-eval/data.gz": 80_000, "drops.json": 6_000},
    "ExampleStatistics": {"Split-train/FeatureStats.pb": 82_407, "Split-eval/FeatureStats.pb": 26_811},
    "RelatedHeadlines": {"matrix.npz": 1_200_000, "rows.json": 350_000, "index.json": 120_000},
    "ModelEvaluation": {"row_answers.json": 110_000, "metrics.tfrecord": 33_000, "verdict.json": 7_155},
    "BaselineAnswers": {"answers.json": 40_000},
    "Quarantine": {"quarantine.csv": 12_000, "duplicates.csv": 4_000},
    "ExampleAnomalies": {"Split-train/SchemaDiff.pb": 248, "Split-eval/SchemaDiff.pb": 248},
    "Schema": {"schema.pbtxt": 1_762},
    "ModelBlessing": {"BLESSED": 0},
    "InfraBlessing": {"report.jsonl": 10_210},
    "ModelCard": {"card.json": 12_952, "card.md": 8_010},
}
_PARSE_LOG_BYTES, _TASK_LOG_BYTES = 12_000_000, 180_000
console = Console(width=110)


class Files:
    """Puts files beside the nights that are in lineage, and moves what was recorded to the night's own day."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._newest = (0, 0)
        self.bytes = 0

    def follow(self, number: int) -> None:
        """Makes the files of the night that is `number` nights after the first."""
        day = datetime.combine(FIRST_NIGHT, datetime.min.time(), UTC) + timedelta(days=number, hours=5)
        moment = int(day.timestamp() * 1000)
        with closing(connect(self._settings)) as connection, connection, connection.cursor() as cursor:
            for place, table in enumerate(("artifact", "execution")):
                cursor.execute(
                    f"UPDATE {table} SET create_time_since_epoch = {moment}, last_update_time_since_epoch = {moment} "
                    f"WHERE id > {self._newest[place]}"
                )
            cursor.execute(
                "SELECT a.id, t.name, a.uri, v.string_value, m.uri FROM artifact a JOIN type t ON t.id = a.type_id "
                "LEFT JOIN artifactproperty v ON v.artifact_id = a.id AND v.name = 'pushed_version' "
                "LEFT JOIN artifactproperty i ON i.artifact_id = a.id AND i.name = 'model_id' "
                # An attempt that failed takes its files back.
                f"LEFT JOIN artifact m ON m.id = i.int_value WHERE a.state = 2 AND a.id > {self._newest[0]} "
                "ORDER BY a.id"
            )
            rows = cursor.fetchall()
            cursor.execute("SELECT (SELECT max(id) FROM artifact), (SELECT max(id) FROM execution)")
            self._newest = cursor.fetchall()[0]
        for _, kind, uri, version, model in rows:
            for name, size in _FILES.get(kind, {}).items():
                self._write(Path(uri, name), size)
            if version:
                target = self._settings.serving_dir / version
                for file in list_files(Path(model, SERVING_FORMAT)):
                    linked = target / file.relative_to(Path(model, SERVING_FORMAT))
                    linked.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, linked)
        logs = self._settings.airflow_home / "logs"
        self._write(logs / "scheduler" / f"{day:%Y-%m-%d}" / "headline_retraining.py.log", _PARSE_LOG_BYTES, day)
        self._write(logs / "dag_id=headline_retraining" / f"run_id={day:%Y-%m-%d}" / "all.log", _TASK_LOG_BYTES, day)

    def _write(self, path: Path, size: int, day: datetime | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        if day:
            os.utime(path, (day.timestamp(), day.timestamp()))
        self.bytes += size


def measure(settings: Settings) -> int:
    """Bytes of all files below the state folder but the server's own; a file with two names counts once."""
    sizes: dict[int, int] = {}
    for place in (settings.pipeline_root, settings.serving_dir, settings.airflow_home):
        for path in list_files(place):
            status = path.stat()
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def measure_lineage(settings: Settings) -> int:
    """Bytes of MLMD's database."""
    with closing(connect(settings)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchall()[0][0])


def simulate(settings: Settings, nights: int) -> Iterator[tuple[int, float, float, float]]:
    """Runs nights, with housekeeping after each seventh.

    Yields:
      After each month: how many, and how many GB there are, without housekeeping there would be, and lineage takes.
    """
    writer, files = Nights(settings), Files(settings)
    settings.serving_dir.mkdir(parents=True)
    months = 0
    for number in range(nights):
        writer.write(number)
        files.follow(number)
        if number % 7 == 6:
            day = datetime.combine(FIRST_NIGHT, datetime.min.time(), UTC) + timedelta(days=number + 2)
            pruning = removal.remove(settings, day)
            if pruning.problems:
                raise SystemExit("\n".join(pruning.problems))
        if (number + 1) // _MONTH > months:
            months += 1
            lineage = measure_lineage(settings)
            yield months, (measure(settings) + lineage) / 1e9, (files.bytes + lineage) / 1e9, lineage / 1e9


def main() -> None:
    """Prints the curve and the closing line; exits with 1 when a promise is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=_NIGHTS, help="how many are simulated (default: three years)")
    nights = parser.parse_args().nights
    curve = []
    with tempfile.TemporaryDirectory() as place, seeded(0, Path(place)) as found:
        settings = found.model_copy(update={"serving_urls": (), "airflow_db_password": None})
        console.print("month   with   without, GB of artifacts, pushed versions, logs and lineage", highlight=False)
        for month, size, without, lineage in simulate(settings, nights):
            curve.append((month, size, lineage))
            bars = "#" * round(size * 3), "." * round((without - size) * 3)
            line = f"{month:5}  {size:5.2f}  {without:8.2f}  {bars[0]}{bars[1]}"
            console.print(line, highlight=False, markup=False, no_wrap=True, crop=True, overflow="ellipsis")
            sys.stdout.flush()
    _judge(curve, without)


def _find_growth(curve: list[tuple[int, float]]) -> float:
    """GB a year, once all that is kept for a time has filled up: from the first half to the second of what follows.

    Of halves, since a week's nights come and go between two months.
    """
    settled = [one for one in curve if one[0] >= 6]
    half = len(settled) // 2
    if not half:
        return 0.0
    early, late = settled[:half], settled[half:]
    (begin, before), (end, after) = (
        (sum(month for month, _ in part) / len(part), sum(size for _, size in part) / len(part))
        for part in (early, late)
    )
    return 12 * (after - before) / (end - begin)


def _judge(curve: list[tuple[int, float, float]], without: float) -> None:
    peak = max(size for _, size, _ in curve)
    growth = _find_growth([(month, size) for month, size, _ in curve])
    misses = []
    if peak > MAX_GIGABYTES:
        misses.append(f"{peak:.2f} GB at most, not {MAX_GIGABYTES:.1f}")
    if growth > MAX_GROWTH_GIGABYTES_A_YEAR:
        misses.append(f"{growth:.2f} GB more each year, not {MAX_GROWTH_GIGABYTES_A_YEAR:.1f}")
    month, size, lineage = curve[-1]
    conclude(
        console,
        misses,
        f"{size:.2f} GB after {month} months, of which lineage {lineage:.2f}; {peak:.2f} GB at most; {growth:.2f} GB "
        f"more each year; without housekeeping {without:.1f} GB",
    )


if __name__ == "__main__":
    main()
