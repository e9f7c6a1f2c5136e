"""Each name that two rooms share is spelt in one place, and a version tells its night."""

import ast
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from headlines import names
from modules import features
from retraining.settings import CHECKOUT

ROOMS = ("dags", "headlines", "lineage", "modules", "plugins", "retraining", "tfx_components")
# A word of every day may also be another thing than a property, a parameter or an event.
SHARED = {
    name: value
    for name, value in (vars(names) | vars(features)).items()
    if name.isupper() and isinstance(value, str) and not re.fullmatch("[a-z]+", value)
}


def find_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Every string of a file but those of `__all__`, with its place; of an f-string its parts."""
    tree = ast.parse(path.read_text())
    lists = [node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    exported = {id(name) for node in lists for name in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in exported:
            yield f"{path.relative_to(CHECKOUT)}:{node.lineno}", node.value


TEXTS = [
    text
    for room in ROOMS
    for path in sorted((CHECKOUT / room).rglob("*.py"))
    if path not in (CHECKOUT / "headlines" / "names.py", CHECKOUT / "modules" / "features.py")
    for text in find_texts(path)
]


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_name_is_spelt_once(name: str) -> None:
    value = SHARED[name]
    assert not [place for place, text in TEXTS if text == value or f"'{value}'" in text]


def test_a_version_tells_its_night_and_of_two_versions_the_greater_is_the_later() -> None:
    first, second = version_of(1), names.version_of(date(2022, 2, 1), 2)
    assert (first, second, version_of(2)) == (2022020101, 2022020102, 2022020201)
    assert [names.night_of(version) for version in (first, second)] == [date(2022, 2, 1)] * 2
    assert [names.revision_of(version) for version in (first, second)] == [1, 2]
    assert names.find_versions_of(date(2022, 2, 1), [7, version_of(2), second, first]) == [first, second]


def version_of(day: int) -> int:
    return names.version_of(date(2022, 2, day))


@pytest.mark.parametrize("revision", [0, 100])
def test_a_night_has_ninety_nine_revisions(revision: int) -> None:
    with pytest.raises(ValueError, match=f"revision {revision} of night 2022-02-01: a night has revisions 1 to 99"):
        names.version_of(date(2022, 2, 1), revision)
