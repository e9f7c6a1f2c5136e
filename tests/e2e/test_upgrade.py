"""A service that the first version made, with three nights and a rollback in it, becomes one of this version.

The first version's own code runs it, from its tag; the packages are those of today, whose pins differ from its own in
pyfarmhash and setuptools, and in what came since. The tests of this file build on one another, in order. In the first
version the schedule fails by itself on its second day, so that its nights are run by hand.
"""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from driving import CHECKOUT, SMALL_TRAINING, Service, make_environment, query

import lineage
from headlines.drops.samples import write_samples
from retraining.local import airflow, standing, supervisor
from retraining.upkeep import answers
from retraining.version import FIRST, VERSION

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

REVISIONS = (f"v{FIRST}", "9140daad9c77719afbd8ce37b3321ecc17e03704")
"""The tag, and the commit that it names: a clone may have come without tags."""
NIGHTS = ["2022-02-01", "2022-02-02", "2022-02-03"]
NEXT = "2022-02-04"
SERVED = "2022020201"
"""Of the second night: the third night's version was rolled back."""


def export_first_version(place: Path) -> Path:
    """Writes the first version's files to a place, from this checkout's history."""
    for revision in REVISIONS:
        archive = subprocess.run(["git", "archive", revision], cwd=CHECKOUT, capture_output=True, check=False)
        if archive.returncode == 0:
            with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
                files.extractall(place, filter="data")
            return place
    pytest.fail(
        f"this checkout has no history with {' or '.join(REVISIONS)} in it, so there is no first version to upgrade "
        "from; run this test in a clone: git fetch --unshallow --tags"
    )


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the first version, run by its own code; nothing is started yet."""
    place = tmp_path_factory.mktemp("an old service")
    checkout = export_first_version(place / "v0.1.0")
    write_samples(place / "drops", nights=len(NIGHTS) + 1)
    settings = SMALL_TRAINING | {"MIN_RECALL": "negative=0,neutral=0,positive=0", "PYTHONPATH": str(checkout)}
    service = Service(make_environment(place / "state", place / "drops", **settings), checkout)
    yield service
    service("down", check=False)


@pytest.fixture(scope="module")
def new(old: Service) -> Iterator[Service]:
    """The same service, run by this checkout."""
    service = Service(old.environment | {"PYTHONPATH": str(CHECKOUT)})
    yield service
    service("down", check=False)


@pytest.fixture(scope="module")
def before(old: Service, new: Service) -> answers.Answers:
    """What lineage says of three nights and a rollback of the first version, in which the service is up."""
    old("up")
    for night in NIGHTS:
        old("run", "--night", night)
    old("rollback", "--reason", "its labels are swapped", "--by", "somebody")
    return answers.ask(new.settings)


def test_it_is_the_first_version_that_makes_the_service(old: Service) -> None:
    script = "import retraining, sys; print(retraining.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", script],
        cwd=old.checkout,
        env=old.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(said.stdout.strip()).is_relative_to(old.checkout)
    assert "No such command 'upgrade'" in old("upgrade", check=False).stderr


def test_a_start_of_this_version_says_what_to_do_and_the_old_one_is_not_taken_for_well(
    before: answers.Answers, new: Service
) -> None:
    assert f"This state was last run by version {FIRST}, or one soon after it" in new("status", check=False).stdout
    shown = new("upgrade", "--dry-run").stdout
    assert f"- from version {FIRST} to {VERSION}" in shown
    assert [path.name for path in new.settings.state_dir.iterdir() if path.name in ("upgrades", "version.json")] == []


def test_the_upgrade_keeps_every_answer_and_what_serves(before: answers.Answers, new: Service) -> None:
    shown = " ".join(new("upgrade").stdout.split())
    assert f"Lineage answers as before: {len(before)} questions were compared. Version {SERVED} answers." in shown
    assert "The model server did not answer for" in shown
    assert answers.ask(new.settings) == before
    assert before["serving"]["version"] == int(SERVED)
    assert [night["night"] for night in before["nights"]] == NIGHTS
    assert standing.read_stamp(new.settings) == VERSION
    assert new("status").returncode == 0


def test_a_second_upgrade_has_nothing_to_do(before: answers.Answers, new: Service) -> None:
    # The programs' own children come and go.
    programs = {name: state["pid"] for name, state in supervisor.states(new.settings).items()}
    assert "There is nothing to do" in new("upgrade").stdout
    assert {name: state["pid"] for name, state in supervisor.states(new.settings).items()} == programs


@pytest.mark.parametrize(
    "question",
    [
        *("serving", "runs", "pipelines", "models", "gaps", "drift", "notes", "graph", "scores", "tuning"),
        *(f"model {SERVED}", f"drop {NIGHTS[0]}", f"night {NIGHTS[2]}", f"compare {NIGHTS[0]} {NIGHTS[1]}"),
        *("history accuracy", "history accuracy --check"),
    ],
)
def test_every_question_is_answered(before: answers.Answers, new: Service, question: str) -> None:
    assert new("lineage", *question.split()).stdout.strip()


def test_recall_finds_what_the_first_version_taught(before: answers.Answers, new: Service) -> None:
    assert new("lineage", "recall", NIGHTS[0], check=False).returncode == 3


def test_the_next_night_is_judged_against_the_champion_that_served(before: answers.Answers, new: Service) -> None:
    new("run", "--night", NEXT)
    report = lineage.nights(new.settings)[-1]
    assert (report.night, report.state) == (NEXT, "pushed")
    assert report.champion_metrics.keys() >= {"accuracy", "macro_f1"}
    push = lineage.artifacts_of_run(new.settings, report.run_id).inputs[("Evaluator", "baseline_push")]
    assert push.properties["pushed_version"] == SERVED
    assert report.window_nights == len(NIGHTS) + 1
    assert query(new, "SELECT id FROM execution WHERE last_known_state = 2") == []
    assert report.pushed_version
    new.wait_until_served(report.pushed_version)


def test_the_pages_open(before: answers.Answers, new: Service) -> None:
    settings = new.settings
    with httpx.Client(
        base_url=airflow.web_address(settings), follow_redirects=True, timeout=60, trust_env=False
    ) as browser:
        form = browser.get("/login/").text
        token = form.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
        secret = settings.secret("airflow_admin_password")
        browser.post("/login/", data={"username": airflow.ADMIN, "password": secret, "csrf_token": token})
        for page in (
            *("", "nights", "models", "recall", "compare", "graph", "drift", "rollback", "notes"),
            *(f"night/{NIGHTS[2]}", f"model/{SERVED}", f"drop/{NIGHTS[0]}/1"),
        ):
            answer = browser.get(f"/headlines/{page}")
            assert (page, answer.status_code) == (page, 200)
            assert "/login" not in str(answer.url)


def test_it_can_be_gone_back_to_the_first_version(before: answers.Answers, old: Service, new: Service) -> None:
    [folder] = (new.settings.state_dir / "upgrades").iterdir()
    shown = new("upgrade", "--back", str(folder)).stdout
    assert f"git checkout v{FIRST}" in shown
    assert new.find_processes() == []
    old("up")
    # The night that came since is gone, and what it pushed does not serve.
    assert SERVED in old("lineage", "serving").stdout
    assert new.served() == SERVED
    assert answers.ask(new.settings) == before
