"""A metric over nights: the candidate beside the champion, the classical baseline and the majority class."""

from headlines import names
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import CACHED, COMPLETE, OUTPUT, RESOLVER, read_properties
from lineage.records import History, Point
from lineage.runs import NOT_SUPERSEDED, find_runs

_LINES = {
    "candidate": names.METRIC_PREFIX,
    "champion": names.CHAMPION_METRIC_PREFIX,
    "lr": names.LR_METRIC_PREFIX,
    "majority": names.MAJORITY_METRIC_PREFIX,
    **{f"fresh_{who}": prefix for who, prefix in names.FRESH_METRIC_PREFIXES.items()},
}
# Where databases sort what begins with `metric:`, by bytes or as a language does: they agree on letters, not on signs.
_AFTER, _BEFORE = "metric", "metrid"


def metrics(source: Source) -> tuple[str, ...]:
    """The metrics that `metric_history` knows, in alphabetical order."""
    with open_lineage(source) as reader:
        return _names(reader)


def _names(reader: Reader) -> tuple[str, ...]:
    """Skips from name to name in the index: there are few names, and a row for each night."""
    prefix = _LINES["candidate"]
    rows = reader.rows(
        "WITH RECURSIVE known (name) AS (SELECT min(name) FROM artifactproperty WHERE name > :after AND name < :before "
        "UNION ALL SELECT (SELECT min(p.name) FROM artifactproperty p WHERE p.name > known.name AND p.name < :before) "
        "FROM known WHERE known.name IS NOT NULL) SELECT name FROM known WHERE name IS NOT NULL",
        after=_AFTER,
        before=_BEFORE,
    )
    return tuple(sorted(name.removeprefix(prefix) for (name,) in rows if name.startswith(prefix)))


def metric_history(
    source: Source, metric: str, first: str | None = None, last: str | None = None, newest: int | None = None
) -> History:
    """A metric over nights, oldest first; a night without a verdict has no point, one with several the newest.

    Args:
      metric: such as `accuracy`; see `metrics`.

    Raises:
      UnknownError: no night has such a metric.
    """
    with open_lineage(source) as reader:
        runs = {run.context_id: run for run in find_runs(reader, first, last, newest)}
        notes = _tell(reader, list(runs), metric)
        choices = _names(reader)
        if not choices:
            raise UnknownError(
                f"no night has a metric {metric!r} yet, since none came to a verdict; `retraining status` shows the "
                "last nights"
            )
        if metric not in choices:
            raise UnknownError(f"no night has a metric {metric!r}; there are {', '.join(choices)}")
    points = {}
    for context, run in runs.items():
        own = notes.get(context)
        if own:
            points[run.night] = Point(
                run.night,
                run.run_id,
                **{line: float(own[f"{prefix}{metric}"]) if f"{prefix}{metric}" in own else None
                   for line, prefix in _LINES.items()},
                fresh_rows=int(own[names.FRESH_ROWS]) if names.FRESH_ROWS in own else None,
                blessed=own[names.BLESSED] == "1" if names.BLESSED in own else None,
            )  # fmt: skip
    return History(metric, tuple(points[night] for night in sorted(points)))


def _tell(reader: Reader, runs: list[int], metric: str) -> dict[int, dict[str, str]]:
    """What the verdicts and scores of each run say of a metric, by context."""
    rows = reader.rows(
        "SELECT s.context_id, a.id FROM association s "
        "JOIN event ev ON ev.execution_id = s.execution_id AND ev.type = :output "
        "JOIN artifact a ON a.id = ev.artifact_id AND a.type_id IN :types "
        "JOIN execution e ON e.id = s.execution_id AND e.last_known_state IN :finished "
        "AND NOT e.type_id IN :resolvers "
        f"WHERE s.context_id IN :runs AND {NOT_SUPERSEDED} ORDER BY ev.id",
        finished=[COMPLETE, CACHED],
        resolvers=reader.types(RESOLVER),
        output=OUTPUT,
        types=reader.types("ModelBlessing", *reader.names.scores),
        runs=runs,
    )
    wanted = [names.BLESSED, names.FRESH_ROWS, *(f"{prefix}{metric}" for prefix in _LINES.values())]
    properties = read_properties(reader, [artifact for _, artifact in rows], wanted)
    by_context: dict[int, dict[str, str]] = {}
    for context, artifact in rows:
        if artifact in properties:
            by_context.setdefault(context, {}).update(properties[artifact])
    return by_context
