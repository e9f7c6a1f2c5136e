"""Nights and their runs: what each run made of its night, as its attempts that count left it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headlines import names
from headlines.bar.checks import Check
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import (
    CACHED,
    COMPLETE,
    ENDED_BADLY,
    OUTPUT,
    RESOLVER,
    find_executions,
    read_artifacts,
    read_drop,
    read_error,
    read_executions,
    read_object,
)
from lineage.records import ArtifactRecord, ExecutionRecord, LeftOut, NightReport, RunState, RunSummary
from lineage.standing import VERDICTS

NOT_SUPERSEDED = (
    f"NOT EXISTS (SELECT 1 FROM executionproperty x WHERE x.execution_id = e.id AND x.name = '{names.SUPERSEDED_BY}' "
    "AND x.is_custom_property)"
)
NEVER = "9999-12-31"
"""After every night, and close enough to nights for Postgres to guess how many are before it."""


@dataclass(frozen=True)
class Run:
    """A run of the pipeline: its context in MLMD, and the night it was for.

    Attributes:
      is_local: whether LocalDagRunner ran it.
    """

    context_id: int
    run_id: str
    night: str
    is_local: bool = False


@dataclass(frozen=True)
class _Attempt:
    """A node's attempt, where no later one took its place."""

    id: int
    state: int


def find_runs(
    reader: Reader, first: str | None = None, last: str | None = None, newest: int | None = None
) -> list[Run]:
    """The runs of the pipeline for the nights from `first` to `last`, in the order in which they were begun."""
    chosen = {"name": reader.names.night, "first": first or "0000-01-01", "last": last or NEVER}
    if newest is not None:
        nights = reader.column(
            "SELECT DISTINCT string_value FROM executionproperty WHERE name = :name AND is_custom_property IN :any "
            "AND string_value BETWEEN :first AND :last ORDER BY string_value DESC LIMIT :newest",
            any=[False, True],
            newest=newest,
            **chosen,
        )
        chosen["first"] = min(nights, default=NEVER)
    # In steps: no planner knows how many rows a name and a range of values leave, so it would join whole tables.
    nights_of = dict(
        reader.rows(
            "SELECT execution_id, string_value FROM executionproperty WHERE name = :name "
            "AND is_custom_property IN :any AND string_value BETWEEN :first AND :last",
            any=[False, True],
            **chosen,
        )
    )
    rows = reader.rows(
        "SELECT s.execution_id, c.id, c.name, c.type_id FROM association ours "
        "JOIN association s ON s.execution_id = ours.execution_id "
        "JOIN context c ON c.id = s.context_id AND c.type_id IN :types "
        "WHERE ours.execution_id IN :ids AND ours.context_id IN :pipelines",
        ids=list(nights_of),
        types=reader.run_types,
        pipelines=reader.pipelines,
    )
    runs = {context: _run(reader, context, name, kind, nights_of[execution]) for execution, context, name, kind in rows}
    return [runs[context] for context in sorted(runs)]


def _run(reader: Reader, context: int, name: str, kind: int, night: str) -> Run:
    return Run(context, name.removeprefix(f"{reader.names.pipeline}."), night, kind in reader.local_run_types)


def find_newest_runs(reader: Reader, limit: int | None = None) -> list[Run]:
    """The newest runs of the pipeline, whether they are for a night or not, in the order in which they were begun."""
    rows = reader.rows(
        "SELECT c.id, c.name, c.type_id FROM context c WHERE c.type_id IN :types AND EXISTS (SELECT 1 FROM association "
        "s JOIN association ours ON ours.execution_id = s.execution_id AND ours.context_id IN :pipelines "
        "WHERE s.context_id = c.id) ORDER BY c.id DESC" + (" LIMIT :rows" if limit else ""),
        types=reader.run_types,
        pipelines=reader.pipelines,
        rows=limit,
    )
    nights: dict[int, str] = dict(
        reader.rows(
            "SELECT s.context_id, min(n.string_value) FROM association s JOIN executionproperty n "
            "ON n.execution_id = s.execution_id AND n.name = :night WHERE s.context_id IN :runs GROUP BY s.context_id",
            runs=[context for context, _, _ in rows],
            night=reader.names.night,
        )
    )
    return [_run(reader, context, name, kind, nights.get(context) or "") for context, name, kind in reversed(rows)]


