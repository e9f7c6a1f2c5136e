"""LiveTraffic: what was asked of the model server, beside what the model is taught and beside what turned out true.

It reads the server's request log and records what it finds; retraining/operators/callbacks.py tells people of it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from absl import logging
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_metadata.proto.v0.statistics_pb2 import DatasetFeatureStatisticsList
from tfx import types
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from headlines.names import (
    ALARM,
    DRIFT_PREFIX,
    NIGHT,
    REQUESTS,
    SERVED_ACCURACY,
    SERVED_ROWS,
    SKEW_PREFIX,
    TRAFFIC_NOTE,
    TRAFFIC_REPORT_TYPE,
    is_before,
)
from modules.text import TextSettings, normalise
from tfx_components.related_index import Headline, read_headlines

if TYPE_CHECKING:
    import pandas as pd

REPORT_FILE = "report.json"
SPLITS = ("train", "eval")
_WORD = re.compile(r"\w+")
# What is compared of a title, each as TFDV types it.
WORDS, UNSEEN_WORDS, LABEL = "words", "unseen_words", "label"
FEATURES = {WORDS: schema_pb2.INT, UNSEEN_WORDS: schema_pb2.FLOAT, LABEL: schema_pb2.BYTES}


class TrafficReport(types.Artifact):
    """What was found in the requests of a night."""

    TYPE_NAME = TRAFFIC_REPORT_TYPE


class Request(NamedTuple):
    """One title that was asked, and the answer."""

    moment: datetime
    version: int
    title: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is reported as an alarm.

    Attributes:
      max_skew: distance of the night's requests from the window, per feature.
      max_drift: distance of the night's requests from the earlier ones.
      min_served_accuracy: of the answers that the night's labels judge.
      min_requests: with fewer of the night, of earlier ones, or of judged answers, nothing is an alarm.
    """

    max_skew: float
    max_drift: float
    min_served_accuracy: float
    min_requests: int


@dataclass(kw_only=True)
class Findings:
    """What the report holds.

    Attributes:
      night: `YYYY-MM-DD`.
      note: what there was to look at.
      requests: titles asked on the night.
      earlier_requests: titles asked before it, as far as the log goes back.
      unreadable_lines: of the log.
      skew: distance of the night's requests from the window, by feature: L-infinity norm of the labels' shares,
        Jensen-Shannon divergence of the others.
      drift: the same, from the earlier requests.
      served_rows: titles of the night's drop that had been answered by a model of an earlier night.
      served_accuracy: share of those answers that were the label; None without any.
      alarms: one line each.
    """

    night: str
    note: str = ""
    requests: int = 0
    earlier_requests: int = 0
    unreadable_lines: int = 0
    skew: dict[str, float] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    served_rows: int = 0
    served_accuracy: float | None = None
    alarms: list[str] = field(default_factory=list)


@component  # type: ignore[untyped-decorator]
def LiveTraffic(
    examples: InputArtifact[standard_artifacts.Examples],
    report: OutputArtifact[TrafficReport],
    request_log: Parameter[str],
    timezone: Parameter[str],
    max_skew: Parameter[float],
    max_drift: Parameter[float],
    min_served_accuracy: Parameter[float],
    min_requests: Parameter[int],
    text_rules: Parameter[str],
) -> None:
    """Reports on the requests of the examples' night; without a request log it says so and is done.

    Args:
      examples: raw examples of the window, with the custom property `night`.
      report: receives `report.json` (see `Findings`) and the custom properties `requests`, `skew:<feature>`,
        `drift:<feature>`, `served_rows`, `served_accuracy`, `alarm` (all in one line; empty if none) and `note`.
      request_log: the model server's newest file; the older ones are beside it. Empty if it keeps none.
      timezone: in which a request's night is its date.
      max_skew: see `Limits`, as of the others.
      max_drift: see `Limits`.
      min_served_accuracy: see `Limits`.
      min_requests: see `Limits`.
      text_rules: as JSON, the settings by which titles are told apart, as the models see them.
    """
    night = examples.get_string_custom_property(NIGHT)
    limits = Limits(
        max_skew=max_skew, max_drift=max_drift, min_served_accuracy=min_served_accuracy, min_requests=min_requests
    )
    if request_log:
        requests, unreadable = read_requests(Path(request_log), ZoneInfo(timezone), night)
        findings = Findings(night=night, unreadable_lines=unreadable)
        if requests:
            window = [
                row for split in SPLITS for row in read_headlines(artifact_utils.get_split_uri([examples], split))
            ]
            examine(findings, requests, window, limits, TextSettings(**json.loads(text_rules)))
        findings.note = (
            f"{findings.requests} titles asked on the night, {findings.earlier_requests} before, in {request_log}"
        )
    else:
        findings = Findings(night=night, note="the model server keeps no request log; SERVING_REQUEST_LOG turns it on")
    _record(findings, limits, report)


