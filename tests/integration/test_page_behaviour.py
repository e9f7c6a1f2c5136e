"""The pages in a real browser: what happens while they are looked at, by mouse and by key."""

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from lineage_story import NAMES, Story, nodes
from pages_server import PASSWORD, PagesServer, show
from playwright.sync_api import Browser, BrowserContext, Error, Page, Request, sync_playwright
from postgres_server import Server, make_database

import lineage
from retraining.settings import Settings

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here; on Debian: apt-get install chromium")

TODAY = datetime.now(ZoneInfo("America/Sao_Paulo")).date()
NIGHT, BEFORE = str(TODAY), str(TODAY - timedelta(days=1))
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


class LastNight:
    """A pushed night, and one after it that is still on its way."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._story = Story(settings)
        self._story.run(BEFORE, {BEFORE: 1})
        self._left = nodes(NIGHT, {BEFORE: 1, NIGHT: 1})
        self.go_on()

    def go_on(self, steps: int = 1) -> None:
        """Its next nodes finish."""
        for node in self._left[:steps]:
            self._story.launch(node, f"scheduled__{NIGHT}")
        del self._left[:steps]

    def end(self) -> None:
        """The rest of its nodes finish, and its model is pushed."""
        self.go_on(len(self._left))


@pytest.fixture
def running(server: PagesServer, postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> LastNight:
    """A night on its way, which a test may have go on."""
    night = LastNight(make_database(postgres, tmp_path_factory.mktemp("night")))
    show(server, night.settings)
    return night


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        yield playwright.chromium.launch(executable_path=BROWSER, args=options)


@pytest.fixture(scope="module")
def session(browser: Browser, server: PagesServer) -> Iterator[list[dict[str, object]]]:
    """The cookies of somebody who is logged in."""
    context = browser.new_context(base_url=server.url)
    page = context.new_page()
    page.goto("/login/")
    page.fill("#username", "reader")
    page.fill("#password", PASSWORD)
    page.click("input[type=submit]")
    yield context.cookies()
    context.close()


@pytest.fixture
def open_context(
    browser: Browser, server: PagesServer, session: list[dict[str, object]]
) -> Iterator[Callable[..., BrowserContext]]:
    contexts = []

    def make(**options: object) -> BrowserContext:
        context = browser.new_context(base_url=server.url, viewport=DESK, **options)  # type: ignore[arg-type]
        context.add_cookies(session)  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_context: Callable[..., BrowserContext]) -> Iterator[Page]:
    """A page whose clock the test sets; an error in a script fails the test."""
    shown = open_context().new_page()
    errors: list[str] = []
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.clock.install()
    yield shown
    assert not errors


def wait(page: Page, seconds: int) -> None:
    """Lets so much time pass for the page."""
    try:
        page.clock.fast_forward(1000 * seconds)
    except Error as error:
        # Airflow's main.js looks for the login form on every page, and jQuery throws what it met there from a timer.
        # The clock throws it again after all that was due has run. No issue known.
        if "Cannot set properties of undefined (setting 'autocomplete')" not in str(error):
            raise


def count_looks(page: Page) -> list[Request]:
    """The requests with which the page, from now on, looks again."""
    looks: list[Request] = []
    page.on("request", lambda request: request.resource_type == "fetch" and looks.append(request))
    return looks


def test_a_night_that_runs_is_brought_up_to_date_where_it_is_read(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    assert page.locator("h1 .hl-state").inner_text() == "running"
    row = page.get_by_role("link", name="HeadlineExampleGen", exact=True)
    row.focus()
    page.evaluate("scrollTo(0, 120)")
    page.evaluate("document.activeElement.isTheSame = true")
    before = page.evaluate("scrollY")
    running.go_on()
    wait(page, 16)
    page.get_by_role("link", name="DropGate", exact=True).wait_for()
    assert page.evaluate("document.activeElement.isTheSame")
    assert page.evaluate("scrollY") == before > 0
    assert "There was news at" in page.locator("#hl-refresh [role=status]").inner_text()
    running.end()
    wait(page, 16)
    page.get_by_text("It is over: this page is as it will stay.").wait_for()
    assert page.locator("h1 .hl-state").inner_text() == "pushed"
    assert page.evaluate("document.activeElement.isTheSame")
    looks = count_looks(page)
    wait(page, 600)
    page.wait_for_timeout(300)
    assert not looks


def test_what_is_typed_and_unfolded_stays_while_a_page_looks_again(page: Page, running: LastNight) -> None:
    page.goto("/headlines/nights")
    page.get_by_text("What the states mean").click()
    page.evaluate("document.querySelector('select[name=year]').add(new Option('1999', '1999'))")
    page.locator("select[name=year]").select_option("1999")
    assert page.locator(f"a[href$='/night/{NIGHT}'] .hl-sr").first.text_content() == "running"
    running.end()
    wait(page, 16)
    page.locator(f"a.hl-pushed[href$='/night/{NIGHT}']").wait_for()
    assert page.get_by_text("its model passed the quality bar").is_visible()
    assert page.locator("select[name=year]").input_value() == "1999"


def test_what_serves_says_which_night_is_on_its_way_and_shows_the_new_version_by_itself(
    page: Page, running: LastNight
) -> None:
    page.goto("/headlines/")
    version = BEFORE.replace("-", "") + "01"
    assert version in page.locator("h1").inner_text()
    assert f"Night {NIGHT} running" in " ".join(page.locator(".hl-note").inner_text().split())
    running.end()
    wait(page, 16)
    page.locator("h1").get_by_text(NIGHT.replace("-", "") + "01").wait_for()
    assert page.title() == f"Now serving {NIGHT.replace('-', '')}01 · Headlines"
    assert page.locator(".hl-note").count() == 0


def test_looking_again_can_be_paused_and_stays_so_on_the_next_page(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    page.get_by_role("button", name="Pause").press("Enter")
    looks = count_looks(page)
    wait(page, 120)
    page.goto("/headlines/nights")
    wait(page, 120)
    page.wait_for_timeout(300)
    assert not looks
    with page.expect_request(lambda request: request.resource_type == "fetch"):
        page.get_by_role("button", name="Go on").press("Enter")
        wait(page, 16)


def test_a_page_that_nobody_sees_does_not_look_again_until_somebody_does(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    hide = (
        "(is) => { Object.defineProperty(document, 'hidden', { value: is, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    looks = count_looks(page)
    page.evaluate(hide, True)
    wait(page, 600)
    page.wait_for_timeout(300)
    assert not looks
    with page.expect_request(lambda request: request.resource_type == "fetch"):
        page.evaluate(hide, False)
        wait(page, 1)


def test_where_nothing_happens_a_page_looks_less_and_less_often(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    looks = count_looks(page)
    for _ in range(60):
        wait(page, 10)
        page.wait_for_timeout(30)
    # Every 15 seconds there would be 40 in these ten minutes.
    assert 3 <= len(looks) <= 20
    assert page.locator("#hl-refresh [role=status]").inner_text() == ""


def test_a_page_that_cannot_be_brought_up_to_date_says_so_and_tries_again(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    page.route("**/headlines/night/*", lambda route: route.fulfill(status=503, body="no"))
    wait(page, 16)
    page.get_by_text("the server answered 503. It tries again.").wait_for()
    page.unroute("**/headlines/night/*")
    running.go_on()
    wait(page, 31)
    page.get_by_role("link", name="DropGate", exact=True).wait_for()


def test_without_scripts_a_page_says_the_same_and_offers_nothing_that_does_not_work(
    open_context: Callable[..., BrowserContext], running: LastNight
) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto(f"/headlines/night/{NIGHT}")
    assert page.get_by_role("link", name="HeadlineExampleGen", exact=True).is_visible()
    assert not page.locator("#hl-refresh").is_visible()
    page.goto("/headlines/graph")
    assert page.locator("svg [data-key]").count() > 3
    assert not page.locator(".hl-zoom").is_visible()


def test_a_graph_is_zoomed_by_button_and_by_key_and_fits_its_frame(page: Page, running: LastNight) -> None:
    running.end()
    page.goto("/headlines/graph?full=1")
    svg = page.locator(".hl-picture svg")

    def width() -> float:
        return float(svg.evaluate("svg => svg.getBoundingClientRect().width"))

    natural = width()
    page.get_by_role("button", name="Zoom in").click()
    assert width() == pytest.approx(1.25 * natural, rel=0.01)
    page.get_by_role("button", name="Zoom out").press("Enter")
    assert width() == pytest.approx(natural, rel=0.01)
    frame = page.locator(".hl-picture")
    frame.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert width() == pytest.approx(1.5625 * natural, rel=0.01)
    page.keyboard.press("-")
    assert width() == pytest.approx(1.25 * natural, rel=0.01)
    page.keyboard.press("0")
    assert frame.evaluate("one => one.scrollWidth <= one.clientWidth")
    assert frame.evaluate("one => one.scrollHeight <= one.clientHeight")
    assert "% of its size" in page.locator(".hl-traced").inner_text()
    for _ in range(30):
        page.get_by_role("button", name="Zoom out").click()
    assert width() == pytest.approx(0.2 * natural, rel=0.02)


def test_a_box_that_is_pointed_at_shows_what_leads_to_it_and_from_it(page: Page, running: LastNight) -> None:
    running.end()
    with lineage.open_lineage(running.settings, NAMES) as reader:
        graph = lineage.graph(reader, NIGHT)
    chosen = next(node.key for node in graph.nodes if node.type == "Model" and node.night == NIGHT)

    def reach(start: str, sides: tuple[str, str]) -> set[str]:
        found = {start}
        while more := {getattr(edge, sides[1]) for edge in graph.edges if getattr(edge, sides[0]) in found} - found:
            found |= more
        return found

    expected = reach(chosen, ("source", "target")) | reach(chosen, ("target", "source"))
    assert {chosen} < expected < {node.key for node in graph.nodes}
    page.goto(f"/headlines/graph?night={NIGHT}")
    box = page.locator(f"[data-key='{chosen}']")

    def lit() -> set[str]:
        return set(page.eval_on_selector_all("[data-key].hl-lit", "boxes => boxes.map(box => box.dataset.key)"))

    assert lit() == set()
    box.focus()
    assert lit() == expected
    lines = page.locator(".hl-line.hl-lit").count()
    assert 0 < lines < len(graph.edges)
    assert " before it, " in page.locator(".hl-traced").inner_text()
    page.keyboard.press("Escape")
    assert lit() == set()
    box.blur()
    box.hover()
    assert lit() == expected
    page.mouse.move(0, 0)
    assert lit() == set()
    # A box that leads to no page is reached by the keyboard too, and chosen by a click.
    assert page.locator("[data-key]:not([href])").evaluate_all("boxes => boxes.every(box => box.tabIndex === 0)")


def test_airflow_s_own_script_does_not_write_another_zone_s_hours_over_ours(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}")
    page.wait_for_load_state("networkidle")
    times = page.locator("#hl-page time").all_inner_texts()
    assert times
    assert all(" UTC, " in one for one in times)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_calendar_has_each_night_under_its_weekday_and_today_marked(
    size: dict[str, int], page: Page, running: LastNight
) -> None:
    page.set_viewport_size(size)  # type: ignore[arg-type]
    page.goto(f"/headlines/nights?year={TODAY.year}")
    today = page.locator("td[aria-current=date]")
    assert today.count() == 1
    # Airflow's own script makes tooltips of titles.
    title = today.locator("a").evaluate("link => link.title || link.dataset.originalTitle")
    assert title.startswith(f"{TODAY:%A} {NIGHT}, today: running")
    assert "today" in today.inner_text()
    head = page.locator("table.hl-days").first.locator(f"th[abbr={TODAY:%A}]")
    a, b = today.bounding_box(), head.bounding_box()
    assert a and b
    assert (round(a["x"]), round(a["width"])) == (round(b["x"]), round(b["width"]))
    wide = page.evaluate(
        "() => [...document.querySelectorAll('#hl-page *')].filter(e => !e.closest('.hl-scroll, .hl-sr, details')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert not wide
    # What is in a day stays in it.
    assert page.locator(".hl-day").evaluate_all("days => days.every(day => day.scrollWidth <= day.clientWidth + 1)")


def test_a_link_to_a_section_leads_below_airflow_s_menu(page: Page, running: LastNight) -> None:
    page.goto(f"/headlines/night/{NIGHT}#drop")
    top = page.locator("#drop").evaluate("section => section.getBoundingClientRect().top")
    menu = page.locator(".navbar-fixed-top, .navbar").first.evaluate("bar => bar.getBoundingClientRect().bottom")
    assert top >= menu or page.evaluate("scrollY") == 0