def runs(source: Source, limit: int | None = 20) -> tuple[RunSummary, ...]:
    """The newest runs of the pipeline, newest first, also of one whose runs are for no night."""
    with open_lineage(source) as reader:
        newest = find_newest_runs(reader, limit)
        runs_of = dict(
            reader.rows(
                "SELECT s.execution_id, s.context_id FROM association s JOIN execution e ON e.id = s.execution_id "
                f"WHERE s.context_id IN :runs AND {NOT_SUPERSEDED}",
                runs=[run.context_id for run in newest],
            )
        )
        attempts: dict[int, list[ExecutionRecord]] = {}
        for identity, attempt in read_executions(reader, list(runs_of)).items():
            attempts.setdefault(runs_of[identity], []).append(attempt)
        reports = report_runs(reader, newest)
    summaries = []
    for run, report in zip(newest, reports, strict=True):
        own = attempts[run.context_id]
        ends = [attempt.ended_at for attempt in own if attempt.ended_at]
        is_known = report.state != "running" and len(ends) == len(own)
        began = min(attempt.started_at for attempt in own)
        summaries.append(RunSummary(report, began, max(ends) if is_known else None))
    return tuple(reversed(summaries))


def find_made(reader: Reader, runs: Collection[int], *kinds: str) -> list[tuple[int, int]]:
    """What the attempts that count of some runs made, as context and artifact, in the order in which it was made.

    Args:
      runs: their contexts.
      *kinds: types of artifacts.
    """
    return reader.rows(
        "SELECT s.context_id, a.id FROM association s "
        "JOIN event ev ON ev.execution_id = s.execution_id AND ev.type = :output "
        "JOIN artifact a ON a.id = ev.artifact_id AND a.type_id IN :types "
        "JOIN execution e ON e.id = s.execution_id AND e.last_known_state IN :finished "
        "AND NOT e.type_id IN :resolvers "
        f"WHERE s.context_id IN :runs AND {NOT_SUPERSEDED} ORDER BY ev.id",
        finished=[COMPLETE, CACHED],
        resolvers=reader.types(RESOLVER),
        output=OUTPUT,
        types=reader.types(*kinds),
        runs=runs,
    )


def find_ends(source: Source) -> tuple[str, str] | None:
    """The first and the last night that was ever run; None before the first run, and where runs name no nights."""
    with open_lineage(source) as reader:
        # A look-up for each value of a column that stands before the night in the index: together they would be sorted.
        first, last = (
            [
                night
                for is_custom in (False, True)
                for night in reader.column(
                    "SELECT n.string_value FROM executionproperty n WHERE n.name = :name "
                    "AND n.is_custom_property = :custom AND EXISTS (SELECT 1 FROM association s "
                    "WHERE s.execution_id = n.execution_id AND s.context_id IN :pipelines) "
                    f"ORDER BY n.string_value {order} LIMIT 1",
                    name=reader.names.night,
                    custom=is_custom,
                    pipelines=reader.pipelines,
                )
            ]
            for order in ("ASC", "DESC")
        )
    return (min(first), max(last)) if first else None


def tell_nights(reader: Reader) -> str:
    """Which nights were run, in a few words, for whoever asked for another one."""
    nights = sorted({run.night for run in find_runs(reader)})
    if nights:
        return f"{len(nights)} nights were, {nights[0]} to {nights[-1]}"
    if find_newest_runs(reader, 1):
        return f"the runs of {reader.names.pipeline} name no nights; ask for its `runs` instead"
    return "none was yet"


def nights(
    source: Source, first: str | None = None, last: str | None = None, newest: int | None = None
) -> list[NightReport]:
    """Every night that was run, oldest first, each as its newest run left it."""
    with open_lineage(source) as reader:
        by_night = {run.night: run for run in find_runs(reader, first, last, newest)}
        return sorted(report_runs(reader, by_night.values()), key=lambda report: report.night)


