"""Drift, the gate, live traffic, scores, searches and notes in Airflow's web application."""

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
from lineage_story import Story
from measured_nights import CLEARED, FIRST, SWAPPED, MeasuredNights
from pages_server import PagesServer, find_token, show
from postgres_server import Server, make_database

from retraining.settings import Settings

VERSION = 2022020101
HOSTILE = "<script>alert('note')</script> & \"outros\""


@pytest.fixture(scope="module")
def story(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_database(postgres, tmp_path_factory.mktemp("sides"))
    settings = settings.model_copy(update={"min_headlines": 20})
    Story(settings).run("2022-02-01", {"2022-02-01": 1})
    MeasuredNights(settings).tell()
    return settings


@pytest.fixture(scope="module")
def server(story: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = PagesServer(tmp_path_factory.mktemp("airflow"), port)
    show(running, story)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def admin(server: PagesServer) -> httpx.Client:
    return server.log_in("admin")


@pytest.fixture(scope="module")
def reader(server: PagesServer) -> httpx.Client:
    return server.log_in("reader")


def in_one_line(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_pages_answer_who_may_read_and_nobody_else(server: PagesServer, reader: httpx.Client) -> None:
    viewer = server.log_in("viewer")
    for page in ("drift", "scores", "tuning", "notes"):
        assert reader.get(f"/headlines/{page}").status_code == 200
        assert reader.get(f"/headlines/api/{page}").json()["version"] == 1
        assert viewer.get(f"/headlines/{page}").status_code == 403
        assert httpx.get(f"{server.url}/headlines/api/{page}").status_code == 401


def test_a_blocked_night_shows_the_measures_that_blocked_it_their_direction_and_what_to_do(
    reader: httpx.Client,
) -> None:
    text = in_one_line(reader.get(f"/headlines/night/{SWAPPED}").text)
    assert "What the drop was held to failed" in text
    assert "shift of the class mix 40.0% at most 25.0% missed" in text
    assert "Correct the labels, or raise MAX_CLASS_MIX_SHIFT." in text
    assert "rows quarantined 0.0% at most 5.0% passed" in text
    assert "anomalies against the reviewed schema 0 none may be passed" in text
    gate = reader.get(f"/headlines/api/night/{SWAPPED}").json()["night"]["gate"]
    assert [one["kind"]["name"] for one in gate["measures"] if one["passed"] is False] == [
        "class_surprisal",
        "expected_class_surprisal",
        "swap_evidence",
        "class_mix_shift",
    ]


def test_a_night_that_recorded_no_measures_says_so(reader: httpx.Client) -> None:
    text = in_one_line(reader.get("/headlines/night/2022-02-01").text)
    assert "shift of the class mix not recorded limit not recorded not judged" in text


def test_the_live_traffic_of_a_night_is_shown_with_its_limits(reader: httpx.Client) -> None:
    page = reader.get(f"/headlines/night/{FIRST}").text
    text = in_one_line(page)
    assert "distance of unseen words from the window 0.310 at most 0.250" in text
    assert "of 120 answers that the night's labels judge, those that were right 0.810 at least 0.700" in text.replace(
        "&#39;", "'"
    )
    assert "&lt;requests.jsonl&gt;" in page
    assert "Live traffic" not in reader.get(f"/headlines/night/{SWAPPED}").text


def test_drift_shows_every_night_in_charts_and_in_a_table(reader: httpx.Client) -> None:
    page = reader.get("/headlines/drift").text
    text = in_one_line(page)
    assert "shift of the class mix" in text
    assert f"1, newest {SWAPPED}" in text
    assert "beyond: 40.0%" in text
    assert page.count("<canvas data-chart=") == page.count('type="application/json" id="drift-') > 10
    answer = reader.get("/headlines/api/drift").json()["drift"]
    by_night = {night["night"]: night for night in answer["nights"]}
    assert by_night[SWAPPED]["missed"] == [
        "class_surprisal",
        "expected_class_surprisal",
        "swap_evidence",
        "class_mix_shift",
    ]
    assert by_night[CLEARED]["limits"]["class_mix_shift"] == 1.0
    assert len(reader.get("/headlines/api/drift?nights=2").json()["drift"]["nights"]) == 2


def test_scores_are_on_their_page_and_on_their_night_s(reader: httpx.Client) -> None:
    for page in ("scores", f"scores?night={FIRST}", f"night/{FIRST}"):
        text = in_one_line(reader.get(f"/headlines/{page}").text)
        assert f"{VERSION} {FIRST} 5 0 3 2 2 unlabelled.csv /scores/{FIRST}/{VERSION}.csv" in text, page
    assert "No model has scored" in reader.get(f"/headlines/scores?night={SWAPPED}").text
    assert "Unlabelled headlines" not in reader.get(f"/headlines/night/{SWAPPED}").text
    assert reader.get("/headlines/api/scores?night=foo").status_code == 404


def test_searches_show_what_they_found_every_trial_and_why_one_failed(reader: httpx.Client) -> None:
    text = in_one_line(reader.get("/headlines/tuning").text)
    assert "none of 3 trials came to an end" in text
    assert f"{FIRST} 2 log_loss 0.4321 none yet" in text
    assert "dropout 0.2500" in text
    assert "1 0.4321 0.2500" in text
    assert reader.get("/headlines/tuning?search=999999").status_code == 404


def test_a_note_needs_the_permission_and_the_token(admin: httpx.Client, reader: httpx.Client) -> None:
    form = {"night": FIRST, "text": "feriado"}
    assert admin.post("/headlines/notes", data=form).status_code == 400
    shown = reader.get(f"/headlines/night/{FIRST}").text
    assert 'name="text"' not in shown
    own = re.search(r"csrfToken = '([^']+)'", shown)
    assert own
    assert reader.post("/headlines/notes", data={**form, "csrf_token": own[1]}).status_code == 403
    assert reader.get("/headlines/api/notes").json()["notes"] == []


def test_a_note_is_written_in_the_name_of_who_is_logged_in_and_shown_as_text_wherever_it_belongs(
    admin: httpx.Client, reader: httpx.Client
) -> None:
    token = find_token(admin.get(f"/headlines/night/{SWAPPED}").text)
    done = admin.post("/headlines/notes", data={"night": SWAPPED, "text": HOSTILE, "csrf_token": token})
    assert (done.status_code, done.headers["location"]) == (302, f"/headlines/night/{SWAPPED}#notes")
    done = admin.post("/headlines/notes", data={"version": str(VERSION), "text": "kept an eye", "csrf_token": token})
    assert done.headers["location"] == f"/headlines/model/{VERSION}#notes"
    for page in (f"night/{SWAPPED}", "notes"):
        shown = reader.get(f"/headlines/{page}").text
        assert "<script>alert('note')" not in shown
        assert "&lt;script&gt;alert(&#39;note&#39;)&lt;/script&gt; &amp; &#34;outros&#34;" in shown
        assert f"on night {SWAPPED} by admin" in in_one_line(shown)
    for page in (f"model/{VERSION}", "night/2022-02-01"):
        assert "kept an eye" in reader.get(f"/headlines/{page}").text
    on_version, on_night = reader.get("/headlines/api/notes").json()["notes"]
    assert (on_version["version"], on_version["night"], on_version["by"]) == (VERSION, "2022-02-01", "admin")
    assert (on_night["version"], on_night["text"]) == (None, HOSTILE)
    calendar = reader.get("/headlines/nights?year=2022")
    assert calendar.text.count("<b>note</b>") == 3, "two nights, and the legend"
    assert reader.get("/headlines/api/nights?year=2022").json()["noted"] == {"2022-02-01": 1, SWAPPED: 1}


def test_what_may_not_be_noted_is_refused_and_what_was_typed_is_not_lost(admin: httpx.Client) -> None:
    token = find_token(admin.get("/headlines/notes").text)
    before = len(admin.get("/headlines/api/notes").json()["notes"])
    for form, problem in (
        ({"night": FIRST, "text": "red \x1b[31m"}, "U+001B"),
        ({"night": FIRST, "text": "a" * 1001}, "1001 characters"),
        ({"night": "2022-02-31", "text": "no such day"}, "2022-02-31"),
        ({"version": "2022020199", "text": "no such version"}, "no version 2022020199"),
        ({"version": "abc", "text": "no number"}, "is no number"),
        ({"night": FIRST, "version": "12a", "text": "not on the night then"}, "is no number"),
        ({"withdraw": "abc", "night": FIRST, "text": "no new note"}, "is no number"),
        ({"withdraw": "1", "text": "no note"}, "there is no note 1"),
    ):
        refused = admin.post("/headlines/notes", data={**form, "csrf_token": token})
        assert (refused.status_code, problem in refused.text) == (400, True), form
    assert "</textarea>" in refused.text and "no note</textarea>" not in refused.text, "it is no new note"
    assert len(admin.get("/headlines/api/notes").json()["notes"]) == before


def test_a_withdrawn_note_stays_with_who_withdrew_it(admin: httpx.Client) -> None:
    token = find_token(admin.get("/headlines/notes").text)
    newest, *others = admin.get("/headlines/api/notes").json()["notes"]
    form = {"withdraw": newest["id"], "text": "it was fine", "csrf_token": token}
    assert admin.post("/headlines/notes", data=form).status_code == 302
    withdrawn, *rest = admin.get("/headlines/api/notes").json()["notes"]
    assert rest == others
    assert (withdrawn["text"], withdrawn["withdrawal"]["text"]) == (newest["text"], "it was fine")
    assert "it was fine" in admin.get(f"/headlines/model/{VERSION}").text
    assert admin.get("/headlines/api/nights?year=2022").json()["noted"] == {SWAPPED: 1}
