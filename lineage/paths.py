"""How artifacts were made from each other: everything up to a drop, everything down from it, and graphs of both.

Resolver executions are no part of any path, a cached result belongs to the execution that made it, and an attempt that
failed made nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from headlines.names import PUSHED_VERSION
from lineage.reader import Reader
from lineage.reading import COMPLETE, INPUT, OUTPUT, RESOLVER, read_artifacts, read_drop, read_executions, read_links
from lineage.records import ArtifactRecord, Edge, ExecutionRecord, Graph, Node

JUDGED_AGAINST = "judged-against"
# Kind of a node, with which its key begins.
_DROP: Literal["drop"] = "drop"
# Forward: from what an execution took to what it made. Attempts that count no more are kept: what they made may serve.
# {near} and {far} are input and output, or the other way round.
_STEP = (
    "JOIN event {near} ON {near}.artifact_id = walk.artifact_id AND {near}.type = :{near} "
    "JOIN execution e ON e.id = {near}.execution_id AND e.last_known_state = :complete AND NOT e.type_id IN :resolvers "
    "JOIN event {far} ON {far}.execution_id = e.id AND {far}.type = :{far} "
    "JOIN eventpath k ON k.event_id = input.id AND NOT k.is_index_step AND NOT k.step_key IN :baseline"
)


def find_upstream(reader: Reader, artifacts: Collection[int], without: Collection[str] = ()) -> list[int]:
    """The artifacts that some were made from, they themselves included.

    What a model was only compared with is not followed, or every path would lead through all earlier champions.

    Args:
      artifacts: ids to begin with.
      without: further artifact types that are not looked behind, as scores never are.
    """
    return reader.column(
        "WITH RECURSIVE walk (artifact_id) AS (SELECT id FROM artifact WHERE id IN :artifacts UNION "
        "SELECT input.artifact_id FROM walk JOIN artifact a ON a.id = walk.artifact_id AND NOT a.type_id IN :without "
        f"{_STEP.format(near='output', far='input')}) SELECT artifact_id FROM walk",
        artifacts=artifacts,
        without=reader.types(*without, *reader.names.scores),
        **_parameters(reader),
    )


def find_downstream(reader: Reader, artifacts: Collection[int]) -> list[tuple[int, int]]:
    """How artifacts led to models: pairs of one and another that was made from it, in no order.

    What only says something of a model (a verdict, a score, a push) is left out.
    """
    step = _STEP.format(near="input", far="output") + (
        " JOIN artifact a ON a.id = output.artifact_id AND NOT a.type_id IN :ends"
    )
    rows = reader.rows(
        "WITH RECURSIVE walk (artifact_id) AS (SELECT id FROM artifact WHERE id IN :artifacts UNION "
        f"SELECT output.artifact_id FROM walk {step}) "
        f"SELECT DISTINCT input.artifact_id, output.artifact_id FROM walk {step}",
        artifacts=artifacts,
        ends=reader.types("ModelBlessing", "InfraBlessing", "PushedModel", *reader.names.scores),
        **_parameters(reader),
    )
    return [(source, target) for source, target in rows]


def _parameters(reader: Reader) -> dict[str, object]:
    return {
        "input": INPUT,
        "output": OUTPUT,
        "complete": COMPLETE,
        "resolvers": reader.types(RESOLVER),
        "baseline": reader.names.baseline,
    }


def find_makers(reader: Reader, artifacts: Collection[int]) -> list[int]:
    """The executions that made some artifacts, oldest first."""
    return reader.column(
        "SELECT DISTINCT e.id FROM event o JOIN execution e ON e.id = o.execution_id "
        "AND e.last_known_state = :complete AND NOT e.type_id IN :resolvers "
        "WHERE o.artifact_id IN :artifacts AND o.type = :output ORDER BY e.id",
        artifacts=artifacts,
        complete=COMPLETE,
        output=OUTPUT,
        resolvers=reader.types(RESOLVER),
    )


def build_graph(reader: Reader, executions: Collection[int], full: bool, only: Collection[int] | None = None) -> Graph:
    """The graph of some executions, what they took and what they made.

    Args:
      executions: not a resolver's.
      full: whether executions and every artifact are nodes; else only drops and the artifacts of `names.domain`, with
        an edge wherever one was made from the other.
      only: artifacts that are shown; None for all.
    """
    attempts = read_executions(reader, executions)
    links = [
        link
        for link in (read_links(reader, executions=executions) if executions else [])
        if only is None or link.artifact_id in only or link.key in reader.names.baseline
    ]
    artifacts = read_artifacts(reader, {link.artifact_id for link in links})
    nights = {
        attempt.run_id: attempt.properties[reader.names.night]
        for attempt in attempts.values()
        if reader.names.night in attempt.properties
    }
    makers = {link.artifact_id: attempts[link.execution_id] for link in links if link.is_output}
    nodes = {}
    edges = []
    for artifact in artifacts.values():
        maker = makers.get(artifact.id)
        nodes[f"artifact:{artifact.id}"] = artifact_node(reader, artifact, maker, nights)
        for drop in drop_nodes(reader, artifact):
            nodes[drop.key] = drop
            edges.append(Edge(drop.key, f"artifact:{artifact.id}", "drop"))
    for attempt in attempts.values():
        night = nights.get(attempt.run_id, "")
        nodes[f"execution:{attempt.id}"] = Node(
            f"execution:{attempt.id}", "execution", attempt.node or attempt.type.rpartition(".")[2],
            f"{attempt.node or attempt.type.rpartition('.')[2]} of {f'night {night}' if night else attempt.run_id}",
            night, attempt.run_id, attempt.state, is_domain=False,
        )  # fmt: skip
    for link in links:
        ends = (f"execution:{link.execution_id}", f"artifact:{link.artifact_id}")
        label = JUDGED_AGAINST if link.key in reader.names.baseline and not link.is_output else link.key
        edges.append(Edge(*(ends if link.is_output else ends[::-1]), label))
    ordered = sorted(nodes.values(), key=lambda node: (_ORDER[node.kind], node.night, node.id or 0))
    whole = Graph(tuple(ordered), tuple(dict.fromkeys(edges)))
    return whole if full else collapse(whole)


_ORDER = {"drop": 0, "artifact": 1, "execution": 1}


def artifact_node(
    reader: Reader, artifact: ArtifactRecord, maker: ExecutionRecord | None, nights: Mapping[str, str]
) -> Node:
    """An artifact as a node of a graph."""
    names = reader.names
    run_id = maker.run_id if maker else ""
    night = artifact.properties.get(names.night) or nights.get(run_id, "")
    is_domain = artifact.type in names.domain
    if artifact.type == "Examples":
        is_domain = any(name.startswith(names.drop) for name in artifact.properties) or (
            maker is not None and maker.node == names.example_gen
        )
    version = artifact.properties.get(PUSHED_VERSION)
    occasion = f"of night {night}" if night else f"of {run_id}" if run_id else str(artifact.id)
    label = f"version {version}" if version else f"{artifact.type} {occasion}"
    return Node(
        f"artifact:{artifact.id}", "artifact", artifact.type, label, night, run_id, artifact.state, is_domain=is_domain
    )


def drop_nodes(reader: Reader, artifact: ArtifactRecord) -> Iterable[Node]:
    """The drops in examples, as nodes of a graph, oldest first."""
    for name, value in sorted(artifact.properties.items()):
        if name.startswith(reader.names.drop) and (drop := read_drop(value)):
            yield drop_node(name.removeprefix(reader.names.drop), drop["version"])


def drop_node(night: str, version: int) -> Node:
    """A version of a drop as a node of a graph."""
    return Node(f"{_DROP}:{night}:{version}", _DROP, "drop", f"drop of {night}, version {version}", night)


def collapse(graph: Graph) -> Graph:
    """A graph of its domain nodes only, with an edge where a path through others led from one to the next."""
    nodes = {node.key: node for node in graph.nodes}
    after: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        after.setdefault(edge.source, []).append(edge)
    edges: dict[Edge, None] = {}
    for node in graph.nodes:
        if not node.is_domain:
            continue
        waiting, keys = [(edge, edge.label) for edge in after.get(node.key, [])], {node.key}
        while waiting:
            edge, label = waiting.pop()
            if nodes[edge.target].is_domain:
                edges[Edge(node.key, edge.target, label)] = None
            elif edge.target not in keys:
                keys.add(edge.target)
                waiting += [(following, label) for following in after.get(edge.target, [])]
    return Graph(tuple(node for node in graph.nodes if node.is_domain), tuple(edges))
