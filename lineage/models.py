"""Models: which there are, what each was trained on and came to, and where what serves now comes from."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import date, timedelta

from headlines import names
from headlines.bar.checks import split
from headlines.objects.addresses import to_path
from lineage import reading
from lineage.champions import champion_as_of, models_of_versions, pushes_of, reigns, serving_version, versions_of_models
from lineage.model_states import find_blessings, find_pushes, find_reasons, find_states
from lineage.notes import notes
from lineage.paths import build_graph, find_makers, find_upstream
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.records import ArtifactRecord, DropFile, DropUse, Graph, ModelDetail, ModelSummary, NightReport, Serving
from lineage.runs import find_run, read_checks, read_floats, run_report, runs_of_night

_ORIGIN = ("code", "settings", "data")


def models(source: Source, limit: int | None = 100) -> tuple[ModelSummary, ...]:
    """The models of the pipeline, newest first."""
    with open_lineage(source) as reader:
        ids = find_ids(reader, limit)
        return tuple(sorted(summarise(reader, ids).values(), key=lambda model: -model.id))


def find_ids(reader: Reader, limit: int | None = None) -> list[int]:
    """The ids of the models of the pipeline, newest first."""
    return reader.column(
        "SELECT a.id FROM artifact a WHERE a.type_id IN :types AND a.state IN :recorded AND EXISTS (SELECT 1 FROM "
        "attribution p WHERE p.artifact_id = a.id AND p.context_id IN :pipelines) ORDER BY a.id DESC"
        + (" LIMIT :rows" if limit else ""),
        types=reader.types("Model"),
        recorded=reading.RECORDED,
        pipelines=reader.pipelines,
        rows=limit,
    )


def summarise(reader: Reader, ids: Collection[int]) -> dict[int, ModelSummary]:
    """Models by id, in no order; what the pipeline's trainer did not make is left out."""
    artifacts = reading.read_artifacts(reader, ids)
    makers = find_makers(reader, ids)
    places = reading.read_places(reader, makers)
    made_by = {
        link.artifact_id: places.get(link.execution_id, ("", "", ""))
        for link in (reading.read_links(reader, executions=makers) if makers else [])
        if link.is_output
    }
    versions = versions_of_models(reader, ids)
    nights = {identity: artifact.properties.get(reader.names.night, "") for identity, artifact in artifacts.items()}
    summaries = {}
    for identity, artifact in artifacts.items():
        pipeline, run_id, node = made_by.get(identity, ("", "", ""))
        if artifact.type == "Model" and pipeline == reader.names.pipeline and node == reader.names.trainer:
            night = nights[identity] or _night_of(reader, run_id)
            summaries[identity] = ModelSummary(
                identity, night, run_id, artifact.uri, versions.get(identity, ()), artifact.removal
            )
    return summaries


def _night_of(reader: Reader, run_id: str) -> str:
    run = find_run(reader, reading.find_executions(reader, run_id))
    return run.night if run else ""


def find_model(source: Source, name: str) -> ModelSummary:
    """The model that a person means.

    Args:
      name: a pushed version such as `2022020201`, a night such as `2022-02-02` (the model of its newest run that made
        one), or `#` and MLMD's id of the artifact.

    Raises:
      UnknownError: there is no such model.
    """
    with open_lineage(source) as reader:
        identity: int | None = None
        # Python reads no number of thousands of digits, and none has so many.
        is_number = name.removeprefix("#").isdecimal() and len(name) < 20
        if is_number and name.startswith("#"):
            identity = int(name[1:])
        elif is_number:
            identity, _ = models_of_versions(reader, [int(name)]).get(int(name), (None, ""))
        else:
            model_ids = [report.model_id for report in runs_of_night(reader, name) if report.model_id is not None]
            identity = model_ids[-1] if model_ids else None
        summaries = summarise(reader, [identity]) if identity is not None else {}
        if not summaries:
            newest = [f"{name_model(model)} of {tell_occasion(model)}" for model in models(reader, 5)]
            run_first = ": run a night first" if reader.names.pipeline == names.NIGHTLY_DAG else ""
            raise UnknownError(
                f"lineage knows no model {name!r} of {reader.names.pipeline}; a model is named by its version, its "
                "night (2022-02-02) or '#<id in MLMD>'; "
                + (f"the newest are {', '.join(newest)}" if newest else f"there is none yet{run_first}")
            )
        return summaries[identity or 0]


def name_model(model: ModelSummary) -> str:
    """What to call a model so that `find_model` finds it: its newest version, or its id."""
    return str(model.versions[-1]) if model.versions else f"#{model.id}"


