"""The files that artifacts and drops consist of, as far as pages show them: verdicts, statistics, cards, rows.

Read where they lie, and never taken to be there: a run may have stopped before it wrote them, or they were removed.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from headlines.display import fold, neutralise, show_bytes
from headlines.drops.drops_folder import DropError, DropsFolder, parse_night
from headlines.drops.quarantine import read_csv
from headlines.drops.rows import read_files
from headlines.drops.rules import QUARANTINE_UNBALANCED
from headlines.names import ANOMALIES_FILE, CLASSES, QUARANTINE_FILE, REASON_PREFIX, TRIALS_FILE, VERDICT_FILE
from headlines.objects.addresses import to_path
from lineage import ArtifactRecord, UnknownError
from modules.features import LABEL, LABELS

Row = Mapping[str, Any]

ROWS_PER_PAGE = 50
_TOP_VALUES = 8


def verdict(evaluation: ArtifactRecord | None) -> dict[str, Any]:
    """The Evaluator's `verdict.json`; empty without one."""
    text = text_of(evaluation, VERDICT_FILE)
    return dict(json.loads(text)) if text else {}


def text_of(artifact: ArtifactRecord | None, name: str) -> str | None:
    """A text file of an artifact; None if it is not there."""
    path = to_path(artifact.uri) / name if artifact else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else None


def tell_removal(artifact: ArtifactRecord | None) -> str:
    """That the files of an artifact were removed, as a sentence; empty where they were not, or there is none."""
    return f"The files were {artifact.removal}." if artifact and artifact.removal else ""


def class_mixes(examples: ArtifactRecord | None, described: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, float]]:
    """The share of each label in the night's drop and in the window it was trained with.

    Args:
      examples: of the run.
      described: its statistics, by split, as `statistics` returns them.
    """
    mixes = {"drop": json.loads(examples.properties.get(CLASSES, "{}")) if examples else {}}
    mixes["window"] = next(
        (dict(feature["bars"]) for feature in described.get("train", ()) if feature["name"] == LABEL), {}
    )
    return {
        name: {label: mix.get(label, 0) / sum(mix.values()) for label in LABELS}
        for name, mix in mixes.items()
        if sum(mix.values())
    }


def statistics(artifact: ArtifactRecord | None) -> dict[str, list[dict[str, Any]]]:
    """TFDV's statistics by split: of each feature its counts, and its values or its histogram as bars."""
    by_split = {}
    for split, data in _splits(artifact, "FeatureStats.pb"):
        parsed = _parse(data, statistics_pb2.DatasetFeatureStatisticsList())
        if parsed is not None and parsed.datasets:
            by_split[split] = [_describe(feature) for feature in parsed.datasets[0].features]
    return by_split


def anomalies(artifact: ArtifactRecord | None) -> dict[str, list[dict[str, str]]] | None:
    """TFDV's anomalies by split, as far as files can be read; None if none can, or they were not looked for."""
    by_split: dict[str, list[dict[str, str]]] = {}
    for split, data in _splits(artifact, ANOMALIES_FILE):
        parsed = _parse(data, anomalies_pb2.Anomalies())
        if parsed is not None:
            by_split[split] = [
                {"feature": name, "what": info.short_description, "detail": info.description}
                for name, info in _list_anomalies(parsed)
            ]
    return by_split or None


def _list_anomalies(parsed: Any) -> Iterable[tuple[str, Any]]:
    """All that DropGate stops a run for."""
    yield from sorted(parsed.anomaly_info.items())
    if parsed.HasField("dataset_anomaly_info"):
        yield "the whole split", parsed.dataset_anomaly_info


def _splits(artifact: ArtifactRecord | None, name: str) -> Iterable[tuple[str, bytes]]:
    if artifact is not None:
        for path in sorted(to_path(artifact.uri).glob(f"Split-*/{name}")):
            yield path.parent.name.removeprefix("Split-"), path.read_bytes()


def _parse(data: bytes, message: Message) -> Any:
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message


