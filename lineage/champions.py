"""Pushes and rollbacks: which version serves, which was champion as of a night, what served when."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from headlines.names import MODEL_ID, PUSHED, PUSHED_VERSION, ROLLBACK_TYPE
from headlines.pushes.champion import Rollback, choose_champion, find_withdrawn
from lineage.reader import Reader, Source, open_lineage
from lineage.reading import COMPLETE, INPUT, OUTPUT, RECORDED, RESOLVER, moment, read_artifacts
from lineage.records import Reign
from lineage.runs import NEVER

_LOOK_AT = 40


@dataclass(frozen=True)
class Push:
    """One record that a model was published; a rerun that made the same model records the same version again."""

    id: int
    version: int
    at: datetime


def rollbacks(source: Source) -> tuple[Rollback, ...]:
    """Every rollback, oldest first."""
    with open_lineage(source) as reader:
        ids = reader.column(
            "SELECT id FROM artifact a WHERE type_id IN :types AND state IN :recorded AND EXISTS (SELECT 1 FROM "
            "attribution p WHERE p.artifact_id = a.id AND p.context_id IN :pipelines) ORDER BY id",
            types=reader.types(ROLLBACK_TYPE),
            recorded=RECORDED,
            pipelines=reader.pipelines,
        )
        artifacts = read_artifacts(reader, ids)
    return tuple(Rollback.from_properties(artifact.id, artifact.properties) for artifact in artifacts.values())


def pushed_versions(source: Source) -> dict[int, bool]:
    """Every version that was ever pushed, the greatest first, each with whether a rollback withdrew it."""
    with open_lineage(source) as reader:
        withdrawn = find_withdrawn(rollbacks(reader))
        versions = {push.version for push in _greatest(reader, None)}
    return {version: version in withdrawn for version in sorted(versions, reverse=True)}


def serving_version(source: Source) -> Reign | None:
    """What serves now and since when, and nothing about where it comes from; None before the first push."""
    with open_lineage(source) as reader:
        return _reign(reader, rollbacks(reader))


def champion_as_of(source: Source, night: str) -> Reign | None:
    """What a run for a night is compared with; None before the first push.

    The night's own push does not count, nor do those of later nights; a rollback counts from the night it names.
    """
    with open_lineage(source) as reader:
        # Another pipeline may not say which night a model is for.
        return _reign(reader, rollbacks(reader), date.fromisoformat(night)) if night else None


def reigns(source: Source, limit: int | None = None) -> tuple[Reign, ...]:
    """What served when, newest first; a backfill that pushed an older night than what served then is no reign."""
    with open_lineage(source) as reader:
        returned = rollbacks(reader)
        # Whether a version came to serve depends on greater ones only, and on those that were returned to.
        back = [push for one in returned for push in pushes_of(reader, one.to_version)]
        count = None if limit is None else limit + len(find_withdrawn(returned)) + 1
        successions = _sweep(returned, [*_greatest(reader, count), *back])
        while limit is not None and count is not None and len(successions) <= limit and count < _count_pushes(reader):
            count *= 4
            successions = _sweep(returned, [*_greatest(reader, count), *back])
        shown = successions if limit is None else successions[-limit:]
        models = models_of_versions(reader, {version for version, _, _ in shown})
    ends = [*(since for _, since, _ in successions[1:]), None][: len(successions)]
    return tuple(
        Reign(version, *models.get(version, (None, "")), since, until, rollback)
        for (version, since, rollback), until in list(zip(successions, ends, strict=True))[::-1][:limit]
    )


def _sweep(returned: Iterable[Rollback], pushes: Iterable[Push]) -> list[tuple[int, datetime, Rollback | None]]:
    """What came to serve, when, and by which rollback if by one, oldest first."""
    first_pushes = {push.version: push for push in sorted(pushes, key=lambda push: -push.id)}
    events: list[Rollback | Push] = [*returned, *first_pushes.values()]
    successions: list[tuple[int, datetime, Rollback | None]] = []
    pushed: set[int] = set()
    heeded: list[Rollback] = []
    for event in sorted(events, key=lambda event: event.id):
        if isinstance(event, Rollback):
            heeded.append(event)
        else:
            pushed.add(event.version)
        serving = choose_champion(pushed, heeded)
        rollback = event if isinstance(event, Rollback) else None
        if serving is not None and (rollback or not successions or serving != successions[-1][0]):
            successions.append((serving, event.at, rollback))
    return successions


def _reign(reader: Reader, returned: Sequence[Rollback], night: date | None = None) -> Reign | None:
    champion = newest_push(reader, returned, night)
    if champion is None:
        return None
    model, own_night = models_of_versions(reader, [champion.version])[champion.version]
    first = min(pushes_of(reader, champion.version), key=lambda push: push.id)
    heeded = (one for one in reversed(returned) if one.counts_for(night))
    back = next((one for one in heeded if one.to_version == champion.version), None)
    return Reign(champion.version, model, own_night, back.at if back else first.at, None, back)


def newest_push(
    reader: Reader, returned: Iterable[Rollback], night: date | None = None, without: Collection[int] = ()
) -> Push | None:
    """The push that made the champion.

    Args:
      returned: all rollbacks.
      night: whose champion; None for what serves now.
      without: versions that are left out.
    """
    # In steps, for a planner cannot know that one of the first few will do. Versions have as many digits as each other,
    # so that their order as text is their order, and the order of their nights.
    name, last = (PUSHED_VERSION, NEVER) if night is None else (reader.names.night, night.isoformat())
    offset = 0
    while True:
        ids = reader.column(
            "SELECT artifact_id FROM artifactproperty WHERE name = :name AND is_custom_property "
            "AND string_value < :last ORDER BY string_value DESC LIMIT :rows OFFSET :offset",
            name=name,
            last=last,
            rows=_LOOK_AT,
            offset=offset,
        )
        pushes = {push.version: push for push in _read_pushes(reader, ids)}
        champion = choose_champion(pushes.keys() - set(without), returned, night)
        if champion or not ids:
            return pushes[champion] if champion else None
        offset += len(ids)


def _greatest(reader: Reader, count: int | None) -> list[Push]:
    ids = reader.column(
        f"SELECT artifact_id FROM artifactproperty WHERE name = '{PUSHED_VERSION}' AND is_custom_property "
        "ORDER BY string_value DESC" + (" LIMIT :count" if count is not None else ""),
        count=count,
    )
    return _read_pushes(reader, ids)


def _count_pushes(reader: Reader) -> int:
    [count] = reader.column(
        f"SELECT count(*) FROM artifactproperty WHERE name = '{PUSHED_VERSION}' AND is_custom_property"
    )
    return int(count)


def pushes_of(reader: Reader, version: int) -> list[Push]:
    """The records of pushes of a version."""
    ids = reader.column(
        f"SELECT artifact_id FROM artifactproperty WHERE name = '{PUSHED_VERSION}' AND is_custom_property "
        "AND string_value = :version",
        version=str(version),
    )
    return _read_pushes(reader, ids)


def _read_pushes(reader: Reader, artifacts: Collection[int]) -> list[Push]:
    """Those of some artifacts that say that a model of the pipeline was published, as a version that is a number."""
    rows = reader.rows(
        "SELECT a.id, v.string_value, a.create_time_since_epoch FROM artifact a "
        f"JOIN artifactproperty yes ON yes.artifact_id = a.id AND yes.name = '{PUSHED}' AND yes.int_value = 1 "
        f"JOIN artifactproperty v ON v.artifact_id = a.id AND v.name = '{PUSHED_VERSION}' AND v.is_custom_property "
        "WHERE a.id IN :artifacts AND a.state IN :recorded AND a.type_id IN :types "
        "AND EXISTS (SELECT 1 FROM attribution p WHERE p.artifact_id = a.id AND p.context_id IN :pipelines) "
        "ORDER BY a.id",
        artifacts=artifacts,
        recorded=RECORDED,
        types=reader.types("PushedModel"),
        pipelines=reader.pipelines,
    )
    return [Push(identity, int(number), moment(created)) for identity, number, created in rows if number.isdecimal()]


def models_of_versions(reader: Reader, versions: Iterable[int]) -> dict[int, tuple[int | None, str]]:
    """Of each pushed version the model and the night that it was trained for; the latest record tells."""
    numbers = list(map(str, versions))
    rows = reader.rows(
        "SELECT v.string_value, v.artifact_id, m.int_value, n.string_value FROM artifactproperty v "
        "JOIN artifact a ON a.id = v.artifact_id AND a.state IN :recorded AND a.type_id IN :types "
        f"LEFT JOIN artifactproperty m ON m.artifact_id = a.id AND m.name = '{MODEL_ID}' AND m.is_custom_property "
        "LEFT JOIN artifactproperty n ON n.artifact_id = a.id AND n.name = :night AND n.is_custom_property "
        f"WHERE v.name = '{PUSHED_VERSION}' AND v.is_custom_property AND v.string_value IN :numbers "
        "AND EXISTS (SELECT 1 FROM attribution p WHERE p.artifact_id = a.id AND p.context_id IN :pipelines) "
        "ORDER BY v.artifact_id",
        recorded=RECORDED,
        types=reader.types("PushedModel"),
        night=reader.names.night,
        numbers=numbers,
        pipelines=reader.pipelines,
    )
    # A stock Pusher does not say what it pushed, but took it.
    silent = [push for _, push, model, _ in rows if model is None]
    inputs = _input_models(reader, silent) if silent else {}
    return {int(version): (model or inputs.get(push), night or "") for version, push, model, night in rows}


def _input_models(reader: Reader, pushes: list[int]) -> dict[int, int]:
    rows = reader.rows(
        "SELECT o.artifact_id, i.artifact_id FROM event o JOIN execution e ON e.id = o.execution_id "
        "AND NOT e.type_id IN :resolvers JOIN event i ON i.execution_id = e.id AND i.type = :input "
        "JOIN artifact m ON m.id = i.artifact_id AND m.type_id IN :types "
        "WHERE o.artifact_id IN :pushes AND o.type = :output",
        resolvers=reader.types(RESOLVER),
        input=INPUT,
        output=OUTPUT,
        types=reader.types("Model"),
        pushes=pushes,
    )
    return dict(rows)


def versions_of_models(reader: Reader, models: Collection[int]) -> dict[int, tuple[int, ...]]:
    """The versions under which models were pushed, in order; models that never were are left out."""
    rows = reader.rows(
        "SELECT DISTINCT i.artifact_id, v.string_value FROM event i JOIN execution e ON e.id = i.execution_id "
        "AND e.last_known_state = :complete AND NOT e.type_id IN :resolvers "
        "JOIN event o ON o.execution_id = e.id AND o.type = :output "
        "JOIN artifact a ON a.id = o.artifact_id AND a.state IN :recorded AND a.type_id IN :types "
        f"JOIN artifactproperty yes ON yes.artifact_id = a.id AND yes.name = '{PUSHED}' AND yes.int_value = 1 "
        f"JOIN artifactproperty v ON v.artifact_id = a.id AND v.name = '{PUSHED_VERSION}' AND v.is_custom_property "
        "WHERE i.artifact_id IN :models AND i.type = :input",
        complete=COMPLETE,
        resolvers=reader.types(RESOLVER),
        output=OUTPUT,
        recorded=RECORDED,
        types=reader.types("PushedModel"),
        models=models,
        input=INPUT,
    )
    versions_of: dict[int, set[int]] = {}
    for model, version in rows:
        if version.isdecimal():
            versions_of.setdefault(model, set()).add(int(version))
    return {model: tuple(sorted(versions)) for model, versions in versions_of.items()}