def tell_occasion(model: ModelSummary) -> str:
    """What a model was made for: its night, or the run of a pipeline that has no nights."""
    return f"night {model.night}" if model.night else f"run {model.run_id}"


def drops_of_model(source: Source, model: str) -> tuple[DropUse, ...]:
    """Which drops trained a model, in which version, with their row counts, files and hashes; oldest first.

    Args:
      model: as `find_model` takes it.

    Raises:
      UnknownError: there is no such model.
    """
    with open_lineage(source) as reader:
        return _drops_of(reader, find_model(reader, model).id)


def _drops_of(reader: Reader, model: int) -> tuple[DropUse, ...]:
    # What tuned the model did not train it.
    behind = reading.read_artifacts(reader, find_upstream(reader, [model], without=reader.names.tuning))
    uses = {}
    for artifact in behind.values():
        for use in read_drops(artifact, reader.names.drop):
            uses[use.night, use.version] = use
    return tuple(uses[key] for key in sorted(uses))


def read_drops(examples: ArtifactRecord, prefix: str, with_files: bool = True) -> list[DropUse]:
    """The drops in examples, by night; their files are told by `drops.json` in the examples' folder."""
    drops = {
        name.removeprefix(prefix): drop
        for name, value in examples.properties.items()
        if name.startswith(prefix) and (drop := reading.read_drop(value))
    }
    path = to_path(examples.uri) / names.DROPS_FILE
    files = json.loads(path.read_text()) if drops and with_files and path.is_file() else {}
    return [
        DropUse(
            night,
            drop["version"],
            drop.get("sha256", ""),
            drop.get(names.ROWS_IN),
            drop.get(names.ROWS_USED),
            drop.get(names.ROWS_QUARANTINED),
            drop.get(names.DUPLICATES_FOLDED),
            tuple(
                DropFile(file["name"], file["rows"], file["sha256"]) for file in files.get(night, {}).get("files", ())
            ),
            tuple(files.get(night, {}).get(names.PASSED_OVER, ())),
            drop.get(names.LABEL_CODES, {}),
        )
        for night, drop in sorted(drops.items())
    ]


def path_back(source: Source, model: str, full: bool = False) -> Graph:
    """How a model came to be, from its drops to its push.

    Args:
      model: as `find_model` takes it.
      full: whether every execution and artifact is shown, or domain steps only.

    Raises:
      UnknownError: there is no such model.
    """
    with open_lineage(source) as reader:
        return _path_to(reader, find_model(reader, model).id, full)


def _path_to(reader: Reader, model: int, full: bool = False) -> Graph:
    pushes = reader.column(
        "SELECT DISTINCT o.artifact_id FROM event i JOIN eventpath k ON k.event_id = i.id AND NOT k.is_index_step "
        "AND NOT k.step_key IN :baseline JOIN event o ON o.execution_id = i.execution_id "
        "AND o.type = :output JOIN artifact a ON a.id = o.artifact_id AND a.state IN :recorded AND a.type_id IN :types "
        "WHERE i.artifact_id = :model AND i.type = :input",
        output=reading.OUTPUT,
        input=reading.INPUT,
        recorded=reading.RECORDED,
        # Refused, it has no push; its verdict is the end then.
        types=reader.types("PushedModel", "ModelBlessing"),
        baseline=reader.names.baseline,
        model=model,
    )
    behind = find_upstream(reader, [model, *pushes])
    return build_graph(reader, find_makers(reader, behind), full, only=behind)


def serving_now(source: Source) -> Serving | None:
    """What serves now, since when, and the path back to its drops; None before the first push."""
    with open_lineage(source) as reader:
        reign = serving_version(reader)
        if reign is None:
            return None
        before = reigns(reader, limit=2)[1:]
        identity = reign.model_id
        model = summarise(reader, [identity]).get(identity) if identity is not None else None
        push = max(pushes_of(reader, reign.version), key=lambda record: record.id)
        properties = reading.read_artifacts(reader, [push.id])[push.id].properties
        return Serving(
            reign.version,
            reign.night or (model.night if model else ""),
            reign.since,
            model,
            properties.get(names.PUSHED_DESTINATION, ""),
            properties.get(names.REASON, ""),
            reign.rollback,
            before[0] if before else None,
            _drops_of(reader, model.id) if model else (),
            _path_to(reader, model.id) if model else Graph((), ()),
        )


