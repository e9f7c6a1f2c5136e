"""All nights at a glance, also those that were never run."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from typing import Any, Literal

from headlines.drops.drops_folder import DropError, parse_night
from headlines.names import BLESSED, PUSHED, PUSHED_VERSION, ROWS_IN, ROWS_QUARANTINED
from lineage.pipeline_names import Names
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import CACHED, COMPLETE, ENDED_BADLY, OUTPUT, RESOLVER, read_drop, read_executions, read_properties
from lineage.records import ExecutionRecord, Gap, NightReport, NightState, NightSummary
from lineage.runs import NEVER, NOT_SUPERSEDED, Run, end_unpushed, find_ends, find_runs, nights, report_runs, run_state
from lineage.standing import Timetable, stand

_STATE: dict[str, Literal["missing", "skipped", "failed", "blocked", "running", "waiting", "stuck", "complete"]] = {
    kind: kind for kind in ("missing", "skipped", "failed", "blocked", "running", "waiting", "stuck", "complete")
}


def calendar(
    source: Source, first: str | None = None, last: str | None = None, newest: int | None = None
) -> tuple[NightSummary, ...]:
    """One summary for each night, oldest first, from the first that was ever run to the last, with those in between.

    Where Airflow's database is a second source, the nights that its schedule has asked for by now are there too, and
    those whose runs died, wait or were skipped before MLMD heard of them.

    Raises:
      UnknownError: the first or the last is no night.
    """
    for night in filter(None, (first, last)):
        try:
            parse_night(night)
        except DropError as error:
            raise UnknownError(str(error)) from None
    with open_lineage(source) as reader:
        runs = find_runs(reader, first, last, newest)
        chosen = {run.night: run for run in runs}
        counts = Counter(run.night for run in runs)
        if newest is not None and (chosen or reader.scheduling is None):
            first = min(chosen, default=NEVER)
        timetable = reader.scheduling.timetable(first, last) if reader.scheduling else None
        days = _find_days(reader, first, last)
        if timetable:
            days = sorted({*days, *timetable.runs, *timetable.due})
        if not days:
            return ()
        notes = _tell(reader, chosen.values())
        drops = _find_drops(reader, days[0], days[-1])
        states = _states(reader, [run.context_id for run in chosen.values()])
        failed = [one for own in states.values() for one, state in own.items() if state in ENDED_BADLY]
        attempts = read_executions(reader, failed)
        summaries = [
            _summary(reader, night, chosen.get(night), counts[night], notes, states, attempts, drops.get(night, {}))
            for night in days
        ]
        complete = [chosen[one.night] for one in summaries if one.state == "complete"]
        reasons = {report.night: report.reason for report in report_runs(reader, complete)}
        summaries = [dataclasses.replace(one, reason=reasons.get(one.night, one.reason)) for one in summaries]
        return tuple(_stand(reader.names, timetable, one) if timetable else one for one in summaries)


def latest(source: Source, newest: int | None = None) -> list[NightReport]:
    """The nights that were run or should have been, oldest first, as their newest runs left them.

    Beside `nights` these are also those that MLMD has never heard of, where Airflow's database is a second source.
    """
    with open_lineage(source) as reader:
        asked_for = [one for one in calendar(reader, newest=newest) if one.run_id or one.is_due]
        chosen = asked_for[-newest:] if newest else asked_for
        reports = {report.night: report for report in nights(reader, newest=newest)}
        return [report_night(one, reports.get(one.night)) for one in chosen]


def report_night(summary: NightSummary, report: NightReport | None) -> NightReport:
    """A night as its newest run left it, be that run known to Airflow alone.

    Args:
      summary: of the night, by both sources.
      report: of its newest run in MLMD; None where there is none.
    """
    if report is None or report.run_id != summary.run_id:
        return NightReport(
            summary.night, summary.run_id or "", summary.state, summary.drop_version, reason=summary.reason
        )
    if report.state == summary.state:
        return report
    return dataclasses.replace(report, state=summary.state, error=None, failed_node=None, reason=summary.reason)


def find_obstacle(source: Source) -> str | None:
    """What keeps the next night from beginning, with what to do; None where nothing does, or Airflow is not asked."""
    with open_lineage(source) as reader:
        return reader.scheduling.find_stop() if reader.scheduling else None


def find_paused(source: Source) -> list[str]:
    """The DAGs of the service that are paused, the nightly one among them; empty where Airflow is not asked."""
    with open_lineage(source) as reader:
        return reader.scheduling.find_paused() if reader.scheduling else []


def gaps(
    source: Source, first: str | None = None, last: str | None = None, newest: int | None = None
) -> tuple[Gap, ...]:
    """The nights that came to no verdict, oldest first: missing, skipped, failed, blocked by the gate, or running."""
    return find_gaps(calendar(source, first, last, newest))


def find_gaps(nights: Iterable[NightSummary]) -> tuple[Gap, ...]:
    """Those of a calendar's nights that came to no verdict, in its order."""
    return tuple(
        Gap(night.night, _STATE[night.state], night.reason)
        for night in nights
        # Where nothing was to push, a finished run lacks no verdict.
        if night.state in _STATE and (night.state != "complete" or night.reason)
    )