def read_requests(log: Path, timezone: ZoneInfo, night: str) -> tuple[list[Request], int]:
    """What a request log holds up to the end of a night, its oldest files included.

    A later request belongs to a later night, which the run of this one may not know of.

    Args:
      log: the newest file; older ones have `.1`, `.2` and so on after its name. It need not exist.
      timezone: in which a request's night is its date.
      night: `YYYY-MM-DD`.

    Returns:
      The requests that were answered with a label, the oldest first, and how many lines could not be read.
    """
    requests, unreadable = [], 0
    older = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdecimal()]
    for path in [*sorted(older, key=lambda path: -int(path.suffix[1:])), log]:
        if not path.is_file():
            continue
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    entry = json.loads(line)
                    moment = datetime.fromisoformat(entry["time"]).astimezone(timezone)
                    request = Request(moment, int(entry["version"]), str(entry["title"]), entry["label"] or "")
                except (ValueError, KeyError, TypeError):
                    # The server may be in the middle of the last line, and a disk may have been full.
                    unreadable += 1
                    continue
                if request.label and str(moment.date()) <= night:
                    requests.append(request)
    return sorted(requests, key=lambda request: request.moment), unreadable


def examine(
    findings: Findings, requests: Sequence[Request], window: Sequence[Headline], limits: Limits, settings: TextSettings
) -> None:
    """Fills the findings.

    Args:
      findings: of which the night is known.
      requests: up to the end of the night.
      window: labelled headlines, the night's among them.
      limits: what is an alarm.
      settings: by which titles are told apart.
    """
    tonight = [request for request in requests if str(request.moment.date()) == findings.night]
    earlier = [request for request in requests if str(request.moment.date()) < findings.night]
    findings.requests, findings.earlier_requests = len(tonight), len(earlier)
    if tonight:
        vocabulary = Vocabulary((row.title for row in window), settings)
        now = vocabulary.describe((request.title, request.label) for request in tonight)
        taught = vocabulary.describe((row.title, row.label) for row in window)
        findings.skew = measure_skew(taught, now, limits.max_skew)
        if earlier:
            before = vocabulary.describe((request.title, request.label) for request in earlier)
            findings.drift = measure_drift(before, now, limits.max_drift)
    judged = judge_answers(requests, window, findings.night, settings)
    findings.served_rows = len(judged)
    findings.served_accuracy = sum(judged) / len(judged) if judged else None
    findings.alarms = list(_find_alarms(findings, limits))


def judge_answers(
    requests: Iterable[Request], window: Iterable[Headline], night: str, settings: TextSettings
) -> list[bool]:
    """Whether the last answer to each title that the night's drop labels was that label.

    Only answers of models of earlier nights count: one of the same night was taught the label.
    """
    day = date.fromisoformat(night)
    answers = {normalise(one.title, settings): one.label for one in requests if is_before(one.version, day)}
    labels = {normalise(row.title, settings): row.label for row in window if row.night == night}
    return [answers[key] == label for key, label in labels.items() if key in answers]


