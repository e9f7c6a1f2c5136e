"""Recall: from a drop to every model it touched, each way told apart, and to whether one of them serves."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from lineage.calendar import find_drop_versions
from lineage.champions import newest_push, rollbacks, serving_version
from lineage.models import summarise
from lineage.paths import artifact_node, drop_node, find_downstream, find_makers
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import COMPLETE, INPUT, RESOLVER, read_artifacts, read_drop, read_executions, read_links
from lineage.records import ModelSummary, Node, Recall, Taint, Way


def drops(source: Source, limit: int | None = None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Every drop that lineage knows, newest night first, each with the versions that were used."""
    with open_lineage(source) as reader:
        versions = find_drop_versions(reader)
    return tuple((night, tuple(sorted(versions[night]))) for night in sorted(versions, reverse=True)[:limit])


def recall(source: Source, night: str, version: int | None = None) -> Recall:
    """Which models a drop touched, in which ways, and whether one of them serves.

    Args:
      night: of the drop, `YYYY-MM-DD`.
      version: of the drop; None for all.

    Raises:
      UnknownError: no run used such a drop.
    """
    with open_lineage(source) as reader:
        using = {
            artifact: drop["version"]
            for artifact, value in reader.rows(
                "SELECT p.artifact_id, p.string_value FROM artifactproperty p JOIN artifact a ON a.id = p.artifact_id "
                "AND a.type_id IN :types WHERE p.name = :name AND p.is_custom_property",
                types=reader.types("Examples"),
                name=f"{reader.names.drop}{night}",
            )
            if (drop := read_drop(value))
        }
        versions = tuple(sorted(set(using.values())))
        if not versions or version not in (None, *versions):
            raise UnknownError(_explain(reader, night, version, versions))
        chosen = {artifact: one for artifact, one in using.items() if version in (None, one)}
        steps = find_downstream(reader, list(chosen))
        kinds = _kinds(reader, {target for _, target in steps})
        ways = _walk(reader, chosen, steps, kinds)
        models = summarise(reader, [artifact for artifact, kind in kinds.items() if kind == "Model"])
        paths = {
            identity: {way: ways[identity, way] for way in _WAYS if (identity, way) in ways} for identity in models
        }
        judged = _judged_against(reader, list(models))
        others = summarise(reader, [candidate for candidate in judged if candidate not in models])
        for candidate, champion in judged.items():
            if candidate in models or candidate in others:
                [first, *_] = paths[champion].values()
                paths.setdefault(candidate, {})["judged-against"] = (*first, candidate)
        touched = models | others
        nodes = _nodes(
            reader, {artifact for own in paths.values() for path in own.values() for artifact in path}, touched
        )
        now = serving_version(reader)
        tainted = {number for model in models.values() for number in model.versions}
        good = newest_push(reader, rollbacks(reader), without=tainted)
        return Recall(
            night,
            version,
            versions,
            tuple(
                Taint(
                    model,
                    {
                        way: (drop_node(night, chosen[path[0]]), *(nodes[artifact] for artifact in path))
                        for way, path in paths[model.id].items()
                    },
                    tuple(sorted({chosen[path[0]] for path in paths[model.id].values()})),
                    now is not None and now.model_id == model.id,
                )
                for model in sorted(touched.values(), key=lambda model: (model.night, model.id), reverse=True)
            ),
            now,
            now is not None and now.model_id in models,
            good.version if good else None,
        )


_WAYS: tuple[Way, ...] = ("trained-on", "vocabulary", "tuned-on")


def _explain(reader: Reader, night: str, version: int | None, versions: tuple[int, ...]) -> str:
    if versions:
        return f"no run used version {version} of the drop of night {night}; versions {versions} were used"
    nights = [nights for nights, _ in drops(reader)]
    return f"no run used a drop of night {night}; " + (
        f"lineage knows {len(nights)} drops, {nights[-1]} to {nights[0]}" if nights else "lineage knows no drop"
    )


def _kinds(reader: Reader, artifacts: Collection[int]) -> dict[int, str]:
    rows = reader.rows("SELECT id, type_id FROM artifact WHERE id IN :artifacts", artifacts=artifacts)
    return {identity: reader.type_name(kind) for identity, kind in rows}


def _walk(
    reader: Reader, start: Iterable[int], steps: Iterable[tuple[int, int]], kinds: Mapping[int, str]
) -> dict[tuple[int, Way], tuple[int, ...]]:
    """The shortest path to each artifact for each way: what it last passed of vocabularies and hyperparameters."""
    after: dict[int, list[int]] = {}
    for source, target in steps:
        after.setdefault(source, []).append(target)
    named: dict[str, Way] = dict.fromkeys(reader.names.vocabulary, "vocabulary")
    named |= dict.fromkeys(reader.names.tuning, "tuned-on")
    first: list[tuple[int, Way]] = [(artifact, "trained-on") for artifact in sorted(start)]
    paths: dict[tuple[int, Way], tuple[int, ...]] = {key: (key[0],) for key in first}
    waiting = deque(first)
    while waiting:
        artifact, way = waiting.popleft()
        for target in after.get(artifact, ()):
            key = (target, named.get(kinds[target], way))
            if key not in paths:
                paths[key] = (*paths[artifact, way], target)
                waiting.append(key)
    return paths


def _judged_against(reader: Reader, champions: Collection[int]) -> dict[int, int]:
    """The candidates that were compared with some models, each with the last of those that it was."""
    rows = reader.rows(
        "SELECT c.artifact_id, b.artifact_id FROM event b JOIN eventpath bk ON bk.event_id = b.id "
        "AND NOT bk.is_index_step AND bk.step_key IN :baseline "
        "JOIN execution e ON e.id = b.execution_id AND e.last_known_state = :complete AND NOT e.type_id IN :resolvers "
        "JOIN event c ON c.execution_id = e.id AND c.type = :input "
        "JOIN eventpath ck ON ck.event_id = c.id AND NOT ck.is_index_step AND NOT ck.step_key IN :baseline "
        "JOIN artifact a ON a.id = c.artifact_id AND a.type_id IN :types "
        "WHERE b.artifact_id IN :champions AND b.type = :input ORDER BY e.id",
        baseline=reader.names.baseline,
        complete=COMPLETE,
        resolvers=reader.types(RESOLVER),
        input=INPUT,
        types=reader.types("Model"),
        champions=champions,
    )
    return dict(rows)


def _nodes(reader: Reader, artifacts: Collection[int], models: Mapping[int, ModelSummary]) -> dict[int, Node]:
    makers = find_makers(reader, artifacts)
    attempts = read_executions(reader, makers)
    links = read_links(reader, executions=makers) if makers else []
    made_by = {link.artifact_id: attempts[link.execution_id] for link in links if link.is_output}
    nights = {model.run_id: model.night for model in models.values()}
    return {
        identity: artifact_node(reader, artifact, made_by.get(identity), nights)
        for identity, artifact in read_artifacts(reader, artifacts).items()
    }
