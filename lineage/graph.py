"""The lineage of whole nights as a graph, and any graph in Graphviz's language."""

from lineage.calendar import calendar
from lineage.paths import build_graph
from lineage.reader import Source, UnknownError, open_lineage
from lineage.reading import CACHED, COMPLETE, RESOLVER
from lineage.records import Graph
from lineage.runs import find_newest_runs, find_runs, tell_nights

_SHAPES = {"drop": "folder", "artifact": "box", "execution": "ellipse"}


def graph(source: Source, night: str | None = None, full: bool = False, limit: int = 5) -> Graph:
    """The lineage of a night, or of the newest ones: from drops to pushes; of the newest runs without nights.

    Args:
      night: `YYYY-MM-DD`; None for the newest.
      full: whether every execution and artifact is shown, or domain steps only.
      limit: how many nights or runs, without `night`.

    Raises:
      UnknownError: the night was never run, or has recorded nothing.
    """
    with open_lineage(source) as reader:
        if night:
            runs = find_runs(reader, night, night)
        else:
            runs = find_runs(reader, newest=limit) or find_newest_runs(reader, limit)
        if night and not runs:
            summary = next(iter(calendar(reader, night, night)), None)
            if summary and summary.run_id:
                raise UnknownError(f"night {night} has recorded nothing; it is {summary.state}: {summary.reason}")
            raise UnknownError(f"night {night} was never run; {tell_nights(reader)}")
        # A cached attempt made nothing: whoever made it is shown, even of another night.
        executions = reader.column(
            "SELECT DISTINCT e.id FROM association s JOIN execution e ON e.id = s.execution_id "
            "AND e.last_known_state IN :finished AND NOT e.type_id IN :resolvers WHERE s.context_id IN :runs",
            finished=[COMPLETE, CACHED],
            resolvers=reader.types(RESOLVER),
            runs=[run.context_id for run in runs],
        )
        return build_graph(reader, executions, full)


def to_dot(shown: Graph) -> str:
    """A graph in Graphviz's language: `dot -Tsvg` draws it."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="Helvetica", fontsize=10];']
    lines += [f"  {_quote(node.key)} [label={_quote(node.label)}, shape={_SHAPES[node.kind]}];" for node in shown.nodes]
    lines += [f"  {_quote(edge.source)} -> {_quote(edge.target)} [label={_quote(edge.label)}];" for edge in shown.edges]
    return "\n".join([*lines, "}", ""])


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