def runs_of_night(source: Source, night: str) -> list[NightReport]:
    """Every run of one night, in the order in which they were begun."""
    with open_lineage(source) as reader:
        return report_runs(reader, find_runs(reader, night, night))


def find_finished(source: Source, night: str) -> NightReport | None:
    """The newest run of a night that came to a verdict, as MLMD has it, whatever Airflow still knows of it."""
    return next((run for run in reversed(runs_of_night(source, night)) if run.state in VERDICTS), None)


def run_report(source: Source, run_id: str) -> NightReport:
    """One run of the pipeline.

    Raises:
      UnknownError: no such run.
    """
    with open_lineage(source) as reader:
        run = find_run(reader, find_executions(reader, run_id))
        if run is None:
            newest = [one.run_id for one in find_newest_runs(reader, 3)]
            raise UnknownError(
                f"lineage knows no run {run_id!r} of {reader.names.pipeline}; "
                + (f"the newest are {', '.join(reversed(newest))}" if newest else "it knows none at all")
            )
        [report] = report_runs(reader, [run])
        return report


def find_night(source: Source, run_id: str) -> str:
    """The night that a run of the pipeline is for, also one that MLMD has not heard of yet.

    Raises:
      UnknownError: there is no such run, or nothing says its night.
    """
    with open_lineage(source) as reader:
        executions = find_executions(reader, run_id)
        night = find_night_of_execution(reader, executions[0]) if executions else None
        # Only the sensor's pipeline has runs whose logical date is their night.
        if night is None and reader.names.sensor and reader.scheduling:
            night = reader.scheduling.find_night(run_id)
        if night is None:
            raise UnknownError(f"the night of run {run_id!r} of {reader.names.pipeline} is not known, or not yet")
        return night


def find_night_of_execution(source: Source, execution_id: int) -> str | None:
    """The night that an execution's run is for, whichever pipeline it is of; None where no node of it says one."""
    with open_lineage(source) as reader:
        nights = reader.column(
            "SELECT n.string_value FROM association s JOIN context c ON c.id = s.context_id AND c.type_id IN :types "
            "JOIN association o ON o.context_id = c.id JOIN executionproperty n ON n.execution_id = o.execution_id "
            "AND n.name = :night WHERE s.execution_id IN :executions ORDER BY o.execution_id LIMIT 1",
            executions=[execution_id],
            types=reader.run_types,
            night=reader.names.night,
        )
        return nights[0] if nights and nights[0] else None


def find_run(reader: Reader, executions: Iterable[int]) -> Run | None:
    """The run that executions of one run belong to; its night is empty where none of them says it."""
    rows = reader.rows(
        "SELECT c.id, c.name, c.type_id, min(n.string_value) FROM association s JOIN context c ON c.id = s.context_id "
        "LEFT JOIN executionproperty n ON n.execution_id = s.execution_id AND n.name = :night "
        "WHERE s.execution_id IN :executions AND c.type_id IN :types GROUP BY c.id, c.name, c.type_id",
        executions=list(executions),
        types=reader.run_types,
        night=reader.names.night,
    )
    if not rows:
        return None
    context, name, kind, night = rows[0]
    return _run(reader, context, name, kind, night or "")


def report_runs(reader: Reader, runs: Iterable[Run]) -> list[NightReport]:
    """What became of each run, in the given order."""
    chosen = list(runs)
    attempts: dict[int, dict[str, _Attempt]] = {}
    for context, identity, state, node in reader.rows(
        # The name of a node's context begins with its run's or its pipeline's.
        "SELECT s.context_id, e.id, e.last_known_state, c.name FROM association s JOIN execution e "
        "ON e.id = s.execution_id JOIN association place ON place.execution_id = e.id JOIN context c "
        f"ON c.id = place.context_id AND c.type_id IN :nodes WHERE s.context_id IN :runs AND {NOT_SUPERSEDED} "
        "ORDER BY e.id",
        runs=[run.context_id for run in chosen],
        nodes=reader.node_types,
    ):
        name = node.removeprefix(f"{reader.names.pipeline}.")
        attempts.setdefault(context, {})[name] = _Attempt(identity, state or 0)
    named = {run.context_id: _by_node(run, attempts.get(run.context_id, {})) for run in chosen}
    outputs = _read_outputs(reader, named.values())
    errors = _read_errors(
        reader, [one.id for nodes in named.values() for one in nodes.values() if one.state in ENDED_BADLY]
    )
    return [_report(reader, run, named[run.context_id], outputs, errors) for run in chosen]