def model_detail(source: Source, model: str) -> ModelDetail:
    """Everything about a model: its verdict with reasons, its metrics beside the others', champions, where its card is.

    Args:
      model: as `find_model` takes it.

    Raises:
      UnknownError: there is no such model.
    """
    with open_lineage(source) as reader:
        summary = find_model(reader, model)
        report = run_report(reader, summary.run_id)
        artifacts = reading.artifacts_of_run(reader, summary.run_id).outputs
        properties = reading.read_artifacts(reader, [summary.id])[summary.id].properties
        blessing = _verdict_of(reader, summary.id)
        if report.model_id != summary.id:
            report = _report_superseded(reader, report, summary, blessing)
            behind = set(find_upstream(reader, [summary.id]))
            artifacts = {place: artifact for place, artifact in artifacts.items() if artifact.id in behind}
        before, after = (champion_as_of(reader, night) for night in (summary.night, next_night(summary.night)))
        now = serving_version(reader)
        examples = artifacts.get((reader.names.example_gen, "examples"))
        scores = [artifact.properties for artifact in artifacts.values() if artifact.type in reader.names.scores]
        return ModelDetail(
            model=summary,
            report=report,
            state=find_states(reader, [summary.id], find_pushes(reader, [summary.id]), now)[summary.id],
            properties=properties,
            origin={
                name: value
                for name, value in sorted(properties.items())
                if name in _ORIGIN or name.startswith(names.LIBRARY_PREFIX)
            },
            champion_before=before.version if before else None,
            champion_after=after.version if after else None,
            metrics=read_floats(blessing, names.METRIC_PREFIX),
            champion_metrics=read_floats(blessing, names.CHAMPION_METRIC_PREFIX),
            lr_metrics=read_floats(blessing, names.LR_METRIC_PREFIX),
            majority_metrics=read_floats(blessing, names.MAJORITY_METRIC_PREFIX),
            fresh={
                who: {name: value for one in [*scores, blessing] for name, value in read_floats(one, prefix).items()}
                for who, prefix in names.FRESH_METRIC_PREFIXES.items()
            },
            intervals=_intervals(report, artifacts.get((reader.names.evaluator, "evaluation"))),
            class_mix=reading.read_object(examples.properties.get(names.CLASSES)) if examples else {},
            drops=_drops_of(reader, summary.id),
            artifacts=artifacts,
            is_serving=now is not None and now.model_id == summary.id,
            notes=tuple(
                note
                for note in (notes(reader, summary.night, summary.night) if summary.night else ())
                if note.version in (None, *summary.versions)
            ),
        )


def _verdict_of(reader: Reader, model: int) -> dict[str, str]:
    blessing = find_blessings(reader, [model]).get(model)
    return {} if blessing is None else reading.read_artifacts(reader, [blessing])[blessing].properties


def _report_superseded(
    reader: Reader, report: NightReport, model: ModelSummary, blessing: dict[str, str]
) -> NightReport:
    """The report of a model whose run went on with another one, as after a clear: it tells this one's own verdict."""
    other = "without it" if report.model_id is None else f"with model #{report.model_id}"
    return replace(
        report,
        champion_version=blessing.get(names.CHAMPION_VERSION, ""),
        checks=read_checks(blessing),
        metrics=read_floats(blessing, names.METRIC_PREFIX),
        champion_metrics=read_floats(blessing, names.CHAMPION_METRIC_PREFIX),
        blessed=blessing[names.BLESSED] == "1" if names.BLESSED in blessing else None,
        reason=find_reasons(reader, [model.id]).get(model.id) or f"its run went on {other}",
        pushed_version=str(model.versions[-1]) if model.versions else None,
        error=None,
        failed_node=None,
    )


def _intervals(report: NightReport, evaluation: ArtifactRecord | None) -> dict[str, tuple[float, float]]:
    """The 95 % intervals that the checks and the evaluation's `verdict.json` tell.

    The checks tell them as they were judged by; one without width is none: a bootstrap of rows that all agree.
    """
    intervals: dict[str, tuple[float | None, float | None]] = {}
    path = to_path(evaluation.uri) / names.VERDICT_FILE if evaluation else None
    if path and path.is_file():
        intervals |= {name: tuple(ends) for name, ends in json.loads(path.read_text()).get("intervals", {}).items()}
    intervals |= {check.name: (check.low, check.high) for check in report.checks if check.low is not None}
    return {
        name: (low, high)
        for name, (low, high) in intervals.items()
        if low is not None and high is not None and (low < high or split(name)[1])
    }


def next_night(night: str) -> str:
    """The night after one."""
    return (date.fromisoformat(night) + timedelta(1)).isoformat() if night else ""
