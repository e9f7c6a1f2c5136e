"""A real browser for the tests of pages, the two sizes that they are looked at in, and who can read them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NONE_HERE = "no Chromium here; on Debian: apt-get install chromium"
OPTIONS = [
    f"--{name}"
    for name in ("no-sandbox", "disable-gpu", "disable-background-networking", "no-first-run",
                 "disable-component-update", "disable-sync")
]  # fmt: skip
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
# Rules about a page as a whole, which axe leaves out where it is asked about a part.
_WHOLE = ["document-title", "html-has-lang", "html-lang-valid", "page-has-heading-one"]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts the browser, and ends it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


def find_violations(page: Page, part: str = "html") -> list[str]:
    """What axe finds against in a part of a page, by its selector, and in what is said of the page as a whole."""
    axe = Axe()
    found = axe.run(page, context=part).response["violations"]
    if part != "html":
        found += axe.run(page, options={"runOnly": {"type": "rule", "values": _WHOLE}}).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {', '.join(node['html'][:160] for node in rule['nodes'][:3])}" for rule in found
    ]
