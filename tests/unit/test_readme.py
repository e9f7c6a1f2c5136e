"""The README's promises that can be checked: its settings table is the settings, and its commands exist."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retraining.cli.main import app
from retraining.settings import CHECKOUT, Settings

README = (CHECKOUT / "README.md").read_text()
DEFAULTS = Settings.model_construct()


def describe_default(name: str) -> str:
    """A setting's default as the table shows it; one that follows from others is told in the description."""
    field = Settings.model_fields[name]
    if field.default_factory or field.default in (None, ""):
        return ""
    text = str(DEFAULTS.write(name)).removeprefix(f"{CHECKOUT}/")
    return f"`{text}/`" if isinstance(field.default, Path) else f"`{text}`"


def test_the_settings_table_is_the_settings() -> None:
    expected = [
        f"| `{name.upper()}` | {describe_default(name)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    table = README.split("<!-- settings -->")[1].strip().splitlines()[2:]
    assert table == expected, "paste this into README.md:\n" + "\n".join(expected)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"retraining ([a-z][a-z-]*)", README))))
def test_every_command_that_the_readme_names_exists(command: str) -> None:
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))))
def test_every_make_target_that_the_readme_names_exists(target: str) -> None:
    assert re.search(rf"^[a-z ]*\b{target}\b[a-z ]*:", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)


def test_every_file_that_the_readme_links_or_names_exists() -> None:
    named = re.findall(
        r"`((?:retraining|modules|docs|tfx_components|plugins|dags|tests|benchmarks|serving)/[\w./-]*)`", README
    )
    named += [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert [path for path in named if not (CHECKOUT / path).exists()] == []


def test_the_packages_of_a_fresh_machine_are_one_line_to_paste_without_a_compiler() -> None:
    [packages] = re.findall(r"^sudo apt-get install (.*)$", README, re.MULTILINE)
    # By this line scripts/test_fresh.sh makes its machine; python3-pip would recommend a compiler.
    assert set(packages.split()) == {"git", "make", "python3", "python3-venv", "ca-certificates"}
