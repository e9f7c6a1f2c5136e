"""Runs HeadlineExampleGen: a window's headlines as TFRecords, its bad rows as CSV, and the figures on record."""

import io
import json
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from headlines import names
from headlines.drops.drops_folder import DropsFolder, GrowingDropError, parse_night
from headlines.drops.quarantine import Headline, SetAside, write_csv
from headlines.drops.rows import DropFile
from headlines.drops.rules import Rules
from headlines.drops.rulings import DROPS_DIR_PROPERTY, Precedents
from headlines.drops.version_folder import VersionFolder
from headlines.drops.window import (
    FRESH_SPLIT,
    SPLITS,
    Drop,
    Window,
    check_nothing_lost,
    fingerprint,
    read_window,
    split_of,
    tell_left_out,
    tell_other_codes,
    weigh,
)
from headlines.objects.addresses import to_path
from modules.features import LABEL, NIGHT, TITLE, WEIGHT
from tfx_components.artifacts import Artifacts

log = logging.getLogger(__name__)

# A name has up to 255 bytes.
_NAMES_SHOWN = 8
_UNIX_EPOCH = date(1970, 1, 1)


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
        digest = exec_properties.get("fingerprint")
        contents = [(drop.version, drop.sha256) for drop in window.drops]
        contents += [(drop.version, drop.sha256) for drop in window.left_out]
        contents.sort(key=lambda content: content[0].night)
        if digest and digest != fingerprint(contents, precedents):
            raise GrowingDropError(
                f"a drop of the window of night {night} changed or arrived while it was read; run the night again"
            )
        for sentence in (*tell_left_out(window.left_out), *tell_other_codes(window.drops, rules)):
            log.warning("Night %s: %s.", night, sentence)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        split_rows = _write_examples(window, rules, examples)
        _describe_examples(examples, window, split_rows)
        # By which the driver finds the first use of each drop.
        examples.set_string_custom_property(DROPS_DIR_PROPERTY, exec_properties["drops_dir"])
        _write_quarantine(window, artifact_utils.get_single_instance(output_dict["quarantine"]))
        newest = window.drops[-1]
        log.info(
            "Night %s: %d drops, %d left out, %d rows in, %d used (%d train, %d eval), %d quarantined, %d duplicates "
            "folded; of the night's own %d rows %d used, %d quarantined.",
            night,
            len(window.drops),
            len(window.left_out),
            sum(drop.rows_in for drop in window.drops),
            len(window.headlines),
            split_rows["train"],
            split_rows["eval"],
            len(window.quarantined),
            len(window.folded),
            newest.rows_in,
            newest.rows_used,
            newest.rows_quarantined,
        )


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
            weight = weigh((window.night - headline.night).days, rules.half_life_nights)
            example = _to_example(headline, weight)
            for split in (
                split_of(headline.key, rules.eval_percent),
                *([FRESH_SPLIT] if headline.key in fresh else []),
            ):
                writers[split].write(example)
                rows[split] += 1
    return rows


def _to_example(headline: Headline, weight: float) -> bytes:
    def text(value: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    features = {
        TITLE: text(headline.title),
        LABEL: text(headline.label),
        NIGHT: text(headline.night.isoformat()),
        WEIGHT: tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
    }
    # Deterministic, so that the same window gives the same bytes.
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))


