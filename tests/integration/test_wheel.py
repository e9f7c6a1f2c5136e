"""The wheel, as a team installs it beside its own Airflow: it brings DAGs and plugins; state lands where it is run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_checkout import copy_checkout

from headlines.bar.checks import DOC
from retraining.settings import CHECKOUT

ASK = """
import json, retraining.settings as s
settings = s.Settings.from_env()
print(json.dumps({
    "module": s.__file__, "env": str(s.ENV_FILE), "base": str(s.BASE), "plugins": str(s.BUNDLE / "plugins"),
    "secrets": str(settings.secrets_dir), "state": str(settings.state_dir), "drops": str(settings.drops_dir),
    "dags": str(settings.dags_dir), "serving": str(settings.serving_dir), "nights": settings.window_nights,
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the wheel of this checkout was installed, alone."""
    place = tmp_path_factory.mktemp("wheel")
    source = copy_checkout(place / "source")
    # Of the documents, which the copy does without, it is the one that is a page.
    (source / DOC).parent.mkdir()
    shutil.copy(CHECKOUT / DOC, source / DOC)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    options = ["--no-deps", "--no-index"]
    wheel = [*pip, "wheel", *options, "--no-build-isolation", "--wheel-dir", str(place), str(source)]
    subprocess.run(wheel, check=True, capture_output=True)
    [built] = place.glob("*.whl")
    target = place / "site-packages"
    subprocess.run([*pip, "install", *options, "--target", str(target), str(built)], check=True, capture_output=True)
    return target


def run(installed: Path, folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    # Without the checkout, which the environment's own path would lead to.
    code = f"import sys; sys.path[:] = [{str(installed)!r}, *(p for p in sys.path if p != {str(CHECKOUT)!r})]; "
    start = f"{code}import runpy; sys.argv = ['retraining', *sys.argv[1:]]; " \
            "runpy.run_module('retraining', run_name='__main__')"  # fmt: skip
    words = ("-c", code + "\n" + ASK) if words == ("settings",) else ("-c", start, *words)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(installed), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_checkout_everything_counts_from_the_current_folder(installed: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WINDOW_NIGHTS=5\nDROPS_DIR=deliveries\n")
    done = run(installed, tmp_path, "settings")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["module"]).is_relative_to(installed)
    assert (said["env"], said["base"], said["nights"]) == (str(tmp_path / ".env"), str(tmp_path), 5)
    assert (said["state"], said["secrets"]) == (str(tmp_path / "var"), str(tmp_path / "var" / "secrets"))
    assert (said["drops"], said["serving"]) == (
        str(tmp_path / "deliveries"), str(tmp_path / "var" / "serving" / "headlines"),
    )  # fmt: skip
    before = {path for path in installed.rglob("*") if "__pycache__" not in path.parts}
    shown = run(installed, tmp_path, "status")
    assert (shown.returncode, "The service is down" in shown.stdout) == (1, True), shown.stderr
    asked = run(installed, tmp_path, "lineage", "--sqlite", "var/none.sqlite", "runs")
    assert "there is no MLMD file var/none.sqlite" in " ".join(asked.stderr.split())
    assert {path for path in installed.rglob("*") if "__pycache__" not in path.parts} == before


def test_the_wheel_brings_the_document_that_is_a_page_where_that_looks_for_it(installed: Path) -> None:
    bundle = installed / "retraining" / "bundled"
    assert (bundle / DOC).read_text() == (CHECKOUT / DOC).read_text()
    assert [path.name for path in bundle.joinpath("docs").iterdir()] == ["quality-bar.md"]


def test_the_wheel_brings_dags_and_plugins(installed: Path, tmp_path: Path) -> None:
    said = json.loads(run(installed, tmp_path, "settings").stdout)
    for folder in ("dags", "plugins"):
        files = {path.relative_to(said[folder]) for path in Path(said[folder]).rglob("*") if path.suffix != ".pyc"}
        own = {path.relative_to(CHECKOUT / folder) for path in (CHECKOUT / folder).rglob("*") if path.suffix != ".pyc"}
        assert {path for path in own if "__pycache__" not in path.parts} == {
            path for path in files if "__pycache__" not in path.parts
        }


def test_a_daemon_in_the_root_folder_is_told_to_say_where_state_goes(installed: Path, tmp_path: Path) -> None:
    refused = run(installed, Path("/"), "status")
    assert refused.returncode == 1
    assert "STATE_DIR is not set, there is no checkout, and this process runs in /" in " ".join(refused.stderr.split())
    assert "The service is down" in run(installed, Path("/"), "status", STATE_DIR=str(tmp_path)).stdout