def _by_node(run: Run, attempts: Mapping[str, _Attempt]) -> dict[str, _Attempt]:
    return {name.removeprefix(f"{run.run_id}.").partition("#")[0]: attempt for name, attempt in attempts.items()}


def _read_outputs(reader: Reader, runs: Iterable[Mapping[str, _Attempt]]) -> dict[int, ArtifactRecord]:
    """What the nodes that tell of a night have finished, by execution."""
    types = {
        reader.names.example_gen: "Examples",
        reader.names.trainer: "Model",
        reader.names.evaluator: "ModelBlessing",
        reader.names.pusher or "": "PushedModel",
    }
    kinds = {
        attempt.id: types[node]
        for nodes in runs
        for node, attempt in nodes.items()
        if node in types and attempt.state in (COMPLETE, CACHED)
    }
    links = reader.rows(
        "SELECT execution_id, artifact_id FROM event WHERE type = :output AND execution_id IN :executions ORDER BY id",
        output=OUTPUT,
        executions=list(kinds),
    )
    artifacts = read_artifacts(reader, {artifact for _, artifact in links})
    return {
        execution: artifacts[artifact] for execution, artifact in links if artifacts[artifact].type == kinds[execution]
    }


def _read_errors(reader: Reader, executions: list[int]) -> dict[int, str]:
    properties: dict[int, dict[str, str]] = {}
    for execution, name, text in reader.rows(
        "SELECT execution_id, name, string_value FROM executionproperty WHERE name IN :telling AND is_custom_property "
        "AND execution_id IN :executions",
        telling=[names.ERROR, names.EXECUTION_RESULT],
        executions=executions,
    ):
        properties.setdefault(execution, {})[name] = text
    errors = {execution: read_error(own) for execution, own in properties.items()}
    return {execution: error for execution, error in errors.items() if error}


def _report(
    reader: Reader,
    run: Run,
    nodes: Mapping[str, _Attempt],
    outputs: Mapping[int, ArtifactRecord],
    errors: Mapping[int, str],
) -> NightReport:
    def made_by(node: str | None) -> ArtifactRecord | None:
        attempt = nodes.get(node) if node else None
        return outputs.get(attempt.id) if attempt else None

    model = made_by(reader.names.trainer)
    examples, blessing, pushed = (
        artifact.properties if artifact else {}
        for artifact in map(made_by, (reader.names.example_gen, reader.names.evaluator, reader.names.pusher))
    )
    failed = next((node for node, attempt in nodes.items() if attempt.state in ENDED_BADLY), None)
    drops = dict(_prefixed(examples, reader.names.drop, read_drop))
    drop = drops.get(run.night, {})
    states = {attempt.state for attempt in nodes.values()}
    report = NightReport(
        night=run.night,
        run_id=run.run_id,
        state=end_unpushed(reader, run, run_state(states, pushed, failed, reader.names.gate), states, blessing),
        drop_version=drop.get("version"),
        rows_in=drop.get(names.ROWS_IN),
        rows_used=drop.get(names.ROWS_USED),
        rows_quarantined=drop.get(names.ROWS_QUARANTINED),
        duplicates_folded=drop.get(names.DUPLICATES_FOLDED),
        window_nights=len(drops) or None,
        drops={night: described["version"] for night, described in drops.items()},
        left_out=tuple(_read_left_out(examples)),
        champion_version=blessing.get(names.CHAMPION_VERSION, ""),
        checks=read_checks(blessing),
        metrics=read_floats(blessing, names.METRIC_PREFIX),
        champion_metrics=read_floats(blessing, names.CHAMPION_METRIC_PREFIX),
        blessed=blessing[names.BLESSED] == "1" if names.BLESSED in blessing else None,
        reason=pushed.get(names.REASON) or blessing.get(names.REASON, ""),
        pushed_version=pushed.get(names.PUSHED_VERSION) if pushed.get(names.PUSHED) == "1" else None,
        error=errors.get(nodes[failed].id, "it says no reason") if failed else None,
        failed_node=failed,
        model_id=model.id if model else None,
    )
    if report.state == "complete":
        return replace(report, reason=explain_complete(reader, nodes))
    if report.state == "refused" and not report.reason:
        return replace(report, reason=_explain_refusal(reader, blessing, pushed))
    return report


