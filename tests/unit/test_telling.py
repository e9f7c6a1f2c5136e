"""What is told: each fact once, its end only to whoever was told of it, and nothing lost or held up by it."""

import json
import logging
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from notice_sink import Sink, listen
from pydantic import SecretStr

from retraining.notices import delivery, outbox, telling
from retraining.notices.events import EVENTS
from retraining.notices.outbox import Notice
from retraining.notices.telling import tell, tell_end
from retraining.settings import Settings


@pytest.fixture
def sink() -> Iterator[Sink]:
    with listen() as sink:
        yield sink


@pytest.fixture
def settings(tmp_path: Path, sink: Sink) -> Settings:
    return Settings.from_env(state_dir=tmp_path, notify=SecretStr(f"{sink.url}/hook"))


def take(sink: Sink) -> list[tuple[str, str]]:
    """Event and text of what arrived since the last call."""
    posts = [json.loads(post.body) for post in sink.posts]
    sink.posts.clear()
    return [(post["event"], post["text"]) for post in posts]


def tell_late(settings: Settings, text: str = "no drop") -> None:
    tell(settings, "late drop", text, fact="2022-02-01", night="2022-02-01")


def test_what_is_posted_as_json_has_the_shape_that_is_documented(settings: Settings, sink: Sink) -> None:
    tell_late(settings)
    [post] = sink.posts
    notice = json.loads(post.body)
    assert post.path == "/hook"
    assert list(notice) == ["event", "text", "night", "severity", "subject", "link", "at", "id"]
    assert (notice["event"], notice["severity"]) == ("late drop", "warning")
    assert notice["subject"] == "the drop of night 2022-02-01 is late"
    assert notice["link"] == "http://127.0.0.1:8080/headlines/night/2022-02-01"
    assert notice["id"] == outbox.read_all(settings)[0].id


def test_a_fact_is_told_once_whatever_comes_upon_it_again(settings: Settings, sink: Sink) -> None:
    tell_late(settings)
    tell_late(settings, "the same, by a retry, in other words")
    tell(settings, "late drop", "another night", fact="2022-02-02", night="2022-02-02")
    tell(settings, "missed night", "another fact of the night", fact="2022-02-01", night="2022-02-01")
    assert [event for event, _ in take(sink)] == ["late drop", "late drop", "missed night"]


def test_processes_that_come_upon_a_fact_at_once_tell_it_once(settings: Settings, sink: Sink) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(6)

    def come_upon(number: int) -> None:
        start.wait()
        tell_late(settings, f"seen by {number}")

    processes = [context.Process(target=come_upon, args=(number,)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} == {0}
    delivery.deliver(settings)
    assert len(take(sink)) == 1


def test_an_end_is_told_once_and_only_if_the_beginning_was(settings: Settings, sink: Sink) -> None:
    def differ() -> None:
        tell(settings, "serving differs", "2 answers", fact="serving", version="1")

    def agree() -> None:
        tell_end(settings, "serving differs", "1 answers", fact="serving", version="1")

    agree()
    assert take(sink) == []
    for _ in range(2):
        differ()
        differ()
        agree()
        agree()
    told = [("serving differs", "2 answers"), ("serving as it should again", "1 answers")]
    assert take(sink) == told * 2


def test_whoever_is_told_of_failures_only_hears_when_one_is_over(settings: Settings, sink: Sink) -> None:
    grave = settings.model_copy(update={"notify": SecretStr(f"failure|{sink.url}/grave")})
    tell(grave, "housekeeping failed", "no room", fact="housekeeping")
    tell_end(grave, "housekeeping failed", "it works", fact="housekeeping")
    tell(grave, "night overdue", "no verdict", fact="2022-02-01", night="2022-02-01")
    tell_end(grave, "night overdue", "it has one", fact="2022-02-01", night="2022-02-01")
    assert take(sink) == [("night overdue", "no verdict"), ("night no longer overdue", "it has one")]


def test_a_beginning_that_did_not_arrive_arrives_before_its_end(
    settings: Settings, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_FIRST_WAIT", delivery.timedelta(0))
    sink.status = 500
    tell(settings, "disk nearly full", "1 GB free", fact="/var", disk="/var")
    tell_end(settings, "disk nearly full", "9 GB free", fact="/var", disk="/var")
    assert take(sink) == []
    sink.status = 200
    delivery.deliver(settings)
    assert take(sink) == [("disk nearly full", "1 GB free"), ("disk has room again", "9 GB free")]
    assert {one.is_settled for one in outbox.read_all(settings)} == {True}


def test_with_nobody_to_tell_the_log_is_enough_and_nothing_waits(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = settings.model_copy(update={"notify": None})
    with caplog.at_level(logging.INFO):
        tell_late(nobody)
    assert "Notice of late drop: no drop" in caplog.messages
    assert [one.is_settled for one in outbox.read_all(nobody)] == [True]
    assert delivery.survey(settings) == [], "an address that is added later is not sent what is over"


def test_what_cannot_be_kept_is_sent_all_the_same_once(
    settings: Settings, sink: Sink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telling, "_sent_once", set())
    settings.state_dir.joinpath("notices").write_text("a file where a folder should be, as good as a full disk")
    for _ in range(2):
        tell_late(settings)
    assert take(sink) == [("late drop", "no drop")]
    assert "The notice of late drop cannot be kept" in caplog.text


def test_what_sends_is_left_to_the_process_that_does_so(settings: Settings, sink: Sink) -> None:
    with delivery.hold(delivery._lock(settings)):
        tell_late(settings)
        assert sink.asked == 0
    assert [backlog.waiting for backlog in delivery.survey(settings)] == [1]
    delivery.deliver(settings)
    assert len(take(sink)) == 1


def test_a_notice_of_a_missing_field_still_goes_out(settings: Settings, sink: Sink) -> None:
    tell(settings, "pushed", "a push", fact="1")
    notice = json.loads(sink.posts[0].body)
    assert notice["subject"] == "version ? is pushed"
    assert notice["link"].endswith("/headlines/nights")
    tell(settings, "task failed", "of another DAG", fact="1", task="scoring, Score", log_url="http://h/log?a=1")
    assert json.loads(sink.posts[1].body)["link"] == "http://h/log?a=1"


def test_links_lead_to_where_people_reach_the_pages(settings: Settings, sink: Sink) -> None:
    tell_late(settings.model_copy(update={"web_address": "https://airflow.example.org/x"}))
    assert json.loads(sink.posts[0].body)["link"] == "https://airflow.example.org/x/headlines/night/2022-02-01"


def test_no_two_kinds_have_one_name_and_each_ending_has_its_own() -> None:
    names = [name for one in EVENTS.values() for name in (one.name, *([one.ending.name] if one.ending else []))]
    assert len(names) == len(set(names))
    # By its name an event's files are found: none may begin as another's.
    slugs = [f"{outbox._slug(name)}-" for name in EVENTS]
    assert not [(a, b) for a in slugs for b in slugs if a != b and a.startswith(b)]


def test_of_two_that_found_nothing_told_yet_the_second_changes_nothing(settings: Settings) -> None:
    first = Notice("late-drop-1", "late drop", "warning", "late", "seen first", "", "2022-02-02T12:00:00+00:00")
    assert outbox.add(settings, first)
    assert not outbox.add(settings, replace(first, text="seen second"))
    assert outbox.read_all(settings) == [first]
    assert [path.name for path in outbox.folder(settings).iterdir()] == ["late-drop-1.json"], "nothing is left behind"