class Vocabulary:
    """The words of the window, as the models see them."""

    def __init__(self, titles: Iterable[str], settings: TextSettings) -> None:
        self._settings = settings
        self._keys = {normalise(title, settings) for title in titles}
        self._titles_with = Counter(word for key in self._keys for word in set(_WORD.findall(key)))

    def describe(self, rows: Iterable[tuple[str, str]]) -> "pd.DataFrame":
        """What is compared of `(title, label)` rows: a column per feature, a row each.

        A title of the window is described as if the window had not held it: its own words are no news to it.
        """
        import pandas as pd

        columns: dict[str, list[object]] = {name: [] for name in FEATURES}
        for title, label in rows:
            key = normalise(title, self._settings)
            words, own = _WORD.findall(key), int(key in self._keys)
            unseen = sum(self._titles_with[word] <= own for word in words)
            columns[WORDS].append(len(words))
            columns[UNSEEN_WORDS].append(unseen / len(words) if words else 0.0)
            columns[LABEL].append(label)
        return pd.DataFrame(columns)


def measure_skew(window: "pd.DataFrame", traffic: "pd.DataFrame", limit: float) -> dict[str, float]:
    """TFDV's training/serving skew, by feature."""
    import tensorflow_data_validation as tfdv

    anomalies = tfdv.validate_statistics(_statistics(window), _schema(limit), serving_statistics=_statistics(traffic))
    return {info.path.step[0]: info.skew_measurements[0].value for info in anomalies.drift_skew_info}


def measure_drift(before: "pd.DataFrame", traffic: "pd.DataFrame", limit: float) -> dict[str, float]:
    """TFDV's drift from one time to the next, by feature."""
    import tensorflow_data_validation as tfdv

    anomalies = tfdv.validate_statistics(_statistics(traffic), _schema(limit), previous_statistics=_statistics(before))
    return {info.path.step[0]: info.drift_measurements[0].value for info in anomalies.drift_skew_info}


def _schema(limit: float) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for name, kind in FEATURES.items():
        feature = schema.feature.add(name=name, type=kind)
        for comparator in (feature.skew_comparator, feature.drift_comparator):
            by_share = comparator.infinity_norm if kind == schema_pb2.BYTES else comparator.jensen_shannon_divergence
            by_share.threshold = limit
    return schema


def _statistics(rows: "pd.DataFrame") -> DatasetFeatureStatisticsList:
    import tensorflow_data_validation as tfdv

    return tfdv.generate_statistics_from_dataframe(rows, n_jobs=1)


def _find_alarms(findings: Findings, limits: Limits) -> Iterator[str]:
    for other, distances, limit, rows in (
        ("the window", findings.skew, limits.max_skew, findings.requests),
        ("the earlier ones", findings.drift, limits.max_drift, min(findings.requests, findings.earlier_requests)),
    ):
        for name, distance in sorted(distances.items()):
            if rows >= limits.min_requests and distance > limit:
                yield f"{name} of the night's requests is {distance:.3f} from {other}, limit {limit:.3f}"
    accuracy = findings.served_accuracy
    if accuracy is not None and findings.served_rows >= limits.min_requests and accuracy < limits.min_served_accuracy:
        yield (
            f"of {findings.served_rows} answers that the night's labels judge {accuracy:.3f} were right, "
            f"limit {limits.min_served_accuracy:.3f}"
        )


def _record(findings: Findings, limits: Limits, report: TrafficReport) -> None:
    folder = Path(report.uri)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(findings) | {"limits": asdict(limits)}, ensure_ascii=False, indent=1)
    (folder / REPORT_FILE).write_text(content, encoding="utf-8")
    report.set_int_custom_property(REQUESTS, findings.requests)
    report.set_int_custom_property(SERVED_ROWS, findings.served_rows)
    for prefix, distances in ((SKEW_PREFIX, findings.skew), (DRIFT_PREFIX, findings.drift)):
        for feature, distance in distances.items():
            report.set_float_custom_property(f"{prefix}{feature}", distance)
    if findings.served_accuracy is not None:
        report.set_float_custom_property(SERVED_ACCURACY, findings.served_accuracy)
    report.set_string_custom_property(TRAFFIC_NOTE, findings.note)
    report.set_string_custom_property(ALARM, "; ".join(findings.alarms))
    for alarm in findings.alarms:
        logging.warning("Night %s: %s", findings.night, alarm)
    logging.info("Night %s: %s", findings.night, findings.note)