def _find_days(reader: Reader, first: str | None, last: str | None) -> list[str]:
    """The nights of a range from the first to the last of all history; those at its edges need not have been run."""
    ends = find_ends(reader)
    if ends is None:
        return []
    begin, end = (date.fromisoformat(night) for night in (max(ends[0], first or ""), min(ends[1], last or NEVER)))
    return [(begin + timedelta(number)).isoformat() for number in range((end - begin).days + 1)]


def _tell(reader: Reader, runs: Collection[Run]) -> dict[int, dict[str, str]]:
    """Of each run, by context, the few properties that a summary needs, of whatever its attempts made."""
    rows = reader.rows(
        "SELECT s.context_id, a.id, a.type_id FROM association s "
        "JOIN event ev ON ev.execution_id = s.execution_id AND ev.type = :output "
        "JOIN artifact a ON a.id = ev.artifact_id AND a.type_id IN :types "
        "JOIN execution e ON e.id = s.execution_id AND NOT e.type_id IN :resolvers "
        "AND NOT e.last_known_state IN :failed WHERE s.context_id IN :runs ORDER BY ev.id",
        resolvers=reader.types(RESOLVER),
        failed=ENDED_BADLY,
        output=OUTPUT,
        types=reader.types("Examples", "ModelBlessing", "PushedModel"),
        runs=[run.context_id for run in runs],
    )
    examples = {artifact for _, artifact, kind in rows if reader.type_name(kind) == "Examples"}
    verdicts = {artifact for _, artifact, _ in rows} - examples
    properties = read_properties(reader, verdicts, [BLESSED, PUSHED, PUSHED_VERSION])
    for artifact, name, drop in reader.rows(
        "SELECT p.artifact_id, p.name, p.string_value FROM artifactproperty n JOIN artifactproperty p "
        "ON p.artifact_id = n.artifact_id AND p.name = CAST(:prefix AS VARCHAR) || n.string_value "
        "WHERE n.artifact_id IN :artifacts AND n.name = :night AND n.is_custom_property",
        prefix=reader.names.drop,
        night=reader.names.night,
        artifacts=examples,
    ):
        properties.setdefault(artifact, {})[name] = drop
    by_context: dict[int, dict[str, str]] = {}
    for context, artifact, _ in rows:
        by_context.setdefault(context, {}).update(properties.get(artifact, {}))
    return by_context


def find_drop_versions(reader: Reader, first: str = "", last: str = NEVER) -> dict[str, set[int]]:
    """Which versions of each night's drop any run of any night used."""
    by_night = _find_drops(reader, first, last)
    return {night: {drop["version"] for drop in drops.values()} for night, drops in by_night.items()}