def _describe_examples(examples: Artifact, window: Window, split_rows: Counter[str]) -> None:
    newest = window.drops[-1]
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    # As stock ExampleGens number dated input.
    examples.span = (window.night - _UNIX_EPOCH).days
    examples.version = newest.version.number
    numbers = {
        names.NIGHTS: len(window.drops),
        names.ROWS_IN: sum(drop.rows_in for drop in window.drops),
        names.ROWS_USED: len(window.headlines),
        names.ROWS_QUARANTINED: len(window.quarantined),
        names.DUPLICATES_FOLDED: len(window.folded),
        names.NIGHT_ROWS_IN: newest.rows_in,
        "night_rows_used": newest.rows_used,
        names.NIGHT_ROWS_QUARANTINED: newest.rows_quarantined,
        "night_duplicates_folded": newest.duplicates_folded,
        "train_rows": split_rows["train"],
        "eval_rows": split_rows["eval"],
        names.FRESH_ROWS: split_rows[FRESH_SPLIT],
    }
    for name, value in (numbers | window.figures.to_properties()).items():
        if isinstance(value, int):
            examples.set_int_custom_property(name, value)
        elif isinstance(value, float):
            examples.set_float_custom_property(name, value)
        else:
            examples.set_string_custom_property(name, value)
    examples.set_string_custom_property(names.NIGHT, window.night.isoformat())
    examples.set_string_custom_property("missing_nights", ",".join(map(str, window.missing)))
    examples.set_string_custom_property(names.PASSED_OVER, _name_passed_over(newest))
    # MLMD on Postgres takes no string over about 2,700 bytes (google/ml-metadata#194): a property per drop, and the
    # files in a file.
    drops: dict[str, dict[str, Any]] = {}
    for drop in window.drops:
        night, description = drop.version.night.isoformat(), _describe_drop(drop)
        text = json.dumps(description, ensure_ascii=False)
        examples.set_string_custom_property(f"{names.DROP_PREFIX}{night}", text)
        drops[night] = description | _list_files(drop.files) | {names.PASSED_OVER: drop.passed_over}
    for one in window.left_out:
        night, number, why = one.version.night.isoformat(), one.version.number, one.refusal.why
        examples.set_string_custom_property(f"{names.LEFT_OUT_PREFIX}{night}", f"{number} {why}")
        drops[night] = {"version": number, "sha256": one.sha256, "left_out": why} | _list_files(one.files)
    with fileio.open(str(Path(examples.uri) / names.DROPS_FILE), "w") as file:
        file.write(json.dumps(dict(sorted(drops.items())), ensure_ascii=False, indent=1) + "\n")


def _list_files(files: Iterable[DropFile]) -> dict[str, list[dict[str, Any]]]:
    return {"files": [{"name": file.name, "rows": len(file.rows), "sha256": file.sha256} for file in files]}


def _name_passed_over(drop: Drop) -> str:
    """As much as a property takes; all of it is in the file."""
    shown = ", ".join(drop.passed_over[:_NAMES_SHOWN])
    more = len(drop.passed_over) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _describe_drop(drop: Drop) -> dict[str, Any]:
    delivered = VersionFolder.look_into(drop.version.files[0].parent).delivered
    return {
        "version": drop.version.number,
        "delivered": delivered.isoformat() if delivered else None,
        "sha256": drop.sha256,
        names.ROWS_IN: drop.rows_in,
        names.ROWS_USED: drop.rows_used,
        names.ROWS_QUARANTINED: drop.rows_quarantined,
        names.DUPLICATES_FOLDED: drop.duplicates_folded,
        names.LABEL_CODES: drop.label_codes,
    }


def _write_quarantine(window: Window, quarantine: Artifact) -> None:
    fileio.makedirs(quarantine.uri)
    _write_file(Path(quarantine.uri) / names.QUARANTINE_FILE, window.quarantined)
    _write_file(Path(quarantine.uri) / names.DUPLICATES_FILE, window.folded)
    reasons = Counter(entry.reason.value for entry in window.quarantined)
    quarantine.set_int_custom_property("rows", len(window.quarantined))
    for reason, count in reasons.items():
        quarantine.set_int_custom_property(f"{names.REASON_PREFIX}{reason}", count)


def _write_file(path: Path, entries: list[SetAside]) -> None:
    text = io.StringIO(newline="")
    write_csv(entries, text)
    with fileio.open(str(path), "wb") as file:
        file.write(text.getvalue().encode("utf-8-sig"))
