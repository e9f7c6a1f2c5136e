"""Who may see what, how a script logs in, what odd arguments come to, and what the browser is told to refuse."""

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest
from pages_server import PAGES, PASSWORD, RUN, PagesServer, find_token, show

from retraining.settings import Settings

TWINS = ["/headlines/api/serving", *(page.replace("/headlines/", "/headlines/api/", 1) for page in PAGES[1:])]
ODD: dict[str, str | bytes] = {
    "NUL": "a\0b",
    "NUL behind a night": "2022-02-02\0",
    "greater than 32 bit": "99999999999",
    "thousands of digits": "9" * 3000,
    "an id greater than 32 bit": "id99999999999",
    "an id of thousands of digits": "id" + "9" * 3000,
    "a version of thousands of digits": "2022-02-05:" + "9" * 3000,
    "negative": "-1",
    "no UTF-8": b"\xff\xed\xa0\x80",
    "empty": "",
    "a quote": "'\"; DROP TABLE artifact; --",
    "markup": "<script>alert(1)</script>",
    "digits of another script": "٢٠٢٢",
}
USUAL = {"night": "2022-02-02", "version": "1", "name": "2022020702", "identity": "3"}
# What an answer may come to, whatever was asked.
ANSWERS = {200, 302, 400, 403, 404, 409}


def is_api(address: str) -> bool:
    return "/headlines/api/" in address


def check(answer: httpx.Response, settings: Settings, why: str) -> list[str]:
    """What is wrong with an answer."""
    found = []
    if answer.status_code not in ANSWERS:
        found.append(f"{why}: {answer.status_code}")
    if is_api(str(answer.url)) and "csv" not in answer.headers["content-type"]:
        if answer.headers["content-type"] != "application/json":
            found.append(f"{why}: is {answer.headers['content-type']}")
        elif answer.status_code >= 400 and not answer.json()["error"]:
            found.append(f"{why}: says nothing")
    if answer.status_code >= 400:
        secret = ("SELECT ", "psycopg2", "Traceback", settings.mlmd_database, f"port {settings.mlmd_port}")
        found += [f"{why}: tells {word}" for word in secret if word in answer.text]
    return found


def find_odd_addresses(server: PagesServer) -> Iterator[tuple[str, str]]:
    """Every address of the API with odd arguments, and some of its pages; and what is odd about it.

    In a path one argument is odd and the others are usual. Behind it all are, each in another way, and each once in
    every way.
    """
    kinds = list(ODD)
    for route in server.routes():
        if "GET" not in route["methods"]:
            continue
        for turn, kind in enumerate(kinds if is_api(route["rule"]) else kinds[:2]):
            for name in route["path"] if ODD[kind] else ():
                yield fill(route["rule"], {name: quote(ODD[kind], safe="")}), f"{route['rule']}: {name} is {kind}"
            odd = {name: kinds[(turn + place) % len(kinds)] for place, name in enumerate(route["asked"])}
            if odd:
                query = "&".join(f"{name}={quote(ODD[one], safe='')}" for name, one in odd.items())
                yield f"{fill(route['rule'], {})}?{query}", f"{route['rule']}: {odd}"


def fill(rule: str, odd: dict[str, str]) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda one: odd.get(one[1], USUAL.get(one[1], "1")), rule)


