"""`make demo` in a fresh checkout: interrupted, run to its end, run again; then its pages in a real browser.

The tests of this file build on one another, in order. Packages are not installed: uv is a stand-in. The pages are
looked at on lineage of a real run: log in, look at every page, follow the links.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from browser import BROWSER, DESK, NONE_HERE, PHONE, open_browser
from driving import Service, make_environment, query
from fresh_checkout import copy_checkout, write_uv
from playwright.sync_api import Page
from signals import hear_signals

import lineage
from retraining.local import airflow, model_server

NIGHT = "2022-02-01"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service of a fresh checkout, its path with a space in it; nothing is started yet."""
    place = tmp_path_factory.mktemp("a demo")
    checkout = copy_checkout(place / "fresh checkout")
    service = Service(make_environment(checkout / "var", checkout / "drops", **write_uv(place / "bin")), checkout)
    yield service
    service("down", check=False)


def begin(demo: Service, *arguments: str) -> "subprocess.Popen[str]":
    """Begins `make`, as from a terminal, where nothing says where drops and state are."""
    unset = ("STATE_DIR", "DROPS_DIR", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in demo.environment.items() if name not in unset}
    return subprocess.Popen(
        ["make", *arguments],
        cwd=demo.checkout,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_signals,
    )


def read_until(process: "subprocess.Popen[str]", *words: str) -> str:
    """What a process prints, to the first line that holds all the words."""
    assert process.stdout
    shown = ""
    for line in process.stdout:
        shown += line
        if all(word in line for word in words):
            return shown
    raise AssertionError(f"it ended without {words}:\n{shown}")


def make(demo: Service, *arguments: str, status: int = 0) -> str:
    process = begin(demo, *arguments)
    shown, _ = process.communicate(timeout=500)
    assert process.returncode == status, shown
    return shown


def find_runs(demo: Service) -> list[dict[str, Any]]:
    """The runs that were asked for, not those of the schedule."""
    runs = demo.api("GET", "dags/headline_retraining/dagRuns")["dag_runs"]
    return [run for run in runs if run["run_type"] == "manual"]


def test_an_interrupted_demo_leaves_nothing_running(demo: Service) -> None:
    process = begin(demo, "demo", "NIGHTS=1")
    shown = read_until(process, "Transform", "running")
    # To every process in the foreground, as Ctrl-C does.
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert "making .venv" in shown
    assert f"Wrote sample drops, made up by this project, to {demo.checkout / 'drops'}" in " ".join(shown.split())
    assert len(list(demo.settings.drops_dir.glob("2022-02-*/headlines.csv"))) == 12
    assert "stopping the service ..." in rest
    assert "Traceback" not in rest
    assert process.returncode != 0
    assert demo.find_processes() == []


def test_the_demo_goes_on_where_it_left_off_refuses_a_second_one_and_sums_its_night_up(demo: Service) -> None:
    process = begin(demo, "demo", "NIGHTS=1")
    shown = read_until(process, f"night {NIGHT}")
    refusal = make(demo, "demo", "NIGHTS=1", status=2)
    assert f"is at work on {demo.settings.state_dir}; wait for it, or stop it with: kill -INT" in refusal
    rest, _ = process.communicate(timeout=500)
    shown += rest
    assert process.returncode == 0, shown
    assert "Wrote sample drops" not in shown

    assert [run["state"] for run in find_runs(demo)] == ["success"]
    assert query(demo, "SELECT id FROM execution WHERE last_known_state = 2") == []
    [report] = lineage.nights(demo.settings)
    assert (report.night, report.state) == (NIGHT, "pushed")
    [row] = [words for words in map(str.split, shown.splitlines()) if words[:2] == [NIGHT, "pushed"]]
    assert row[2:] == [
        report.pushed_version,
        f"{report.metrics['accuracy']:.3f}/{demo.settings.min_accuracy:.2f}",
        f"{report.metrics['macro_f1']:.3f}/{demo.settings.min_macro_f1:.2f}",
    ]
    rows = f"{NIGHT} drop v1, {report.rows_used} of {report.rows_in} rows used, {report.rows_quarantined} quarantined: "
    assert rows in " ".join(shown.split())
    assert report.reason in " ".join(shown.split())
    assert airflow.web_address(demo.settings) in shown
    assert model_server.address(demo.settings) in shown
    secret = demo.settings.secrets_dir / "airflow_admin_password"
    assert f"Log in as admin:  cat '{secret}'" in shown
    assert secret.stat().st_mode & 0o777 == 0o600
    assert "make down" in shown


def test_the_demo_run_again_does_nothing_again(demo: Service) -> None:
    def look() -> list[object]:
        drops = demo.settings.drops_dir
        return [
            find_runs(demo),
            query(demo, "SELECT id, last_known_state, last_update_time_since_epoch FROM execution ORDER BY id"),
            demo.versions(),
            [(path.name, path.stat().st_mtime_ns) for path in sorted(drops.rglob("*"))],
            {process.pid for process in demo.find_processes() if process.ppid() == 1},
            (demo.checkout.parent / "bin" / "record").read_text(),
        ]

    before = look()
    shown = make(demo, "demo", "NIGHTS=1")
    assert f"Night {NIGHT} was run before, on the same drops and champion" in shown
    assert "pushed" in shown
    assert look() == before


@pytest.fixture(scope="module")
def page(demo: Service) -> Iterator[Page]:
    """Logged in as admin, with the first night on record; whatever is asked of another host fails the test."""
    if not BROWSER:
        pytest.skip(NONE_HERE)
    make(demo, "demo", "NIGHTS=1")
    address = airflow.web_address(demo.settings)
    outside: list[str] = []
    with open_browser() as browser:
        page = browser.new_context(base_url=address, viewport=DESK).new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: request.url.startswith((address, "data:")) or outside.append(request.url))
        page.goto("/login/")
        page.fill("#username", airflow.ADMIN)
        page.fill("#password", demo.settings.secret("airflow_admin_password"))
        page.click("input[type=submit]")
        yield page
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
    page.wait_for_url("**/headlines/model/*")
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


def test_make_down_leaves_nothing_running(demo: Service) -> None:
    assert "The service is stopped." in make(demo, "down")
    assert demo.find_processes() == []
    assert "The service was not running." in make(demo, "down")
