"""Two models side by side: data, settings, code, libraries, metrics, class mix."""

from collections.abc import Mapping

from headlines.names import (
    ACCEPTED,
    ATTEMPT,
    ENDED,
    ERROR,
    EXECUTION_RESULT,
    HOST,
    LIBRARY_PREFIX,
    NIGHT,
    PID,
    PRECEDENTS,
    PROCESS_KEY,
    PROCESS_STARTED,
    SUPERSEDED_BY,
)
from lineage.models import model_detail
from lineage.reader import Reader, Source, open_lineage
from lineage.reading import find_executions, read_executions
from lineage.records import Comparison, Difference, ModelDetail
from lineage.same_rows import count_rows, pair_models

# Of each run its own; the rest of what a node was given is a setting.
_OWN = {"run_id", "state", "pipeline_name", "pipeline_root", "component_id", "fingerprint", NIGHT, ATTEMPT, HOST, PID,
        PROCESS_KEY, PROCESS_STARTED, ENDED, ERROR, EXECUTION_RESULT, SUPERSEDED_BY, PRECEDENTS, ACCEPTED}  # fmt: skip


def compare(source: Source, a: str, b: str) -> Comparison:
    """Two models side by side, each named as `find_model` takes it.

    Raises:
      UnknownError: there is no such model.
    """
    with open_lineage(source) as reader:
        one, other = model_detail(reader, a), model_detail(reader, b)
        options, others = (_read_options(reader, model) for model in (one, other))
        evaluator = reader.names.evaluator
    sides = {
        "data": (_data(one), _data(other)),
        "settings": (_origin(one, "settings") | options, _origin(other, "settings") | others),
        "code": (_origin(one, "code"), _origin(other, "code")),
        "libraries": (_libraries(one), _libraries(other)),
    }
    # Known by what a run was given, whatever its night: what follows from the night is no setting.
    same = {name for name in options if _without_night(one, options[name]) == _without_night(other, others.get(name))}
    return Comparison(
        one,
        other,
        data=_differences(*sides["data"]),
        settings=tuple(difference for difference in _differences(*sides["settings"]) if difference.name not in same),
        code=_differences(*sides["code"]),
        libraries=_differences(*sides["libraries"]),
        recorded={name: (bool(a_side), bool(b_side)) for name, (a_side, b_side) in sides.items()},
        metrics={
            name: (one.metrics.get(name), other.metrics.get(name)) for name in sorted(one.metrics | other.metrics)
        },
        rows=(count_rows(one), count_rows(other)),
        paired=pair_models(one, other, evaluator),
        class_mix={
            label: (_share(one.class_mix, label), _share(other.class_mix, label))
            for label in sorted(one.class_mix | other.class_mix)
        },
    )


def _differences(a: Mapping[str, str], b: Mapping[str, str]) -> tuple[Difference, ...]:
    return tuple(Difference(name, a.get(name), b.get(name)) for name in sorted({*a, *b}) if a.get(name) != b.get(name))


def _data(model: ModelDetail) -> dict[str, str]:
    return {drop.night: f"version {drop.version} ({drop.sha256[:8]})" for drop in model.drops}


def _origin(model: ModelDetail, name: str) -> dict[str, str]:
    return {name: model.origin[name]} if name in model.origin else {}


def _libraries(model: ModelDetail) -> dict[str, str]:
    prefix = LIBRARY_PREFIX
    return {name.removeprefix(prefix): value for name, value in model.origin.items() if name.startswith(prefix)}


def _read_options(reader: Reader, model: ModelDetail) -> dict[str, str]:
    """What the nodes of a model's run were given, by `node.property`."""
    return {
        f"{attempt.node}.{name}": value
        for attempt in read_executions(reader, find_executions(reader, model.model.run_id)).values()
        if attempt.counts
        for name, value in attempt.properties.items()
        if name not in _OWN
    }


def _without_night(model: ModelDetail, value: str | None) -> str | None:
    """A value that a run was given, with its own night and its run id out of it."""
    night, run_id = model.model.night, model.model.run_id
    for own in filter(None, (run_id, night, night.replace("-", ""))):
        value = value.replace(own, "") if value is not None else None
    return value


def _share(mix: Mapping[str, int], label: str) -> float | None:
    total = sum(mix.values())
    return mix.get(label, 0) / total if total else None
