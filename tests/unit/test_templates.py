"""What every template of a page must have, also one that no test draws; and the pieces that all pages share."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo

import pytest
from jinja2 import DictLoader, Environment, FileSystemLoader, TemplateRuntimeError

from headlines.command import show_on_page
from lineage import DropUse, Edge, Graph, Node, TrafficReport
from lineage.records import NightState
from retraining.settings import Settings
from retraining.web import views
from retraining.web.layout import lay_out
from retraining.web.views import FILTERS

TEMPLATES = Path(__file__).resolve().parents[2] / "plugins" / "templates" / "headlines"


def test_a_page_without_a_title_cannot_be_drawn() -> None:
    frame = (TEMPLATES / "_frame.html").read_text()
    bare = "<title>{% block page_title %}Airflow{% endblock %}</title>{% block content %}{% endblock %}"
    environment = Environment(
        loader=DictLoader(
            {
                "headlines/_frame.html": frame,
                "headlines/_parts.html": "",
                "bare.html": bare,
                "untitled.html": '{% extends "headlines/_frame.html" %}{% block page %}{% endblock %}',
            }
        ),
        autoescape=True,
    )
    with pytest.raises(TemplateRuntimeError, match="Required block 'title' not found"):
        environment.get_template("untitled.html").render(base_template="bare.html")


def test_whatever_scrolls_is_reached_by_the_keyboard_and_has_a_name() -> None:
    scrolling = [
        tag for path in TEMPLATES.glob("*.html") for tag in re.findall(r"<\w+ [^>]*hl-scroll[^>]*>", path.read_text())
    ]
    assert len(scrolling) >= 4
    assert all('tabindex="0"' in tag and "aria-label=" in tag for tag in scrolling), scrolling


def draw(source: str, **values: Any) -> str:
    """Some lines of a page, with the pieces that all pages share."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES.parent), autoescape=True)
    environment.filters |= {f"headlines_{name}": tell for name, tell in FILTERS.items()}
    environment.globals["url_for"] = lambda endpoint, **parts: f"/{endpoint}"
    return environment.from_string('{% import "headlines/_parts.html" as parts %}' + source).render(**values)


def test_what_a_person_wrote_is_shown_as_it_was_typed_and_its_backticks_hold_no_command_of_ours() -> None:
    shown = draw("{{ parts.typed(text) }}", text="try `make up` <b>&")
    assert shown == "try &#96;make up&#96; &lt;b&gt;&amp;"
    assert show_on_page(shown) == shown


def test_the_calendar_has_a_sign_and_a_meaning_for_every_state_of_a_night() -> None:
    states = {state for kind in get_args(NightState) for state in get_args(kind) or (kind,)}
    legend = (TEMPLATES / "nights.html").read_text().partition("{% set states = {")[2].partition("} %}")[0]
    assert set(re.findall(r'^  "(\w+)": \(', legend, re.MULTILINE)) == states


def test_live_traffic_says_nothing_of_limits_and_answers_that_are_not_recorded() -> None:
    report = TrafficReport(7, "", 240, None, 0.8, {}, {}, {}, "")
    source = '{% include "headlines/_traffic.html" %}'
    shown = " ".join(re.sub("<[^>]+>", " ", draw(source, night={"traffic": report})).split())
    assert "of the answers that the night's labels judge" in shown
    assert "alarm takes is not recorded" in shown
    assert "None" not in shown and "fewer than" not in shown
    known = replace(report, served_rows=120, limits={"min_requests": 100.0})
    assert "fewer than 100 requests" in draw(source, night={"traffic": known})


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.25, "1.2 s"), (120, "2.0 min"), (7200, "2.0 h"), (0, "0.0 s")], ids=str
)
def test_a_duration_reads_well_however_long_it_was(seconds: float, words: str) -> None:
    assert draw("{{ parts.seconds(value) }}", value=seconds) == words


def test_a_moment_is_told_in_utc_and_by_its_age_and_airflow_s_script_leaves_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views, "read_settings", lambda: Settings.from_env(timezone="America/Sao_Paulo"))
    moment = datetime.now(UTC) - timedelta(hours=3, minutes=1)
    shown = draw("{{ parts.moment(value) }}", value=moment.astimezone(ZoneInfo("Asia/Tokyo")))
    assert f">{moment:%Y-%m-%d %H:%M} UTC, 3 hours ago</time>" in shown
    local = moment.astimezone(ZoneInfo("America/Sao_Paulo"))
    assert f'title="{local:%Y-%m-%d %H:%M} in America/Sao_Paulo"' in shown
    assert 'data-datetime-convert="false"' in shown
    assert "–" in draw("{{ parts.moment(none) }}")


def test_counts_of_a_drop_that_are_not_on_record_are_told_as_such() -> None:
    shown = draw("{{ parts.drops([drop]) }}", drop=DropUse("2022-02-01", 1, rows_in=0))
    assert "None" not in shown
    assert shown.count("–") == 3
    assert '<td class="n">0</td>' in shown


def test_what_was_passed_over_beside_a_drop_is_named() -> None:
    shown = draw("{{ parts.drops([drop]) }}", drop=DropUse("2022-02-01", 1, passed_over=("V2/", "<b>.txt")))
    assert "passed over: V2/, &lt;b&gt;.txt" in shown
    assert "passed over" not in draw("{{ parts.drops([drop]) }}", drop=DropUse("2022-02-01", 1))


def test_lines_and_boxes_of_a_picture_name_what_they_join() -> None:
    nodes = (Node("drop:2022-02-01:1", "drop", "Drop", "the drop"), Node("artifact:3", "artifact", "Examples", "e"))
    picture = lay_out(Graph(nodes, (Edge("drop:2022-02-01:1", "artifact:3"),)))
    shown = draw("{{ parts.picture(value, 'Lineage') }}", value=picture)
    assert 'data-source="drop:2022-02-01:1" data-target="artifact:3"' in shown
    assert '<a data-key="drop:2022-02-01:1" href="' in shown
    assert '<a data-key="artifact:3" tabindex="0" role="img">' in shown


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("[a-z]*.html")), ids=lambda path: path.stem)
def test_every_page_is_titled_and_headed(path: Path) -> None:
    source = path.read_text()
    assert "{% block title" in source
    # A rendered document brings its own.
    assert "<h1" in source or "{{ rendered }}" in source


def test_a_long_table_under_a_chart_says_that_it_is_cut_and_where_the_rest_is() -> None:
    source = '{% import "headlines/_charts.html" as charts %}'
    source += '{{ charts.cut(count, 365, "/headlines/api/drift?nights=1100") }}'
    assert draw(source, count=365).strip() == ""
    shown = " ".join(draw(source, count=366).split())
    assert "The newest 365 of 366 nights; all are in the" in shown
    assert '<a href="/headlines/api/drift?nights=1100">JSON of this page</a>' in shown
