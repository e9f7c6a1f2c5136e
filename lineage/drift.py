"""What a night's data and its live traffic are measured by: of one run, and over nights."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from headlines import names
from headlines.drops.measures import KINDS, RECORDED, Kind, measure, share_classes
from lineage.reader import Reader, Source, open_lineage
from lineage.reading import as_text, read_artifacts, read_links, read_properties
from lineage.records import ExecutionRecord
from lineage.runs import find_made, find_runs, read_floats
from lineage.side_records import Drift, GateReport, NightMeasures, Series, TrafficReport

# Of each feature of the live traffic that has a limit, its limit.
_TRAFFIC_LIMITS = {
    names.SKEW_PREFIX: names.MAX_SKEW,
    names.DRIFT_PREFIX: names.MAX_DRIFT,
    names.SERVED_ACCURACY: names.MIN_SERVED_ACCURACY,
}
_TRAFFIC_KINDS: dict[str, tuple[str, Literal["count", "share", "distance"]]] = {
    names.REQUESTS: ("titles asked of the model server", "count"),
    names.SERVED_ACCURACY: ("served answers that were right", "share"),
    names.SKEW_PREFIX: ("requests beside the window", "distance"),
    names.DRIFT_PREFIX: ("requests beside earlier ones", "distance"),
}
# What an execution of the gate, or of the traffic report, can be told by among all others.
_MARKS = (names.ALARM_LIMITS, names.MIN_SERVED_ACCURACY)
_LOOK_AT = 200
_CLASS_PREFIX = "label:"
_GATE_LIMITS = {kind.limit for kind in KINDS if kind.limit}


def drift(source: Source, first: str | None = None, last: str | None = None, newest: int | None = None) -> Drift:
    """Every measure over nights, oldest first, with the limits that were in force; each night as its newest run has it.

    A night whose runs did not get as far as reading its drop is there without values.
    """
    with open_lineage(source) as reader:
        runs = {run.context_id: run for run in find_runs(reader, first, last, newest)}
        values, limits = _read_values(reader, list(runs)), _read_limits(reader, list(runs))
    by_night: dict[str, NightMeasures] = {}
    for context, run in runs.items():
        if context in values or run.night not in by_night:
            own = values.get(context, {})
            by_night[run.night] = _measure_night(run.night, run.run_id, own, limits.get(context, {}))
    return Drift(KINDS, tuple(by_night[night] for night in sorted(by_night)))


def list_series(answer: Drift) -> tuple[Series, ...]:
    """Each label, measure and figure of the live traffic as a series; those that no night has are left out."""
    nights = answer.nights
    labels = sorted({label for night in nights for label in night.classes})
    series = [
        Series(
            Kind(name=f"{_CLASS_PREFIX}{label}", label=label, meaning="Share of the label in the night's own drop."),
            tuple(night.classes.get(label) for night in nights),
            (None,) * len(nights),
            (),
        )
        for label in labels
    ]
    for kind in answer.kinds:
        values = tuple(night.values.get(kind.name) for night in nights)
        limits = tuple(night.limits.get(kind.name) for night in nights)
        missed = tuple(night.night for night in nights if kind.name in night.missed)
        series.append(Series(kind, values, limits, missed))
    for name in sorted({name for night in nights for name in night.traffic}):
        values = tuple(night.traffic.get(name) for night in nights)
        limits = tuple(night.traffic_limits.get(name) for night in nights)
        missed = tuple(night.night for night in nights if name in night.traffic_missed)
        series.append(Series(_kind_of_traffic(name), values, limits, missed))
    return tuple(one for one in series if any(value is not None for value in one.values))


def _kind_of_traffic(name: str) -> Kind:
    [(prefix, (label, unit))] = [(prefix, told) for prefix, told in _TRAFFIC_KINDS.items() if name.startswith(prefix)]
    feature = name.removeprefix(prefix).replace("_", " ")
    return Kind(
        name=name,
        label=f"{label}: {feature}" if feature else label,
        meaning="What LiveTraffic found in the requests of the night; beyond its limit a notice is sent, no run stops.",
        unit=unit,
        limit=next((limit for prefix, limit in _TRAFFIC_LIMITS.items() if name.startswith(prefix)), ""),
        is_floor=name == names.SERVED_ACCURACY,
    )


def read_gate(reader: Reader, attempts: Iterable[ExecutionRecord]) -> GateReport | None:
    """What the gate held a run's data to; None for a run that did not get there, or a pipeline that has no gate.

    Args:
      attempts: all of the run, in the order in which they began.
    """
    own = list(attempts)
    gates = [attempt for attempt in own if attempt.node == reader.names.gate]
    if not gates:
        return None
    examples = _outputs_of(reader, own, reader.names.example_gen, "Examples")
    measures = measure(examples, _read_gate_limits(gates[-1].properties))
    return GateReport(gates[-1].id, gates[-1].state, gates[-1].error, measures)


def read_traffic(reader: Reader, attempts: Iterable[ExecutionRecord]) -> TrafficReport | None:
    """What a run found in the live traffic of its night; None where it did not look, or not yet."""
    own = list(attempts)
    reports = [attempt for attempt in own if attempt.node == names.LIVE_TRAFFIC and attempt.counts]
    found = _outputs_of(reader, own, names.LIVE_TRAFFIC, names.TRAFFIC_REPORT_TYPE)
    if not reports or not found:
        return None
    limits = (*_TRAFFIC_LIMITS.values(), names.MIN_REQUESTS)
    requests, served, accuracy = (
        found.get(name) for name in (names.REQUESTS, names.SERVED_ROWS, names.SERVED_ACCURACY)
    )
    return TrafficReport(
        reports[-1].id,
        found.get(names.TRAFFIC_NOTE, ""),
        None if requests is None else int(requests),
        None if served is None else int(served),
        None if accuracy is None else float(accuracy),
        read_floats(found, names.SKEW_PREFIX),
        read_floats(found, names.DRIFT_PREFIX),
        {name: float(reports[-1].properties[name]) for name in limits if name in reports[-1].properties},
        found.get(names.ALARM, ""),
    )


def _outputs_of(reader: Reader, attempts: Collection[ExecutionRecord], node: str, kind: str) -> dict[str, str]:
    """The properties of what the attempt that counts of a node made."""
    counting = [attempt.id for attempt in attempts if attempt.node == node and attempt.counts]
    links = read_links(reader, executions=counting[-1:]) if counting else []
    artifacts = read_artifacts(reader, {link.artifact_id for link in links if link.is_output})
    return next((one.properties for one in artifacts.values() if one.type == kind), {})


def _read_gate_limits(properties: Mapping[str, str]) -> dict[str, float]:
    limits = {name: float(value) for name, value in properties.items() if name in _GATE_LIMITS}
    alarms = json.loads(properties.get(names.ALARM_LIMITS) or "{}")
    return limits | {name: float(value) for name, value in alarms.items() if name in _GATE_LIMITS}


def _measure_night(night: str, run_id: str, own: Mapping[str, str], limits: Mapping[str, str]) -> NightMeasures:
    measures = measure(own, _read_gate_limits(limits))
    traffic = {
        name: float(value)
        for name, value in own.items()
        if name in (names.REQUESTS, names.SERVED_ACCURACY) or name.startswith((names.SKEW_PREFIX, names.DRIFT_PREFIX))
    }
    traffic_limits = {}
    for name in traffic:
        limit = next((limit for prefix, limit in _TRAFFIC_LIMITS.items() if name.startswith(prefix)), "")
        if limit in limits:
            traffic_limits[name] = float(limits[limit])
    # The alarm knows whether there was enough to judge; it names what is beyond in words alone.
    traffic_missed = tuple(
        name
        for name, limit in traffic_limits.items()
        if own.get(names.ALARM) and (traffic[name] < limit if name == names.SERVED_ACCURACY else traffic[name] > limit)
    )
    return NightMeasures(
        night,
        run_id,
        share_classes(own),
        {one.kind.name: one.value for one in measures if one.value is not None},
        {one.kind.name: one.limit for one in measures if one.limit is not None},
        tuple(one.kind.name for one in measures if one.passed is False),
        traffic,
        traffic_limits,
        traffic_missed,
    )


def _read_values(reader: Reader, runs: list[int]) -> dict[int, dict[str, str]]:
    """What each run recorded of its drop and of the live traffic, by context."""
    rows = find_made(reader, runs, "Examples", names.TRAFFIC_REPORT_TYPE)
    features = reader.column(
        "SELECT DISTINCT name FROM artifactproperty WHERE artifact_id IN :artifacts "
        # What begins with `skew:` or `drift:`, wherever a database sorts a colon.
        "AND ((name > 'skew' AND name < 'skex') OR (name > 'drift' AND name < 'drifu'))",
        # The features are the code's, and so the same for many nights.
        artifacts=[artifact for _, artifact in rows[-_LOOK_AT:]],
    )
    wanted = [*RECORDED, names.REQUESTS, names.SERVED_ACCURACY, names.ALARM, *features]
    properties = read_properties(reader, [artifact for _, artifact in rows], wanted)
    by_context: dict[int, dict[str, str]] = {}
    for context, artifact in rows:
        if artifact in properties:
            by_context.setdefault(context, {}).update(properties[artifact])
    return by_context


def _read_limits(reader: Reader, runs: list[int]) -> dict[int, dict[str, str]]:
    """The limits that each run's nodes were given, by context; of several attempts the newest's."""
    marked = reader.column("SELECT execution_id FROM executionproperty WHERE name IN :marks", marks=_MARKS)
    places = reader.rows(
        "SELECT context_id, execution_id FROM association WHERE execution_id IN :executions AND context_id IN :runs "
        "ORDER BY execution_id",
        executions=marked,
        runs=runs,
    )
    given: dict[int, dict[str, str]] = {}
    for execution, name, *values in reader.rows(
        "SELECT execution_id, name, string_value, int_value, double_value FROM executionproperty "
        "WHERE execution_id IN :executions AND name IN :names",
        executions=[execution for _, execution in places],
        names=[*_MARKS, *_GATE_LIMITS, *_TRAFFIC_LIMITS.values()],
    ):
        if (text := as_text(values)) is not None:
            given.setdefault(execution, {})[name] = text
    by_context: dict[int, dict[str, str]] = {}
    for context, execution in places:
        by_context.setdefault(context, {}).update(given.get(execution, {}))
    return by_context
