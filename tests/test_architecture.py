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
READER = "tfx_components.headline_example_gen"

# Folder or file -> the modules of ours that it may import, by prefix.
ALLOWED = {
    "dags": {
        "retraining.launcher",
        "retraining.lineage",
        "retraining.notices",
        "retraining.operators",
        "retraining.pipeline",
        "retraining.scoring_pipeline",
        "retraining.settings",
        "retraining.tuning_pipeline",
    },
    "modules": {"modules"},
    "plugins": {"retraining.lineage", "retraining.settings", "retraining.web"},
    "retraining/__main__.py": {
        "retraining.cli",
        "retraining.delivery",
        "retraining.in_process",  # inside `run --local`
        "retraining.lineage",
        "retraining.local",
        "retraining.connection.StoreError",  # inside `rollback`
        "retraining.rehearsal",  # inside `rehearse`
        "retraining.replay",  # inside `replay`
        "retraining.reruns",
        "retraining.rollback",  # inside `rollback`
        "retraining.samples",
        "retraining.settings",
        "retraining.watch",
        f"{READER}.drop",
    },
    "retraining/as_of.py": {"tfx_components.rollbacks"},
    "retraining/assembly.py": {
        "retraining.connection",
        "retraining.launcher",
        "retraining.provenance",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/attempts.py": {"retraining.connection"},
    "retraining/cli": {
        "modules.features",
        "retraining.cli",
        "retraining.delivery",
        "retraining.lineage",
        "retraining.local",
        "retraining.settings",
        "retraining.watch",
        READER,
    },
    "retraining/connection.py": {"retraining.settings"},
    "retraining/in_process.py": {
        "retraining.connection",
        "retraining.local.LocalError",
        "retraining.pipeline",
        "retraining.settings",
    },
    "retraining/delivery.py": {"retraining.settings", READER},
    "retraining/launcher.py": {"retraining.attempts", "retraining.connection", "retraining.store"},
    "retraining/lineage": {"retraining.lineage", "retraining.schedule", "retraining.settings"},
    "retraining/local": {
        "modules.features",
        "retraining.local",
        "retraining.schedule",
        "retraining.settings",
        "retraining.watch",
        f"{READER}.drop",
    },
    "retraining/notices.py": {"retraining.settings"},
    "retraining/operators": {
        "retraining.lineage",
        "retraining.notices",
        "retraining.operators",
        "retraining.scoring",
        "retraining.settings",
        f"{READER}.drop",
    },
    "retraining/pipeline.py": {
        "modules.features",
        "retraining.as_of",
        "retraining.assembly",
        "retraining.provenance",
        "retraining.quality_bar",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/provenance.py": {"retraining.settings"},
    "retraining/quality_bar.py": {"modules.features", "tfx_components.tally"},
    "retraining/rehearsal.py": {
        "retraining.lineage",
        "retraining.local",
        "retraining.samples",
        "retraining.schedule",
        "retraining.settings",
    },
    "retraining/replay.py": {
        "retraining.in_process",
        "retraining.lineage",
        "retraining.local.LocalError",
        "retraining.pipeline",
        "retraining.settings",
        "tfx_components.evaluator",
        "tfx_components.model_hash",
        f"{READER}.drop",
        f"{READER}.version_folder",
    },
    "retraining/reruns.py": {"retraining.lineage", "retraining.settings", READER},
    "retraining/rollback.py": {"retraining.connection", "retraining.settings", "tfx_components.rollbacks"},
    "retraining/samples.py": {"modules.features"},
    "retraining/schedule.py": {"retraining.settings"},
    "retraining/scoring.py": {"retraining.settings", f"{READER}.drop"},
    "retraining/scoring_pipeline.py": {
        "retraining.as_of",
        "retraining.assembly",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/settings.py": set(),
    "retraining/store.py": {
        "retraining.attempts",
        "retraining.connection",
        "retraining.pipeline",  # inside its main: the types of the real pipelines
        "retraining.rollback",
        "retraining.scoring_pipeline",
        "retraining.settings",
        "retraining.tuning_pipeline",
    },
    "retraining/tuning_pipeline.py": {
        "retraining.assembly",
        "retraining.provenance",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/watch.py": {
        "retraining.lineage",
        "retraining.notices",
        "retraining.schedule",
        "retraining.settings",
    },
    "retraining/web": {
        "modules.features",
        "retraining.connection.StoreError",  # inside the rollback
        "retraining.lineage",
        "retraining.rollback",  # inside the rollback
        "retraining.schedule",
        "retraining.settings",
        "retraining.web",
        f"{READER}.display",
        f"{READER}.drop",
        f"{READER}.rows",
    },
    "serving": {"serving"},
    "tfx_components": {"modules.features", "tfx_components"},
    # A script in a process of its own, which loads a model as it will be served: with the model server's own loader.
    "tfx_components/serving_probe.py": {
        "modules.features",
        "serving.errors",
        "serving.model",
        "tfx_components.peak_memory",
    },
}
# Folder or file -> what it must not import from outside.
FORBIDDEN = {
    "modules": {"airflow", "tfx"},
    "retraining/lineage": HEAVY,
    "retraining/settings.py": HEAVY,
    "retraining/web": HEAVY - {"airflow", "tensorflow_metadata"},
    "serving": {"airflow", "apache_beam", "ml_metadata", "tfx"},
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
    # A file with a row of its own goes by that.
    files = [
        path for path in find_files(place) if path.relative_to(CHECKOUT).as_posix() not in ALLOWED.keys() - {place}
    ]
    wrong = {
        f"{path.relative_to(CHECKOUT)} imports {name}"
        for path in files
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


def test_every_module_of_our_glue_has_a_row() -> None:
    modules = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "retraining").glob("*.py")}
    folders = {path.parent.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "retraining").glob("*/*.py")}
    assert modules - {"retraining/__init__.py"} | folders == {row for row in ALLOWED if row.startswith("retraining")}


def test_only_settings_reads_the_environment_for_the_service() -> None:
    readers = {
        path.relative_to(CHECKOUT).as_posix()
        for place in ("dags", "modules", "plugins", "retraining", "tfx_components")
        for path in (CHECKOUT / place).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    # These hand their own environment on to processes they start; they take no setting from it.
    assert readers <= {
        "retraining/local/airflow.py",
        "retraining/local/model_server.py",
        "tfx_components/infra_check.py",
    }


@pytest.mark.parametrize(
    "module", ["retraining.__main__", "retraining.delivery", "retraining.lineage", f"{READER}.drop"]
)
def test_the_command_line_and_the_read_side_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=CHECKOUT
    ).stdout
    assert not set(loaded.split()) & HEAVY
