"""Every question of lineage is answered about three nights that the first version ran, from a copy of its databases.

`tests/data/first_version/*.sql.gz` are what `pg_dump` wrote of a service of v0.1.0, less Airflow's logs, sessions and
users, with its folders and the name of its machine replaced. tests/e2e/test_upgrade.py makes such a service anew.
"""

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import Server, lend_database, share_with_airflow

import lineage
from retraining.local import postgres as embedded
from retraining.local import standing
from retraining.settings import Settings
from retraining.upkeep import answers

COPIES = Path(__file__).resolve().parent.parent / "data" / "first_version"
NIGHTS = ["2022-02-01", "2022-02-02", "2022-02-03"]
PUSHED = [2022020101, 2022020201, 2022020301]


@pytest.fixture(scope="module")
def first(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that lead to the databases of the first version."""
    with lend_database(postgres, tmp_path_factory.mktemp("first")) as mlmd:
        settings = share_with_airflow(mlmd)
        for name in ("mlmd", "airflow_db"):
            load(settings, gzip.decompress((COPIES / f"{name}.sql.gz").read_bytes()))
        yield settings


def load(settings: Settings, statements: bytes) -> None:
    place = settings.database("mlmd")
    where = [f"--host={place.host}", f"--port={place.port}", f"--username={place.user}", f"--dbname={place.name}"]
    subprocess.run(
        [str(embedded.find_binaries() / "psql"), *where, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"],
        input=statements,
        env={"PGPASSWORD": place.password or ""},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def test_its_tables_are_those_that_the_programs_here_work_with(first: Settings) -> None:
    assert [schema.age for schema in standing.find_schemas(first)] == ["current", "current"]


def test_its_nights_and_what_they_pushed_are_read(first: Settings) -> None:
    reports = lineage.nights(first)
    assert [(report.night, report.state, report.pushed_version) for report in reports] == [
        (night, "pushed", str(version)) for night, version in zip(NIGHTS, PUSHED, strict=True)
    ]
    assert [report.window_nights for report in reports] == [1, 2, 3]
    for report in reports:
        assert report.rows_in == report.rows_used + report.rows_quarantined + report.duplicates_folded  # type: ignore[operator]
        assert report.checks
    assert lineage.gaps(first, first=NIGHTS[0], last=NIGHTS[-1]) == ()


def test_the_champion_of_the_next_night_is_what_served(first: Settings) -> None:
    champion = lineage.champion_as_of(first, "2022-02-04")
    serving = lineage.serving_now(first)
    assert champion and serving
    assert champion.version == serving.version == PUSHED[-1]
    assert [drop.night for drop in serving.drops] == NIGHTS
    assert serving.path.nodes


def test_a_bad_drop_is_recalled_to_the_models_it_taught(first: Settings) -> None:
    taught = lineage.recall(first, NIGHTS[1])
    assert {taint.model.night for taint in taught.taints} == set(NIGHTS[1:])
    assert taught.is_serving


def test_every_other_question_has_an_answer(first: Settings) -> None:
    asked = {
        "model": lineage.model_detail(first, str(PUSHED[1])).report,
        "models": lineage.list_models(first).models,
        "night": lineage.night_detail(first, NIGHTS[2]).runs,
        "compare": lineage.compare(first, NIGHTS[0], NIGHTS[1]).metrics,
        "history": lineage.metric_history(first, "accuracy").points,
        "history --check": lineage.check_history(first, "accuracy").points,
        "drift": lineage.drift(first).nights,
        "graph": lineage.graph(first).nodes,
        "runs": lineage.runs(first),
        "drops": lineage.drops(first),
        "what an upgrade compares": answers.ask(first)["serving"],
    }
    assert {question for question, answer in asked.items() if not answer} == set()
