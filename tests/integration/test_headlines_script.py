"""The script of the pages in a real browser: what it draws, and how it sorts; and that tables stand without it."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from headlines.pushes.champion import Rollback
from lineage import Happening
from retraining.web.charts import chart

STATIC = Path(__file__).parents[2] / "plugins" / "static" / "headlines"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
TABLE = """
<table class="hl-sortable">
  <thead><tr><th>Slice</th><th class="n">Rows</th></tr></thead>
  <tbody>
    <tr><th scope="row">length=short</th><td>9</td></tr>
    <tr><th scope="row">night=2022-02-01</th><td>–</td></tr>
    <tr><th scope="row">digits=yes</th><td>120</td></tr>
    <tr><th scope="row">quotes=no</th><td>35</td></tr>
  </tbody>
</table>
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if not BROWSER:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def open_page(page: Page, html: str, *scripts: str) -> None:
    page.set_content(html)
    for script in scripts:
        page.add_script_tag(path=STATIC / script)


def read_column(page: Page, number: int) -> list[str]:
    return page.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def test_a_table_is_sorted_by_a_button_that_the_keyboard_reaches_and_that_says_how(page: Page) -> None:
    open_page(page, TABLE, "headlines.js")
    assert read_column(page, 2) == ["9", "–", "120", "35"]
    assert page.locator("th[aria-sort]").count() == 0
    page.get_by_role("button", name="Rows").focus()
    page.keyboard.press("Enter")
    assert read_column(page, 2) == ["9", "35", "120", "–"]
    assert page.locator("th[aria-sort=ascending]").inner_text().strip() == "Rows"
    page.keyboard.press("Enter")
    assert read_column(page, 2) == ["120", "35", "9", "–"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    page.get_by_role("button", name="Slice").click()
    assert read_column(page, 1) == ["digits=yes", "length=short", "night=2022-02-01", "quotes=no"]
    assert page.locator("th[aria-sort]").all_inner_texts() == ["Slice"]


def test_without_the_script_a_table_is_plain(page: Page) -> None:
    open_page(page, TABLE)
    assert page.locator("th button").count() == 0
    assert page.locator("th").first.inner_text() == "Slice"


def test_marks_have_shapes_of_their_own_and_lines_the_colours_that_they_were_given(page: Page) -> None:
    back = Rollback(9, 2, 1, "ana", "a bad drop", datetime(2022, 2, 4, tzinfo=UTC), "2022-02-03", (2,))
    happenings = [
        Happening(blessed=True, is_refused=False, pushed_version=2022020101, rollbacks=()),
        Happening(blessed=False, is_refused=True, pushed_version=None, rollbacks=(back,)),
    ]
    data = chart(["2022-02-01", "2022-02-02"], [("value", [0.7, 0.8], "#014fb0", [])], happenings)
    html = (
        '<div class="hl-chart" style="height: 300px"><canvas></canvas>'
        f'<script type="application/json">{json.dumps(data)}</script></div>'
    )
    open_page(page, html, "chart-4.6.1.min.js", "headlines.js")
    drawn: list[dict[str, Any]] = page.evaluate(
        "() => Chart.getChart(document.querySelector('canvas')).legend.legendItems"
        ".map(({text, pointStyle, strokeStyle}) => ({text, pointStyle, strokeStyle}))"
    )
    assert {item["text"]: (item["pointStyle"], item["strokeStyle"]) for item in drawn} == {
        "value": ("line", "#014fb0"),
        "pushed": ("triangle", "#0b6b34"),
        "refused": ("crossRot", "#a61b1b"),
        "rolled back after it": ("rectRot", "#7a4b00"),
    }
    assert page.evaluate(
        "() => [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 300, 150).data].some(v => v)"
    )


def test_a_chart_is_drawn_anew_when_its_page_has_brought_in_other_figures(page: Page) -> None:
    def write(value: float) -> str:
        return json.dumps(chart(["2022-02-01"], [("value", [value], "#014fb0", [])], []))

    script = f'<script type="application/json">{write(0.7)}</script>'
    open_page(page, f'<div class="hl-chart"><canvas></canvas>{script}</div>', "chart-4.6.1.min.js", "headlines.js")
    read = "() => Chart.getChart(document.querySelector('canvas')).data.datasets[0].data[0]"
    assert page.evaluate(read) == 0.7
    page.evaluate("text => { document.querySelector('canvas + script').textContent = text }", write(0.8))
    page.evaluate("() => document.dispatchEvent(new Event('headlines:refresh'))")
    assert page.evaluate(read) == 0.8
