"""What became of each night: its drop, its verdict, its push, or its error.

The only place that knows which artifact property the nightly pipeline writes what to.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import connection

from retraining.lineage.connection import connect
from retraining.settings import Settings

PIPELINE = "headline_retraining"


@dataclass(frozen=True)
class Check:
    """One check of the quality bar: `value` against `limit`."""

    name: str
    value: float | None
    limit: float | None
    passed: bool


@dataclass(frozen=True)
class NightReport:
    """A night as its newest run left it; `None` where the run did not get that far.

    The row counts are of the night's own drop; `window_nights` counts the drops trained on, `drops` names the version
    of each by its night. `champion_version` is what the candidate was compared with, empty for none.
    """

    night: str
    run_id: str
    state: str
    drop_version: int | None = None
    rows_in: int | None = None
    rows_used: int | None = None
    rows_quarantined: int | None = None
    duplicates_folded: int | None = None
    window_nights: int | None = None
    drops: dict[str, int] = field(default_factory=dict)
    champion_version: str = ""
    checks: tuple[Check, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    champion_metrics: dict[str, float] = field(default_factory=dict)
    blessed: bool | None = None
    reason: str = ""
    pushed_version: str | None = None
    error: str | None = None


# One row per current execution of a run: a superseded attempt, or one parked by a later, is history.
_EXECUTIONS = """
SELECT run.string_value AS run_id, component.string_value AS component, night.string_value AS night,
       state.string_value AS state, error.string_value AS error, e.id
FROM contextproperty run
JOIN contextproperty pipeline ON pipeline.context_id = run.context_id AND pipeline.name = 'pipeline_name'
JOIN context c ON c.id = run.context_id
JOIN type t ON t.id = c.type_id AND t.name = 'run'
JOIN association a ON a.context_id = c.id
JOIN execution e ON e.id = a.execution_id
JOIN executionproperty component ON component.execution_id = e.id AND component.name = 'component_id'
LEFT JOIN executionproperty state ON state.execution_id = e.id AND state.name = 'state'
LEFT JOIN executionproperty night
  ON night.execution_id = e.id AND night.name = 'night' AND component.string_value = 'HeadlineExampleGen'
LEFT JOIN executionproperty error
  ON error.execution_id = e.id AND error.name = 'error' AND error.is_custom_property
LEFT JOIN executionproperty superseded
  ON superseded.execution_id = e.id AND superseded.name = 'superseded_by' AND superseded.is_custom_property
WHERE run.name = 'run_id' AND pipeline.string_value = %(pipeline)s AND superseded.execution_id IS NULL
  AND (%(run_id)s IS NULL OR run.string_value = %(run_id)s)
  AND (%(night)s IS NULL OR EXISTS (
    SELECT FROM association a2
    JOIN executionproperty c2 ON c2.execution_id = a2.execution_id AND c2.name = 'component_id'
    JOIN executionproperty n2 ON n2.execution_id = a2.execution_id AND n2.name = 'night'
    WHERE a2.context_id = c.id AND c2.string_value = 'HeadlineExampleGen' AND n2.string_value = %(night)s))
