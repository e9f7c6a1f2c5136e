"""The nightly sensor in runs by schedule: real ones, on Airflow's own database, deferred and resumed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lineage_story import Story, nodes
from postgres_server import Server, lend_database

from lineage import OURS
from retraining.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent
MODES = ["newest", "each"]


@dataclass(frozen=True)
class Played:
    """What came of the nights that were played; `newest` is the newest of them."""

    newest: date
    zone: str
    cases: dict[str, dict[str, Any]]

    def case(self, mode: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cases[mode][name]
        return found

    def night(self, ago: int) -> str:
        return str(self.newest - timedelta(days=ago))

    def cut_off(self, ago: int, minutes: int = 360) -> str:
        """When the night that many nights before the newest is over, and then so many minutes later."""
        over = datetime.combine(self.newest - timedelta(days=ago - 1), time(2), ZoneInfo(self.zone))
        return str(over.astimezone(UTC) + timedelta(minutes=minutes))

    def what_next(self, mode: str, ago: int) -> str:
        """What the notice says will become of a night whose drop has not come."""
        by_hand = f"When the drop has come: `retraining run --night {self.night(ago)}`"
        later = "The night is run when its drop has come (LATE_DROPS=backfill)"
        return f"; version {self.night(4).replace('-', '')}01 keeps serving. {later if mode == 'newest' else by_hand}"


def find_zone() -> str:
    """A time zone in which it is a bit after three, and the schedule's two o'clock was an hour or two ago."""
    ahead = 3 - datetime.now(UTC).hour
    ahead += 24 if ahead < -12 else 0
    # The sign of these names is that of POSIX.
    return f"Etc/GMT{-ahead:+d}"


@pytest.fixture(scope="module")
def played(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Plays them all in one process of its own, where lineage knows the fourth night before the newest."""
    folder, zone = tmp_path_factory.mktemp("nights"), find_zone()
    newest = datetime.now(ZoneInfo(zone)).date() - timedelta(days=1)
    known = str(newest - timedelta(days=4))
    with lend_database(postgres, folder / "state") as settings:
        for node in nodes(known, {known: 1}):
            Story(settings).launch(node, "manual__earlier", pipeline=OURS.pipeline)
        yield Played(newest, zone, play(settings, folder, zone, newest))


