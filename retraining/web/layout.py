"""Where the nodes of a lineage graph are drawn: layers from the drops on, with few crossings."""

from collections import defaultdict
from dataclasses import dataclass

from lineage import Edge, Graph, Node

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 142, 44, 32, 16, 12
_SWEEPS = 4


@dataclass(frozen=True)
class Box:
    """A node with its upper left corner, in pixels."""

    node: Node
    x: int
    y: int


@dataclass(frozen=True)
class Line:
    """An edge as the path of an SVG."""

    edge: Edge
    path: str


@dataclass(frozen=True)
class Picture:
    """A graph ready to be drawn; sizes in pixels."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: int
    height: int
    box_width: int = _WIDTH
    box_height: int = _HEIGHT


def lay_out(graph: Graph) -> Picture:
    """Puts every node one layer behind the last of those it was made from, and orders layers by their neighbours.

    Args:
      graph: without cycles, as lineage is; an edge that closed one would be drawn, and ignored for the layers.
    """
    nodes = {node.key: node for node in graph.nodes}
    sources, targets = defaultdict(list), defaultdict(list)
    for edge in graph.edges:
        sources[edge.target].append(edge.source)
        targets[edge.source].append(edge.target)
    layer = _layers(list(nodes), sources, targets)
    columns: dict[int, list[str]] = defaultdict(list)
    for key in nodes:
        columns[layer[key]].append(key)
    place = {key: float(index) for column in columns.values() for index, key in enumerate(column)}
    for sweep in range(_SWEEPS):
        near = sources if sweep % 2 == 0 else targets
        for number in sorted(columns, reverse=bool(sweep % 2)):
            columns[number].sort(key=lambda key: (_mean([place[one] for one in near[key]], place[key]), place[key]))
            place.update({key: float(index) for index, key in enumerate(columns[number])})
    tallest = max((len(column) for column in columns.values()), default=0)
    corner = {
        key: (
            _MARGIN + number * (_WIDTH + _GAP_X),
            _MARGIN + round((index + (tallest - len(column)) / 2) * (_HEIGHT + _GAP_Y)),
        )
        for number, column in columns.items()
        for index, key in enumerate(column)
    }
    return Picture(
        tuple(Box(node, *corner[key]) for key, node in nodes.items()),
        tuple(Line(edge, _curve(corner[edge.source], corner[edge.target])) for edge in graph.edges),
        2 * _MARGIN + max(0, len(columns) * (_WIDTH + _GAP_X) - _GAP_X),
        2 * _MARGIN + max(0, tallest * (_HEIGHT + _GAP_Y) - _GAP_Y),
    )


def _layers(keys: list[str], sources: dict[str, list[str]], targets: dict[str, list[str]]) -> dict[str, int]:
    """The length of the longest way that leads to each node."""
    waiting = {key: len(sources[key]) for key in keys}
    ready = [key for key in keys if not waiting[key]]
    layer = dict.fromkeys(keys, 0)
    while ready:
        key = ready.pop()
        for target in targets[key]:
            layer[target] = max(layer[target], layer[key] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layer


def _mean(places: list[float], otherwise: float) -> float:
    return sum(places) / len(places) if places else otherwise


def _curve(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1 = source[0] + _WIDTH, source[1] + _HEIGHT // 2
    x2, y2 = target[0], target[1] + _HEIGHT // 2
    bend = max(_GAP_X // 2, (x2 - x1) // 2)
    return f"M{x1},{y1} C{x1 + bend},{y1} {x2 - bend},{y2} {x2},{y2}"
