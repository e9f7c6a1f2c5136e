"""The import table of the house, as code: who may import whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = {"dags", "modules", "plugins", "retraining", "serving", "tests", "tfx_components"}
HEAVY = {"airflow", "apache_beam", "keras", "ml_metadata", "tensorflow", "tfx"} | {
    f"tensorflow_{name}" for name in ("data_validation", "model_analysis", "transform", "metadata", "serving")
}
DROP_CONTRACT = "tfx_components.headline_example_gen.drop"

# Folder or file -> the modules of ours that it may import, by prefix.
ALLOWED = {
    "dags": {"retraining.settings", "retraining.pipeline", "retraining.operators", "retraining.launcher"},
    "modules": {"modules"},
    "plugins": {"retraining.lineage", "retraining.settings"},
    "retraining/as_of.py": set(),
    "retraining/launcher.py": {"retraining"},
    "retraining/lineage": {"retraining.lineage", "retraining.settings"},
    "retraining/operators.py": {"retraining.lineage", "retraining.settings", DROP_CONTRACT},
    "retraining/pipeline.py": {
        "modules.features",
        "retraining.as_of",
        "retraining.launcher",
        "retraining.provenance",
        "retraining.quality_bar",
        "retraining.settings",
        "retraining.store",
        "tfx_components",
    },
    "retraining/quality_bar.py": {"modules.features", "retraining.settings"},
    "retraining/settings.py": set(),
    "tfx_components": {"modules.features", "tfx_components"},
}
# Folder or file -> what it must not import from outside.
FORBIDDEN = {
    "modules": {"airflow", "tfx"},
    "retraining/lineage": HEAVY,
    "retraining/settings.py": HEAVY,
    "tfx_components": {"airflow"},
}


def find_imports(path: Path) -> Iterator[str]:
    """The full dotted name of everything that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the house uses absolute ones"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_files(place: str) -> list[Path]:
    path = CHECKOUT / place
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def is_within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("place", ALLOWED)
def test_a_place_imports_only_what_the_house_allows(place: str) -> None:
    wrong = {
        f"{path.relative_to(CHECKOUT)} imports {name}"
        for path in find_files(place)
        for name in find_imports(path)
        if name.split(".")[0] in OURS and not is_within(name, ALLOWED[place])
    }
    assert not wrong


@pytest.mark.parametrize("place", FORBIDDEN)
def test_a_place_imports_nothing_that_is_forbidden_to_it(place: str) -> None:
    wrong = {
        f"{path.relative_to(CHECKOUT)} imports {name}"
        for path in find_files(place)
        for name in find_imports(path)
        if is_within(name, FORBIDDEN[place])
    }
    assert not wrong


def test_nobody_imports_dags_or_plugins() -> None:
    files = [path for place in OURS for path in (CHECKOUT / place).rglob("*.py")]
    wrong = {path for path in files for name in find_imports(path) if is_within(name, {"dags", "plugins"})}
    assert not wrong


def test_only_settings_reads_the_environment_for_the_service() -> None:
    readers = {
        path.relative_to(CHECKOUT).as_posix()
        for place in ("dags", "modules", "plugins", "retraining", "tfx_components")
        for path in (CHECKOUT / place).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    # The one-box runtime hands its own environment on to the processes it starts; it takes no setting from it.
    assert readers <= {"retraining/local/airflow.py"}


@pytest.mark.parametrize("module", ["retraining.__main__", "retraining.lineage", DROP_CONTRACT])
def test_the_command_line_and_the_read_side_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=CHECKOUT
    ).stdout
    assert not set(loaded.split()) & HEAVY
