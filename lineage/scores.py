"""What pushed models said of unlabelled headlines: which nights, by which version, how many of each label."""

import json
from collections.abc import Mapping

from headlines import names
from lineage.reader import Reader, Source, open_lineage
from lineage.reading import OUTPUT, RESOLVER, read_artifacts, read_executions, read_links
from lineage.records import ArtifactRecord, ExecutionRecord
from lineage.side_records import ScoredNight, Scoring

MOST_SCORINGS = 100
"""So many are told of unless one asks for another number."""


def scores(source: Source, night: str | None = None, limit: int | None = MOST_SCORINGS) -> tuple[Scoring, ...]:
    """The attempts to score unlabelled headlines, newest first, whichever pipeline made them.

    Args:
      night: only those that scored its headlines; None for all, failed ones among them.
    """
    with open_lineage(source) as reader:
        chosen = "AND EXISTS (SELECT 1 FROM artifactproperty p WHERE p.artifact_id = a.id AND p.name = :rows) "
        ids = reader.column(
            "SELECT a.id FROM artifact a WHERE a.type_id IN :types "
            + (chosen if night else "")
            + "ORDER BY a.id DESC"
            + (" LIMIT :most" if limit else ""),
            types=reader.types(names.SCORES_TYPE),
            rows=f"{names.ROWS_PREFIX}{night}",
            most=limit,
        )
        makers = find_attempts(reader, ids)
        attempts = read_executions(reader, set(makers.values()))
        links = read_links(reader, executions=list(attempts)) if attempts else []
        artifacts = read_artifacts(reader, {*ids, *(link.artifact_id for link in links)})
    inputs: dict[int, list[ArtifactRecord]] = {}
    for link in links:
        if not link.is_output:
            inputs.setdefault(link.execution_id, []).append(artifacts[link.artifact_id])
    return tuple(
        _scoring(artifacts[identity], attempts[makers[identity]], inputs.get(makers[identity], []))
        for identity in ids
        if identity in makers
    )


def find_attempts(reader: Reader, artifacts: list[int]) -> dict[int, int]:
    """Of each artifact the execution that made it, or began to and failed; no resolver's."""
    rows = reader.rows(
        "SELECT ev.artifact_id, ev.execution_id FROM event ev JOIN execution e ON e.id = ev.execution_id "
        "AND NOT e.type_id IN :resolvers WHERE ev.artifact_id IN :artifacts AND ev.type = :output ORDER BY ev.id DESC",
        resolvers=reader.types(RESOLVER),
        artifacts=artifacts,
        output=OUTPUT,
    )
    # The first made it; a later one was answered with it by the cache.
    return dict(rows)


def _scoring(artifact: ArtifactRecord, attempt: ExecutionRecord, inputs: list[ArtifactRecord]) -> Scoring:
    delivered: dict[str, str] = {}
    for one in inputs:
        if one.type == "Examples":
            delivered |= one.properties
    prefix = names.ROWS_PREFIX
    nights = sorted(name.removeprefix(prefix) for name in artifact.properties if name.startswith(prefix))
    return Scoring(
        artifact.id,
        attempt.id,
        attempt.pipeline,
        attempt.run_id,
        attempt.state,
        attempt.error,
        attempt.started_at,
        attempt.ended_at,
        artifact.properties.get(names.VERSION, ""),
        next((one.id for one in inputs if one.type == "Model"), None),
        tuple(_scored(night, artifact.properties, delivered) for night in nights),
    )


def _scored(night: str, own: Mapping[str, str], delivered: Mapping[str, str]) -> ScoredNight:
    quarantined = delivered.get(f"{names.QUARANTINED_PREFIX}{night}")
    labels = own.get(f"{names.LABELS_PREFIX}{night}")
    return ScoredNight(
        night,
        int(own[f"{names.ROWS_PREFIX}{night}"]),
        None if quarantined is None else int(quarantined),
        json.loads(labels) if labels else None,
        own.get(f"{names.SCORES_FILE_PREFIX}{night}", ""),
        tuple(json.loads(delivered.get(f"{names.FILES_PREFIX}{night}") or "[]")),
    )
