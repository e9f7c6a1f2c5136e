"""Runs HeadlineExampleGen in one process: headlines as TFRecords, bad rows as CSV, and the figures on record."""

import io
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from headlines import names
from headlines.drops.drops_folder import DropsFolder, parse_night
from headlines.drops.quarantine import SetAside, write_csv
from headlines.drops.rules import Rules
from headlines.drops.rulings import Precedents
from headlines.drops.window import FRESH_SPLIT, SPLITS, Window, check_nothing_lost, read_window, split_of
from headlines.objects.addresses import to_path
from tfx_components.artifacts import Artifacts
from tfx_components.headline_example_gen.describing import (
    check_as_driver_saw,
    describe_examples,
    describe_quarantine,
    tell_window,
    to_example,
)


class Executor(BaseExecutor):
    """Reads the window, writes both artifacts, and fails when a drop is unreadable or a row is unaccounted for."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Runs one night.

        Args:
          output_dict: `examples` and `quarantine`.
          exec_properties: `drops_dir`, `night` and `rules`, as the component takes them; the driver's `fingerprint` and
            `precedents`.

        Raises:
          DropError: a drop of the window cannot be read as a whole or changes meanwhile, or too many are missing.
          RuntimeError: a row is unaccounted for.
        """
        night = parse_night(exec_properties["night"])
        rules = Rules.from_json(exec_properties["rules"])
        precedents = Precedents.from_json(exec_properties.get(names.PRECEDENTS, ""))
        drops = DropsFolder(to_path(exec_properties["drops_dir"]))
        window = read_window(drops, night, rules, precedents=precedents)
        check_nothing_lost(window.drops)
        digest = exec_properties.get("fingerprint", "")
        check_as_driver_saw(night, [*window.drops, *window.left_out], digest, precedents)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        split_rows = _write_examples(window, rules, examples)
        describe_examples(examples, window, split_rows, exec_properties["drops_dir"])
        _write_quarantine(window, artifact_utils.get_single_instance(output_dict["quarantine"]))
        tell_window(window, rules, split_rows)


def _write_examples(window: Window, rules: Rules, examples: Artifact) -> Counter[str]:
    """Writes all splits, headlines in the order of the window, and returns how many rows each has."""
    examples.split_names = artifact_utils.encode_split_names([*SPLITS, FRESH_SPLIT])
    fresh = {headline.key for headline in window.fresh}
    rows: Counter[str] = Counter()
    with ExitStack() as stack:
        writers = {}
        for split in (*SPLITS, FRESH_SPLIT):
            folder = Path(artifact_utils.get_split_uri([examples], split))
            fileio.makedirs(str(folder))
            writers[split] = stack.enter_context(tf.io.TFRecordWriter(str(folder / names.RECORDS_FILE), "GZIP"))
        for headline in window.headlines:
            example = to_example(headline, window.night, rules)
            for split in (
                split_of(headline.key, rules.eval_percent),
                *([FRESH_SPLIT] if headline.key in fresh else []),
            ):
                writers[split].write(example)
                rows[split] += 1
    return rows


def _write_quarantine(window: Window, quarantine: Artifact) -> None:
    fileio.makedirs(quarantine.uri)
    _write_file(Path(quarantine.uri) / names.QUARANTINE_FILE, window.quarantined)
    _write_file(Path(quarantine.uri) / names.DUPLICATES_FILE, window.folded)
    describe_quarantine(quarantine, Counter(entry.reason.value for entry in window.quarantined))


def _write_file(path: Path, entries: list[SetAside]) -> None:
    text = io.StringIO(newline="")
    write_csv(entries, text)
    with fileio.open(str(path), "wb") as file:
        file.write(text.getvalue().encode("utf-8-sig"))
