"""The dead man's switch: what it tells, to whom, and that it tells it once."""

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from pydantic import SecretStr
from waiting import wait_until

import lineage
from headlines import disk
from lineage import LineageError, NightSummary, Reign
from retraining.notices import delivery, outbox
from retraining.notices.telling import tell
from retraining.settings import Settings
from retraining.watching import programs, watch
from retraining.watching.programs import Failures, Look, Program
from retraining.watching.replicas import Observation, Replica
from retraining.watching.watch import Memory

# 2 February 2022, two in the morning in Sao Paulo: the start of the night before.
TWO = datetime(2022, 2, 2, 5, tzinfo=UTC)
NINE = TWO + timedelta(hours=7)
DAY = timedelta(days=1)


class Outside:
    """Who is told: notices and signs of life, and whether it answers."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        self.signs_of_life = 0
        self.answers = True
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outside.answers:
                    outside.notices.append(notice)
                self._answer()

            def do_GET(self) -> None:
                outside.signs_of_life += outside.answers
                self._answer()

            def _answer(self) -> None:
                # Last: whoever is answered looks at once at what was told.
                self.send_response(204 if outside.answers else 503)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self) -> list[tuple[str, str]]:
        """Event and night of every notice since the last call."""
        taken, self.notices = self.notices, []
        return [(notice["event"], notice["night"]) for notice in taken]


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def settings(tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Settings:
    address = f"http://127.0.0.1:{outside.server.server_port}/"
    made = Settings.from_env(
        state_dir=tmp_path, scheduled_from="2022-02-01", notify=SecretStr(address), heartbeat_url=SecretStr(address)
    )
    monkeypatch.setattr(Settings, "from_env", classmethod(lambda cls: made))
    # What was not accepted is tried again at once.
    monkeypatch.setattr(delivery, "_FIRST_WAIT", timedelta(0))
    return made


@pytest.fixture
def stands(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """How each night stands, by its date; a night `gone` is that of a database that does not answer."""
    known: dict[str, str] = {}

    def calendar(source: object, first: str | None = None, *limits: object) -> tuple[NightSummary, ...]:
        if "gone" in known:
            raise LineageError("the MLMD database does not answer")
        return tuple(
            NightSummary(night, None, 0, state, reason="for a reason")  # type: ignore[arg-type]
            for night, state in sorted(known.items())
            if night >= (first or "")
        )

    monkeypatch.setattr(lineage, "calendar", create_autospec(lineage.calendar, side_effect=calendar))
    return known


def test_before_its_time_nothing_is_overdue_and_then_it_is_told_once(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    stands["2022-02-01"] = "failed"
    memory = watch.look(settings, Memory(), NINE - timedelta(seconds=1))
    assert outside.notices == []
    memory = watch.look(settings, memory, NINE)
    [notice] = outside.notices
    assert {name: notice[name] for name in ("event", "night", "severity", "text", "link")} == {
        "event": "night overdue",
        "night": "2022-02-01",
        "severity": "failure",
        "text": "night 2022-02-01 has no verdict 7 h 00 min after its scheduled start: failed; for a reason",
        "link": "http://127.0.0.1:8080/headlines/night/2022-02-01",
    }
    memory = watch.look(settings, memory, NINE + timedelta(hours=3))
    assert len(outside.notices) == 1
    assert outside.signs_of_life == 0


def test_it_is_told_again_when_it_is_mended_and_a_healthy_night_gives_one_sign_of_life(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    stands["2022-02-01"] = "missing"
    memory = watch.look(settings, Memory(), NINE)
    stands["2022-02-01"] = "pushed"
    for _ in range(2):
        memory = watch.look(settings, memory, NINE + timedelta(hours=1))
    assert outside.take() == [("night overdue", "2022-02-01"), ("night no longer overdue", "2022-02-01")]
    assert outside.signs_of_life == 1
    # The next night is begun: it is healthy only with a verdict of its own.
    memory = watch.look(settings, memory, TWO + DAY)
    assert outside.signs_of_life == 1
    stands["2022-02-02"] = "refused"
    memory = watch.look(settings, memory, TWO + DAY + timedelta(minutes=5))
    assert (outside.signs_of_life, outside.notices) == (2, [])


def test_each_night_that_is_overdue_is_told_and_a_later_verdict_mends_them(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    stands |= {"2022-02-01": "skipped", "2022-02-02": "stuck"}
    memory = watch.look(settings, Memory(), NINE)
    memory = watch.look(settings, memory, NINE + DAY)
    assert outside.take() == [("night overdue", "2022-02-01"), ("night overdue", "2022-02-02")]
    # Run by hand, beyond the one that is due.
    stands["2022-02-03"] = "pushed"
    watch.look(settings, memory, NINE + DAY)
    # Of each, for a service may keep an incident of each.
    assert outside.take() == [("night no longer overdue", "2022-02-01"), ("night no longer overdue", "2022-02-02")]


def test_a_notice_that_did_not_arrive_is_sent_at_the_next_look(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    stands["2022-02-01"] = "failed"
    outside.answers = False
    memory = watch.look(settings, Memory(), NINE)
    assert [backlog.waiting for backlog in delivery.survey(settings)] == [1]
    outside.answers = True
    memory = watch.look(settings, memory, NINE)
    delivery.deliver(settings)
    stands["2022-02-01"] = "pushed"
    outside.answers = False
    memory = watch.look(settings, memory, NINE)
    assert memory.heard == ""
    outside.answers = True
    memory = watch.look(settings, memory, NINE)
    delivery.deliver(settings)
    assert outside.take() == [("night overdue", "2022-02-01"), ("night no longer overdue", "2022-02-01")]
    assert outside.signs_of_life == 1


def test_a_night_that_nobody_can_be_asked_about_is_overdue_unless_its_verdict_was_heard(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    stands["gone"] = ""
    memory = watch.look(settings, Memory(), NINE)
    [notice] = outside.notices
    assert notice["text"].endswith("after its scheduled start: unknown; the MLMD database does not answer")
    del stands["gone"]
    stands["2022-02-01"] = "pushed"
    memory = watch.look(settings, memory, NINE)
    outside.take()
    stands["gone"] = ""
    assert watch.look(settings, memory, NINE) == memory
    assert outside.notices == []


def test_nothing_is_due_without_a_schedule_and_before_the_first_start(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    for changed in ({"schedule": "none"}, {"scheduled_from": "2022-03-01"}):
        watch.look(settings.model_copy(update=changed), Memory(), NINE)
    assert (outside.notices, outside.signs_of_life) == ([], 0)


def test_that_the_wrong_version_answers_is_told_once_and_only_after_minutes(
    settings: Settings, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Reign(2022020201, 7, "2022-02-02", TWO, None)
    answers: list[str] = []

    def observe(settings: Settings) -> Observation:
        replica = Replica("http://a", state=answers[0], text=f"is {answers[0]}")  # type: ignore[arg-type]
        return Observation(expected, (replica,))

    monkeypatch.setattr(watch.replicas, "observe", create_autospec(watch.replicas.observe, side_effect=observe))
    memory = Memory()

    def look(state: str, times: int) -> list[tuple[str, str]]:
        nonlocal memory
        answers[:] = [state]
        for _ in range(times):
            memory = watch.look_at_servers(settings, memory)
        taken, outside.notices = outside.notices, []
        return [(notice["event"], notice["version"]) for notice in taken]

    # A restart of the model server between two looks is no news.
    assert look("unreachable", 9) == look("agrees", 1) == look("nothing", 9) == []
    outside.answers = False
    assert look("nothing", 1) == []
    outside.answers = True
    delivery.deliver(settings)
    assert look("loading", 3) == [("serving differs", "2022020201")]
    watch._keep(settings, memory)
    memory = watch.remember(settings)
    assert look("differs", 20) == []
    assert look("agrees", 3) == [("serving as it should again", "2022020201")]
    assert look("differs", 10) == [("serving differs", "2022020201")]


def test_what_serves_is_not_judged_while_lineage_cannot_be_read(
    settings: Settings, outside: Outside, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = create_autospec(watch.replicas.observe, side_effect=LineageError("the MLMD database does not answer"))
    monkeypatch.setattr(watch.replicas, "observe", gone)
    memory = Memory(differing=9)
    assert watch.look_at_servers(settings, memory) == memory
    assert outside.notices == []
    assert "the MLMD database does not answer" in caplog.text


def test_a_service_that_starts_is_looked_at_half_a_minute_later_and_is_watched_meanwhile(
    settings: Settings, stands: dict[str, str], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def sleep(seconds: float) -> None:
        assert seconds == watch.POLL_SECONDS
        assert watch.is_watching(settings, datetime.now(UTC))
        asked.append(lineage.calendar.called)  # type: ignore[attr-defined]
        if len(asked) == 2:
            # The looks do not wait for what sends.
            wait_until(lambda: outside.notices, seconds=20)
            raise KeyboardInterrupt

    monkeypatch.setattr(watch, "time", create_autospec(time, sleep=sleep))
    with pytest.raises(KeyboardInterrupt):
        watch.run(settings, lambda: Look({}, 0, 0.0))
    assert asked == [False, True]
    assert outside.take()[0][0] == "night overdue"


def test_a_watch_that_was_silent_tells_that_it_looks_again(
    settings: Settings, stands: dict[str, str], outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands["2022-02-01"] = "pushed"
    tell(settings, watch.SILENT, "it last looked yesterday", fact=watch.SILENT)
    assert len(outbox.list_open(settings, watch.SILENT)) == 1
    asked = iter(range(2))

    def sleep(_: float) -> None:
        if next(asked) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch, "time", create_autospec(time, sleep=sleep))
    with pytest.raises(KeyboardInterrupt):
        watch.run(settings, lambda: Look({}, 0, 0.0))
    assert outbox.list_open(settings, watch.SILENT) == []


def test_what_was_told_outlives_the_program(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert watch.remember(settings) == Memory()
    assert not watch.is_watching(settings, NINE)
    failures = Failures(7, {"scheduler": [1.0, 2.0]}, {"scheduler": 3})
    memory = Memory(heard="2022-01-31", failures=failures, looked_at=NINE.isoformat())
    watch._keep(settings, memory)
    assert watch.remember(settings) == memory
    assert [path.name for path in settings.state_dir.iterdir()] == ["watch.json"]
    assert watch.is_watching(settings, NINE + timedelta(seconds=119))
    assert not watch.is_watching(settings, NINE + timedelta(seconds=121))
    (settings.state_dir / "watch.json").write_text("{half a")
    assert watch.remember(settings) == Memory()
    assert "a sign of life may be given again" in caplog.text
    # As an earlier version of the program left it.
    (settings.state_dir / "watch.json").write_text(
        '{"told": "2022-02-01", "heard": "2022-01-31", "told_serving": true}'
    )
    assert watch.remember(settings) == Memory(heard="2022-01-31")


def test_of_a_night_whose_task_failed_it_is_told_once_that_it_has_a_verdict_after_all(
    settings: Settings, stands: dict[str, str], outside: Outside
) -> None:
    for night in ("2022-02-01", "2022-02-02"):
        tell(settings, "task failed", "no headlines", fact=f"{night}: no headlines", task="Trainer", night=night)
    tell(settings, "task failed", "of a DAG without nights", fact="scoring", task="Score", log_url="http://h/log")
    stands |= {"2022-02-01": "failed", "2022-02-02": "failed"}
    watch.look_at_failures(settings)
    assert [notice["event"] for notice in outside.notices] == ["task failed"] * 3
    outside.notices.clear()
    stands["2022-02-01"] = "refused"
    for _ in range(2):
        watch.look_at_failures(settings)
    [notice] = outside.notices
    assert (notice["event"], notice["severity"]) == ("night has a verdict", "recovered")
    assert notice["text"] == "night 2022-02-01 is refused: for a reason"
    stands["gone"] = ""
    watch.look_at_failures(settings)
    assert len(outside.notices) == 1


class Programs:
    """A program that is looked at every half minute, and who was told of it."""

    def __init__(self, settings: Settings, outside: Outside) -> None:
        self.now, self.started_at, self.supervisor = 1000.0, 1000.0, 1
        self.known = Failures()
        self.settings, self.outside = settings, outside

    def look(self, state: str = "healthy", times: int = 1, starts_anew: bool = False) -> list[tuple[str, str]]:
        """Looks so often: the events that were told meanwhile, with their texts."""
        for _ in range(times):
            self.now += 30
            if starts_anew:
                self.started_at = self.now
            look = Look({"scheduler": Program(state, self.started_at)}, self.supervisor, self.now)
            self.known = programs.judge(self.settings, look, self.known)
        notices = [(str(one["event"]), str(one["text"])) for one in self.outside.notices]
        assert {one["program"] for one in self.outside.notices} <= {"scheduler"}
        self.outside.notices.clear()
        return notices


def test_a_program_that_ends_again_and_again_is_told_once_and_once_when_it_is_well(
    settings: Settings, outside: Outside
) -> None:
    looks = Programs(settings, outside)
    assert looks.look(times=3) == []
    # It ends three times, though it answers at each look.
    [(event, text)] = looks.look(starts_anew=True, times=3)
    assert event == "program keeps failing"
    assert "scheduler ended and was started again 3 times within an hour" in text
    assert "`retraining logs scheduler`" in text
    assert looks.look("backoff", starts_anew=True, times=200) == []
    assert looks.look(times=39) == []
    assert [event for event, _ in looks.look()] == ["program well again"]
    assert looks.look(times=100) == []
    # What was before that does not count, and what comes about again is told again.
    assert looks.look(starts_anew=True, times=3) == []
    assert [event for event, _ in looks.look(starts_anew=True)] == ["program keeps failing"]


def test_a_program_that_does_its_work_late_or_never_is_told_after_five_minutes(
    settings: Settings, outside: Outside
) -> None:
    looks = Programs(settings, outside)
    assert looks.look("starting", times=9) == []
    assert looks.look() == []
    [(event, text)] = looks.look("starting", times=10)
    assert event == "program keeps failing"
    assert "it is starting for minutes" in text


def test_what_the_model_server_answers_with_is_no_failure_of_its_program(settings: Settings, outside: Outside) -> None:
    looks = Programs(settings, outside)
    assert looks.look("failing", times=50) == looks.look("loading", times=50) == []


def test_a_restart_of_the_whole_service_is_no_failure_of_its_programs(settings: Settings, outside: Outside) -> None:
    looks = Programs(settings, outside)
    for number in range(10):
        looks.supervisor = number
        assert looks.look(starts_anew=True) == []
    assert programs.judge(settings, Look({}, 0, 0.0), looks.known) == looks.known


def test_a_disk_that_is_nearly_full_is_told_once_and_once_when_it_has_room_again(
    settings: Settings, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 0.0
    found = lambda path: disk.Disk(Path("/data"), "/dev/sdb1", 2**50, int(free * 2**30), 10)  # noqa: E731
    monkeypatch.setattr(disk, "find_disk", create_autospec(disk.find_disk, side_effect=found))
    told = []
    # At the limit it goes up and down.
    for free in (9.0, 1.0, 1.2, 2.1, 1.5, 2.3, 1.0):
        watch.look_at_disks(settings)
        told.append([notice["event"] for notice in outside.notices])
        if free == 1.0:
            [notice] = outside.notices
            assert notice["disk"] == "/data"
            assert "1.0 GB free on the disk at /data (/dev/sdb1), less than MIN_FREE_GB=2: no night" in notice["text"]
        outside.notices.clear()
    assert told == [[], ["disk nearly full"], [], [], [], ["disk has room again"], ["disk nearly full"]]


def test_a_silent_watch_is_seen_unless_the_service_starts_or_never_had_one(settings: Settings) -> None:
    assert watch.find_silence(settings, NINE) is None
    watch._keep(settings, Memory(looked_at=NINE.isoformat()))
    assert watch.find_silence(settings, NINE + timedelta(seconds=119)) is None
    later = NINE + timedelta(hours=8)
    assert watch.find_silence(settings, later) == NINE.isoformat()
    # After eight hours without current the first night may begin before the first look.
    started = settings.state_dir / watch.STARTED_WITH
    started.touch()
    os.utime(started, (later.timestamp(), later.timestamp()))
    assert watch.find_silence(settings, later + timedelta(minutes=9)) is None
    assert watch.find_silence(settings, later + timedelta(minutes=11)) == NINE.isoformat()
