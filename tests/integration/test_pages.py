"""The pages in Airflow's own web application, on lineage of the real launcher: who sees them, and what they say."""

import csv
import io
import itertools
import json
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from lineage_story import LATE
from pages_server import FORMULAS, PAGES, TITLE, PagesServer, find_token, show
from postgres_server import query
from status_server import run_status_server

from headlines.pushes.rollbacks import find_served
from retraining.settings import Settings
from retraining.web.menu import MENU


def twin(page: str) -> str:
    return "/headlines/api/serving" if page == "/headlines/" else page.replace("/headlines/", "/headlines/api/", 1)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_and_its_json_twin_answer_whoever_may_read(
    page: str, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    for user in ("admin", "reader"):
        shown = clients[user].get(page)
        assert shown.status_code == 200, shown.text[-3000:]
        assert "hl-tabs" in shown.text
        answer = clients[user].get(twin(page))
        assert answer.status_code == 200
        assert answer.json()["version"] == 1 or "rows" in answer.json()


def find_headings(page: str) -> list[int]:
    """The levels of a page's own headings, in its order: Airflow has dialogues before and behind it."""
    own = page.partition('<div class="hl">')[2].partition('<footer class="footer"')[0]
    return [int(level) for level in re.findall(r"<h([1-6])[\s>]", own)]


def test_every_page_has_a_title_of_its_own_and_one_heading_with_the_others_in_order_under_it(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    titles = {}
    for address in (*PAGES, "/headlines/rollback", "/headlines/night/never"):
        page = clients["admin"].get(address).text
        [title] = re.findall(r"<title>(.*?)</title>", page.partition("</head>")[0], re.DOTALL)
        assert title.endswith(" · Headlines"), address
        assert title == " ".join(title.split()), address
        assert title not in titles, (address, titles[title])
        titles[title] = address
        levels = find_headings(page)
        assert (levels[0], levels.count(1), page.count("<h1")) == (1, 1, 1), (address, levels)
        assert all(level <= before + 1 for before, level in itertools.pairwise(levels)), (address, levels)
    assert titles["Night 2022-02-02 · Headlines"] == "/headlines/night/2022-02-02"
    assert titles["Now serving 2022020702 · Headlines"] == "/headlines/"
    assert titles["Graph of night 2022-02-02, every step · Headlines"] == "/headlines/graph?night=2022-02-02&full=1"
    assert titles["Compare 2022020101 with 2022020702 · Headlines"].endswith("b=2022020702")


def test_every_section_has_an_address_and_no_two_things_share_one(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    for address in PAGES:
        page = clients["admin"].get(address).text.partition('<div class="hl">')[2]
        assert "<section>" not in page, address
        ids = re.findall(r"\sid=\"([^\"]*)\"", page)
        assert len(ids) == len(set(ids)), (address, sorted(ids))
        assert not [one for one in ids if not one or " " in one], (address, ids)


@pytest.mark.parametrize("page", [*PAGES, "/headlines/task?dag_id=story&run_id=x&node=y", "/headlines/rollback"])
def test_without_the_permission_nothing_is_shown(
    page: str, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    addresses = [page] if page in ("/headlines/rollback",) or "task" in page else [page, twin(page)]
    for address in addresses:
        refused = clients["viewer"].get(address)
        assert refused.status_code == 403
        assert "2022" not in refused.text
        stranger = httpx.get(f"{told.url}{address}")
        if "/api/" in address:
            assert stranger.status_code == 401
        else:
            assert (stranger.status_code, stranger.headers["location"].partition("?")[0]) == (302, "/login/")


def test_every_route_of_the_pages_is_guarded() -> None:
    source = (Path(__file__).parents[2] / "retraining" / "web" / "views.py").read_text()
    views = re.findall(r"((?:    @.*\n(?:        .*\n)*?)+)    def (?!_)(\w+)\(self", source)
    assert len(views) >= 13
    assert all("@route(" in decorators and "@expose" not in decorators for decorators, _ in views)


def test_the_menu_is_only_for_those_who_may_read(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    assert "/headlines/nights" in clients["reader"].get("/home", follow_redirects=True).text
    assert "/headlines/nights" not in clients["viewer"].get("/home", follow_redirects=True).text


def test_the_bar_of_every_page_and_airflow_s_menu_are_one_list(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["admin"].get("/headlines/recall").text
    bar = re.findall(r'<a href="([^"]+)"', page.partition('class="hl-tabs"')[2].partition("</div>")[0])
    assert bar[:2] == ["/headlines/", "/headlines/nights"]
    assert len(bar) == len(MENU)
    assert page.count('aria-current="page"') == 1
    navigation = clients["admin"].get("/home", follow_redirects=True).text
    assert sorted(set(re.findall(r'href="(/headlines/[^"]*)"', navigation))) == sorted(bar)


def test_what_serves_leads_to_the_rows_of_a_drop(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/").text
    assert ">2022020702<" in page
    assert "/headlines/drop/2022-02-05/1" in page


def ask_for_what_serves(client: httpx.Client) -> tuple[str, dict[str, Any]]:
    """The page and its JSON twin, with answers: on a machine that is busy, their half second may be over first."""
    deadline = time.monotonic() + 60
    while True:
        page, observed = client.get("/headlines/").text, client.get("/headlines/api/serving").json()["observed"]
        if "no answer" not in page + json.dumps(observed) or time.monotonic() > deadline:
            return page, observed


ALARM = "What answers is not what should serve:"


def test_what_answers_is_shown_beside_what_should_serve(
    server: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    with run_status_server() as first, run_status_server() as second:
        show(server, story.model_copy(update={"serving_urls": (first.url, second.url)}))
        first.states = second.states = {2022020702: "AVAILABLE", 2022020701: "AVAILABLE"}
        page, observed = ask_for_what_serves(clients["reader"])
        assert (observed["state"], observed["is_right"]) == ("agrees", True)
        assert observed["expected"]["version"] == 2022020702
        assert ALARM not in page and "Should be serving" not in page
        # As a moment, or a page that looks again would take another minute for news.
        assert re.search(r"<dt>Serving for</dt>\s*<dd>\s*<time [^>]*>(less than a|\d+) minutes?</time>", page)
        assert page.count("answers 2022020702") == 2

        # One is behind, the other damaged; what they say is text.
        first.states = {2022020501: "AVAILABLE", 2022020702: "END"}
        first.errors = {2022020702: "<b>the weights</b> end early"}
        second.states = {}
        second.answer = 503, b"busy"
        page, observed = ask_for_what_serves(clients["reader"])
        assert [one["state"] for one in observed["replicas"]] == ["differs", "unreachable"]
        assert ALARM in page and "Should be serving" in page
        assert "answers 2022020501: it cannot load 2022020702: &lt;b&gt;the weights&lt;/b&gt; end early" in page
        assert "cannot be asked: it answers with HTTP status 503" in page

        show(server, story.model_copy(update={"serving_urls": ()}))
        page, observed = ask_for_what_serves(clients["reader"])
        assert (observed["state"], ALARM in page) == ("unasked", False)
        assert "No model server is asked" in page


def test_a_model_server_that_hangs_holds_the_page_up_for_half_a_second_and_the_rest_is_there(
    server: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    with run_status_server() as hanging, run_status_server() as other:
        other.states = {2022020702: "AVAILABLE"}
        show(server, story.model_copy(update={"serving_urls": (other.url,)}))
        clients["reader"].get("/headlines/")
        _, usual = time_page(clients["reader"], "answers 2022020702")

        hanging.waits.clear()
        show(server, story.model_copy(update={"serving_urls": (hanging.url, other.url, f"{hanging.url}/again")}))
        page, took = time_page(clients["reader"], "answers 2022020702")
        # Whoever is patient waits for five seconds.
        assert took < usual + 3
        assert page.count("cannot be asked: no answer") == 2
        assert "/headlines/drop/2022-02-05/1" in page


def time_page(client: httpx.Client, words: str) -> tuple[str, float]:
    """The page of what serves once it has the words, and how long it took at the least: other tests are at work too."""
    shortest, deadline = float("inf"), time.monotonic() + 60
    while True:
        began = time.monotonic()
        page = client.get("/headlines/").text
        shortest = min(shortest, time.monotonic() - began)
        if words in page:
            return page, shortest
        assert time.monotonic() < deadline, page


def test_our_own_model_server_has_a_page_that_is_linked(
    server: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    with run_status_server() as ours:
        # As our server before it has loaded anything: serving/versions.py.
        ours.answer = 404, b'{"error":"Servable not found for request: Latest(headlines)"}'
        show(server, story.model_copy(update={"serving_urls": (ours.url,)}))
        page, observed = ask_for_what_serves(clients["reader"])
        # The story's last push may be a moment ago, and has time to be loaded.
        assert observed["state"] in ("nothing", "loading")
        assert f'<a href="{ours.url}/">{ours.url}</a>' in page
        ours.answer = None
        page, _ = ask_for_what_serves(clients["reader"])
        assert ours.url in page and f'href="{ours.url}/"' not in page


def test_a_title_is_shown_as_text_and_never_run(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/drop/2022-02-01/1").text
    assert "<script>alert(" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; outros" in page
    search = clients["reader"].get("/headlines/drop/2022-02-01/1", params={"search": '"><script>alert(1)</script>'})
    assert "<script>alert(" not in search.text
    unknown = clients["reader"].get("/headlines/model/<script>alert(1)<|script>")
    assert unknown.status_code == 404
    assert "<script>alert(" not in unknown.text


def test_an_export_holds_no_formula(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    exported = clients["reader"].get("/headlines/drop/2022-02-01/1?format=csv")
    assert exported.headers["content-type"].startswith("text/csv")
    assert exported.content.startswith(b"\xef\xbb\xbf")
    titles = [row["title"] for row in csv.DictReader(io.StringIO(exported.content.decode("utf-8-sig")))]
    assert titles == [TITLE, *(f"'{formula}" for formula in FORMULAS)]


def test_a_night_shows_every_attempt_with_its_error(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/night/2022-02-03").text
    assert "the network under DropGate is down" in page
    detail = clients["reader"].get("/headlines/api/night/2022-02-03").json()["night"]
    assert detail["runs"][-1]["report"]["failed_node"] == "DropGate"


def test_what_a_run_did_not_leave_behind_is_not_told_as_clean(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/night/2022-02-02").text
    assert page.count("Not known: the run stopped before") == 2
    assert "No rows are in quarantine" not in page
    assert "None against the reviewed schema" not in page
    assert "its files are gone" in clients["reader"].get("/headlines/night/2022-02-02/quarantine").text


def test_moments_are_told_with_their_zone_and_their_age(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    for address in ("/headlines/", "/headlines/night/2022-02-02", "/headlines/execution/3"):
        page = clients["reader"].get(address).text
        times = re.findall(r"<time datetime=[^>]*>([^<]*)</time>", page)
        assert times, address
        assert not [one for one in times if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC, .* ago", one)]


def test_nothing_looks_again_by_itself_where_all_is_over(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    for address in PAGES:
        assert "hl-refresh" not in clients["reader"].get(address).text
    assert clients["reader"].get("/headlines/api/night/2022-02-02").json()["refresh_seconds"] is None


def test_the_versions_of_a_drop_are_told_in_a_sentence(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/night/2022-02-02").text
    assert ">v1</a>, " in " ".join(page.split())
    assert ">v2</a>." in page


def test_the_calendar_has_weekdays_and_says_in_which_zone_nights_are_days(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/nights").text
    days = re.findall(r'<th scope="col" abbr="(\w+)">', page)
    assert days[:7] == ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    assert 'title="Friday 2022-02-04: pushed' in page
    assert "<h2>February 2022</h2>" in page
    # Its first is a Tuesday, behind one day of another month.
    week = " ".join(page.partition("<tbody>")[2].partition("</tr>")[0].split())
    assert week.startswith("<tr> <td></td> <td>")
    assert (week.count("<td></td>"), week.count("<td>")) == (1, 7)
    assert "A night is a day in America/Sao_Paulo" in page
    assert 'aria-current="date"' not in page
    answer = clients["reader"].get("/headlines/api/nights").json()
    assert (answer["zone"], answer["months"][0]["offset"]) == ("America/Sao_Paulo", 1)


def test_the_calendar_marks_a_drop_that_came_after_its_nights_cut_off(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    assert clients["reader"].get("/headlines/api/nights").json()["late"] == [LATE]
    page = clients["reader"].get("/headlines/nights").text
    assert [f"2022-02-0{day}" for day in range(1, 9) if f"2022-02-0{day}: pushed, drop v1 (late)" in page] == [LATE]


def test_recall_tells_whether_what_serves_is_tainted_and_the_commands_to_type(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    tainted = clients["admin"].get("/headlines/recall?drop=2022-02-05:1").text
    assert "What serves now is tainted:" in tainted
    assert "retraining rollback --to " in tainted
    assert 'href="/headlines/rollback?to=' in tainted
    assert "retraining drop corrected.csv --night 2022-02-05 --correct" in tainted
    assert "What serves now is clean of it:" in clients["admin"].get("/headlines/recall?drop=2022-02-04:1").text


@pytest.mark.parametrize(
    ("dag", "run", "node"),
    [("story", "scheduled__2022-02-02", "Trainer"), ("story_tuning", "manual__2022-02-06", "Tuner")],
)
def test_a_task_leads_to_what_its_newest_attempt_recorded(
    dag: str, run: str, node: str, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    found = clients["reader"].get("/headlines/task", params={"dag_id": dag, "run_id": run, "node": node})
    assert found.status_code == 302
    page = clients["reader"].get(found.headers["location"]).text
    assert node in page
    assert run in page


@pytest.mark.parametrize(
    ("dag", "run", "night"),
    [
        ("story", "scheduled__2022-02-02", "2022-02-02"),
        ("story", "manual__2022-02-08", "2022-02-08"),
        ("story_tuning", "manual__2022-02-06", "2022-02-06"),
    ],
)
def test_a_run_leads_to_its_night(
    dag: str, run: str, night: str, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    found = clients["reader"].get("/headlines/run", params={"dag_id": dag, "run_id": run})
    assert (found.status_code, found.headers["location"]) == (302, f"/headlines/night/{night}")


def test_a_run_of_no_night_that_is_known_is_told_as_such(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    for dag, run in (("story_tuning", "scheduled__2022-02-02"), ("story", "scheduled__2022-02-06"), ("", "")):
        answer = clients["reader"].get("/headlines/run", params={"dag_id": dag, "run_id": run})
        assert answer.status_code == 404
        assert f"the night of run {run!r}".replace("'", "&#39;") in answer.text


def test_an_execution_leads_to_its_night_also_one_of_another_pipeline(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    assert clients["reader"].get("/headlines/api/execution/3").json()["night"] == "2022-02-01"
    assert '<a href="/headlines/night/2022-02-01">' in clients["reader"].get("/headlines/execution/3").text
    task = {"dag_id": "story_tuning", "run_id": "manual__2022-02-06", "node": "Tuner"}
    tuner = clients["reader"].get("/headlines/task", params=task).headers["location"]
    assert '<a href="/headlines/night/2022-02-06">' in clients["reader"].get(tuner).text


def test_a_task_never_leads_to_another_pipeline_s_run_of_the_same_id(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    for dag, run in (
        ("story", "no such run"),
        ("story_tuning", "scheduled__2022-02-02"),
        ("", "scheduled__2022-02-02"),
    ):
        task = {"dag_id": dag, "run_id": run, "node": "Trainer"}
        assert clients["reader"].get("/headlines/task", params=task).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "night/1999-99-99",
        "night/20220202",
        "night/20220202/quarantine",
        "drop/20220201/1",
        "drop/2022-02-01/7",
        "model/1999010101",
        "execution/999999",
        "check/fame",
    ],
)
def test_what_is_not_known_is_told_as_such(path: str, told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    assert clients["reader"].get(f"/headlines/{path}").status_code == 404
    answer = clients["reader"].get(f"/headlines/api/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_check_is_told_with_its_direction_its_meaning_and_a_picture(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/model/2022020702").text
    assert "at least 0.750" in page
    assert "The share of the headlines that it labels as a person did." in page
    assert 'aria-label="value 0.850, 95 % interval 0.700 to 0.900; limit: at least 0.750"' in page
    assert 'href="/headlines/check/accuracy"' in page
    assert 'href="/headlines/quality-bar#the-checks"' in page
    assert 'id="the-checks"' in clients["reader"].get("/headlines/quality-bar").text
    [check] = clients["reader"].get("/headlines/api/model/2022020702").json()["model"]["report"]["checks"]
    assert (check["rule"], check["note"]) == ("at least 0.750", "")


def test_a_check_is_told_over_nights_with_its_limit_and_what_happened(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/check/accuracy").text
    assert "at least 0.750" in page
    chart = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])  # type: ignore[index]
    lines = {line["label"]: line["values"] for line in chart["lines"]}
    assert set(lines["limit"]) == {0.75}
    assert [mark["label"] for mark in chart["marks"]] == ["pushed", "refused"]
    assert len({mark["style"] for mark in chart["marks"]}) == 2
    points = clients["reader"].get("/headlines/api/check/accuracy").json()["history"]["points"]
    assert [point["night"] for point in points] == chart["nights"]
    assert [point["check"]["value"] for point in points] == lines["value"]
    refused = [point["night"] for point in points if point["blessed"] is False]
    [marked] = [mark["values"] for mark in chart["marks"] if mark["label"] == "refused"]
    assert [night for night, value in zip(chart["nights"], marked, strict=True) if value is not None] == refused
    assert refused == ["2022-02-08", "2022-02-09", "2022-02-10"]


def test_a_slice_that_is_not_judged_says_why_in_a_table_that_can_be_sorted(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/model/2022020702").text
    [table] = re.findall(r'<table class="table hl-table hl-sortable">.*?</table>', page, re.DOTALL)
    rows = {name: row for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
            for name in re.findall(r'<th scope="row">(.*?)</th>', row)}  # fmt: skip
    assert "judged, the worst" in rows["night=2022-02-01"]
    assert "JUDGED_SLICES does not name the group length" in rows["length=short"]
    assert "fewer rows than MIN_SLICE_ROWS, 30" in rows["sentiment=positive"]


def test_a_model_card_is_rendered_and_nothing_in_it_is_run_followed_or_loaded(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    page = clients["reader"].get("/headlines/model/2022-02-07").text
    card = page[page.index('aria-label="Model card"') :]
    assert '<h3 id="card-model-of-night-2022-02-07">' in card
    assert '<th scope="col">split</th>' in card
    assert "&lt;script&gt;alert('card')&lt;/script&gt; [press](javascript:alert(1)) seen" in card
    assert "href" not in card[: card.index("</section>")]
    assert "seen.png" not in page


def test_compare_says_on_how_many_rows_each_figure_is(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/compare?a=2022-02-09&b=2022-02-10").text
    assert "A, 66 rows" in page
    assert "B, 227 rows" in page
    assert "50 rows: the evaluation rows that both answered" in page
    assert "0.000 to 0.000" not in page
    answer = clients["reader"].get("/headlines/api/compare?a=2022-02-09&b=2022-02-10").json()["comparison"]
    assert (answer["rows"], answer["paired"]["rows"]) == ([66, 227], 50)


def test_compare_says_what_was_never_recorded_and_no_night_is_a_setting(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    answer = clients["reader"].get("/headlines/api/compare?a=2022-02-09&b=2022-02-10").json()["comparison"]
    # Neither the night that nodes are given, nor the version and the drops that follow from it.
    assert [one["name"] for one in answer["settings"]] == ["Evaluator.rows"]
    unkept = clients["reader"].get("/headlines/compare?a=2022-02-01&b=2022-02-10").text
    assert "They cannot be compared on the same rows: what 2022020101 answered to each evaluation row is not" in unkept


def test_the_list_of_models_is_filtered_searched_and_paged(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    answer = clients["reader"].get("/headlines/api/models?state=refused&search=2022-02-09&page=7").json()
    assert [one["model"]["night"] for one in answer["models"]] == ["2022-02-09"]
    assert (answer["count"], answer["page"], answer["pages"]) == (1, 1, 1)
    assert answer["models"][0]["metrics"] == {"accuracy": 0.6, "example_count": 66.0}
    page = clients["reader"].get("/headlines/models?state=refused&search=2022-02-09").text
    assert ">2022-02-09</a>" in page
    assert ">2022-02-10</a>" not in page
    assert "refused: accuracy" in page


def test_an_empty_database_is_told_on_every_page(
    server: PagesServer, clients: dict[str, httpx.Client], settings: Settings
) -> None:
    from retraining.pipelines.mlmd import initialise

    initialise(settings, [])
    show(server, settings)
    assert "Nothing has been pushed yet" in clients["reader"].get("/headlines/").text
    with run_status_server() as stranger:
        stranger.states = {2022020101: "AVAILABLE"}
        show(server, settings.model_copy(update={"serving_urls": (stranger.url,)}))
        page, observed = ask_for_what_serves(clients["reader"])
        assert (observed["expected"], observed["state"]) == (None, "differs")
        assert ALARM in page and "answers 2022020101, of which lineage knows no push" in page
    assert "No night of" in clients["reader"].get("/headlines/nights").text
    assert "No run has used a drop yet" in clients["reader"].get("/headlines/recall").text
    assert "There are no models yet" in clients["reader"].get("/headlines/compare").text
    assert "There are no models yet" in clients["reader"].get("/headlines/models").text
    assert "nothing to draw" in clients["reader"].get("/headlines/graph").text
    assert clients["admin"].get("/headlines/rollback").status_code == 404


def test_a_database_that_is_down_is_told_with_what_to_do(
    server: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        show(server, story.model_copy(update={"mlmd_port": unused.getsockname()[1]}))
        for page in PAGES:
            shown = clients["reader"].get(page)
            if "/drop/" in page or "quality-bar" in page:
                assert shown.status_code == 200, "the rows of a drop are in files, and so are our documents"
                continue
            assert shown.status_code == 503
            assert "Lineage cannot be read" in shown.text
            assert "MLMD_PORT" in shown.text
        assert clients["reader"].get("/headlines/api/serving").status_code == 503


def test_nothing_of_tensorflow_is_in_the_web_server(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    for page in PAGES:
        clients["reader"].get(page)
    assert not {"tensorflow", "tfx", "apache_beam", "ml_metadata", "keras"} & set(told.modules())


def test_a_rollback_needs_the_permission_and_the_token(
    told: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    form = {"to": "2022020501", "reason": "a bad drop"}
    assert clients["admin"].post("/headlines/rollback", data=form).status_code == 400
    token = find_token(clients["admin"].get("/headlines/rollback").text)
    others = clients["reader"]
    assert others.get("/headlines/rollback").status_code == 403
    # A token of one's own does not help.
    own = re.search(r"csrfToken = '([^']+)'", others.get("/headlines/").text)
    assert own
    assert others.post("/headlines/rollback", data={**form, "csrf_token": own[1]}).status_code == 403
    assert find_served(story.serving_dir) == 2022020702
    for unchosen in ("", "the one before"):
        refused = clients["admin"].post("/headlines/rollback", data={**form, "to": unchosen, "csrf_token": token})
        assert (refused.status_code, "choose the version to serve" in refused.text) == (409, True)
    refused = clients["admin"].post("/headlines/rollback", data={**form, "reason": " ", "csrf_token": token})
    assert refused.status_code == 409
    assert "a rollback needs a reason" in refused.text
    assert find_served(story.serving_dir) == 2022020702


def test_the_button_rolls_back_in_the_name_of_who_pressed_it(
    told: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    token = find_token(clients["admin"].get("/headlines/rollback").text)
    done = clients["admin"].post(
        "/headlines/rollback", data={"to": "2022020501", "reason": "<b>rótulos</b> trocados", "csrf_token": token}
    )
    assert find_served(story.serving_dir) == 2022020501
    serving = clients["reader"].get("/headlines/api/serving").json()["serving"]
    assert serving["version"] == 2022020501, serving
    assert serving["rollback"]["by"] == "admin"
    page = clients["admin"].get(done.headers["location"]).text
    assert "<b>Rolled back</b> from 2022020702 by admin" in page
    assert "rolled back after it to" in page
    history = clients["reader"].get("/headlines/api/serving").json()["history"]["points"]
    assert [one["to_version"] for one in history[-1]["rollbacks"]] == [2022020501]
    listed = clients["reader"].get("/headlines/api/models").json()["models"]
    states = {version: one["state"] for one in listed for version in one["model"]["versions"]}
    assert states[2022020501] == "serving"
    assert states[2022020702] == "withdrawn"
    assert states[2022020101] == "pushed"
    assert "&lt;b&gt;rótulos&lt;/b&gt; trocados" in page


REMOVAL = "removed on 2023-05-01 by retention"


@pytest.fixture
def removed(story: Settings) -> Iterator[Settings]:
    """The story, after all that retention may ever take from it was taken."""
    from retraining.recording.removals import mark
    from retraining.recording.store import connection_config, open_store
    from retraining.retention.plan import REMOVABLE

    kinds = ", ".join(f"'{kind}'" for kind in REMOVABLE)
    rows = query(story, f"SELECT a.id FROM artifact a JOIN type t ON t.id = a.type_id WHERE t.name IN ({kinds})")
    ids = [identity for (identity,) in rows]
    marked = mark(open_store(connection_config(story)), ids, datetime(2023, 5, 1, tzinfo=UTC), "retention")
    hidden = [path.rename(path.with_suffix(".hidden")) for path in story.pipeline_root.rglob("row_answers.json")]
    yield story
    for path in hidden:
        path.rename(path.with_suffix(".json"))
    chosen = ", ".join(map(str, marked))
    query(story, f"UPDATE artifact SET state = 2 WHERE id IN ({chosen}) RETURNING id")
    query(
        story, f"DELETE FROM artifactproperty WHERE artifact_id IN ({chosen}) AND name LIKE 'removed_%' RETURNING name"
    )


def test_what_was_removed_is_told_with_its_date_on_every_page_that_would_have_shown_it(
    told: PagesServer, clients: dict[str, httpx.Client], removed: Settings
) -> None:
    client = clients["reader"]
    for page in PAGES:
        assert client.get(page).status_code == 200, page
        assert client.get(twin(page)).status_code == 200, page
    for page in (
        "/headlines/model/2022020702",
        "/headlines/night/2022-02-07",
        "/headlines/execution/3",
        "/headlines/compare?a=2022-02-09&b=2022-02-10",
    ):
        assert REMOVAL in client.get(page).text, page
    # What is asked of MLMD alone is answered as before.
    recall = client.get("/headlines/recall?drop=2022-02-05:1").text
    assert "2022020702" in recall
    assert client.get("/headlines/api/model/2022020702").json()["model"]["model"]["removal"] == REMOVAL
