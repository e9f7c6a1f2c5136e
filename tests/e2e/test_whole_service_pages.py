"""The pages in a real browser, on lineage of real runs: log in, look at every page, follow the links.

On the service of test_whole_service.py when both run in one process, on one of their own otherwise.
"""

import shutil
from collections.abc import Iterator

import pytest
from driving import Service
from playwright.sync_api import Page, sync_playwright

from retraining.local import airflow

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    f"--{name}"
    for name in ("no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run",
                 "disable-component-update", "disable-sync")
]  # fmt: skip
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium here; on Debian: apt-get install chromium")


@pytest.fixture(scope="module")
def page(service: Service) -> Iterator[Page]:
    """Logged in as admin, with the first night on record; whatever is asked of another host fails the test."""
    service("up")
    night = sorted(path.name for path in service.settings.drops_dir.iterdir())[0]
    service("run", "--night", night)
    address = airflow.web_address(service.settings)
    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        page = browser.new_context(base_url=address, viewport=DESK).new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: request.url.startswith((address, "data:")) or outside.append(request.url))
        page.goto("/login/")
        page.fill("#username", airflow.ADMIN)
        page.fill("#password", service.settings.secret("airflow_admin_password"))
        page.click("input[type=submit]")
        yield page
        browser.close()
    service("down")
    assert not outside


def test_from_what_serves_one_click_leads_to_the_rows_of_its_drop(page: Page) -> None:
    page.goto("/home")
    page.get_by_role("link", name="Headlines", exact=True).click()
    page.get_by_role("link", name="Now serving").first.click()
    page.locator("canvas").first.wait_for()
    # The chart is drawn: its canvas is not empty.
    page.wait_for_function(
        "() => [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 600, 300).data].some(v => v)"
    )
    page.locator("a[href*='/headlines/drop/']").last.click()
    assert "Drop, as delivered" in page.locator(".hl-head").inner_text()
    assert page.locator("tbody tr").count() >= 50
    page.get_by_label("Search").fill("governo")
    page.get_by_role("button", name="Show").click()
    assert all("governo" in text.casefold() for text in page.locator("tbody td[lang=pt]").all_inner_texts())


def test_the_calendar_leads_to_a_night_and_on_to_its_model_and_logs(page: Page) -> None:
    page.goto("/headlines/nights")
    page.locator("a.hl-day").first.click()
    page.get_by_role("link", name="Log of Trainer").first.wait_for()
    assert "Statistics of the window" in page.locator(".hl").inner_text()
    page.locator(".hl-head a[href*='/headlines/model/']").last.click()
    shown = page.locator(".hl").inner_text()
    assert all(part in shown for part in ("The quality bar", "How it errs", "Drops it was trained on", "TensorBoard"))


def test_a_box_of_the_graph_is_a_link_that_the_keyboard_reaches(page: Page) -> None:
    page.goto("/headlines/graph?full=1")
    box = page.locator("svg a[href*='/headlines/execution/']").first
    box.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/headlines/execution/*")
    assert "It took" in page.locator(".hl").inner_text()


def test_recall_of_the_newest_drop_tells_whether_what_serves_is_tainted(page: Page) -> None:
    page.goto("/headlines/recall")
    page.get_by_label("Drop").select_option(index=1)
    page.get_by_role("button", name="Trace").click()
    assert "What serves now is" in page.get_by_role("status").inner_text()


def test_from_what_serves_one_click_leads_to_the_form_for_the_rollback(page: Page) -> None:
    page.goto("/headlines/")
    page.get_by_role("link", name="Roll back").click()
    page.wait_for_url("**/headlines/rollback")
    assert "serves now" in page.locator(".hl").inner_text()


@pytest.mark.parametrize("path", ["", "nights", "recall", "compare", "graph"])
def test_nothing_is_cut_off_on_a_phone(page: Page, path: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"/headlines/{path}")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('.hl *')].filter(e => !e.closest('.hl-scroll, details, .hl-sr')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    page.set_viewport_size(DESK)
    assert not wide
