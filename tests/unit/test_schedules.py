"""Random schedules of arrivals, corrections, runs, failures, retries and backfills against a small model of the rules.

Window, champion and push are the real ones; training is a hash of the window, and the verdict a hash of both models.
"""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from ml_metadata.proto import metadata_store_pb2
from tfx.types.standard_artifacts import Model, PushedModel

from headlines.drops.drops_folder import DropsFolder
from headlines.drops.window import check_nothing_lost, read_window
from headlines.pushes import publishing
from retraining.pipelines.as_of import ChampionAsOf
from retraining.settings import Settings

FIRST = date(2022, 2, 1)
WINDOW_NIGHTS = 3
DAYS = st.integers(0, 5)
RULES = Settings(window_nights=WINDOW_NIGHTS, max_missing_nights=9, drop_settle_seconds=0).drop_rules


@dataclass(frozen=True)
class Candidate:
    """A run between its training and its push: what it was trained on and compared with."""

    night: date
    model: Model
    champion_version: str
    blessed: bool


def content_of(path: Path) -> str:
    return (path / "weights").read_text()


class Schedules(RuleBasedStateMachine):
    """The service, in the hands of somebody who does everything in any order."""

    candidates = Bundle("candidates")

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="schedules"))
        self.drops, self.serving = self.place / "drops", self.place / "serving"
        self.drops.mkdir()
        self.serving.mkdir()
        self.versions_of_drops: dict[date, int] = {}
        self.rows: dict[tuple[date, int], int] = {}
        self.models: list[Model] = []
        self.pushes: list[PushedModel] = []
        self.patch = mock.patch.object(publishing, "hash_model", content_of)
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()
        shutil.rmtree(self.place)

    def night(self, day: int) -> date:
        return FIRST + timedelta(days=day)

    # What happens to drops.

    @rule(day=DAYS, titles=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), bad=st.booleans())
    def deliver(self, day: int, titles: list[str], bad: bool) -> None:
        """A night's drop arrives, in any order of nights; if it is there already, a correction does."""
        night = self.night(day)
        number = self.versions_of_drops[night] = self.versions_of_drops.get(night, 0) + 1
        folder = self.drops / str(night) if number == 1 else self.drops / str(night) / f"v{number}"
        folder.mkdir(parents=True)
        label, letter = "negative" if number % 2 else "positive", "abcdef"[day]
        rows = [f"{title} {letter},{label}" for title in titles] + [",neutral"] * bad
        self.rows[night, number] = len(rows)
        (folder / "headlines.csv").write_text("\n".join(["title,sentiment", *rows]) + "\n")

    # What happens to runs: scheduled ones, backfills, clears and runs by hand are all the same two halves.

    @rule(target=candidates, day=DAYS, killed=st.booleans())
    def train(self, day: int, killed: bool) -> Any:
        """A run gets as far as its verdict; a killed one is settled as the launcher does, and leaves no candidate."""
        night = self.night(day)
        if night not in self.versions_of_drops:
            return multiple()
        window = read_window(DropsFolder(self.drops), night, RULES)
        check_nothing_lost(window.drops)
        self.check_window(night, window)
        text = "".join(f"{headline.title}\0{headline.label}\n" for headline in window.headlines)
        model = Model()
        model.id = len(self.models) + 1
        model.uri = str(self.place / f"model-{model.id}")
        Path(model.uri).mkdir()
        Path(model.uri, "weights").write_text(hashlib.sha256(f"{night}\0{text}".encode()).hexdigest())
        state = metadata_store_pb2.Artifact
        model.mlmd_artifact.state = state.ABANDONED if killed else state.LIVE
        self.models.append(model)
        if killed:
            return multiple()
        champion = ChampionAsOf(str(night)).resolve_artifacts(
            None, {"model": self.models[:], "pushed_model": self.pushes[:], "rollback": []}
        )
        version = self.check_champion(night, champion)
        # Whatever the evaluator says: here, about every fourth comparison is lost.
        blessed = hashlib.sha256(f"{content_of(Path(model.uri))}{version}".encode()).digest()[0] % 4 != 0
        return Candidate(night, model, version, blessed)

    @rule(candidate=consumes(candidates), dies=st.sampled_from(["", "before its record"]))
    def push(self, candidate: Candidate, dies: str) -> None:
        """Any candidate that waits is pushed, whatever happened since; one that dies is retried, as Airflow does."""
        self.attempt_push(candidate, dies == "before its record")
        if dies:
            self.attempt_push(candidate, dies=False)

    def attempt_push(self, candidate: Candidate, dies: bool) -> None:
        before = self.published()
        expected = self.champion_by_the_rules(candidate.night)
        record = PushedModel()
        record.id = 1000 + len(self.pushes)
        record.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
        record.set_string_custom_property("night", str(candidate.night))
        record.set_int_custom_property("model_id", candidate.model.id)
        record.set_int_custom_property("pushed", 0)
        if candidate.blessed:
            try:
                publication = publishing.publish(
                    Path(candidate.model.uri), self.serving, candidate.night, candidate.champion_version
                )
            except publishing.ChampionChangedError:
                assert candidate.champion_version != expected, "refused although its champion is champion still"
                assert self.published() == before
            else:
                assert candidate.champion_version == expected, "pushed although compared with an outdated champion"
                record.set_int_custom_property("pushed", 1)
                record.set_string_custom_property("pushed_version", str(publication.version))
                self.check_publication(candidate, publication.version, before)
        else:
            assert self.published() == before
        if not dies:
            self.pushes.append(record)

    # The rules.

    def check_window(self, night: date, window: Any) -> None:
        used = {drop.version.night: drop.version.number for drop in window.drops}
        first = night - timedelta(days=WINDOW_NIGHTS - 1)
        assert used == {other: number for other, number in self.versions_of_drops.items() if first <= other <= night}, (
            "exactly the newest version of every drop in the window, none of a later night"
        )
        for drop in window.drops:
            assert drop.rows_in == self.rows[drop.version.night, drop.version.number]
            assert drop.rows_in == drop.rows_used + drop.rows_quarantined + drop.duplicates_folded
        assert all(headline.night <= night for headline in window.headlines)

    def published(self) -> dict[int, str]:
        return {int(path.name): content_of(path) for path in self.serving.iterdir() if path.name.isdecimal()}

    def champion_by_the_rules(self, night: date) -> str:
        """The greatest version in the serving directory whose night is earlier."""
        earlier = [version for version in self.published() if version // 100 < int(f"{night:%Y%m%d}")]
        return str(max(earlier)) if earlier else ""

    def check_champion(self, night: date, champion: dict[str, list[Any]]) -> str:
        """One champion, of an earlier night, and what lineage says is what the serving directory says."""
        assert len(champion["model"]) == len(champion["pushed_model"]) <= 1
        version = ""
        if champion["pushed_model"]:
            [push], [model] = champion["pushed_model"], champion["model"]
            assert date.fromisoformat(push.get_string_custom_property("night")) < night, "a champion from the future"
            version = push.get_string_custom_property("pushed_version")
            assert content_of(Path(model.uri)) == self.published()[int(version)]
        assert version == self.champion_by_the_rules(night)
        return version

    def check_publication(self, candidate: Candidate, version: int, before: dict[int, str]) -> None:
        after = self.published()
        assert after.items() >= before.items(), "nothing published is ever replaced"
        assert len(after) - len(before) <= 1
        assert version // 100 == int(f"{candidate.night:%Y%m%d}")
        assert after[version] == content_of(Path(candidate.model.uri))
        newer = [other for other in before if other // 100 > version // 100]
        if newer:
            assert max(after) == max(before), "an older night never replaces the newer model that serves"

    @invariant()
    def no_model_is_pushed_twice_in_a_row(self) -> None:
        published = sorted(self.published().items())
        for (earlier, content), (later, other) in pairwise(published):
            if earlier // 100 == later // 100:
                assert later == earlier + 1
                assert content != other, "the same model pushed twice for one night"

    @invariant()
    def nothing_half_done_is_left(self) -> None:
        assert not [path for path in self.serving.iterdir() if path.name.startswith(".incoming-")]


def test_any_schedule_keeps_the_rules() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
def test_nights_in_any_order_are_trained_alike_and_repeating_them_changes_nothing(order: tuple[int, ...]) -> None:
    """The models of a backfill in reverse are those of a schedule; run again in order, all is as it was."""
    machine = Schedules()
    try:
        for day in range(4):
            machine.deliver(day, ["a", "b"], bad=False)

        def run(day: int) -> None:
            night = machine.night(day)
            made = machine.train(day, killed=False)
            machine.attempt_push(Candidate(night, made.model, made.champion_version, True), dies=False)

        for day in order:
            run(day)
        once = machine.published()
        assert [version // 100 - 20220200 for version in sorted(once)] == [1, 2, 3, 4]
        for day in (*order, 0, 1, 2, 3):
            run(day)
        assert machine.published() == once
        forward = {
            int(f"{machine.night(day):%Y%m%d}01"): hashlib.sha256(
                f"{machine.night(day)}\0".encode()
                + "".join(
                    f"{h.title}\0{h.label}\n"
                    for h in read_window(DropsFolder(machine.drops), machine.night(day), RULES).headlines
                ).encode()
            ).hexdigest()
            for day in range(4)
        }
        assert once == forward
    finally:
        machine.teardown()
