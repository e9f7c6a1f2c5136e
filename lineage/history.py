"""Over nights: a metric of the candidate, the champion, the classical baseline and the majority class; or a check."""

from collections.abc import Iterable, Mapping
from typing import Any

from headlines import names
from headlines.pushes.champion import Rollback
from lineage.champions import rollbacks
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import read_properties
from lineage.records import CheckHistory, CheckPoint, Happening, History, Point
from lineage.runs import Run, find_made, find_runs, read_checks

_LINES = {
    "candidate": names.METRIC_PREFIX,
    "champion": names.CHAMPION_METRIC_PREFIX,
    "lr": names.LR_METRIC_PREFIX,
    "majority": names.MAJORITY_METRIC_PREFIX,
    **{f"fresh_{who}": prefix for who, prefix in names.FRESH_METRIC_PREFIXES.items()},
}


def metrics(source: Source) -> tuple[str, ...]:
    """The metrics that `metric_history` knows, in alphabetical order."""
    with open_lineage(source) as reader:
        return _find_names(reader, names.METRIC_PREFIX)


def checks(source: Source) -> tuple[str, ...]:
    """The checks that `check_history` knows, in alphabetical order."""
    with open_lineage(source) as reader:
        return _find_names(reader, names.CHECK_PREFIX)


def _find_names(reader: Reader, prefix: str) -> tuple[str, ...]:
    """Skips from name to name in the index: there are few names, and a row for each night."""
    rows = reader.rows(
        "WITH RECURSIVE known (name) AS (SELECT min(name) FROM artifactproperty WHERE name > :after AND name < :before "
        "UNION ALL SELECT (SELECT min(p.name) FROM artifactproperty p WHERE p.name > known.name AND p.name < :before) "
        "FROM known WHERE known.name IS NOT NULL) SELECT name FROM known WHERE name IS NOT NULL",
        **_find_ends(prefix),
    )
    return tuple(sorted(name.removeprefix(prefix) for (name,) in rows if name.startswith(prefix)))


def _find_ends(prefix: str) -> dict[str, str]:
    """Between what databases sort the names with a prefix such as `metric:`.

    By bytes or as a language does: they agree on letters, not on signs.
    """
    word = prefix.rstrip(":")
    return {"after": word, "before": word[:-1] + chr(ord(word[-1]) + 1)}


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
        _check_name(reader, names.METRIC_PREFIX, "metric", metric)
        wanted = [names.FRESH_ROWS, *(f"{prefix}{metric}" for prefix in _LINES.values())]
        points = []
        for run, own, happening in _walk(reader, wanted, first, last, newest):
            values = {line: own.get(f"{prefix}{metric}") for line, prefix in _LINES.items()}
            lines: dict[str, Any] = {line: None if value is None else float(value) for line, value in values.items()}
            fresh_rows = int(own[names.FRESH_ROWS]) if names.FRESH_ROWS in own else None
            points.append(Point(run.night, run.run_id, **lines, fresh_rows=fresh_rows, **vars(happening)))
    return History(metric, tuple(points))


def check_history(
    source: Source, name: str, first: str | None = None, last: str | None = None, newest: int | None = None
) -> CheckHistory:
    """A check over nights, oldest first, each with the limit of its night; a night without this check has no point.

    Args:
      name: such as `accuracy_change`; see `checks`.

    Raises:
      UnknownError: no night has such a check.
    """
    with open_lineage(source) as reader:
        _check_name(reader, names.CHECK_PREFIX, "check", name)
        points = [
            CheckPoint(night=run.night, run_id=run.run_id, check=check, **vars(happening))
            for run, own, happening in _walk(reader, [f"{names.CHECK_PREFIX}{name}"], first, last, newest)
            for check in read_checks(own)
        ]
    return CheckHistory(name, tuple(points))


def _check_name(reader: Reader, prefix: str, kind: str, name: str) -> None:
    choices = _find_names(reader, prefix)
    if name not in choices:
        known = f"there are {', '.join(choices)}" if choices else "none has been judged yet: run a night first"
        raise UnknownError(f"no night has a {kind} {name!r}; {known}")


def _walk(
    reader: Reader, wanted: list[str], first: str | None, last: str | None, newest: int | None
) -> list[tuple[Run, dict[str, str], Happening]]:
    """By night, oldest first: its newest judged run, what that said of what is wanted, and what became of it.

    Args:
      wanted: names of properties of verdicts and scores; a run with none of them is left out.
      first, last, newest: as every question takes them.
    """
    runs = {run.context_id: run for run in find_runs(reader, first, last, newest)}
    notes = _tell(reader, list(runs), [*wanted, names.BLESSED, names.PUSHED, names.PUSHED_VERSION])
    nights = {runs[context].night: (runs[context], own) for context, own in notes.items() if own.keys() & set(wanted)}
    rolled_back: dict[str, list[Rollback]] = {}
    for rollback in rollbacks(reader):
        # After the last night that its first night's champion follows.
        before = max((night for night in nights if night < rollback.night), default=None)
        if before:
            rolled_back.setdefault(before, []).append(rollback)
    walked = []
    for night in sorted(nights):
        run, own = nights[night]
        ends_unpushed = run.is_local or reader.names.pusher is None
        walked.append((run, own, tell_happening(own, ends_unpushed, rolled_back.get(night, ()))))
    return walked


def tell_happening(own: Mapping[str, str], ends_unpushed: bool, rolled_back: Iterable[Rollback] = ()) -> Happening:
    """What became of a judged run, refused or pushed as its state has it.

    Args:
      own: what its verdict and its push say.
      ends_unpushed: whether it can have ended without a word of a Pusher; else nothing is refused before that speaks.
      rolled_back: after it.
    """
    version = own.get(names.PUSHED_VERSION, "") if own.get(names.PUSHED) == "1" else ""
    unanswered = ends_unpushed and names.PUSHED not in own
    return Happening(
        blessed=own[names.BLESSED] == "1" if names.BLESSED in own else None,
        is_refused=own.get(names.PUSHED) == "0" or (unanswered and own.get(names.BLESSED) == "0"),
        # Another pipeline's Pusher may name what it pushes as it likes.
        pushed_version=int(version) if version.isdecimal() else None,
        rollbacks=tuple(rolled_back),
    )


def _tell(reader: Reader, runs: list[int], wanted: list[str]) -> dict[int, dict[str, str]]:
    """What the verdicts, scores and pushes of each run say of what is wanted, by context."""
    rows = find_made(reader, runs, "ModelBlessing", "PushedModel", *reader.names.scores)
    properties = read_properties(reader, [artifact for _, artifact in rows], wanted)
    by_context: dict[int, dict[str, str]] = {context: {} for context in runs}
    for context, artifact in rows:
        by_context[context].update(properties.get(artifact, {}))
    return by_context