def _explain_refusal(reader: Reader, blessing: Mapping[str, str], pushed: Mapping[str, str]) -> str:
    """What TFX's own Evaluator and Pusher, which give no reason in words, came to."""
    if blessing.get(names.BLESSED) != "0":
        return f"{reader.names.pusher} pushed nothing, and says no reason"
    skipped = "" if names.PUSHED in pushed or not reader.names.pusher else f"; {reader.names.pusher} was not run"
    return f"{reader.names.evaluator} did not bless the model{skipped}"


def explain_complete(reader: Reader, nodes: Collection[str]) -> str:
    """Why a run that has finished pushed nothing; empty where nothing was to push."""
    if reader.names.pusher is None:
        return ""
    was_run = reader.names.pusher in nodes
    return f"{reader.names.pusher} {'pushed nothing, and says no reason' if was_run else 'was not run'}"


def end_unpushed(reader: Reader, run: Run, state: RunState, states: set[int], blessing: Mapping[str, str]) -> RunState:
    """The state of a run that is taken to be running because no push says how it ended.

    LocalDagRunner runs one node behind the other and leaves no record of one that it skips, inside `Cond(...)`: once
    all that began has finished, its run has ended. So it is with a pipeline in which nothing pushes.
    """
    if state != "running" or not states <= {COMPLETE, CACHED} or not (run.is_local or reader.names.pusher is None):
        return state
    return "refused" if blessing.get(names.BLESSED) == "0" else "complete"


def run_state(states: set[int], pushed: Mapping[str, str], failed_node: str | None, gate: str | None) -> RunState:
    """A run in one word.

    Args:
      states: of its attempts that count, or of those of them that are not finished well.
      pushed: what its push says.
      failed_node: the first of its nodes that ended badly; None for none.
      gate: the node that stops a run on bad data; None for none.
    """
    if failed_node is not None:
        return "blocked" if failed_node == gate else "failed"
    if not states <= {COMPLETE, CACHED} or names.PUSHED not in pushed:
        return "running"
    return "pushed" if pushed[names.PUSHED] == "1" else "refused"


def read_checks(blessing: Mapping[str, str]) -> tuple[Check, ...]:
    """The checks that a verdict consists of."""
    checks = _prefixed(blessing, names.CHECK_PREFIX, read_object)
    return tuple(
        Check(name, **{key: value[key] for key in value if key in _CHECK})
        for name, value in checks
        if value.keys() >= _NEEDED and isinstance(value["limit"], int | float)
    )


def _read_left_out(examples: Mapping[str, str]) -> Iterator[LeftOut]:
    for name, value in sorted(examples.items()):
        if name.startswith(names.LEFT_OUT_PREFIX):
            version, _, why = value.partition(" ")
            yield LeftOut(name.removeprefix(names.LEFT_OUT_PREFIX), int(version), why)


_CHECK = ("value", "limit", "passed", "low", "high")
_NEEDED = {"value", "limit", "passed"}


def _prefixed(
    properties: Mapping[str, str], prefix: str, read: Callable[[str], dict[str, Any] | None]
) -> list[tuple[str, Any]]:
    return sorted(
        (name.removeprefix(prefix), described)
        for name, value in properties.items()
        if name.startswith(prefix) and (described := read(value))
    )


def read_floats(properties: Mapping[str, str], prefix: str) -> dict[str, float]:
    """The numbers whose names begin with `prefix`, by the rest of the name."""
    return {
        name.removeprefix(prefix): float(value) for name, value in sorted(properties.items()) if name.startswith(prefix)
    }
