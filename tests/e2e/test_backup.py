"""A service is backed up while it runs, comes back elsewhere as what it was, is moved, and goes on with its nights."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from driving import SMALL_TRAINING, Service, make_environment, query

import lineage
from retraining.local import model_server
from retraining.upkeep import archive

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

NIGHTS = ("2022-02-01", "2022-02-02", "2022-02-03", "2022-02-04")
TITLE = "Acidente deixa dez mortos em rodovia"
QUESTIONS = (
    *(("serving",), ("runs",), ("models",), ("gaps",), ("history", "accuracy")),
    *(("drop", NIGHTS[0]), ("night", NIGHTS[0]), ("model", NIGHTS[0]), ("recall", NIGHTS[0])),
)


@pytest.fixture
def drops(tmp_path: Path, twelve_nights: Path) -> Path:
    for night in NIGHTS:
        shutil.copytree(twelve_nights / night, tmp_path / "drops" / night)
    return tmp_path / "drops"


def make_service(state: Path, drops: Path) -> Service:
    return Service(make_environment(state, drops, **SMALL_TRAINING, RETRIES="0", MAX_QUARANTINED_SHARE="0.5"))


@contextmanager
def running(service: Service) -> Iterator[str]:
    """Starts a service, gives what its start said, and stops it whatever happens."""
    try:
        yield service("up").stdout
    finally:
        service("down", check=False)


def forget_servers(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what the model servers were seen to answer with: another process, and perhaps still loading."""
    return {} if "replicas" in answer else answer


def ask(service: Service, *questions: tuple[str, ...]) -> dict[str, Any]:
    """The answers of lineage, without where a service lies and what its model server just does."""
    state, address = service.environment["STATE_DIR"], model_server.address(service.settings)
    texts = {" ".join(question): service("lineage", *question, "--json", check=False).stdout for question in questions}
    return {
        question: json.loads(text.replace(state, "STATE_DIR").replace(address, "ADDRESS"), object_hook=forget_servers)
        for question, text in texts.items()
    }


def predict(service: Service) -> Any:
    url = f"{model_server.address(service.settings)}/v1/models/headlines:predict"
    answer = httpx.post(url, json={"signature_name": "predict_text", "instances": [TITLE]}, timeout=30)
    return answer.raise_for_status().json()


def find_astray(service: Service) -> list[str]:
    """Folders of live artifacts that are not in the service's own pipelines."""
    root = str(service.settings.pipeline_root)
    uris = [uri for (uri,) in query(service, "SELECT uri FROM artifact WHERE state = 2")]
    return [uri for uri in uris if not (uri.startswith(f"{root}/") and Path(uri).exists())]


def check_night(service: Service, night: str, champion: str) -> None:
    """Runs a night, which is judged against a champion and pushed."""
    service("run", "--night", night)
    [report] = [one for one in lineage.nights(service.settings) if one.night == night]
    assert (report.state, report.champion_version) == ("pushed", champion)
    assert report.champion_metrics
    assert find_astray(service) == []


def test_a_service_comes_back_from_a_backup_is_moved_and_runs_its_next_night(tmp_path: Path, drops: Path) -> None:
    first = make_service(tmp_path / "first" / "state", drops)
    backup = tmp_path / "backup.tar.gz"
    with running(first):
        first("run", "--night", NIGHTS[0])
        first.wait_until_served("2022020101")
        before, answer = ask(first, *QUESTIONS), predict(first)
        first("backup", str(backup))
        assert backup.stat().st_mode & 0o777 == 0o600
        assert first("backup", "--check", str(backup)).stdout.startswith("Backup of ")
    shutil.rmtree(tmp_path / "first")

    second = make_service(tmp_path / "second" / "state", drops)
    done = second("restore", str(backup))
    assert "Restored" in done.stdout
    assert "holds no secrets" not in done.stdout
    again = second("restore", str(backup), check=False)
    assert (again.returncode, "is not empty" in again.stderr) == (1, True)

    # Before its first start it is moved, too.
    (tmp_path / "third").mkdir()
    (tmp_path / "second" / "state").rename(tmp_path / "third" / "state")
    third = make_service(tmp_path / "third" / "state", drops)
    with running(third) as said:
        assert "the service has moved" in said
        assert ask(third, *QUESTIONS) == before
        assert find_astray(third) == []
        third.wait_until_served("2022020101")
        assert predict(third) == answer
        check_night(third, NIGHTS[1], "2022020101")
        assert "Airflow:" in third("status", check=False).stdout


def test_a_backup_in_the_middle_of_a_night_is_of_one_moment_and_a_moved_service_goes_on_for_nights(
    tmp_path: Path, drops: Path
) -> None:
    first = make_service(tmp_path / "first" / "state", drops)
    backup = tmp_path / "backup.tar.gz"
    with running(first):
        first("run", "--night", NIGHTS[0])
        before = ask(first, ("model", NIGHTS[0]))
        command = [sys.executable, "-m", "retraining", "run", "--night", NIGHTS[1]]
        with subprocess.Popen(command, cwd=first.checkout, env=first.environment, stdout=subprocess.DEVNULL) as night:
            while not query(first, "SELECT 1 FROM execution WHERE last_known_state = 2"):
                assert night.poll() is None, "a node of the night runs"
            first("backup", str(backup))
            assert night.wait() == 0
    manifest = archive.check(backup)
    assert manifest.counts["versions"] == 1

    second = make_service(tmp_path / "second" / "state", drops)
    second("restore", str(backup))
    with running(second):
        assert ask(second, ("model", NIGHTS[0])) == before
        check_night(second, NIGHTS[1], "2022020101")
    (tmp_path / "second" / "state").rename(tmp_path / "moved")
    moved = make_service(tmp_path / "moved", drops)
    with running(moved) as said:
        assert "the service has moved" in said
        check_night(moved, NIGHTS[2], "2022020201")
        done = moved("replay", "--night", NIGHTS[1])
        assert "identical" in done.stdout
