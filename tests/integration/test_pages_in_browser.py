"""Every page in a real browser, on a desk and on a phone, light and dark: for everybody to read, and nothing refused.

What is Airflow's own around our part of a page, its menu and its footer, is not judged here.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser import BROWSER, DESK, NONE_HERE, PHONE, find_violations, open_browser
from pages_server import PAGES, PagesServer
from playwright.sync_api import Page

OURS = ".hl"
# Of Airflow's main.js, on every page that has no form to log in, its own too (no issue known).
AIRFLOWS_OWN = "Cannot set properties of undefined (setting 'autocomplete')"
ADDRESSES = (*PAGES, "/headlines/rollback", "/headlines/model/nosuch", "/headlines/drop/2022-02-01/1?search=outros")


@pytest.fixture(scope="module")
def page(server: PagesServer, clients: dict[str, httpx.Client]) -> Iterator[Page]:
    """Logged in as who may do everything, so that every button is there."""
    if not BROWSER:
        pytest.skip(NONE_HERE)
    with open_browser() as browser:
        context = browser.new_context(base_url=server.url, viewport=DESK)
        context.add_cookies(
            [{"name": one.name, "value": str(one.value), "url": server.url} for one in clients["admin"].cookies.jar]
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page


@pytest.fixture
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser says on its console of errors, the policy's refusals among them."""
    said: list[str] = []

    def hear(message: Any) -> None:
        if message.type == "error":
            said.append(f"{message.text} ({message.location['url']}:{message.location['lineNumber']})")

    def stumble(error: Any) -> None:
        if str(error) != AIRFLOWS_OWN:
            said.append(str(error))

    page.on("console", hear)
    page.on("pageerror", stumble)
    yield said
    page.remove_listener("console", hear)
    page.remove_listener("pageerror", stumble)


@pytest.mark.parametrize("address", ADDRESSES)
def test_everybody_can_read_a_page_and_the_browser_refuses_nothing_of_it(
    address: str, page: Page, told: PagesServer, complaints: list[str]
) -> None:
    page.set_viewport_size(DESK)
    answer = page.goto(address)
    assert answer
    expected = 404 if "nosuch" in address else 200
    assert answer.status == expected
    # What is folded is to be read as well.
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    wrong = []
    for name, size in (("desk", DESK), ("phone", PHONE)):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            # As Airflow's own switch does it.
            page.evaluate("scheme => document.documentElement.setAttribute('data-color-scheme', scheme)", scheme)
            wrong += [f"{name}, {scheme}: {found}" for found in find_violations(page, OURS)]
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > size["width"]:
            wrong.append(f"{name}: is {wide} wide: {page.evaluate(WIDEST, size['width'])}")
    assert not wrong
    assert [one for one in complaints if "404" not in one or expected == 200] == []


WIDEST = """width => [...document.querySelectorAll('.hl *')]
  .filter(one => !one.closest('.hl-scroll *') && one.getBoundingClientRect().right > width + 1)
  .map(one => one.outerHTML.slice(0, 120)).slice(0, 5)"""


def test_the_chart_is_drawn_and_airflows_own_menu_works_under_the_policy(
    page: Page, told: PagesServer, complaints: list[str]
) -> None:
    page.set_viewport_size(DESK)
    page.goto("/headlines/")
    page.wait_for_function(
        "() => [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 600, 300).data].some(v => v)"
    )
    # Airflow's clock is set by its script, with what an inline script hands over.
    page.wait_for_function("() => document.getElementById('clock').textContent.includes('UTC')")
    page.click("#themeToggleButton")
    assert page.evaluate("document.documentElement.dataset.colorScheme") == "dark"
    page.click("#themeToggleButton")
    page.get_by_role("link", name="Headlines", exact=True).click()
    page.get_by_role("link", name="Nights").first.click()
    page.wait_for_url("**/headlines/nights")
    assert complaints == []


def test_no_other_site_can_frame_a_page_nor_run_a_script_in_it(page: Page, told: PagesServer) -> None:
    page.goto("/headlines/rollback")
    # What a hole in a template would let in.
    page.evaluate("document.querySelector('.hl').insertAdjacentHTML('beforeend', '<a onclick=\"caught = 1\">x</a>')")
    page.locator(".hl a", has_text="x").last.click()
    assert page.evaluate("typeof caught") == "undefined"
    # The same server by another name is another site, from which no cookie is sent: what is framed needs none.
    other = told.url.replace("127.0.0.1", "localhost")
    page.goto(f"{other}/health")
    addresses = {
        f"{other}/health": True,
        f"{told.url}/health": False,
        f"{told.url}/headlines/static/headlines.css": False,
    }
    for address, framed in addresses.items():
        page.set_content(f'<iframe src="{address}"></iframe>')
        page.wait_for_function("() => document.readyState === 'complete'")
        assert [frame.url == address for frame in page.frames[1:]] == [framed]
