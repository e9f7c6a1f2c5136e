"""A whole service whose drops, artifacts, models and scores are in a bucket: two nights by the schedule, and back.

The tests of this file build on one another, in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
import waiting
from driving import SMALL_TRAINING, Service, make_environment
from object_stores import BUCKET, STORES, ObjectStore

import lineage
from headlines.drops.samples import write_samples
from retraining.local import model_server

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]

_PLACES = {
    "PIPELINE_ROOT": "pipelines",
    "SERVING_DIR": "serving/headlines",
    "DROPS_DIR": "drops",
    "SCORES_DIR": "scores",
}
# What the service needs to start and to catch a night up, on a busy machine.
_LEAD = timedelta(minutes=4)
DAG = "headline_retraining"
wait_until = partial(waiting.wait_until, every=1)


@dataclass
class Stored:
    """A service, the store that keeps its places, and its two nights with their sample drops."""

    service: Service
    store: ObjectStore
    nights: tuple[str, str]
    samples: Path

    def wait_for_verdict(self, night: str) -> lineage.NightReport:
        """Waits until the schedule's run of a night has ended."""

        def find() -> list[lineage.NightReport]:
            reports = lineage.nights(self.service.settings, night, night)
            return [one for one in reports if one.state not in ("running", "waiting")]

        wait_until(lambda: bool(find()), f"the schedule starts night {night}, and it ends", 900)
        [report] = find()
        run = self.service.api("GET", f"dags/{DAG}/dagRuns/{report.run_id}")
        assert (run["run_type"], run["external_trigger"]) == ("scheduled", False)
        return report

    @property
    def models(self) -> list[str]:
        """The versions that are there."""
        keys = self.store.list("serving/headlines/")
        return sorted(key.split("/")[2] for key in keys if key.endswith("/saved_model.pb"))


@pytest.fixture(scope="module", params=sorted(STORES))
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    place = tmp_path_factory.mktemp("in a bucket")
    store = STORES[request.param]()
    tick = (datetime.now(ZoneInfo("America/Sao_Paulo")) + _LEAD).replace(second=0, microsecond=0)
    nights = [tick.date() - timedelta(days=days) for days in (2, 1)]
    write_samples(place / "samples", nights=2, first_night=nights[0])
    environment = make_environment(
        place / "state",
        place / "no drops",
        **{name: f"{store.url}/{folder}" for name, folder in _PLACES.items()},
        **store.environment,
        SCHEDULE=f"{tick.minute} {tick.hour} * * *",
        START_DATE=nights[0].isoformat(),
        SCHEDULED_FROM=nights[0].isoformat(),
        TUNING_SCHEDULE="none",
        **SMALL_TRAINING,
    )
    service = Service(environment)
    try:
        service("up")
        yield Stored(service, store, (nights[0].isoformat(), nights[1].isoformat()), place / "samples")
    finally:
        service("down", check=False)
        store.stop()


def test_a_night_that_is_caught_up_pushes_into_the_bucket_and_is_served_from_it(stored: Stored) -> None:
    night, _ = stored.nights
    [file] = (stored.samples / night).glob("*.csv")
    stored.service("drop", str(file), "--night", night)
    assert f"drops/{night}/_SUCCESS" in stored.store.list("drops/")
    # It has been due since yesterday, and the schedule begins when a person says so.
    stored.service.api("PATCH", f"dags/{DAG}", json={"is_paused": False})
    assert stored.wait_for_verdict(night).state == "pushed"
    assert stored.models == [version_of(night)]
    stored.service.wait_until_served(version_of(night))


def version_of(night: str) -> str:
    return f"{date.fromisoformat(night):%Y%m%d}01"


def test_the_clock_starts_the_next_night_whose_model_is_served_and_scores_what_is_unlabelled(stored: Stored) -> None:
    _, night = stored.nights
    [file] = (stored.samples / night).glob("*.csv")
    # As another system delivers, without a marker: it is waited for until it has been left alone.
    stored.store.put(f"drops/{night}/headlines.csv", file.read_bytes())
    stored.store.put(f"drops/{night}/unlabelled.csv", b"title\nFoi bom\nFoi ruim\n")
    assert stored.wait_for_verdict(night).state == "pushed"
    assert stored.models == [version_of(one) for one in stored.nights]
    stored.service.wait_until_served(version_of(night))
    scores = f"scores/{night}/{version_of(night)}.csv"
    wait_until(lambda: scores in stored.store.list("scores/"), f"{scores} is there", 300)
    assert len(stored.store.get(scores).decode().splitlines()) == 3


def test_lineage_leads_to_the_bucket_and_its_pages_read_there(stored: Stored) -> None:
    report = lineage.nights(stored.service.settings)[-1]
    root = f"{stored.store.url}/pipelines/"
    for made in lineage.artifacts_of_run(stored.service.settings, report.run_id).outputs.values():
        assert made.uri.startswith(root)
    page = stored.service("status").stdout
    assert version_of(stored.nights[1]) in page
    assert stored.service("doctor", check=False).returncode in (0, 1)


def test_a_rollback_is_served_from_the_bucket(stored: Stored) -> None:
    first = version_of(stored.nights[0])
    stored.service("rollback", "--to", first, "--reason", "it answers worse")
    stored.service.wait_until_served(first)
    answer = httpx.post(f"{model_server.address(stored.service.settings)}/predict", json={"title": "Foi bom"})
    assert answer.json()["version"] == first
    assert f'base_path: "{stored.store.url}/serving/headlines"' in stored.store.get("serving/models.config").decode()


def test_nothing_of_it_was_written_on_this_machine_but_copies(stored: Stored) -> None:
    state = stored.service.settings.state_dir
    assert not (state.parent / "no drops").exists()
    assert [str(path) for path in state.rglob("saved_model.pb") if "serving-copies" not in path.parts] == []
    assert not [path for path in Path.cwd().iterdir() if path.name in (f"{stored.store.scheme}:", BUCKET)]
