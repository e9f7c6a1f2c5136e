"""What HeadlineExampleGen records of a window, and its records, whichever way the rows were read."""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.components.util import examples_utils
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types.artifact import Artifact

from headlines import names
from headlines.drops.drops_folder import GrowingDropError
from headlines.drops.quarantine import Headline
from headlines.drops.rows import FileRecord
from headlines.drops.rules import Rules
from headlines.drops.rulings import DROPS_DIR_PROPERTY, Precedents
from headlines.drops.sources import Content, fingerprint, hash_contents
from headlines.drops.version_folder import VersionFolder
from headlines.drops.window import FRESH_SPLIT, Account, Drop, tell_left_out, tell_other_codes, weigh
from modules.features import LABEL, NIGHT, TITLE, WEIGHT

log = logging.getLogger(__name__)

# A name has up to 255 bytes.
_NAMES_SHOWN = 8
_UNIX_EPOCH = date(1970, 1, 1)


def to_example(headline: Headline, night: date, rules: Rules) -> bytes:
    """The record of a headline as the run for `night` trains on it; the same bytes for the same headline."""
    weight = weigh((night - headline.night).days, rules.half_life_nights)

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


def describe_examples(examples: Artifact, window: Account, split_rows: Mapping[str, int], drops_dir: str) -> None:
    """Records what examples are made of: properties, and the files of the drops in a file."""
    # By which the driver finds the first use of each drop.
    examples.set_string_custom_property(DROPS_DIR_PROPERTY, drops_dir)
    newest = window.drops[-1]
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
    examples_utils.set_file_format(examples, "tfrecords_gzip")
    # As stock ExampleGens number dated input.
    examples.span = (window.night - _UNIX_EPOCH).days
    examples.version = newest.version.number
    numbers = {
        names.NIGHTS: len(window.drops),
        names.ROWS_IN: window.rows_in,
        names.ROWS_USED: window.rows_used,
        names.ROWS_QUARANTINED: sum(drop.rows_quarantined for drop in window.drops),
        names.DUPLICATES_FOLDED: sum(drop.duplicates_folded for drop in window.drops),
        names.NIGHT_ROWS_IN: newest.rows_in,
        "night_rows_used": newest.rows_used,
        names.NIGHT_ROWS_QUARANTINED: newest.rows_quarantined,
        "night_duplicates_folded": newest.duplicates_folded,
        "train_rows": split_rows.get("train", 0),
        "eval_rows": split_rows.get("eval", 0),
        names.FRESH_ROWS: split_rows.get(FRESH_SPLIT, 0),
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


def _list_files(files: Iterable[FileRecord]) -> dict[str, list[dict[str, Any]]]:
    return {"files": [{"name": file.name, "rows": file.row_count, "sha256": file.sha256} for file in files]}


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


def describe_quarantine(quarantine: Artifact, reasons: Mapping[str, int]) -> None:
    """Records how many rows are in a quarantine, by reason."""
    quarantine.set_int_custom_property("rows", sum(reasons.values()))
    for reason, count in reasons.items():
        quarantine.set_int_custom_property(f"{names.REASON_PREFIX}{reason}", count)


def check_as_driver_saw(
    night: date, contents: Iterable[Drop | Content[Any]], digest: str, precedents: Precedents
) -> None:
    """Checks that what was read is what the driver looked at.

    Args:
      night: whose window it is.
      contents: every drop of it, those that are left out among them.
      digest: the driver's fingerprint; empty where there was no driver.
      precedents: by which they are read.

    Raises:
      GrowingDropError: it is not.
    """
    hashed = sorted(((one.version, hash_contents(one.files)) for one in contents), key=lambda content: content[0].night)
    if digest and digest != fingerprint(hashed, precedents):
        raise GrowingDropError(
            f"a drop of the window of night {night} changed or arrived while it was read; run the night again"
        )


def tell_window(window: Account, rules: Rules, split_rows: Mapping[str, int]) -> None:
    """Says in the log what was read and where its rows went."""
    for sentence in (*tell_left_out(window.left_out), *tell_other_codes(window.drops, rules)):
        log.warning("Night %s: %s.", window.night, sentence)
    newest = window.drops[-1]
    log.info(
        "Night %s: %d drops, %d left out, %d rows in, %d used (%d train, %d eval), %d quarantined, %d duplicates "
        "folded; of the night's own %d rows %d used, %d quarantined.",
        window.night,
        len(window.drops),
        len(window.left_out),
        window.rows_in,
        window.rows_used,
        split_rows.get("train", 0),
        split_rows.get("eval", 0),
        sum(drop.rows_quarantined for drop in window.drops),
        sum(drop.duplicates_folded for drop in window.drops),
        newest.rows_in,
        newest.rows_used,
        newest.rows_quarantined,
    )
