"""What the endpoint tells from lineage: what serves and what was measured by MLMD, by Airflow too how nights stand."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import get_args
from zoneinfo import ZoneInfo

import lineage
from headlines.drops.measures import QUARANTINED_SHARE
from headlines.names import DAG_PREFIX, FRESH_ROWS
from lineage import NightReport, NightSummary, Reader
from lineage.reader import SCHEMA_VERSION
from lineage.records import NightState
from retraining.metrics.catalogue import Readings
from retraining.settings import Settings
from retraining.watching import deadlines

RECENT_NIGHTS = 30
"""How many nights are looked at, so that a look costs the same after three years."""

_LOOK_BACK = 10
"""Nights among which the newest judged one and the newest measured one are looked for."""
_STATES: tuple[NightState, ...] = tuple(state for part in get_args(NightState) for state in get_args(part) or (part,))
_AT_WORK = ("running", "waiting")
_METRICS = {"accuracy": "accuracy_ratio", "macro_f1": "macro_f1_ratio"}


def read_lineage(settings: Settings, readings: Readings) -> None:
    """What should serve, and what the newest nights were measured by.

    Raises:
      LineageError: MLMD cannot be read.
    """
    with lineage.open_lineage(settings) as reader:
        # Opening it has compared the two.
        readings.put("mlmd_schema_version", SCHEMA_VERSION)
        readings.put("min_accuracy_ratio", settings.min_accuracy)
        removed, size_bytes = lineage.count_removed(reader)
        readings.put("removed_artifacts", removed)
        readings.put("removed_artifact_bytes", size_bytes)
        if (reign := lineage.serving_version(reader)) is not None:
            readings.put("serving_version", reign.version)
            readings.put("serving_since_timestamp_seconds", reign.since.timestamp())
            readings.put("serving_night_timestamp_seconds", _begin(settings, reign.night))
        _read_drop(settings, reader, readings)
        reports = lineage.nights(reader, newest=_LOOK_BACK)
        ends = lineage.find_ends(reader)
        _read_window(settings, reports, ends[0] if ends else "", readings)
        judged = next((one for one in reversed(reports) if one.checks), None)
        if judged is not None:
            _read_candidate(settings, reader, judged, readings)


def read_nights(settings: Settings, readings: Readings) -> None:
    """How the newest nights stand, what is overdue, and whether Airflow goes on.

    Raises:
      LineageError: MLMD or Airflow's database cannot be read.
    """
    now = datetime.now(UTC)
    with lineage.open_lineage(settings) as reader:
        # As `lineage.latest` has it: a night that is neither due nor run is no night yet.
        nights = [one for one in lineage.calendar(reader, newest=RECENT_NIGHTS) if one.run_id or one.is_due]
        _read_standing(settings, nights[-RECENT_NIGHTS:], readings)
        readings.put("night_is_overdue", deadlines.find_overdue(settings, now, reader) is not None)
        if reader.scheduling is None:
            return
        dispatch = reader.scheduling.dispatch()
        if settings.schedule != "none":
            readings.put("next_night_is_held_up", lineage.find_obstacle(reader) is not None)
        for program, seen in (("scheduler", dispatch.scheduler_seen), ("triggerer", dispatch.triggerer_seen)):
            readings.put(f"{program}_heartbeat_timestamp_seconds", seen.timestamp() if seen else None)
        for dag, ended in reader.scheduling.find_last_successes(DAG_PREFIX).items():
            readings.put("dag_success_timestamp_seconds", ended.timestamp(), dag)
        readings.put("nightly_dag_is_paused", dispatch.is_paused if dispatch.is_known else None)
        readings.put("nightly_dag_import_errors", dispatch.import_error is not None)
        readings.put("full_pools", len(dispatch.pools))


def _read_standing(settings: Settings, nights: Sequence[NightSummary], readings: Readings) -> None:
    counts = Counter(one.state for one in nights)
    for state in _STATES:
        readings.put("recent_nights", counts[state], state)
    for one in nights:
        # A later one takes its place.
        readings.put("newest_night_in_state_timestamp_seconds", _begin(settings, one.night), one.state)
    if not nights:
        return
    readings.put("newest_night_timestamp_seconds", _begin(settings, nights[-1].night))
    for state in _STATES:
        readings.put("newest_night_state", state == nights[-1].state, state)
    verdicts = [one for one in reversed(nights) if one.state in lineage.VERDICTS]
    if verdicts:
        readings.put("last_verdict_night_timestamp_seconds", _begin(settings, verdicts[0].night))
        for verdict in lineage.VERDICTS:
            readings.put("last_verdict", verdict == verdicts[0].state, verdict)
    readings.put("refused_nights_in_a_row", _count_while(verdicts, ("refused",)))
    ended = [one for one in reversed(nights) if one.state not in _AT_WORK]
    silent = [state for state in _STATES if state not in lineage.VERDICTS]
    readings.put("nights_without_verdict_in_a_row", _count_while(ended, silent))


def _read_drop(settings: Settings, reader: Reader, readings: Readings) -> None:
    measured = [one for one in lineage.drift(reader, newest=_LOOK_BACK).nights if one.values]
    if not measured:
        return
    night = measured[-1]
    readings.put("measured_night_timestamp_seconds", _begin(settings, night.night))
    readings.put("drop_quarantined_ratio", night.values.get(QUARANTINED_SHARE))
    readings.put("drop_measures_beyond_limit", len(night.missed))
    for label, share in night.classes.items():
        readings.put("drop_label_ratio", share, label)
    for name, values in {
        "drop_measure": night.values,
        "drop_measure_limit": night.limits,
        "traffic_measure": night.traffic,
        "traffic_measure_limit": night.traffic_limits,
    }.items():
        for measure, value in values.items():
            readings.put(name, value, measure)
    summary = next(iter(lineage.nights(reader, night.night, night.night)), None)
    if summary is not None:
        readings.put("drop_rows", summary.rows_in)
        readings.put("drop_quarantined_rows", summary.rows_quarantined)


def _read_window(settings: Settings, reports: Sequence[NightReport], first: str, readings: Readings) -> None:
    newest = next((one for one in reversed(reports) if one.drops), None)
    if newest is None:
        return
    readings.put("window_nights", len(newest.drops))
    readings.put("window_refused_nights", len(newest.left_out))
    if settings.window_nights:
        last = date.fromisoformat(newest.night)
        window = {str(last - timedelta(days=number)) for number in range(settings.window_nights)}
        # Before the first night of all there is nothing to miss.
        window = {night for night in window if night >= first}
        readings.put("window_missing_limit_nights", settings.max_missing_nights)
        readings.put("window_missing_nights", len(window - newest.drops.keys()))


def _read_candidate(settings: Settings, reader: Reader, judged: NightReport, readings: Readings) -> None:
    readings.put("judged_night_timestamp_seconds", _begin(settings, judged.night))
    for check in judged.checks:
        readings.put("candidate_check", check.value, check.name)
        readings.put("candidate_check_limit", check.limit, check.name)
        readings.put("candidate_check_low", check.low, check.name)
        readings.put("candidate_check_high", check.high, check.name)
        readings.put("candidate_check_passed", check.passed, check.name)
    for metric, name in _METRICS.items():
        if metric not in judged.metrics:
            continue
        readings.put(f"candidate_{name}", judged.metrics[metric])
        for point in lineage.metric_history(reader, metric, judged.night, judged.night).points:
            readings.put(FRESH_ROWS, point.fresh_rows)
            for model in ("champion", "lr", "majority"):
                readings.put(f"fresh_{name}", getattr(point, f"fresh_{model}"), model)


def _begin(settings: Settings, night: str) -> float | None:
    """The moment at which a night's date begins; None for a model that names no night."""
    if not night:
        return None
    return datetime.fromisoformat(night).replace(tzinfo=ZoneInfo(settings.timezone)).timestamp()


def _count_while(nights: Iterable[NightSummary], states: Collection[str]) -> int:
    """How many nights there are before the first in another state."""
    return sum(1 for _ in takewhile(lambda one: one.state in states, nights))
