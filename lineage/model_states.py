"""What became of each model, in one word: the same one in a list, on a page and for the command."""

from collections.abc import Collection, Mapping

from headlines import names
from headlines.pushes.champion import find_withdrawn
from lineage import reading
from lineage.champions import rollbacks
from lineage.paths import find_makers
from lineage.reader import Reader
from lineage.records import ModelState, Reign
from lineage.runs import Run, report_runs


def find_states(
    reader: Reader, models: Collection[int], pushes: Mapping[int, tuple[int, ...] | None], serving: Reign | None
) -> dict[int, ModelState]:
    """What became of models, by id.

    Args:
      reader: of lineage.
      models: their ids.
      pushes: of the models, from `find_pushes`.
      serving: what serves now.
    """
    withdrawn = find_withdrawn(rollbacks(reader))
    states: dict[int, ModelState] = {}
    for model in models:
        if serving and serving.model_id == model:
            states[model] = "serving"
        elif (versions := pushes.get(model)) is not None:
            states[model] = "withdrawn" if versions and set(versions) <= withdrawn.keys() else "pushed"
        elif model in pushes:
            states[model] = "refused"
    # Of what no Pusher has said anything, its run tells.
    undecided = [model for model in models if model not in states]
    return states | _ask_runs(reader, undecided)


def find_pushes(reader: Reader, models: Collection[int]) -> dict[int, tuple[int, ...] | None]:
    """The versions under which models were pushed, in order; None of one that was refused.

    A push by another's Pusher may name no version. Models of which no Pusher has recorded anything are left out.
    """
    artifacts = _find_push_artifacts(reader, models)
    said = reading.read_properties(reader, [push for _, push in artifacts], [names.PUSHED, names.PUSHED_VERSION])
    versions: dict[int, set[int] | None] = {}
    for model, push in artifacts:
        own = said.get(push, {})
        if own.get(names.PUSHED) == "1":
            version = own.get(names.PUSHED_VERSION, "")
            versions[model] = (versions.get(model) or set()) | ({int(version)} if version.isdecimal() else set())
        elif names.PUSHED in own:
            versions.setdefault(model, None)
    return {model: None if own is None else tuple(sorted(own)) for model, own in versions.items()}


def _find_push_artifacts(reader: Reader, models: Collection[int]) -> list[tuple[int, int]]:
    """Models with what Pushers recorded of them, oldest first."""
    return reader.rows(
        "SELECT DISTINCT i.artifact_id, a.id FROM event i "
        "JOIN execution e ON e.id = i.execution_id AND e.last_known_state IN :finished AND NOT e.type_id IN :resolvers "
        "JOIN event o ON o.execution_id = e.id AND o.type = :output "
        "JOIN artifact a ON a.id = o.artifact_id AND a.state IN :recorded AND a.type_id IN :types "
        "WHERE i.artifact_id IN :models AND i.type = :input ORDER BY a.id",
        finished=[reading.COMPLETE, reading.CACHED],
        resolvers=reader.types(reading.RESOLVER),
        input=reading.INPUT,
        output=reading.OUTPUT,
        recorded=reading.RECORDED,
        types=reader.types("PushedModel"),
        models=models,
    )


def find_blessings(reader: Reader, models: Collection[int]) -> dict[int, int]:
    """Of models their verdicts, both as artifact ids: what the last evaluator to judge a model as a candidate said."""
    return dict(
        reader.rows(
            "SELECT i.artifact_id, b.id FROM event i JOIN eventpath k ON k.event_id = i.id AND NOT k.is_index_step "
            "AND NOT k.step_key IN :baseline JOIN event o ON o.execution_id = i.execution_id AND o.type = :output "
            "JOIN artifact b ON b.id = o.artifact_id AND b.state IN :recorded AND b.type_id IN :types "
            "WHERE i.artifact_id IN :models AND i.type = :input ORDER BY b.id",
            baseline=reader.names.baseline,
            input=reading.INPUT,
            output=reading.OUTPUT,
            recorded=reading.RECORDED,
            types=reader.types("ModelBlessing"),
            models=models,
        )
    )


def find_reasons(reader: Reader, models: Collection[int]) -> dict[int, str]:
    """Of models why they were pushed or not, in words: what the newest push says, else what the verdict does."""
    blessings = find_blessings(reader, models)
    judged = reading.read_properties(reader, list(blessings.values()), [names.REASON])
    artifacts = _find_push_artifacts(reader, models)
    pushed = reading.read_properties(reader, [push for _, push in artifacts], [names.REASON])
    reasons = {model: judged.get(blessing, {}).get(names.REASON, "") for model, blessing in blessings.items()}
    return reasons | {
        model: pushed[push][names.REASON] for model, push in artifacts if any(pushed.get(push, {}).values())
    }


def _ask_runs(reader: Reader, models: Collection[int]) -> dict[int, ModelState]:
    if not models:
        return {}
    makers = find_makers(reader, models)
    made_by = {
        link.artifact_id: link.execution_id
        for link in reading.read_links(reader, executions=makers)
        if link.is_output and link.artifact_id in models
    }
    prefix = f"{reader.names.pipeline}."
    runs = {
        execution: Run(context, name.removeprefix(prefix), "")
        for execution, context, name in reader.rows(
            "SELECT s.execution_id, c.id, c.name FROM association s JOIN context c ON c.id = s.context_id "
            "AND c.type_id IN :types WHERE s.execution_id IN :makers",
            types=reader.run_types,
            makers=makers,
        )
    }
    chosen = {run.context_id: run for run in runs.values()}
    reports = dict(zip(chosen, report_runs(reader, chosen.values()), strict=True))
    states: dict[int, ModelState] = {}
    for model in models:
        run = runs.get(made_by.get(model, 0))
        report = reports[run.context_id] if run else None
        states[model] = report.state if report and report.model_id == model else "superseded"
    return states
