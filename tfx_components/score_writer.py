"""ScoreWriter: what BulkInferrer answered, as one CSV file per night where people and programs look for it."""

# No `from __future__ import annotations` here: TFX reads the annotations (no issue known).

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import tensorflow as tf
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import Examples, Model

from headlines.durable import replacing
from headlines.names import LABELS_PREFIX, ROWS_PREFIX, SCORES_FILE_PREFIX, SCORES_TYPE, VERSION
from headlines.objects.addresses import to_path
from modules.features import LABELS, PROBABILITIES, TITLE
from tfx_components.unlabelled_example_gen import FILE, LINE

log = logging.getLogger(__name__)

SUMMARY_FILE = "scores.json"
COLUMNS = (TITLE, "label", "confidence", *(f"probability_{label}" for label in LABELS), "model_version", FILE, LINE)
_LABEL = COLUMNS.index("label")
_BATCH_ROWS = 4096
_SPEC = {
    TITLE: tf.io.FixedLenFeature([], tf.string),
    FILE: tf.io.FixedLenFeature([], tf.string),
    LINE: tf.io.FixedLenFeature([], tf.int64),
    PROBABILITIES: tf.io.FixedLenFeature([len(LABELS)], tf.float32),
}


class Scores(Artifact):
    """What a model said of the unlabelled headlines of some nights.

    `scores.json` tells where the CSV file of each night is, and how many rows of each label it has. Custom properties:
    `version` (string) of the model, and of each night `rows:<night>` (int), `labels:<night>` (JSON: how many got which)
    and `file:<night>` (string).
    """

    TYPE_NAME = SCORES_TYPE


@component  # type: ignore[untyped-decorator]
def ScoreWriter(
    examples: InputArtifact[Examples],
    predictions: InputArtifact[Examples],
    model: InputArtifact[Model],
    scores: OutputArtifact[Scores],
    scores_dir: Parameter[str],
    version: Parameter[str],
) -> None:
    """Writes `<scores_dir>/<night>/<version>.csv` for every night, each whole or not at all.

    Args:
      examples: UnlabelledExampleGen's, which counts the rows of each night.
      predictions: BulkInferrer's: the same examples, each with `probabilities`.
      model: what predicted; only its record matters here.
      scores: see `Scores`.
      scores_dir: made if missing.
      version: of the model, as it was pushed.

    Raises:
      RuntimeError: a night has not as many predictions as headlines; nothing is written for it.
    """

    def write(night: str, file: BinaryIO) -> Counter[str]:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            return write_scores(Path(artifact_utils.get_split_uri([predictions], night)), version, text)

    publish(examples, predictions, scores, scores_dir, version, write)


def publish(
    examples: Artifact,
    predictions: Artifact,
    scores: Artifact,
    scores_dir: str,
    version: str,
    write: Callable[[str, BinaryIO], Counter[str]],
    advice: str = "Clear BulkInferrer to predict again",
) -> None:
    """Puts the file of every night where it is looked for, whole or not at all, and records what is in it.

    Args:
      examples: as ScoreWriter takes them, and so are the next four.
      predictions: the same.
      scores: the same.
      scores_dir: the same.
      version: the same.
      write: writes the file of a night, and returns how many headlines got which label; it may close the file.
      advice: what to do where they are not as many, as a sentence.

    Raises:
      RuntimeError: a night has not as many predictions as headlines; nothing is written for it.
    """
    summary = {}
    for night in artifact_utils.decode_split_names(examples.split_names):
        target = to_path(scores_dir) / night / f"{version}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as aside:
            with aside.open("wb") as file:
                labels = write(night, file)
            wanted = examples.get_int_custom_property(f"{ROWS_PREFIX}{night}")
            if labels.total() != wanted:
                folder = artifact_utils.get_split_uri([predictions], night)
                raise RuntimeError(
                    f"night {night} has {wanted} headlines to score, but {labels.total()} predictions were read of "
                    f"{folder}; nothing was written for it. {advice}"
                )
        scores.set_int_custom_property(f"{ROWS_PREFIX}{night}", labels.total())
        by_label = {label: labels[label] for label in LABELS if labels[label]}
        scores.set_string_custom_property(f"{LABELS_PREFIX}{night}", json.dumps(by_label))
        scores.set_string_custom_property(f"{SCORES_FILE_PREFIX}{night}", str(target))
        summary[night] = {"file": str(target), "rows": labels.total(), "labels": by_label}
        log.info("Night %s: %d headlines scored by version %s, in %s", night, labels.total(), version, target)
    scores.set_string_custom_property(VERSION, version)
    (Path(scores.uri) / SUMMARY_FILE).write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n")


def write_scores(predictions: Path, version: str, file: TextIO) -> Counter[str]:
    """Writes the predictions of a folder as CSV, a batch at a time, and returns how many got which label.

    A title that a spreadsheet would take for a formula is written as it was delivered: who opens the file in one
    imports the column as text.
    """
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    labels: Counter[str] = Counter()
    for cells in list_scores(sorted(str(path) for path in predictions.glob("*.gz")), version):
        labels[cells[_LABEL]] += 1
        writer.writerow(cells)
    return labels


def list_scores(files: Sequence[str], version: str) -> Iterator[tuple[Any, ...]]:
    """What predictions say, in their order, as the cells of COLUMNS."""
    for batch in _read(files):
        probabilities = batch[PROBABILITIES]
        best = probabilities.argmax(axis=1)
        rows = zip(batch[TITLE], probabilities, best, batch[FILE], batch[LINE], strict=True)
        for title, row, chosen, name, line in rows:
            numbers = [f"{value:.6f}" for value in (row[chosen], *row)]
            yield (title.decode(), LABELS[chosen], *numbers, version, name.decode(), int(line))


def _read(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    records = tf.data.TFRecordDataset(files, "GZIP").batch(_BATCH_ROWS)
    yield from records.map(lambda batch: tf.io.parse_example(batch, _SPEC)).prefetch(1).as_numpy_iterator()
