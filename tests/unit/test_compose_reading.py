"""What Compose's reference says of variables and durations is what the containers' tests read."""

from pathlib import Path
from textwrap import dedent

import pytest
from compose_file import interpolate, read_compose, seconds


# The cases are those of https://docs.docker.com/reference/compose-file/interpolation/.
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$SET-${SET}", "value-value"),
        ("${EMPTY:-default}|${EMPTY-default}|${UNSET:-default}|${UNSET-default}", "default||default|default"),
        ("${SET:?wanted}${EMPTY?wanted}", "value"),
        ("${SET:+other}|${EMPTY:+other}|${EMPTY+other}|${UNSET+other}", "other||other|"),
        ("${UNSET:-${SET}}|${UNSET:-a${EMPTY:-b}c}", "value|abc"),
        ("$$SET and $$${SET}, 5$", "$SET and $value, 5$"),
        ("$UNSET", ""),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, value: str) -> None:
    variables = {"SET": "value", "EMPTY": ""}
    assert interpolate({"key": [text, 5]}, variables) == {"key": [value, 5]}


@pytest.mark.parametrize("text", ["${UNSET:?wanted}", "${EMPTY:?wanted}", "${UNSET?wanted}"])
def test_a_variable_that_must_be_set_is_asked_for(text: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        interpolate(text, {"EMPTY": ""})


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("1m30s", 90), ("10m", 600), ("500ms", 0.5)])
def test_durations_are_read(text: str, value: float) -> None:
    assert seconds(text) == value


def test_environment_wins_over_the_env_file_also_where_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# said once\nA=1\nB=2\n")
    (tmp_path / "compose.yaml").write_text(
        dedent("""\
        services:
          one:
            image: one
            env_file: .env
            environment: {B: "", C: "${A}"}
        """)
    )
    [service] = read_compose(tmp_path / "compose.yaml", tmp_path / ".env").values()
    assert service.environment == {"A": "1", "B": "", "C": "1"}


def test_what_is_not_understood_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("")
    (tmp_path / "compose.yaml").write_text("services: {one: {image: one, privileged: true}}")
    with pytest.raises(ValueError, match="privileged"):
        read_compose(tmp_path / "compose.yaml", tmp_path / ".env")
