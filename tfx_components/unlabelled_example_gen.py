"""UnlabelledExampleGen: the headlines of `unlabelled*.csv` files as tf.Examples, a split per night."""

# No `from __future__ import annotations` here: TFX reads the annotations (no issue known).

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import Examples

from headlines.drops.drops_folder import DropError, list_unlabelled, parse_night
from headlines.drops.quarantine import SetAside, judge_title, write_csv
from headlines.drops.rows import stream_titles
from headlines.drops.rules import Rules
from headlines.names import FILES_PREFIX, QUARANTINE_FILE, QUARANTINED_PREFIX, REASON_PREFIX, RECORDS_FILE, ROWS_PREFIX
from headlines.objects.addresses import to_path
from modules.features import TITLE
from tfx_components.headline_example_gen.component import Quarantine

log = logging.getLogger(__name__)

# Where a headline was delivered, so that a score can be traced to its row.
FILE = "file"
LINE = "line"
VERSION = 1
"""Unlabelled files have no corrections."""


@component  # type: ignore[untyped-decorator]
def UnlabelledExampleGen(
    examples: OutputArtifact[Examples],
    quarantine: OutputArtifact[Quarantine],
    drops_dir: Parameter[str],
    nights: Parameter[str],
    rules: Parameter[str],
) -> None:
    """Reads the unlabelled files of some nights.

    Duplicates are kept: every row that was delivered and has a title is scored. A row without one is in the quarantine.

    Args:
      examples: has a split per night, each of one gzipped TFRecord file in the order of delivery (title, file, line);
        the custom properties `rows:<night>` and `quarantined:<night>` (int) count its rows, and `files:<night>` (JSON)
        names its files.
      quarantine: `quarantine.csv`, as HeadlineExampleGen writes it.
      drops_dir: holds a folder per night.
      nights: `YYYY-MM-DD`, separated by commas.
      rules: JSON of the fields of `Rules`.

    Raises:
      DropError: a night has no unlabelled file, or one cannot be read as a whole.
    """
    files_of = find_files(drops_dir, nights)
    describe_examples(examples, files_of)
    reasons: Counter[str] = Counter()

    def read_all() -> Iterator[SetAside]:
        for night, files in files_of.items():
            folder = Path(artifact_utils.get_split_uri([examples], night.isoformat()))
            folder.mkdir(parents=True)
            counts = {ROWS_PREFIX: 0, QUARANTINED_PREFIX: 0}
            for entry in _write_night(night, files, Rules.from_json(rules), folder / RECORDS_FILE, counts):
                reasons[entry.reason.value] += 1
                yield entry
            describe_night(examples, night, files, counts[ROWS_PREFIX], counts[QUARANTINED_PREFIX])

    quarantine_file = Path(quarantine.uri) / QUARANTINE_FILE
    quarantine_file.parent.mkdir(parents=True, exist_ok=True)
    with quarantine_file.open("w", encoding="utf-8-sig", newline="") as file:
        write_csv(read_all(), file)
    describe_quarantine(quarantine, reasons)


def find_files(drops_dir: str, nights: str) -> dict[date, tuple[Path, ...]]:
    """The unlabelled files of the nights that are named, in that order.

    Raises:
      DropError: a night has none.
    """
    files_of = list_unlabelled(to_path(drops_dir))
    chosen = [parse_night(night) for night in nights.split(",")]
    for night in chosen:
        if night not in files_of:
            raise DropError(f"night {night} has no unlabelled*.csv in {drops_dir}; deliver one to have it scored")
    return {night: files_of[night] for night in chosen}


def describe_examples(examples: Artifact, nights: Iterable[date]) -> None:
    """Says what kind of files examples are, and that each night is a split."""
    examples.split_names = artifact_utils.encode_split_names([night.isoformat() for night in nights])
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")


def describe_night(examples: Artifact, night: date, files: Sequence[Path], rows: int, quarantined: int) -> None:
    """Records how many rows of a night are to be scored, how many are not, and what files they are of."""
    examples.set_int_custom_property(f"{ROWS_PREFIX}{night}", rows)
    examples.set_int_custom_property(f"{QUARANTINED_PREFIX}{night}", quarantined)
    names = [path.name for path in files]
    examples.set_string_custom_property(f"{FILES_PREFIX}{night}", json.dumps(names, ensure_ascii=False))
    log.info("Night %s: %d headlines to score, %d rows quarantined.", night, rows, quarantined)


def describe_quarantine(quarantine: Artifact, reasons: Mapping[str, int]) -> None:
    """Records how many rows are not scored, by reason."""
    rows = sum(reasons.values())
    quarantine.set_int_custom_property("rows", rows)
    for reason, count in reasons.items():
        quarantine.set_int_custom_property(f"{REASON_PREFIX}{reason}", count)
    if reasons:
        place = Path(quarantine.uri) / QUARANTINE_FILE
        log.warning("%d rows are not scored: %s; see %s", rows, json.dumps(reasons), place)


def _write_night(
    night: date, files: tuple[Path, ...], rules: Rules, target: Path, counts: dict[str, int]
) -> Iterator[SetAside]:
    """Writes the titles of a night to `target`, counts them in `counts`, and yields the rows that have none."""
    with tf.io.TFRecordWriter(str(target), "GZIP") as writer:
        for path in files:
            for row in stream_titles(path, rules.unbalanced_quotes):
                title = judge_title(night, VERSION, row, rules)
                if isinstance(title, SetAside):
                    counts[QUARANTINED_PREFIX] += 1
                    yield title
                else:
                    counts[ROWS_PREFIX] += 1
                    writer.write(to_example(title, path.name, row.line))


def to_example(title: str, file: str, line: int) -> bytes:
    """The record of a headline to score."""
    features = {
        TITLE: tf.train.Feature(bytes_list=tf.train.BytesList(value=[title.encode()])),
        FILE: tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.encode()])),
        LINE: tf.train.Feature(int64_list=tf.train.Int64List(value=[line])),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True))
