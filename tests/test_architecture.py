"""The import table of the house, as code: who may import whom."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
OURS = {"benchmarks", "dags", "headlines", "lineage", "modules", "plugins", "retraining", "serving", "tests"} | {
    "scripts",
    "tfx_components",
}
HEAVY = {"airflow", "apache_beam", "keras", "ml_metadata", "tensorflow", "tfx"} | {
    f"tensorflow_{name}" for name in ("data_validation", "model_analysis", "transform", "metadata", "serving")
}

# Room -> what of ours it may import, by prefix: rooms below it, from the roof to the ground.
ALLOWED = {
    "dags": {
        "headlines.names",
        "retraining.openlineage.skips",
        "retraining.operators",
        "retraining.pipelines",
        "retraining.recording.launcher",
        "retraining.settings",
    },
    "plugins": {
        "headlines.names",
        "lineage",
        "retraining.operators",
        "retraining.settings",
        "retraining.web",
        "retraining.workers.preloading",
    },
    "retraining/__main__.py": {"retraining.cli"},
    "retraining/cli": {
        "headlines",
        "lineage",
        "modules.features",
        "retraining.boot",
        "retraining.cli",
        "retraining.engines",
        "retraining.local",
        "retraining.metrics",
        "retraining.nights",
        "retraining.notices",
        "retraining.places",
        "retraining.recording",
        "retraining.retention",
        "retraining.settings",
        "retraining.upkeep",
        "retraining.version",
        "retraining.watching",
        "retraining.workers",
    },
    # What keeps a service for years takes hold of its processes, its databases and its files.
    "retraining/upkeep": {
        "headlines",
        "lineage",
        "retraining.local",
        # What is still to be told is in a backup.
        "retraining.notices.outbox",
        "retraining.places",
        "retraining.recording",
        "retraining.renamed_settings",
        "retraining.settings",
        "retraining.upkeep",
        "retraining.version",
        "retraining.watching",
    },
    "retraining/metrics": {
        "headlines",
        "lineage",
        "retraining.local",
        "retraining.metrics",
        "retraining.notices",
        "retraining.settings",
        "retraining.watching",
    },
    "retraining/boot": {"headlines", "retraining.boot", "retraining.local", "retraining.settings"},
    "retraining/web": {
        "headlines",
        "lineage",
        "modules.features",
        "retraining.recording",
        "retraining.settings",
        # What the model servers answer with is shown beside what lineage says: by the command, the watch and a page.
        "retraining.watching.replicas",
        "retraining.web",
    },
    "retraining/operators": {
        "headlines",
        "lineage",
        "retraining.nights.unscored",
        "retraining.notices.telling",
        "retraining.openlineage.skips",
        "retraining.operators",
        "retraining.recording.refusals",
        "retraining.retention",
        "retraining.settings",
        # Whoever begins a night sees whether the watch looks.
        "retraining.watching.watch",
    },
    "retraining/nights": {
        "headlines",
        "lineage",
        "retraining.local",
        "retraining.nights",
        "retraining.pipelines",
        "retraining.recording",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/local": {
        "headlines",
        "lineage",
        "modules.features",
        "retraining.local",
        "retraining.notices",
        "retraining.openlineage.options",
        "retraining.places",
        "retraining.secret_sources",
        "retraining.settings",
        "retraining.version",
        "retraining.watching",
        "retraining.workers",
    },
    # A worker must have the code that decides what a model is.
    "retraining/workers": {
        "headlines",
        "retraining.pipelines.provenance",
        "retraining.secret_sources",
        "retraining.settings",
        "retraining.workers",
    },
    # What is removed is recorded in MLMD, and what a model server was seen to answer with is not.
    "retraining/retention": {
        "headlines",
        "lineage",
        "retraining.recording",
        "retraining.retention",
        "retraining.settings",
        "retraining.watching.replicas",
    },
    "retraining/watching": {
        "headlines",
        "lineage",
        # The model's name, by which the model servers are asked.
        "modules.features",
        "retraining.notices",
        "retraining.settings",
        "retraining.watching",
        # It sees that code was edited, and tells workers.
        "retraining.workers.sharing",
    },
    "retraining/notices": {"headlines", "retraining.notices", "retraining.notify_addresses", "retraining.settings"},
    # What the data nodes run on; it takes hold of the executors of TFX, and of ours.
    "retraining/engines": {"headlines", "retraining.engines", "retraining.settings", "tfx_components"},
    "retraining/pipelines": {
        "headlines",
        "modules.features",
        "retraining.engines",
        "retraining.pipelines",
        "retraining.recording",
        "retraining.settings",
        "tfx_components",
    },
    "retraining/recording": {
        "headlines",
        # A rollback changes what serves, and no task of Airflow's tells of it.
        "retraining.openlineage.rollbacks",
        "retraining.places",
        "retraining.recording",
        "retraining.settings",
        # A ruling on a drop is a person's or DropGate's, and is one record in MLMD.
        "tfx_components.rulings",
    },
    "retraining/openlineage": {
        "headlines",
        "lineage",
        "modules.features",
        "retraining.openlineage",
        "retraining.settings",
    },
    # Where a service lies: nothing of what runs it.
    "retraining/places": {"headlines", "retraining.places", "retraining.settings"},
    "retraining/settings.py": {
        "headlines",
        "retraining.renamed_settings",
        "retraining.secret_sources",
        "retraining.setting_types",
    },
    "retraining/secret_sources.py": {"headlines.errors", "retraining.setting_types"},
    "retraining/secret_backend.py": set(),
    "retraining/renamed_settings.py": {"headlines.durable"},
    "retraining/notify_addresses.py": set(),
    "retraining/version.py": set(),
    "retraining/setting_types.py": {
        "headlines.objects.addresses",
        "headlines.postgres_address",
        "headlines.bar.verdict",
        "headlines.drops.drops_folder",
        "headlines.drops.version_folder",
        "modules.features",
        "retraining.notify_addresses",
    },
    "lineage": {"headlines", "lineage"},
    "tfx_components": {"headlines", "modules.features", "modules.text", "tfx_components"},
    # A script in a process of its own, which loads a model as it will be served: with the model server's own loader.
    "tfx_components/serving_probe.py": {
        "headlines",
        "modules.features",
        "serving.errors",
        "serving.model",
        "tfx_components.peak_memory",
    },
    "headlines": {"headlines", "modules.features", "modules.text"},
    "headlines/names.py": set(),
    "headlines/objects": {"headlines.objects"},
    "modules": {"modules"},
    "serving": {"serving"},
}
# Room or file -> what it must not import from outside.
FORBIDDEN = {
    "headlines": HEAVY | {"psycopg2"},
    # What these two read and write are TensorFlow's own files, by TensorFlow's own readers.
    "headlines/pushes/model_hash.py": HEAVY - {"tensorflow"} | {"psycopg2"},
    "headlines/pushes/rollbacks.py": HEAVY - {"tensorflow_serving"} | {"psycopg2"},
    "lineage": HEAVY,
    "modules": {"airflow", "tfx"},
    "retraining/boot": HEAVY,
    "retraining/cli": HEAVY,
    # Inside `schema propose`, which is TFDV's.
    "retraining/cli/schema.py": HEAVY - {"tensorflow_data_validation"},
    "retraining/engines": {"airflow"},
    # What the command and the doctor ask is light.
    "retraining/engines/__init__.py": HEAVY,
    "retraining/engines/arguments.py": HEAVY,
    "retraining/engines/readiness.py": HEAVY,
    "retraining/local": HEAVY,
    "retraining/metrics": HEAVY,
    # `retraining run --local` and a replay do without Airflow.
    "retraining/nights": {"airflow"},
    "retraining/notices": HEAVY,
    # The callback, and what Airflow's provider asks, stand apart: what sends a rollback does without Airflow.
    "retraining/openlineage": HEAVY,
    "retraining/openlineage/extractor.py": HEAVY - {"airflow"},
    "retraining/openlineage/skips.py": HEAVY - {"airflow"},
    "retraining/recording/attempts.py": {"airflow"},
    "retraining/recording/settling.py": {"airflow"},
    "retraining/recording/store.py": {"airflow"},
    "retraining/places": HEAVY,
    "retraining/retention": HEAVY - {"ml_metadata"},
    "retraining/secret_sources.py": HEAVY,
    "retraining/settings.py": HEAVY,
    "retraining/upkeep": HEAVY,
    "retraining/watching": HEAVY,
    "retraining/web": HEAVY - {"airflow", "tensorflow_metadata"},
    "serving": {"airflow", "apache_beam", "ml_metadata", "tfx"},
    "tfx_components": {"airflow"},
}
# What `headlines/` may use beside the standard library; a file or folder with a row of its own goes by that.
OUTSIDE = {
    "headlines": {"croniter"},
    "headlines/bar": {"numpy", "sklearn", "scipy", "statsmodels"},
    "headlines/drops": {"ftfy", "numpy", "py3langid"},
    "headlines/names.py": set(),
    # What reaches a bucket: its vendor's own library.
    "headlines/objects": {
        "boto3",
        "botocore",
        "google.api_core",
        "google.resumable_media",
        "google.auth",
        "google.cloud.storage",
        "requests",
    },
    "headlines/pushes": set(),
    "headlines/pushes/model_hash.py": {"numpy", "tensorflow"},
    "headlines/pushes/rollbacks.py": {"google.protobuf", "tensorflow_serving"},
}
# The rooms of which every file is in one, the inner before the outer; `retraining` itself is none.
ROOMS = ["headlines/bar", "headlines/drops", "headlines/objects", "headlines/pushes"] + [
    place for place in ALLOWED if place.count("/") < 2 and not place.startswith(("tfx_components/", "headlines/"))
]


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


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def is_in(path: Path, place: str) -> bool:
    return f"{name_of(path)}/".startswith(f"{place}/")


def find_modules(path: Path, modules: Iterable[str]) -> set[str]:
    """The modules of ours that a file imports; a package is one where a name of its own is imported from it."""
    names = set(find_imports(path))
    return {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules)


def find_room(module: str) -> str | None:
    """The room of a module of ours."""
    name = module.replace(".", "/")
    return next((room for room in ROOMS if f"{name}/".startswith(f"{room.removesuffix('.py')}/")), None)


def is_within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def find_files_of(place: str, table: dict[str, set[str]]) -> list[Path]:
    """The files of a place; a file with a row of its own goes by that."""
    return [path for path in find_files(place) if name_of(path) not in table.keys() - {place}]


@pytest.mark.parametrize("place", ALLOWED)
def test_a_place_imports_only_what_the_house_allows(place: str) -> None:
    wrong = {
        f"{name_of(path)} imports {name}"
        for path in find_files_of(place, ALLOWED)
        for name in find_imports(path)
        if name.split(".")[0] in OURS and not is_within(name, ALLOWED[place])
    }
    assert not wrong


@pytest.mark.parametrize("place", FORBIDDEN)
def test_a_place_imports_nothing_that_is_forbidden_to_it(place: str) -> None:
    wrong = {
        f"{name_of(path)} imports {name}"
        for path in find_files_of(place, FORBIDDEN)
        for name in find_imports(path)
        if is_within(name, FORBIDDEN[place])
    }
    assert not wrong


@pytest.mark.parametrize("place", OUTSIDE)
def test_what_needs_no_framework_needs_few_libraries(place: str) -> None:
    ours = {"headlines", "modules", *sys.stdlib_module_names}
    rows = [row for row in OUTSIDE if row != place and row.startswith(f"{place}/")]
    wrong = {
        f"{name_of(path)} imports {name}"
        for path in find_files(place)
        if not any(is_in(path, row) for row in rows)
        for name in find_imports(path)
        if name.split(".")[0] not in ours and not is_within(name, OUTSIDE[place])
    }
    assert not wrong


def test_no_file_imports_itself_through_others_also_not_by_a_late_import() -> None:
    files = [path for place in OURS - {"tests"} for path in (CHECKOUT / place).rglob("*.py")]
    modules = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in files}
    graph = {module: find_modules(path, modules) - {module} for module, path in modules.items()}
    assert tuple(TopologicalSorter(graph).static_order())


def test_no_room_imports_itself_through_others() -> None:
    graph = {
        room: {
            find_room(name)
            for path in find_files(room)
            if find_room(name_of(path).removesuffix(".py").replace("/", ".")) == room
            for name in find_imports(path)
        }
        - {room, None}
        for room in ROOMS
    }
    assert tuple(TopologicalSorter(graph).static_order())


def test_nobody_imports_dags_or_plugins() -> None:
    files = [path for place in OURS for path in (CHECKOUT / place).rglob("*.py")]
    wrong = {path for path in files for name in find_imports(path) if is_within(name, {"dags", "plugins"})}
    assert not wrong


def test_every_file_of_ours_is_in_a_room() -> None:
    files = [path for place in OURS - {"benchmarks", "scripts", "tests"} for path in (CHECKOUT / place).rglob("*.py")]
    homeless = {name_of(path) for path in files if not any(is_in(path, place) for place in ALLOWED)}
    assert homeless == {"retraining/__init__.py"}


def test_only_settings_reads_the_environment_for_the_service() -> None:
    readers = {
        name_of(path)
        for place in OURS - {"benchmarks", "modules", "serving", "tests"}
        for path in (CHECKOUT / place).rglob("*.py")
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    }
    # These hand their own environment on to processes they start; they take no setting from it.
    assert readers <= {
        "retraining/local/airflow.py",
        "retraining/local/model_server.py",
        "retraining/secret_sources.py",
        "retraining/settings.py",
        "retraining/upkeep/postgres_major.py",
        "tfx_components/infra_check.py",
    }


@pytest.mark.parametrize(
    "module", ["retraining.__main__", "headlines.drops.delivery", "headlines.pushes.champion", "lineage"]
)
def test_the_command_line_and_the_read_side_load_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=CHECKOUT
    ).stdout
    assert not set(loaded.split()) & (HEAVY | {"boto3", "botocore"})


def test_every_error_of_ours_is_in_the_one_tree_as_it_is_drawn() -> None:
    drawn = (CHECKOUT / "headlines/errors.py").read_text()
    homeless = set()
    for place in OURS - {"benchmarks", "modules", "serving", "tests"}:
        for path in (CHECKOUT / place).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name != "HeadlinesError":
                    module = name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                    base = ast.unparse(node.bases[0]).rpartition(".")[2]
                    line = re.search(rf"^( *(?:\| +)*)\+-- {node.name} +\({re.escape(module)}\)", drawn, re.MULTILINE)
                    if line is None or find_parent(drawn[: line.start()], len(line[1])) != base:
                        homeless.add(f"{module}.{node.name}({base})")
    assert not homeless


def find_parent(above: str, indent: int) -> str:
    """The last name above a line of the drawing that stands less far to the right."""
    for line in reversed(above.splitlines()):
        name = re.search(r"\w+Error", line)
        if name and (len(re.split(r"\+--|HeadlinesError", line)[0]) < indent or name[0] == "HeadlinesError"):
            return name[0]
    raise AssertionError("the drawing has no root")


def test_no_two_files_of_tests_have_the_same_name() -> None:
    # pytest imports them by their names alone, so that the second is an error, and only in a run of both.
    names = sorted(path.name for path in (CHECKOUT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, following in pairwise(names) if name == following] == []


def test_make_test_nights_runs_every_file_that_make_test_leaves_something_out_of() -> None:
    command = ["make", "--dry-run", "test-nights", "test-celery", "test-containers", "test-flink", "test-spark"]
    surroundings = {**os.environ, "MAKEFLAGS": ""}  # what `make test` was given is not for this one
    shown = subprocess.run(command, cwd=CHECKOUT, env=surroundings, capture_output=True, text=True, check=True).stdout
    tests = [*(CHECKOUT / "tests/integration").glob("test_*.py"), *(CHECKOUT / "tests/e2e").glob("test_*.py")]
    marked = {name_of(path) for path in tests if "pytest.mark.long" in path.read_text()}
    assert set(re.findall(r"tests/\S+\.py", shown)) == marked
