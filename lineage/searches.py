"""Searches for hyperparameters: what each found, how, and which nights were trained with it."""

import json

from headlines import names
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import INPUT, OUTPUT, RECORDED, read_artifacts, read_executions, read_links
from lineage.records import ArtifactRecord, ExecutionRecord
from lineage.scores import find_attempts
from lineage.side_records import Search

MOST_SEARCHES = 50
"""So many are told of unless one asks for another number."""
_RESULTS = "TunerResults"


def searches(source: Source, limit: int | None = MOST_SEARCHES) -> tuple[Search, ...]:
    """The attempts to find better hyperparameters, newest first, whichever pipeline made them."""
    with open_lineage(source) as reader:
        ids = reader.column(
            "SELECT id FROM artifact WHERE type_id IN :types ORDER BY id DESC" + (" LIMIT :most" if limit else ""),
            types=reader.types(*reader.names.tuning),
            most=limit,
        )
        return _read(reader, ids)


def find_search(source: Source, identity: int) -> Search:
    """One search, by MLMD's id of the hyperparameters.

    Raises:
      UnknownError: there is no such search.
    """
    with open_lineage(source) as reader:
        ids = reader.column(
            "SELECT id FROM artifact WHERE id = :id AND type_id IN :types",
            id=identity,
            types=reader.types(*reader.names.tuning),
        )
        answer = _read(reader, ids)
        if not answer:
            newest = ", ".join(str(one.id) for one in searches(reader, 3)) or "none"
            raise UnknownError(f"lineage knows no search {identity}; the newest are {newest}")
        return answer[0]


def _read(reader: Reader, ids: list[int]) -> tuple[Search, ...]:
    makers = find_attempts(reader, ids)
    attempts = read_executions(reader, set(makers.values()))
    links = read_links(reader, executions=list(attempts)) if attempts else []
    artifacts = read_artifacts(reader, {*ids, *(link.artifact_id for link in links if link.is_output)})
    results = {
        link.execution_id: artifacts[link.artifact_id].uri
        for link in links
        if link.is_output and artifacts[link.artifact_id].type == _RESULTS
    }
    used_by = _find_uses(reader, ids)
    return tuple(
        _search(artifacts[one], attempts[makers[one]], results.get(makers[one], ""), used_by.get(one, set()))
        for one in ids
        if one in makers
    )


def _find_uses(reader: Reader, ids: list[int]) -> dict[int, set[str]]:
    """The nights whose models were trained with each of some hyperparameters."""
    by_artifact: dict[int, set[str]] = {}
    for artifact, night in reader.rows(
        "SELECT i.artifact_id, n.string_value FROM event i JOIN event o ON o.execution_id = i.execution_id "
        "AND o.type = :output JOIN artifact m ON m.id = o.artifact_id AND m.type_id IN :models "
        "AND m.state IN :recorded "
        "JOIN artifactproperty n ON n.artifact_id = m.id AND n.name = :night "
        "WHERE i.artifact_id IN :ids AND i.type = :input",
        output=OUTPUT,
        input=INPUT,
        models=reader.types("Model"),
        recorded=RECORDED,
        night=reader.names.night,
        ids=ids,
    ):
        by_artifact.setdefault(artifact, set()).add(night)
    return by_artifact


def _search(artifact: ArtifactRecord, attempt: ExecutionRecord, results_uri: str, used_by: set[str]) -> Search:
    own = artifact.properties
    trials, score = own.get(names.TRIALS), own.get(names.SCORE)
    return Search(
        artifact.id,
        attempt.id,
        attempt.pipeline,
        attempt.run_id,
        attempt.state,
        attempt.error,
        attempt.started_at,
        attempt.ended_at,
        own.get(names.NIGHT, ""),
        None if trials is None else int(trials),
        own.get(names.OBJECTIVE, ""),
        None if score is None else float(score),
        json.loads(own.get(names.HYPERPARAMETERS) or "{}"),
        results_uri,
        tuple(sorted(used_by)),
    )
