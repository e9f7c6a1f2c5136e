from hypothesis import given
from hypothesis import strategies as st

from lineage import Edge, Graph, Node
from retraining.web.layout import lay_out


def make_graph(edges: set[tuple[int, int]], count: int) -> Graph:
    nodes = tuple(Node(f"artifact:{number}", "artifact", "Model", str(number)) for number in range(count))
    return Graph(nodes, tuple(Edge(f"artifact:{a}", f"artifact:{b}") for a, b in sorted(edges)))


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.tuples(
            st.just(count), st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=30)
        )
    )
)
def test_every_edge_leads_to_the_right_and_no_box_lies_on_another(drawn: tuple[int, set[tuple[int, int]]]) -> None:
    count, pairs = drawn
    edges = {(a, b) for a, b in pairs if a < b}
    picture = lay_out(make_graph(edges, count))
    place = {box.node.key: box for box in picture.boxes}
    for a, b in edges:
        assert place[f"artifact:{a}"].x + picture.box_width < place[f"artifact:{b}"].x
    corners = [(box.x, box.y) for box in picture.boxes]
    assert all(
        abs(x1 - x2) >= picture.box_width or abs(y1 - y2) >= picture.box_height
        for index, (x1, y1) in enumerate(corners)
        for x2, y2 in corners[:index]
    )
    assert all(x + picture.box_width <= picture.width and y + picture.box_height <= picture.height for x, y in corners)


def test_neighbours_stand_on_one_level_instead_of_crossing() -> None:
    picture = lay_out(make_graph({(0, 3), (1, 2)}, 4))
    level = {box.node.label: box.y for box in picture.boxes}
    assert (level["0"] < level["1"]) == (level["3"] < level["2"])


def test_an_empty_graph_is_an_empty_picture() -> None:
    assert lay_out(Graph((), ())).boxes == ()
