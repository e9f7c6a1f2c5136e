"""The page in a real browser: what a person sees after typing a headline."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import BROWSER, DESK, NONE_HERE, PHONE, find_violations, open_browser
from running_server import RunningServer
from served_models import RELATED, write_related


def look(url: str, home: Path) -> str:
    """The page as it stands once its scripts have run."""
    assert BROWSER
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}"]
    return subprocess.run(
        [*command, "--virtual-time-budget=8000", "--dump-dom", url],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


@pytest.mark.skipif(not BROWSER, reason=NONE_HERE)
def test_the_page_shows_the_answer_and_the_related_headlines(
    start: Callable[..., RunningServer], push: Callable[[int], Path], tmp_path: Path
) -> None:
    path = push(2022020101)
    trap = ("Chuva <img src=x onerror=\"document.title='caught'\"> em Santos", "neutral", "2022-02-03")
    write_related(path, (*RELATED, trap))
    running = start()
    running.wait_until_ready()
    page = look(f"{running.url}/#Chuva ruim em São Paulo", tmp_path / "browser")
    assert "Version 2022020101 · trained for the night of 2022-02-01 · 4 training headlines" in page
    assert "This headline is negative" in page
    assert "90.9 %" in page
    assert "Chuva forte em São Paulo" in page
    assert "drop of 2022-02-01" in page
    assert "<title>Headline sentiment</title>" in page, "a headline was run as HTML"
    assert "Chuva &lt;img" in page


@pytest.mark.skipif(not BROWSER, reason=NONE_HERE)
def test_the_page_says_what_is_wrong(start: Callable[..., RunningServer], tmp_path: Path) -> None:
    running = start()
    page = look(f"{running.url}/#Chuva", tmp_path / "browser")
    assert page.count("Servable not found for request: Latest(headlines)") == 2


@pytest.mark.skipif(not BROWSER, reason=NONE_HERE)
def test_everybody_can_read_the_page_on_a_desk_and_on_a_phone_light_and_dark(server: RunningServer) -> None:
    wrong = []
    with open_browser() as browser:
        page = browser.new_page()
        page.goto(f"{server.url}/#Chuva ruim em São Paulo")
        page.get_by_text("This headline is").wait_for()
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                wrong += [f"{size}, {scheme}: {found}" for found in find_violations(page)]
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert not wrong