def _find_drops(reader: Reader, first: str, last: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What is recorded of each night's drop, by night and by the text it is recorded as: one for each version."""
    prefix = reader.names.drop
    rows = reader.rows(
        "SELECT DISTINCT name, string_value FROM artifactproperty WHERE name BETWEEN :first AND :last "
        "AND is_custom_property",
        first=f"{prefix}{first}",
        last=f"{prefix}{last}",
    )
    by_night: dict[str, dict[str, dict[str, Any]]] = {}
    for name, text in rows:
        # A database that sorts as a language does has others between them.
        if name.startswith(prefix) and (drop := read_drop(text)):
            by_night.setdefault(name.removeprefix(prefix), {})[text] = drop
    return by_night


def _states(reader: Reader, runs: list[int]) -> dict[int, dict[int, int]]:
    """Of each run, by context, its attempts that are not finished well: their states, by execution."""
    rows = reader.rows(
        "SELECT s.context_id, e.id, e.last_known_state FROM association s JOIN execution e ON e.id = s.execution_id "
        f"AND NOT e.last_known_state IN :finished WHERE s.context_id IN :runs AND {NOT_SUPERSEDED} ORDER BY e.id",
        finished=[COMPLETE, CACHED],
        runs=runs,
    )
    by_context: dict[int, dict[int, int]] = {}
    for context, execution, state in rows:
        by_context.setdefault(context, {})[execution] = state or 0
    return by_context


def _summary(
    reader: Reader,
    night: str,
    run: Run | None,
    runs: int,
    notes: dict[int, dict[str, str]],
    states: dict[int, dict[int, int]],
    attempts: dict[int, ExecutionRecord],
    drops: dict[str, dict[str, Any]],
) -> NightSummary:
    by_version = {drop["version"]: drop for drop in drops.values()}
    newest = max(by_version, default=None)
    corrected = newest is not None and newest > 1
    delivered = by_version[min(by_version)].get("delivered") if by_version else None
    if run is None:
        if newest is None:
            return NightSummary(night, None, 0, "missing", reason="no run, and no later night used a drop of it")
        reason = "never run; its drop was used by other nights"
        return NightSummary(
            night, None, 0, "skipped", None, None, newest, corrected, delivered=delivered, reason=reason
        )
    own = notes.get(run.context_id, {})
    unfinished = states.get(run.context_id, {})
    numbers = set(unfinished.values())
    failed = next((attempts[one] for one, number in unfinished.items() if number in ENDED_BADLY), None)
    failed_node = failed.node if failed else None
    by_nodes = run_state(numbers, own, failed_node, reader.names.gate)
    state: NightState = end_unpushed(reader, run, by_nodes, numbers, own)
    reason = ""
    if failed:
        reason = f"{failed.node}: {failed.error or 'it says no reason'}"
    elif state == "running":
        reason = "begun, and neither finished nor failed"
    drop = drops.get(own.get(f"{reader.names.drop}{night}", ""), {})
    return NightSummary(
        night,
        run.run_id,
        runs,
        state,
        own[BLESSED] == "1" if BLESSED in own else None,
        int(own[PUSHED_VERSION]) if own.get(PUSHED) == "1" and own.get(PUSHED_VERSION, "").isdecimal() else None,
        newest,
        corrected,
        delivered,
        drop.get(ROWS_IN),
        drop.get(ROWS_QUARANTINED),
        reason,
    )


def _stand(names: Names, timetable: Timetable, summary: NightSummary) -> NightSummary:
    """A summary by both sources."""
    by_mlmd = (summary.state, summary.reason) if summary.run_id else None
    summary = dataclasses.replace(summary, is_due=summary.night in timetable.due)
    standing = stand(names, timetable, summary.night, by_mlmd, summary.run_id)
    runs = timetable.runs.get(summary.night, ())
    if standing is None or standing == by_mlmd:
        return summary
    state, reason = standing
    if summary.state == "skipped" and not runs:
        state, reason = "skipped", f"{summary.reason}; {reason}"
    return dataclasses.replace(
        summary,
        state=state,
        reason=reason,
        run_id=runs[-1].run_id if runs else summary.run_id,
        runs=max(summary.runs, len(runs)),
    )
