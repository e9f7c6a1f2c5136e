"""The pipelines that a database holds, and what the nodes of each are called."""

from collections.abc import Sequence

from lineage.pipeline_names import OURS, Names
from lineage.reader import Reader, Source, UnknownError, open_lineage
from lineage.reading import COMPLETE, OUTPUT, RECORDED, RESOLVER, moment, read_links, read_places
from lineage.records import PipelineSummary


def pipelines(source: Source) -> tuple[PipelineSummary, ...]:
    """The pipelines that the database holds, whoever ran them, the one that ran last first."""
    with open_lineage(source) as reader:
        contexts = dict(
            reader.rows("SELECT id, name FROM context WHERE type_id IN :types", types=reader.types("pipeline"))
        )
        runs = {
            pipeline: (count, newest)
            for pipeline, count, newest in reader.rows(
                "SELECT ours.context_id, count(DISTINCT c.id), max(e.create_time_since_epoch) FROM association ours "
                "JOIN execution e ON e.id = ours.execution_id JOIN association s ON s.execution_id = e.id "
                "JOIN context c ON c.id = s.context_id AND c.type_id IN :types "
                "WHERE ours.context_id IN :pipelines GROUP BY ours.context_id",
                types=reader.run_types,
                pipelines=list(contexts),
            )
        }
        models = dict(
            reader.rows(
                "SELECT ours.context_id, count(DISTINCT a.id) FROM association ours "
                "JOIN event o ON o.execution_id = ours.execution_id AND o.type = :output "
                "JOIN artifact a ON a.id = o.artifact_id AND a.type_id IN :types AND a.state IN :recorded "
                "JOIN execution e ON e.id = o.execution_id AND e.last_known_state = :complete "
                "AND NOT e.type_id IN :resolvers WHERE ours.context_id IN :pipelines GROUP BY ours.context_id",
                types=reader.types("Model"),
                output=OUTPUT,
                recorded=RECORDED,
                complete=COMPLETE,
                resolvers=reader.types(RESOLVER),
                pipelines=list(contexts),
            )
        )
    summaries = []
    for context, name in contexts.items():
        count, newest = runs.get(context, (0, None))
        summaries.append(PipelineSummary(name, count, models.get(context, 0), moment(newest) if newest else None))
    return tuple(sorted(summaries, key=lambda one: (one.newest is not None, one.newest, one.name), reverse=True))


def find_names(source: Source, pipeline: str | None = None) -> Names:
    """What the nodes of a pipeline are called, by what they made.

    Args:
      source: where it is.
      pipeline: None for our own or, where the database holds another one alone, that one.

    Raises:
      UnknownError: the database does not hold it, or holds several others than our own; the message names them.
    """
    with open_lineage(source) as reader:
        held = pipelines(reader)
        known = [one.name for one in held]
        chosen = pipeline or (known[0] if len(known) == 1 else OURS.pipeline)
        # An empty database is one in which ours has not been run yet.
        if chosen not in known and (pipeline or held):
            raise UnknownError(
                f"{reader.place} holds no pipeline {chosen}; "
                + (f"it holds {tell_pipelines(held)}: choose one with --pipeline NAME" if held else "it holds none yet")
            )
        return OURS if chosen == OURS.pipeline else _find_nodes(reader, chosen)


def tell_pipelines(held: Sequence[PipelineSummary]) -> str:
    """Pipelines in one line, with how many runs and models each has."""
    return ", ".join(f"{one.name} ({_count(one.runs, 'run')}, {_count(one.models, 'model')})" for one in held)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _find_nodes(reader: Reader, pipeline: str) -> Names:
    newest = reader.rows(
        "SELECT a.type_id, e.type_id, max(e.id) FROM context c JOIN association s ON s.context_id = c.id "
        "JOIN execution e ON e.id = s.execution_id AND e.last_known_state = :complete AND NOT e.type_id IN :resolvers "
        "JOIN event o ON o.execution_id = e.id AND o.type = :output "
        "JOIN artifact a ON a.id = o.artifact_id AND a.type_id IN :types "
        "WHERE c.name = :pipeline AND c.type_id IN :pipelines GROUP BY a.type_id, e.type_id ORDER BY 3 DESC",
        complete=COMPLETE,
        resolvers=reader.types(RESOLVER),
        output=OUTPUT,
        types=reader.types("Examples", "Model", "ModelBlessing", "PushedModel"),
        pipeline=pipeline,
        pipelines=reader.types("pipeline"),
    )
    executions = [execution for _, _, execution in newest]
    places = read_places(reader, executions)
    # Transform makes examples too, of others.
    taking = {link.execution_id for link in read_links(reader, executions=executions) if not link.is_output}
    makers: dict[str, list[str]] = {}
    for kind, _, execution in newest:
        made = reader.type_name(kind)
        node = places.get(execution, ("", "", ""))[2]
        if node and not (made == "Examples" and execution in taking):
            makers.setdefault(made, []).append(node)

    def choose(made: str, usual: str) -> str:
        nodes = makers.get(made, [usual])
        return usual if usual in nodes else nodes[0]

    return Names(
        pipeline=pipeline,
        sensor=None,
        example_gen=choose("Examples", OURS.example_gen),
        trainer=choose("Model", OURS.trainer),
        evaluator=choose("ModelBlessing", OURS.evaluator),
        pusher=choose("PushedModel", OURS.pusher or "") if "PushedModel" in makers else None,
    )