ORDER BY e.id
"""
_OUTPUTS = """
SELECT ev.execution_id, p.name, coalesce(p.string_value, p.int_value::text, p.double_value::text) AS value
FROM event ev
JOIN artifact a ON a.id = ev.artifact_id
JOIN type t ON t.id = a.type_id AND t.name IN ('Examples', 'ModelBlessing', 'PushedModel')
JOIN artifactproperty p ON p.artifact_id = a.id AND p.is_custom_property
WHERE ev.type = 4 AND ev.execution_id = ANY(%(executions)s)
"""
# By the rule of `retraining.as_of`, which the pipeline resolves by.
_CHAMPION = """
SELECT max(version.string_value::bigint)
FROM artifact push
JOIN type t ON t.id = push.type_id AND t.name = 'PushedModel'
JOIN artifactproperty pushed ON pushed.artifact_id = push.id AND pushed.name = 'pushed' AND pushed.int_value = 1
JOIN artifactproperty night ON night.artifact_id = push.id AND night.name = 'night'
JOIN artifactproperty version ON version.artifact_id = push.id AND version.name = 'pushed_version'
JOIN artifactproperty model_id ON model_id.artifact_id = push.id AND model_id.name = 'model_id'
JOIN artifact model ON model.id = model_id.int_value AND model.state = 2
WHERE push.state = 2 AND night.string_value < %(night)s
"""
_PRODUCERS = {"HeadlineExampleGen": "Examples", "Evaluator": "ModelBlessing", "Pusher": "PushedModel"}


def nights(settings: Settings) -> list[NightReport]:
    """Every night that was run, oldest first, each as its newest run left it.

    Raises:
      LineageError: the database cannot be read.
    """
    with connect(settings) as opened:
        reports = _read(opened)
    return sorted({report.night: report for report in reports}.values(), key=lambda report: report.night)


def runs_of_night(settings: Settings, night: str) -> list[NightReport]:
    """Every run of one night, in the order in which they were begun.

    Args:
      settings: where lineage is.
      night: `YYYY-MM-DD`.

    Raises:
      LineageError: the database cannot be read.
    """
    with connect(settings) as opened:
        return _read(opened, night=night)


def champion_as_of(settings: Settings, night: str) -> str:
    """The pushed version that a run of a night would be compared with now; empty for none.

    Args:
      settings: where lineage is.
      night: `YYYY-MM-DD`.

    Raises:
      LineageError: the database cannot be read.
    """
    with connect(settings) as opened, opened.cursor() as cursor:
        cursor.execute(_CHAMPION, {"night": night})
        [(version,)] = cursor.fetchall()
    return "" if version is None else str(version)


def run_report(settings: Settings, run_id: str) -> NightReport:
    """One run of the nightly pipeline.

    Args:
      settings: where lineage is.
      run_id: Airflow's run id.

    Raises:
      LineageError: the database cannot be read.
      LookupError: no such run.
    """
    with connect(settings) as opened:
        reports = _read(opened, run_id=run_id)
    if not reports:
        raise LookupError(
            f"lineage knows no run {run_id!r} of {PIPELINE}; `retraining status` lists the nights it knows"
        )
    return reports[0]


def _read(opened: connection, run_id: str | None = None, night: str | None = None) -> list[NightReport]:
    """The runs in the order in which they were begun."""
    with opened.cursor() as cursor:
        cursor.execute(_EXECUTIONS, {"pipeline": PIPELINE, "run_id": run_id, "night": night})
        executions = cursor.fetchall()
        producing = [row[5] for row in executions if row[1] in _PRODUCERS]
        cursor.execute(_OUTPUTS, {"executions": producing})
        outputs: dict[int, dict[str, str]] = {}
        for execution_id, name, value in cursor.fetchall():
            outputs.setdefault(execution_id, {})[name] = value
    runs: dict[str, list[tuple[Any, ...]]] = {}
    for row in executions:
        runs.setdefault(row[0], []).append(row)
    return [_report(run, rows, outputs) for run, rows in runs.items() if any(row[2] for row in rows)]


def _report(run_id: str, rows: list[tuple[Any, ...]], outputs: dict[int, dict[str, str]]) -> NightReport:
    newest = {component: (state, error, outputs.get(identity, {})) for _, component, _, state, error, identity in rows}
    examples, blessing, pushed = (
        newest[producer][2] if producer in newest and newest[producer][0] != "failed" else {} for producer in _PRODUCERS
    )
    night = next(row[2] for row in rows if row[2])
    drops = {other: json.loads(value) for other, value in _prefixed(examples.items(), "drop:")}
    drop = drops.get(night, {})
    return NightReport(
        night=night,
        run_id=run_id,
        state=_state({state for state, _, _ in newest.values()}, pushed),
        drop_version=drop.get("version"),
        rows_in=drop.get("rows_in"),
        rows_used=drop.get("rows_used"),
        rows_quarantined=drop.get("rows_quarantined"),
        duplicates_folded=drop.get("duplicates_folded"),
        window_nights=len(drops) or None,
        drops={other: described["version"] for other, described in drops.items()},
        champion_version=blessing.get("champion_version", ""),
        checks=tuple(Check(name, **json.loads(value)) for name, value in _prefixed(blessing.items(), "check:")),
        metrics={name: float(value) for name, value in _prefixed(blessing.items(), "metric:")},
        champion_metrics={name: float(value) for name, value in _prefixed(blessing.items(), "champion_metric:")},
        blessed=blessing["blessed"] == "1" if "blessed" in blessing else None,
        reason=pushed.get("reason") or blessing.get("reason", ""),
        pushed_version=pushed.get("pushed_version") if pushed.get("pushed") == "1" else None,
        error=next((error for state, error, _ in newest.values() if state == "failed"), None),
    )


def _state(states: set[str], pushed: dict[str, str]) -> str:
    """The run in one word: failed, running, pushed or refused."""
    if "failed" in states:
        return "failed"
    if "new" in states or "pushed" not in pushed:
        return "running"
    return "pushed" if pushed["pushed"] == "1" else "refused"


def _prefixed(properties: Iterable[tuple[str, str]], prefix: str) -> list[tuple[str, str]]:
    return sorted((name.removeprefix(prefix), value) for name, value in properties if name.startswith(prefix))
