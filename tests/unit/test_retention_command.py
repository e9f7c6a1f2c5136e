"""`retraining prune`: what it shows, and how it ends."""

import json
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from typer.testing import CliRunner

from retraining.cli.console import console
from retraining.cli.main import app
from retraining.retention import removal
from retraining.retention.plan import Item
from retraining.retention.removal import Pruning

OLD = "older than night 2025-09-01, the first that is kept"
NEWER = "nothing serves it, and a rollback returns to newer ones"
DAYS = "last written more than 30 days ago"
MODELS = [
    Item(
        "artifact",
        "Model",
        f"Model {one} of night 2025-08-{one:02}",
        OLD,
        Path(f"/p/Trainer/model/{one}"),
        11_200_000,
        one,
    )
    for one in (1, 2, 3)
]
ITEMS = (
    *MODELS,
    Item("version", "pushed versions", "version 2025080101", NEWER, Path("/s/2025080101"), 0, 2025080101),
    Item("log", "logs of tasks", "/a/logs/x.log", DAYS, Path("/a/logs/x.log"), 8192),
)


@pytest.fixture(autouse=True)
def outcome(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pruning]:
    """How a look and a removal end."""
    ends = {"plan": Pruning(ITEMS), "remove": Pruning(ITEMS)}
    for name in ends:
        real = getattr(removal, name)
        monkeypatch.setattr(removal, name, create_autospec(real, side_effect=lambda *_, name=name: ends[name]))
    return ends


def test_a_dry_run_shows_what_may_go_why_and_how_much_that_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 80)
    result = CliRunner().invoke(app, ["prune", "--dry-run"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    words = " ".join(result.output.split())
    for shown in ("Model", "older than night 2025-09-01", "3 33.6 MB", "pushed versions", "1 0 B", "logs of tasks"):
        assert shown in words, result.output
    assert words.endswith("5 things, 33.6 MB may go.")
    assert not removal.remove.called  # type: ignore[attr-defined]


def test_a_removal_ends_with_its_total_and_with_1_where_something_could_not_go(outcome: dict[str, Pruning]) -> None:
    assert "5 things, 33.6 MB removed." in CliRunner().invoke(app, ["prune"]).output
    outcome["remove"] = Pruning(ITEMS, problems=("Model 9 could not be removed: it is read-only",))
    failed = CliRunner().invoke(app, ["prune"])
    assert failed.exit_code == 1
    assert "Model 9 could not be removed: it is read-only" in failed.output


def test_a_script_gets_every_thing_with_its_place(outcome: dict[str, Pruning]) -> None:
    outcome["plan"] = Pruning(ITEMS, notes=("every pushed version stays",))
    answer = json.loads(CliRunner().invoke(app, ["prune", "--dry-run", "--json"]).output)
    assert (answer["removed"], answer["size_bytes"]) == (False, 33_608_192)
    assert answer["notes"] == ["every pushed version stays"]
    assert answer["items"][0] == {
        "kind": "artifact",
        "what": "Model",
        "name": "Model 1 of night 2025-08-01",
        "why": OLD,
        "path": "/p/Trainer/model/1",
        "size_bytes": 11_200_000,
        "id": 1,
    }


def test_where_there_is_nothing_to_remove_it_says_so(outcome: dict[str, Pruning]) -> None:
    outcome["plan"] = Pruning(())
    assert CliRunner().invoke(app, ["prune", "--dry-run"]).output.strip() == "0 things, 0 B may go."