def play(settings: Settings, folder: Path, zone: str, newest: date) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("scheduled_nights.py")), str(newest)],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
            # As long as the service gives it.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            # The DAG is read anew with other settings, sooner than anybody changes a file.
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "STATE_DIR": str(settings.state_dir),
            "DROPS_DIR": str(folder / "drops"),
            "DROP_SETTLE_SECONDS": "0",
            "TIMEZONE": zone,
            "SCHEDULED_FROM": str(newest - timedelta(days=5)),
            "MLMD_HOST": settings.mlmd_host,
            "MLMD_PORT": str(settings.mlmd_port),
            "MLMD_DATABASE": settings.mlmd_database,
            "MLMD_USER": settings.mlmd_user,
            "MLMD_PASSWORD": settings.secret("mlmd_password"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cases: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return cases


@pytest.mark.parametrize("mode", MODES)
def test_a_night_whose_drop_came_early_goes_on_at_once(mode: str, played: Played) -> None:
    early = played.case(mode, "early")
    assert early["state"] == "success"
    night = played.night(0 if mode == "newest" else 5)
    assert early["said"][-1] == f"The drop of night {night} is complete."


@pytest.mark.parametrize("mode", MODES)
def test_a_late_drop_is_waited_for_without_a_worker_and_its_night_resumed(mode: str, played: Played) -> None:
    late = played.case(mode, "late")
    assert late["state"] == "deferred"
    assert f"night {played.night(0)} has no drop: " in late["said"][-1]
    assert late["said"][-1].endswith(f" Waiting for it until {played.cut_off(0)}.")
    resumed = played.case(mode, "late, resumed")
    assert (resumed["run"], resumed["state"], resumed["attempt"]) == (late["run"], "success", 1)
    assert resumed["said"] == [f"The drop of night {played.night(0)} is complete."]


@pytest.mark.parametrize("mode", MODES)
def test_a_drop_that_never_comes_is_waited_for_until_the_cut_off(mode: str, played: Played) -> None:
    assert played.case(mode, "never")["state"] == "deferred"
    resumed = played.case(mode, "never, resumed")
    assert resumed["state"] == "skipped"
    notice, reason = resumed["said"]
    assert notice == f"Notice of late drop: {reason}"
    assert reason.startswith(f"no complete drop for night {played.night(0)} by its cut-off {played.cut_off(0)}: night ")
    assert reason.endswith(played.what_next(mode, 0))


@pytest.mark.parametrize("mode", MODES)
def test_a_night_that_begins_after_its_cut_off_without_a_drop_is_skipped_at_once(mode: str, played: Played) -> None:
    missing = played.case(mode, "missing")
    assert missing["state"] == "skipped"
    *_, notice, reason = missing["said"]
    assert notice == f"Notice of late drop: {reason}"
    night, minutes = (0, 30) if mode == "newest" else (3, 360)
    cut_off = played.cut_off(night, minutes)
    assert reason.startswith(f"no complete drop for night {played.night(night)} by its cut-off {cut_off}: night ")
    assert reason.endswith(played.what_next(mode, night))


def test_a_night_that_missed_its_drop_is_waited_for_once_by_the_dag_of_late_drops_where_that_is_wished(
    played: Played,
) -> None:
    skipped = played.case("newest", "never, resumed")
    waits = {f"late__{played.night(0)}": [{"night": played.night(0)}, skipped["logical date"]]}
    assert skipped["late runs"] == waits
    # It was skipped a second time, past its cut-off.
    assert (
        f"A run of headline_late_drops has waited for night {played.night(0)} before."
        in played.case("newest", "missing")["said"]
    )
    assert played.case("each", "never, resumed")["late runs"] == {}


def test_after_an_outage_each_night_is_run_in_its_turn(played: Played) -> None:
    for name, ago in {"early": 5, "newest but two": 2, "newest but one": 1}.items():
        case = played.case("each", name)
        assert case["state"] == "success"
        assert case["said"] == [f"The drop of night {played.night(ago)} is complete."]


def test_after_an_outage_an_older_night_is_left_to_the_newest(played: Played) -> None:
    older = played.case("newest", "older")
    assert older["state"] == "skipped"
    reason = (
        f"night {played.night(2)} is left to night {played.night(0)}, the newest that is due, whose window holds its "
        f"drop (CATCHUP_MODE=newest); to run it all the same: `retraining run --night {played.night(2)}`"
    )
    assert older["said"] == [f"Notice of missed night: {reason}", reason]


def test_after_an_outage_the_newest_night_names_those_that_were_missed_also_when_it_is_retried(played: Played) -> None:
    away = played.case("newest", "early, lineage away")
    assert (away["state"], away["attempt"]) == ("up_for_retry", 1)
    assert away["said"][-1].startswith("LineageError: MLMD's database at host 127.0.0.1, port 1, ")
    early = played.case("newest", "early")
    assert (early["state"], early["attempt"]) == ("success", 2)
    assert early["said"][0] == (
        f"Notice of missed night: 3 nights were missed ({played.night(3)} to {played.night(1)}); as far as their drops "
        f"are in the window of night {played.night(0)} it is trained on them too. To run each: `retraining backfill "
        f"{played.night(3)} {played.night(1)}`"
    )


def test_a_night_that_ended_before_the_service_was_first_started_is_left_out(played: Played) -> None:
    case = played.case("each", "before the first start")
    assert case["state"] == "skipped"
    [reason] = case["said"]
    assert reason.startswith(f"night {played.night(6)} ended before this service was first started ({played.night(5)})")


@pytest.mark.parametrize("name", ["by hand, long ago", "by hand, for a night long ago"])
def test_a_run_by_hand_of_a_night_before_the_first_that_may_be_run_has_its_tasks_and_fails_at_once(
    name: str, played: Played
) -> None:
    case = played.case("newest", name)
    # Airflow gives a run before the DAG's own beginning no task, and calls it a success.
    assert (case["state"], case["attempt"]) == ("failed", 1)
    *_, reason = case["said"]
    assert reason.startswith(
        f"night 2021-01-01 is before START_DATE={played.night(6)}, the first night that may be run"
    )
    # It says this and nothing else where Airflow would show where in the code it was raised.
    assert case["errors"] == [reason]


@pytest.mark.parametrize(("mode", "name"), [("each", "run before"), ("newest", "by hand, run before")])
def test_a_night_that_another_run_finished_is_not_run_again(mode: str, name: str, played: Played) -> None:
    case = played.case(mode, name)
    assert case["state"] == "skipped"
    [reason] = case["said"]
    assert reason.startswith(f"night {played.night(4)} was run before, as manual__earlier: pushed.")


@pytest.mark.parametrize(
    ("mode", "name", "ago"),
    [("each", "run before, cleared", 4), ("newest", "older, cleared", 2), ("newest", "by hand, forced", 4)],
)
def test_a_night_that_is_asked_for_is_run_whatever_was_or_is_due(
    mode: str, name: str, ago: int, played: Played
) -> None:
    case = played.case(mode, name)
    assert case["state"] == "success"
    assert case["said"] == [f"The drop of night {played.night(ago)} is complete."]
