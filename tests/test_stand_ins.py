"""A stand-in in a test is made of the class that it stands for, so that no test knows more than the library does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
# They answer whatever they are asked.
SHAPELESS = re.compile(r"\b(SimpleNamespace|(NonCallable|Async)?(Magic)?Mock|PropertyMock)\b")
# How many positional arguments a patch has that names what it puts in place.
PATCHES = {"patch": 2, "object": 3}


def find_shapeless(source: str) -> Iterator[str]:
    """What in a file stands for something without being made of its class; in the scripts that a file holds too."""
    for number, line in enumerate(source.splitlines(), start=1):
        if SHAPELESS.search(line):
            yield f"line {number}: {line.strip()}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (words := ast.unparse(node.func).split("."))[-1] in PATCHES:
            is_patch = "patch" in words[-2:]
            named = {keyword.arg for keyword in node.keywords} & {"autospec", "new", "new_callable", "spec", "spec_set"}
            if is_patch and not named and len(node.args) < PATCHES[words[-1]]:
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("place", ["tests", "benchmarks"])
def test_every_stand_in_is_made_of_the_class_it_stands_for(place: str) -> None:
    wrong = [
        f"{path.relative_to(CHECKOUT)}, {what}"
        for path in sorted((CHECKOUT / place).rglob("*.py"))
        if path != Path(__file__).resolve()
        for what in find_shapeless(path.read_text())
    ]
    assert not wrong, "use the real class, in memory, or unittest.mock.create_autospec of it"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from types import SimpleNamespace", 1),
        ("run = mock.MagicMock()", 1),
        ("run = AsyncMock(DagRun)", 1),
        ("SCRIPT = 'run = Mock()'", 1),
        ("with mock.patch.object(pendulum, 'now'): pass", 1),
        ("patch('pendulum.now').start()", 1),
        ("mock.patch.object(pendulum, 'now', later)", 0),
        ("mock.patch('pendulum.now', autospec=True)", 0),
        ("run = create_autospec(DagRun, instance=True)", 0),
        ("class Mocking: pass", 0),
    ],
)
def test_what_has_no_shape_is_found(source: str, count: int) -> None:
    assert len(list(find_shapeless(source))) == count
