"""What pages take, choose and lead to, where no database is needed to say so."""

import importlib
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import flask
import pytest
from airflow.auth.managers.base_auth_manager import BaseAuthManager
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.www.extensions import init_auth_manager

import lineage
from headlines.names import NIGHTLY_DAG
from lineage.history import tell_happening
from lineage.records import History, ModelSummary, Point
from retraining.recording import notes
from retraining.recording.store import StoreError
from retraining.web import access, pages, views
from retraining.web.pages.serving import _chart

READER: Any = object()


@pytest.mark.parametrize(
    ("own", "ends_unpushed", "is_refused", "version"),
    [
        ({"blessed": "1", "pushed": "1", "pushed_version": "2022020101"}, False, False, 2022020101),
        ({"blessed": "0", "pushed": "0"}, False, True, None),
        # Refused by its Pusher, as one that is behind a newer night.
        ({"blessed": "1", "pushed": "0"}, False, True, None),
        # Its Pusher is at work, or has failed.
        ({"blessed": "0"}, False, False, None),
        ({"blessed": "0"}, True, True, None),
        ({"blessed": "1"}, True, False, None),
        ({"blessed": "1", "pushed": "1", "pushed_version": "v-7"}, False, False, None),
        ({"blessed": "1", "pushed": "1"}, False, False, None),
    ],
)
def test_a_night_is_refused_or_pushed_by_what_its_pusher_says(
    own: dict[str, str], ends_unpushed: bool, is_refused: bool, version: int | None
) -> None:
    told = tell_happening(own, ends_unpushed)
    assert (told.is_refused, told.pushed_version) == (is_refused, version)


def test_scores_of_what_is_no_night_are_not_known() -> None:
    with pytest.raises(lineage.UnknownError, match="'foo' is not a date"):
        pages.scores(READER, "foo")


def test_compare_offers_the_newest_models_and_those_that_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    old, *newest = (ModelSummary(number, "", "run", "", ()) for number in (1, 500, 501))
    sides = (create_autospec(lineage.ModelDetail, instance=True, model=one) for one in (old, newest[-1]))
    monkeypatch.setattr(lineage, "models", lambda reader, limit: tuple(reversed(newest)))
    compared = create_autospec(lineage.Comparison, instance=True, a=next(sides), b=next(sides))
    monkeypatch.setattr(lineage, "compare", lambda reader, a, b: compared)
    assert [one.id for one in pages.compare(READER, "#1", "#501")["models"]] == [501, 500, 1]
    assert [one.id for one in pages.compare(READER)["models"]] == [501, 500]


def test_a_champion_that_was_never_right_is_drawn_on_fresh_rows_all_the_same() -> None:
    point = Point(
        "2022-02-01", "run", 0.8, 0.7, None, None, 0.0, None, None, 40,
        blessed=True, is_refused=False, pushed_version=None, rollbacks=(),
    )  # fmt: skip
    assert [line["label"] for line in _chart(History("accuracy", (point,)))["lines"]] == ["champion, fresh rows"]


@pytest.mark.parametrize(("state", "seconds"), [("loading", 15), ("agrees", None)])
def test_now_serving_is_looked_at_again_until_what_was_pushed_is_loaded(
    state: str, seconds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("retraining.web.pages.serving")
    observed = module.replicas.Observation(None, (module.replicas.Replica("http://127.0.0.1:1", state=state),))
    monkeypatch.setattr(module.replicas, "observe", lambda *_: observed)
    for name, answer in {"serving_now": None, "metrics": (), "calendar": (), "reigns": ()}.items():
        monkeypatch.setattr(lineage, name, lambda reader, answer=answer, **how: answer)
    assert module.now_serving(READER, None)["refresh_seconds"] == seconds


def test_the_button_to_a_night_leads_whoever_may_read_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "plugins"))
    link = importlib.import_module("lineage_plugin").NightLink()
    key = TaskInstanceKey(NIGHTLY_DAG, "Trainer", "run")
    monkeypatch.setattr(flask, "url_for", lambda endpoint, **values: endpoint)
    monkeypatch.setattr(init_auth_manager, "is_auth_manager_initialized", lambda: True)
    for may in (True, False):
        monkeypatch.setattr(access, "may_read", lambda may=may: may)
        assert link.get_link(None, ti_key=key) == ("HeadlinesView.run" if may else "")


@pytest.mark.parametrize(
    ("form", "status", "told"),
    [
        ({"night": "2022-02-01", "text": "x"}, 503, "Nothing was written. Its database does not answer"),
        ({"night": "2022-02-01", "version": "12a", "text": "x"}, 400, "version '12a' is no number"),
        ({"withdraw": "9" * 5000, "text": "x"}, 400, "is no number"),
    ],
)
def test_a_note_that_is_not_written_says_why_and_nothing_of_hosts(
    form: dict[str, str], status: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise StoreError("MLMD at 10.1.2.3 as role mlmd does not answer")

    said: list[str] = []
    monkeypatch.setattr(notes, "write_note", fail)
    monkeypatch.setattr(notes, "withdraw_note", fail)
    monkeypatch.setattr(views, "read_settings", lambda: None)
    manager = create_autospec(BaseAuthManager, instance=True)
    manager.get_user_name.return_value = "ana"
    monkeypatch.setattr(views, "get_auth_manager", lambda: manager)
    monkeypatch.setattr(pages, "notes", lambda reader, written, problem: said.append(problem))
    page = create_autospec(views.HeadlinesView, instance=True)
    page._answer.side_effect = lambda template, ask: ask(READER) or ""
    with flask.Flask("pages").test_request_context(method="POST", data=form):
        answer: Any = views.HeadlinesView.write_note.__wrapped__(page)  # type: ignore[attr-defined]
    assert answer.status_code == status
    assert told in said[0]
    assert "10.1.2.3" not in said[0]