def test_an_odd_argument_is_answered_and_never_a_fault(
    told: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    for page in (*PAGES, *TWINS, "/headlines/task", "/headlines/rollback"):
        clients["admin"].get(page)
    asked = {name for route in told.routes() for name in route["asked"]}
    assert asked >= {"metric", "nights", "year", "page", "search", "reason", "format", "drop", "a", "b", "night", "to"}
    wrong = []
    for address, why in find_odd_addresses(told):
        wrong += check(clients["admin"].get(address), story, why)
    assert not wrong


@pytest.mark.parametrize(
    "path",
    [
        "model/a%00b",
        "model/id99999999999",
        "execution/99999999999",
        "execution/" + "9" * 40,
        "night/2022-02-02%00",
        "recall?drop=2022-02-02%00",
        "recall?drop=2022-02-05:99999999999",
        "compare?a=id99999999999&b=2022020702",
        "graph?night=%00",
        "serving?metric=%00",
    ],
)
def test_what_cannot_be_on_record_is_not_known(
    path: str, told: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    for address in (f"/headlines/{path}".replace("/serving", "/"), f"/headlines/api/{path}"):
        answer = clients["reader"].get(address)
        assert answer.status_code == 404, answer.text[-500:]
        assert check(answer, story, address) == []


def test_an_odd_form_changes_nothing(told: PagesServer, story: Settings, clients: dict[str, httpx.Client]) -> None:
    token = find_token(clients["editor"].get("/headlines/rollback").text)
    usual = {"to": "2022020101", "reason": "a bad drop"}
    served = clients["reader"].get("/headlines/api/serving").json()["serving"]["version"]
    wrong = []
    for kind, value in ODD.items():
        for name in usual:
            if name == "reason" and kind not in ("NUL", "empty"):
                # Any other is a reason as good as the next.
                continue
            body = "&".join(f"{key}={quote(one, safe='')}" for key, one in {**usual, name: value}.items())
            answer = clients["editor"].post(
                "/headlines/rollback",
                content=f"{body}&csrf_token={quote(token)}",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            wrong += check(answer, story, f"{name} is {kind}")
            wrong += [f"{name} is {kind}: {answer.status_code}"] if answer.status_code != 409 else []
    assert not wrong
    assert clients["reader"].get("/headlines/api/serving").json()["serving"]["version"] == served


def test_a_fault_of_the_service_is_told_to_readers_without_its_insides(
    server: PagesServer, story: Settings, clients: dict[str, httpx.Client]
) -> None:
    for settings in (
        story.model_copy(update={"mlmd_port": 1}),
        story.model_copy(update={"mlmd_database": f"{story.mlmd_database}_gone"}),
    ):
        show(server, settings)
        for address in ("/headlines/", "/headlines/api/serving", "/headlines/night/2022-02-02"):
            answer = clients["reader"].get(address)
            assert answer.status_code == 503
            assert "MLMD_HOST" in answer.text
            told = [word for word in (story.mlmd_database, "127.0.0.1", "SELECT", "Traceback") if word in answer.text]
            assert not told
    server.read(start_date="no date")
    answer = clients["reader"].get("/headlines/api/nights")
    assert (answer.status_code, "retraining doctor" in answer.json()["error"]) == (503, True)
    assert "no date" not in answer.text


@pytest.mark.parametrize("address", TWINS[::9])
def test_a_script_logs_in_as_for_airflows_own_api(address: str, told: PagesServer) -> None:
    assert told.ask("reader", address).status_code == 200
    wrong = told.ask("reader", address, password="wrong")
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Basic")
    assert wrong.json()["error"]
    nobody = httpx.get(f"{told.url}{address}")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Basic")
    refused = told.ask("viewer", address)
    assert (refused.status_code, "Headlines reader" in refused.json()["error"]) == (403, True)
    for answer in (wrong, nobody, refused):
        assert answer.headers["content-type"] == "application/json"
        assert "2022" not in answer.text


def test_who_logs_in_with_every_request_leaves_no_session_behind_and_takes_over_none(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    assert "set-cookie" not in told.ask("reader", "/headlines/api/serving").headers
    browser = clients["viewer"]
    assert browser.get("/headlines/api/serving", auth=("reader", PASSWORD)).status_code == 200
    assert browser.get("/headlines/api/serving").status_code == 403
    # The session of a browser goes on, also after the API was asked by it.
    assert clients["reader"].get("/headlines/api/serving").status_code == 200
    assert clients["reader"].get("/headlines/").status_code == 200


def test_whatever_is_wrong_under_the_api_is_told_as_json(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    answers = {
        clients["reader"].get("/headlines/api/nosuch"): 404,
        clients["reader"].get("/headlines/api/"): 404,
        clients["reader"].get("/headlines/api/night/2022-02-02/nosuch"): 404,
        httpx.get(f"{told.url}/headlines/api/nosuch"): 404,
        clients["reader"].post("/headlines/api/serving"): 405,
        clients["reader"].delete("/headlines/api/night/2022-02-02"): 405,
    }
    for answer, status in answers.items():
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert answer.json()["error"]


def test_every_answer_tells_the_browser_what_to_refuse(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/")
    answers = {
        "page": page,
        "JSON": clients["reader"].get("/headlines/api/serving"),
        "CSV": clients["reader"].get("/headlines/drop/2022-02-01/1?format=csv"),
        "style": clients["reader"].get("/headlines/static/headlines.css"),
        "script": clients["reader"].get("/headlines/static/headlines.js"),
        "not known": clients["reader"].get("/headlines/model/nosuch"),
        "no such address": clients["reader"].get("/headlines/nosuch"),
        "not allowed": clients["viewer"].get("/headlines/"),
        "not logged in": httpx.get(f"{told.url}/headlines/"),
        "no such address of the API": httpx.get(f"{told.url}/headlines/api/nosuch"),
        "a form without a token": clients["editor"].post("/headlines/rollback"),
    }
    for name, answer in answers.items():
        told_to = answer.headers
        assert told_to["x-content-type-options"] == "nosniff", name
        assert told_to["x-frame-options"] == "SAMEORIGIN", name
        assert told_to["referrer-policy"] == "same-origin", name
        policy = dict(part.split(" ", 1) for part in told_to["content-security-policy"].split("; "))
        assert {"object-src": "'none'", "base-uri": "'none'", "form-action": "'self'"}.items() <= policy.items(), name
        assert policy["frame-ancestors"] == "'self'", name
        assert "unsafe-inline" not in policy.get("script-src", policy["default-src"]), name
    # Airflow's own pages have inline scripts.
    policy = clients["reader"].get("/home").headers["content-security-policy"]
    assert policy == "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    nonces = re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"])
    assert len(nonces) == 1
    inline = re.findall(r"<script((?: [^>]*)?)>", page.text)
    assert all("src=" in one or "application/json" in one or nonces[0] in one for one in inline), inline
    assert nonces[0] not in clients["reader"].get("/headlines/").text
    assert "javascript:" not in page.text


def find_links(client: httpx.Client, pages: tuple[str, ...]) -> set[str]:
    return {
        link for page in pages for link in re.findall(r'href="(/[^"]*)"', client.get(page).text.replace("&amp;", "&"))
    }


def test_a_reader_may_open_whatever_the_pages_link_to(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    links = find_links(clients["reader"], PAGES)
    closed = {}
    for link in links:
        path = urlsplit(link).path
        # The story's drops folder holds one drop. Of Airflow's grid one run is looked at; it is the same for all.
        if path in ("/", "/logout/") or path.startswith("/static/"):
            continue
        if path.startswith("/headlines/drop/") and path != "/headlines/drop/2022-02-01/1":
            continue
        if path == "/dags/story/grid" and RUN not in link:
            continue
        answer = clients["reader"].get(link)
        if answer.status_code != 200:
            closed[link] = answer.status_code
    assert not closed
    assert any("/dags/story/grid" in link and "tab=logs" in link for link in links)
    assert not [link for link in links if "/headlines/rollback" in link]
    tainted = "/headlines/recall?drop=2022-02-05:1"
    assert any("/headlines/rollback?to=" in link for link in find_links(clients["editor"], (tainted,)))
    assert "/headlines/rollback" in find_links(clients["editor"], ("/headlines/",))


def test_a_reader_sees_the_runs_and_logs_of_our_dags_and_of_no_other(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    api = "/api/v1/dags/{}/dagRuns"
    assert told.ask("reader", api.format("story")).json()["total_entries"] == 1
    assert told.ask("reader", f"{api.format('story')}/{RUN}/taskInstances").json()["total_entries"] == 2
    log = f"{api.format('story')}/{RUN}/taskInstances/Trainer/logs/1"
    assert told.ask("reader", log).status_code == 200
    assert clients["reader"].get("/object/grid_data?dag_id=story").status_code == 200
    assert told.ask("reader", api.format("others")).status_code == 403
    assert told.ask("viewer", api.format("others")).status_code == 200
    # Nor may it run, clear or pause them.
    for user in ("reader", "editor"):
        run = httpx.post(f"{told.url}{api.format('story')}", json={}, auth=(user, PASSWORD))
        assert run.status_code == 403


def test_whom_airflow_shows_no_runs_gets_no_link_to_them(
    server: PagesServer, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    for page in ("/headlines/night/2022-02-02", "/headlines/execution/3", "/headlines/model/2022020702"):
        shown = clients["newcomer"].get(page)
        assert shown.status_code == 200
        assert "scheduled__2022-02-0" in shown.text
        assert "/dags/" not in shown.text.split('class="hl"')[1]


@pytest.mark.parametrize(("task", "leads"), [("Trainer", True), ("wait_for_drop", False)])
def test_the_button_on_a_task_leads_whoever_may_read_and_nobody_else(
    task: str, leads: bool, told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    button = f"/extra_links?dag_id=story&task_id={task}&execution_date=2022-02-02T00:00:00%2B00:00&link_name=Lineage"
    found = clients["reader"].get(button)
    assert found.status_code == (200 if leads else 404)
    if leads:
        assert clients["reader"].get(found.json()["url"], follow_redirects=True).status_code == 200
    assert (clients["viewer"].get(button).status_code, clients["viewer"].get(button).json()["url"]) == (404, None)


def test_the_menu_lists_every_page_for_readers_and_for_nobody_else(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    def entries(user: str) -> list[str]:
        page = clients[user].get("/home", follow_redirects=True).text
        return re.findall(r'<a href="(/headlines/[^"]*)">', page)

    assert entries("reader") == entries("admin") == entries("editor")
    assert entries("reader")[:2] == ["/headlines/", "/headlines/nights"]
    assert entries("viewer") == []
    # A permission for the menu alone shows no menu.
    assert entries("visitor") == []


def test_a_page_that_may_not_be_opened_leads_to_none_that_may_not_either(
    told: PagesServer, clients: dict[str, httpx.Client]
) -> None:
    refused = clients["viewer"].get("/headlines/nights")
    assert (refused.status_code, "Headlines reader" in refused.text) == (403, True)
    assert not [link for link in re.findall(r'href="(/headlines/[^"]*)"', refused.text) if "/static/" not in link]
    refused = clients["reader"].get("/headlines/rollback")
    assert (refused.status_code, "Headlines editor" in refused.text) == (403, True)


def test_the_roles_come_with_the_pages_and_stay_as_an_administrator_left_them(server: PagesServer) -> None:
    reader, editor = "Headlines reader", "Headlines editor"
    before = server.make_roles()
    assert before[editor] == before[reader] | {("can_edit", "Headlines")}
    assert ("can_read", "DAG:story") in before[reader]
    assert not [resource for action, resource in before[reader] if action == "can_edit" and "My " not in resource]
    logs = "can_read on Task Logs"
    after = server.make_roles(role=reader, remove=logs)
    try:
        assert after == before | {reader: before[reader] - {("can_read", "Task Logs")}}
        assert server.make_roles() == after
    finally:
        assert server.make_roles(role=reader, add=logs) == before