def _describe(feature: Any) -> dict[str, Any]:
    kind = feature.WhichOneof("stats")
    stats = getattr(feature, kind)
    common = stats.common_stats
    described: dict[str, Any] = {
        "name": feature.name or "/".join(feature.path.step),
        "type": statistics_pb2.FeatureNameStatistics.Type.Name(feature.type).lower(),
        "rows": common.num_non_missing,
        "missing": common.num_missing,
        "facts": {},
        "bars": [],
    }
    if kind == "string_stats":
        described["facts"] = {"different": stats.unique, "mean length": round(stats.avg_length, 1)}
        described["bars"] = [(one.value, one.frequency) for one in stats.top_values[:_TOP_VALUES]]
    elif kind == "num_stats":
        described["facts"] = {
            name: round(value, 4)
            for name, value in (("min", stats.min), ("median", stats.median), ("mean", stats.mean), ("max", stats.max))
        }
        described["bars"] = [
            (f"{bucket.low_value:.3g} to {bucket.high_value:.3g}", bucket.sample_count)
            for bucket in next((one.buckets for one in stats.histograms), [])
        ]
    return described


def trials(results_uri: str) -> list[dict[str, Any]] | None:
    """The trials of a search, best first; None if there is no such file (any more)."""
    path = to_path(results_uri) / TRIALS_FILE
    if not results_uri or not path.is_file():
        return None
    return list(json.loads(path.read_text(encoding="utf-8")))


def count_reasons(artifact: ArtifactRecord | None, night: str) -> list[dict[str, Any]] | None:
    """How many rows are quarantined, by reason, most first; None if the run did not get as far.

    Args:
      artifact: the quarantine of a run, which is that of all nights of its window.
      night: of the run.

    Returns:
      Of each `reason` how many rows of the `window`, and of the `night`'s own drop: None where only the file tells, and
      it is gone.
    """
    if artifact is None:
        return None
    prefix = REASON_PREFIX
    counts = {name.removeprefix(prefix): int(n) for name, n in artifact.properties.items() if name.startswith(prefix)}
    rows = quarantined_rows(artifact)
    own = Counter(row["reason"] for row in rows or () if row["night"] == night)
    return [
        {"reason": reason, "night": None if rows is None else own[reason], "window": count}
        for reason, count in sorted(counts.items(), key=lambda item: (-own[item[0]], -item[1]))
    ]


def quarantined_rows(artifact: ArtifactRecord | None) -> list[dict[str, str]] | None:
    """The rows of a run's quarantine; None if there is no such file (any more)."""
    path = to_path(artifact.uri) / QUARANTINE_FILE if artifact else None
    if path is None or not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return read_csv(stream)


def drop_rows(drops_dir: Path, night: str, version: int) -> list[dict[str, Any]]:
    """The rows of a version of a drop, as they lie in its files.

    Raises:
      UnknownError: the version is not in the drops folder (any more), or cannot be read.
    """
    try:
        drops, day = DropsFolder(drops_dir), parse_night(night)
        if version not in drops.list_versions(day):
            raise UnknownError(f"version {version} of the drop of night {night} is not in {drops_dir} any more")
        return [
            {"file": file.name, "line": row.line, "title": show_bytes(row.title), "label": show_bytes(row.label)}
            # Whatever a run would make of its quotes, it is shown.
            for file in read_files(drops.look_into(day, version).csv_files, QUARANTINE_UNBALANCED)
            for row in file.rows
        ]
    except DropError as error:
        raise UnknownError(str(error)) from None


def select(rows: Sequence[Row], page: int, search: str) -> dict[str, Any]:
    """One page of the rows that hold a text, whatever its case and accents."""
    sought = fold(search)
    matches = [row for row in rows if not sought or any(sought in fold(str(value)) for value in row.values())]
    pages = max(1, -(-len(matches) // ROWS_PER_PAGE))
    number = min(max(page, 1), pages)
    start = (number - 1) * ROWS_PER_PAGE
    return {
        "rows": matches[start : start + ROWS_PER_PAGE],
        "all_rows": matches,
        "count": len(matches),
        "page": number,
        "pages": pages,
        "search": search,
    }


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV in which no spreadsheet takes a cell for a formula."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: neutralise(str(value)) for name, value in row.items()})
    return text.getvalue()
