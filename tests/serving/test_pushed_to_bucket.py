"""What is pushed to a bucket, rolled back and removed there, as the model server over that bucket follows it."""

from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from object_stores import ObjectStore
from server_process import ServerProcess
from waiting import wait_until

from headlines import holding
from headlines.objects.addresses import to_path
from headlines.pushes import removals, rollbacks
from headlines.pushes.champion import Rollback
from headlines.pushes.publishing import publish
from headlines.pushes.versions import find_versions

FIRST, SECOND = 2022020101, 2022020201
NOW = datetime(2022, 2, 3, tzinfo=UTC)


def test_a_push_a_rollback_and_a_removal_in_a_bucket_are_followed(
    store: ObjectStore, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    serving_dir = to_path(f"{store.url}/pushed/headlines")

    def answer() -> dict[str, str]:
        answered: dict[str, str] = server.get("/version").json()
        return answered

    # Nobody else pushes here; the lock itself is tested where there is a database.
    with holding.lend(lambda _: nullcontext(lambda: None)):
        publish(saved_model, serving_dir, date(2022, 2, 1), about={"model_id": 7})
        with ServerProcess(serving_dir, store.environment, cache_dir=tmp_path / "cache") as server:
            wait_until(lambda: server.answers("/readyz"))
            assert (answer()["version"], answer()["model_id"]) == (str(FIRST), 7)
            publish(saved_model, serving_dir, date(2022, 2, 2), str(FIRST))
            wait_until(lambda: answer()["version"] == str(SECOND))
            rollback = Rollback(1, SECOND, FIRST, "ana", "worse", NOW, "2022-02-02", (SECOND,))
            rollbacks.add(serving_dir, rollback)
            wait_until(lambda: answer()["version"] == str(FIRST))
            removals.hide(serving_dir, [SECOND], NOW, "ana")
            assert find_versions(serving_dir) == [FIRST]
            wait_until(lambda: server.problems() == "")
            assert server.post("/predict", {"title": "dia bom"}).json()["version"] == str(FIRST)
