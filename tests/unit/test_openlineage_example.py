"""The captured night in docs/ is what OpenLineage's schemas demand, and the page about it names what is sent."""

import json
import re

from openlineage_sink import OURS, find_problems

from headlines.names import NIGHTLY_DAG
from retraining.settings import CHECKOUT

TEXT = (CHECKOUT / "docs" / "openlineage-example.json").read_text()
EVENTS = json.loads(TEXT)
PAGE = (CHECKOUT / "docs" / "openlineage.md").read_text()


def test_the_example_is_a_whole_night_as_openlineage_demands_it() -> None:
    assert not [(event["job"]["name"], problem) for event in EVENTS for problem in find_problems(event)]
    kinds: dict[str, list[str]] = {}
    for event in EVENTS:
        kinds.setdefault(event["job"]["name"], []).append(event["eventType"])
    for job in (NIGHTLY_DAG, *(f"{NIGHTLY_DAG}.{node}" for node in ("HeadlineExampleGen", "Trainer", "Pusher"))):
        assert kinds[job] == ["START", "COMPLETE"], job
    nominal = {event["run"]["facets"]["nominalTime"]["nominalStartTime"][:10] for event in EVENTS}
    assert nominal == {"2022-02-02"}


def test_the_example_names_no_place_of_the_machine_it_was_made_on() -> None:
    names = {dataset["name"] for event in EVENTS for side in ("inputs", "outputs") for dataset in event[side]}
    assert all(name.startswith("/srv/headlines/") for name in names), names
    places = set(re.findall(r'(?:file://|[" ])(/\w+/)', TEXT)) - {"/srv/"}
    assert not places


def test_the_page_names_every_facet_of_ours() -> None:
    named = {f"`{name}`" for name in json.loads(OURS.read_text())["properties"]}
    assert named <= set(re.findall(r"`headlines_\w+`", PAGE))
