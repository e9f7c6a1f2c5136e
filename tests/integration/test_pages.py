"""The pages in Airflow's own web application, on lineage of the real launcher: who sees them, and what they say."""

import csv
import io
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from lineage_story import LATE, Story
from pages_server import PagesServer, find_token
from postgres_server import Server
from pydantic import SecretStr

from headlines.pushes.rollbacks import find_served
from retraining.local import postgres as embedded
from retraining.settings import Settings

PAGES = (
    "/headlines/",
    "/headlines/nights",
    "/headlines/nights?year=2019",
    "/headlines/night/2022-02-02",
    "/headlines/night/2022-02-03",
    "/headlines/night/2022-02-06",
    "/headlines/night/0001-01-01",
    "/headlines/night/9999-12-31",
    "/headlines/night/2022-02-02/quarantine",
    "/headlines/drop/2022-02-01/1",
    "/headlines/model/2022020702",
    "/headlines/model/2022-02-08",
    "/headlines/recall",
    "/headlines/recall?drop=2022-02-05:1",
    "/headlines/compare",
    "/headlines/compare?a=2022020101&b=2022020702",
    "/headlines/drift",
    "/headlines/drift?nights=3",
    "/headlines/scores",
    "/headlines/scores?night=2022-02-01",
    "/headlines/tuning",
    "/headlines/notes",
    "/headlines/graph",
    "/headlines/graph?night=2022-02-02&full=1",
    "/headlines/execution/3",
)
TITLE = "<script>alert('x')</script> & outros"
FORMULAS = ("=cmd|calc!A1", "+55 11 9", "-1+2", "@SUM(A1)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesServer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = PagesServer(tmp_path_factory.mktemp("airflow"), port)
    yield running
    running.stop()


def make_database(postgres: Server, place: Path) -> Settings:
    name = f"pages_{secrets.token_hex(4)}"
    settings = postgres.settings.model_copy(
        update={
            "mlmd_host": "127.0.0.1",
            "mlmd_port": postgres.settings.postgres_port,
            "mlmd_database": name,
            "mlmd_user": name,
            "mlmd_password": SecretStr("right"),
            "airflow_db_password": SecretStr("unused"),
            "pipeline_root": place / "pipelines",
            "drops_dir": place / "drops",
            "serving_dir": place / "serving" / "headlines",
        }
    )
    embedded.make_databases(settings)
    return settings


def show(server: PagesServer, settings: Settings) -> None:
    server.read(
        mlmd_host=settings.mlmd_host,
        mlmd_port=str(settings.mlmd_port),
        mlmd_database=settings.mlmd_database,
        mlmd_user=settings.mlmd_user,
        mlmd_password=settings.secret("mlmd_password"),
        drops_dir=str(settings.drops_dir),
        serving_dir=str(settings.serving_dir),
    )


@pytest.fixture(scope="module")
def story(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_database(postgres, tmp_path_factory.mktemp("story"))
    Story(settings).tell()
    drop = settings.drops_dir / "2022-02-01" / "headlines.csv"
    drop.parent.mkdir(parents=True)
    with drop.open("w", newline="") as stream:
        csv.writer(stream).writerows([("title", "sentiment"), *((title, "neutral") for title in (TITLE, *FORMULAS))])
    for version in (2022020101, 2022020501, 2022020702):
        folder = settings.serving_dir / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    return settings


@pytest.fixture
def told(server: PagesServer, story: Settings) -> PagesServer:
    show(server, story)
    return server


@pytest.fixture(scope="module")
def clients(server: PagesServer) -> dict[str, httpx.Client]:
    return {user: server.log_in(user) for user in ("admin", "reader", "viewer")}


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


def test_what_serves_leads_to_the_rows_of_a_drop(told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    page = clients["reader"].get("/headlines/").text
    assert ">2022020702<" in page
    assert "/headlines/drop/2022-02-05/1" in page


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
    ],
)
def test_what_is_not_known_is_told_as_such(path: str, told: PagesServer, clients: dict[str, httpx.Client]) -> None:
    assert clients["reader"].get(f"/headlines/{path}").status_code == 404
    answer = clients["reader"].get(f"/headlines/api/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_an_empty_database_is_told_on_every_page(
    server: PagesServer, clients: dict[str, httpx.Client], settings: Settings
) -> None:
    from retraining.pipelines.mlmd import initialise

    initialise(settings, [])
    show(server, settings)
    assert "Nothing has been pushed yet" in clients["reader"].get("/headlines/").text
    assert "No night of" in clients["reader"].get("/headlines/nights").text
    assert "No run has used a drop yet" in clients["reader"].get("/headlines/recall").text
    assert "There are no models yet" in clients["reader"].get("/headlines/compare").text
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
            if "/drop/" in page:
                assert shown.status_code == 200, "the rows of a drop are in files"
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
    assert "&lt;b&gt;rótulos&lt;/b&gt; trocados" in page
