"""A real scheduler starts every night by itself: drops in time, late and missing, a restart, outages of three nights.

The tests of this file build on one another, in order. Nobody triggers a run: the clock of the service is moved on, and
the schedule does the rest. Training is small; whatever else is set, is set as it is for everybody.
"""

import html
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from driving import CHECKOUT, SMALL_TRAINING, Service, make_environment
from moved_clock import MovedClock, find_library
from notice_sink import Sink, listen
from waiting import wait_until

import lineage
from headlines.drops.samples import write_samples
from retraining.local import airflow, supervisor
from retraining.notices import delivery

pytestmark = [
    pytest.mark.timeout(5400),
    pytest.mark.long,
    pytest.mark.skipif(
        find_library() is None, reason="no clock to move; on Linux on x86-64: pip install libfaketime==3.0.1"
    ),
]

DAG = "headline_retraining"
FIRST = date(2022, 2, 1)


@dataclass
class Story:
    """A service whose clock is moved on, the drops that are still to be delivered to it, and what it tells."""

    service: Service
    clock: MovedClock
    sink: Sink
    drops: Path
    taken: int = 0
    watched: list[tuple[str, str]] = field(default_factory=list)
    """The event and the text of what the watch told so far."""

    def deliver(self, night: str) -> None:
        """Delivers the night's drop as another system would, whole, and without the marker that saves a wait."""
        [file] = (self.drops / night).glob("*.csv")
        folder = self.service.settings.drops_dir / night
        folder.mkdir(parents=True)
        partial = folder / f".{file.name}"
        shutil.copyfile(file, partial)
        delivered = self.clock.now().timestamp() - 60
        os.utime(partial, (delivered, delivered))
        partial.rename(folder / file.name)

    def runs(self, dag: str = DAG) -> list[dict[str, Any]]:
        """The runs of a DAG, in the order of their nights."""
        runs: list[dict[str, Any]] = self.service.api("GET", f"dags/{dag}/dagRuns?order_by=execution_date")["dag_runs"]
        return runs

    def nights(self) -> list[str]:
        """The nights that have a run, which is in Airflow's eyes of the schedule and of nobody's hand."""
        runs = self.runs()
        assert {(run["run_type"], run["external_trigger"], str(run["conf"])) for run in runs} <= {
            ("scheduled", False, "{}")
        }
        return [find_night(run) for run in runs]

    def run(self, night: str) -> dict[str, Any]:
        [run] = [run for run in self.runs() if find_night(run) == night]
        return run

    def tasks(self, night: str) -> dict[str, dict[str, Any]]:
        """The task instances of a night's run, by task."""
        run_id = self.run(night)["dag_run_id"]
        instances = self.service.api("GET", f"dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance for instance in instances}

    def report(self, night: str) -> lineage.NightReport:
        [report] = lineage.nights(self.service.settings, night, night)
        return report

    def find_scheduler(self) -> int | None:
        """The process of the scheduler, as the supervisor has it."""
        return supervisor.states(self.service.settings).get("scheduler", {}).get("pid") or None

    def status(self) -> str:
        """What `retraining status` shows, in one line; right behind a jump the watch's last look is hours ago."""
        return " ".join(self.service("status", check=False).stdout.split())

    def is_quiet(self) -> bool:
        """Whether nothing runs or is about to, in any DAG, so that the clock may be moved."""
        under_way = self.service.api("GET", "dags/~/dagRuns?state=queued&state=running")["dag_runs"]
        if under_way:
            return False
        try:
            self.service.api("GET", "dags/headline_scoring/datasets/queuedEvent")
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return True
            raise
        return False

    def wait_until(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        """Looks every five seconds, since each look costs the web server the check of a password.

        A question that the web server cannot answer is asked again.
        """
        try:
            wait_until(is_so, what, seconds, every=5, unanswered=(httpx.TransportError,))
        except TimeoutError as error:
            pytest.fail(f"{error}\n{self.describe()}")

    def describe(self) -> str:
        """What a person would look at when a night does not go on."""
        lines = [f"it is {self.clock.now()}; notices: {self.sink.notices}"]
        for program, state in supervisor.states(self.service.settings).items():
            lines.append(f"{program}: {state['statename']} {state['description']}")
        for run in self.runs():
            tasks = {task: instance["state"] for task, instance in self.tasks(find_night(run)).items()}
            lines.append(f"{run['dag_run_id']}: {run['state']} {tasks}")
        log = supervisor.log_path(self.service.settings, "scheduler")
        return "\n".join([*lines, supervisor.last_lines(log, 40)])

    def begin(self, night: str) -> None:
        """Moves the clock to just before the moment at which the schedule runs the night, and waits for its run."""
        self.wait_until(self.is_quiet, 300, "nothing runs")
        self.clock.jump_to(due(night) - timedelta(seconds=5))
        self.wait_until(lambda: night in self.nights(), 300, f"the schedule begins night {night}")

    def finish(self, night: str, seconds: float = 1200) -> None:
        """Waits until the run of the night, and what follows from it, is over."""
        self.wait_until(lambda: self.run(night)["state"] in ("success", "failed"), seconds, f"night {night} ends")
        self.wait_until(self.is_quiet, 300, "nothing runs")

    def restart(self, moment: datetime, **settings: str) -> None:
        """Stops the service, starts it at a later moment with other settings."""
        self.service("down")
        assert self.service.find_processes() == []
        self.clock.jump_to(moment)
        self.service.environment |= settings
        self.service("up")


def find_night(run: dict[str, Any]) -> str:
    """The night of a run: the date of its logical date where the schedule lives."""
    return datetime.fromisoformat(run["logical_date"]).astimezone(ZoneInfo("America/Sao_Paulo")).date().isoformat()


def due(night: str) -> datetime:
    """When the schedule runs a night: at two in the morning after it."""
    return at(date.fromisoformat(night) + timedelta(days=1), 2)


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo("America/Sao_Paulo"))


def assert_is_pushed(story: Story, night: str, drops: list[str], champion: str, begun: datetime) -> None:
    """What every night must leave behind that was trained and pushed.

    Args:
      night: its drop was delivered once.
      drops: the nights whose drops it was trained on.
      champion: the version that its candidate was compared with.
      begun: the moment from which its run was due.
    """
    version = f"{night.replace('-', '')}01"
    run, tasks = story.run(night), story.tasks(night)
    assert run["state"] == "success", story.describe()
    assert {task: (instance["state"], instance["try_number"]) for task, instance in tasks.items()} == dict.fromkeys(
        tasks, ("success", 1)
    ), "every task succeeded at its first attempt"
    for ends in ("start_date", "end_date"):
        assert begun <= datetime.fromisoformat(run[ends]) < begun + timedelta(hours=4), "it is the moved clock's time"

    report = story.report(night)
    assert (report.run_id, report.state) == (run["dag_run_id"], "pushed"), report
    assert (report.pushed_version, report.champion_version) == (version, champion)
    assert report.drops == dict.fromkeys(drops, 1)
    assert version in story.service.versions()
    [since] = [reign.since for reign in lineage.reigns(story.service.settings) if str(reign.version) == version]
    assert begun <= since < begun + timedelta(hours=4)


def take_notices(story: Story) -> list[tuple[str, str]]:
    """What the runs told since the last call; what the watch told, whenever it looked, is beside it."""
    story.wait_until(lambda: not delivery.survey(story.service.settings), 120, "the watch has sent what was told")
    notices = [(notice["event"], notice["text"]) for notice in story.sink.notices[story.taken :]]
    story.taken += len(notices)
    assert "task failed" not in [event for event, _ in notices], notices
    story.watched += [notice for notice in notices if notice[0].startswith("night ")]
    return [notice for notice in notices if notice not in story.watched]


def wait_for_the_watch(story: Story, event: str, night: str) -> str:
    """The text of a notice of the watch's about a night; it looks twice a minute."""

    def find() -> list[str]:
        return [
            notice["text"] for notice in story.sink.notices if (notice["event"], notice.get("night")) == (event, night)
        ]

    story.wait_until(lambda: bool(find()), 120, f"the watch tells of {event}: {night}")
    [text] = find()
    return text


def see_it_mended(story: Story, night: str) -> None:
    """Waits for the end of the alarm, if the watch has raised one: it may look for the first time after the verdict."""
    if ("night overdue", night) in [(notice["event"], notice.get("night")) for notice in story.sink.notices]:
        wait_for_the_watch(story, "night no longer overdue", night)


def open_page(story: Story, address: str) -> str:
    """A page of the web server, as its admin sees it."""
    settings = story.service.settings
    cookies: dict[str, str] = {}

    def ask(method: str, address: str, **form: str) -> httpx.Response:
        # A cookie jar goes by this process' clock, for which the server's cookies ended years ago.
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        answer = httpx.request(
            method, airflow.web_address(settings) + address, headers=headers, data=form or None, timeout=60
        )
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            cookies[name] = value
        return answer

    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', ask("GET", "/login/").text)
    assert token
    password = settings.secret("airflow_admin_password")
    assert ask("POST", "/login/", username=airflow.ADMIN, password=password, csrf_token=token[1]).status_code == 302
    page = ask("GET", address)
    assert page.status_code == 200, page.text[-2000:]
    return " ".join(html.unescape(page.text).split())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A service that was never started before, on 1 February at noon, with nothing set but small training."""
    place = tmp_path_factory.mktemp("schedule")
    library = find_library()
    assert library is not None
    clock = MovedClock(library, place, at(FIRST, 12))
    dags = Path(shutil.copytree(CHECKOUT / "dags", place / "dags", ignore=shutil.ignore_patterns("__pycache__")))
    for file in dags.iterdir():
        # A DAG that is changed later than now is parsed without end (apache/airflow#18674).
        os.utime(file, (0, clock.now().timestamp() - 86_400))
    with listen() as sink:
        environment = make_environment(
            place / "state",
            place / "drops",
            DAGS_DIR=str(dags),
            NOTIFY=sink.url,
            HEARTBEAT_URL=sink.url,
            **SMALL_TRAINING,
            **clock.environment,
        )
        # Of what makes other services of these tests quick, this is not for here.
        del environment["RETRY_DELAY_SECONDS"]
        (place / "drops").mkdir()
        # Whose headlines they are makes no difference to the clock.
        samples = place / "samples"
        write_samples(samples)
        service = Service(environment)
        try:
            service("up")
            yield Story(service, clock, sink, samples)
        finally:
            service("down", check=False)
            clock.close()


def test_a_service_that_is_switched_on_at_noon_trains_nothing_before_its_first_night(story: Story) -> None:
    story.wait_until(
        lambda: DAG in [dag["dag_id"] for dag in story.service.api("GET", "dags")["dags"]], 300, "the DAG is there"
    )
    story.service.api("PATCH", f"dags/{DAG}", json={"is_paused": False})
    story.wait_until(lambda: bool(story.runs()), 300, "Airflow makes up for the night that is just over")
    story.finish("2022-01-31")
    assert story.nights() == ["2022-01-31"]
    assert {instance["state"] for instance in story.tasks("2022-01-31").values()} == {"skipped"}
    assert take_notices(story) == []
    assert story.service.versions() == []
    # No night was due yet, so that none is missing.
    assert "Overdue" not in story.status() and "2022-01-31" not in story.status()


def test_a_drop_that_was_there_before_is_trained_on_at_two(story: Story) -> None:
    story.deliver("2022-02-01")
    story.begin("2022-02-01")
    story.finish("2022-02-01")
    assert_is_pushed(story, "2022-02-01", ["2022-02-01"], "", due("2022-02-01"))
    story.service.wait_until_served("2022020101")
    [(event, text)] = take_notices(story)
    assert event == "pushed"
    assert text == "night 2022-02-01: pushed as 2022020101"
    story.wait_until(lambda: story.sink.signs_of_life == 1, 120, "the watch gives a sign of life")


def test_a_night_waits_for_a_drop_that_is_late_but_before_its_cut_off(story: Story) -> None:
    night = "2022-02-02"
    story.begin(night)
    story.wait_until(lambda: story.tasks(night)["wait_for_drop"]["state"] == "deferred", 180, "it waits")
    shown = story.status()
    assert f"night {night} has no drop" in shown and "it is waited for until 2022-02-03 11:00:00+00:00" in shown
    story.clock.jump_to(due(night) + timedelta(hours=2))
    assert story.tasks(night)["wait_for_drop"]["state"] == "deferred"
    story.deliver(night)
    story.finish(night)
    assert_is_pushed(story, night, ["2022-02-01", night], "2022020101", due(night))
    story.service.wait_until_served("2022020201")
    ended = datetime.fromisoformat(story.tasks(night)["wait_for_drop"]["end_date"])
    assert ended >= due(night) + timedelta(hours=2)
    assert [event for event, _ in take_notices(story)] == ["pushed"]


def test_a_night_whose_drop_is_missing_past_its_cut_off_is_skipped_with_a_notice(story: Story) -> None:
    night = "2022-02-03"
    story.begin(night)
    story.wait_until(lambda: story.tasks(night)["wait_for_drop"]["state"] == "deferred", 180, "it waits")
    story.clock.jump_to(due(night) + timedelta(hours=6, seconds=-5))
    assert take_notices(story) == []
    story.finish(night)
    assert story.run(night)["state"] == "success"
    assert {instance["state"] for instance in story.tasks(night).values()} == {"skipped"}
    [(event, text)] = take_notices(story)
    assert event == "late drop"
    assert f"no complete drop for night {night} by its cut-off 2022-02-04 11:00:00+00:00" in text
    assert f"retraining run --night {night}" in text
    assert lineage.nights(story.service.settings, night) == [], "MLMD has never heard of it"
    assert story.service.versions() == ["2022020101", "2022020201"]
    assert story.service.served() == "2022020201"


def test_a_night_without_a_verdict_is_overdue_at_nine_wherever_one_looks(story: Story) -> None:
    night, why = "2022-02-03", "no complete drop for night 2022-02-03 by its cut-off"
    assert "Overdue" not in story.status()
    story.clock.jump_to(due(night) + timedelta(hours=7, seconds=5))
    told = wait_for_the_watch(story, "night overdue", night)
    assert told.startswith(f"night {night} has no verdict 7 h 0") and f"skipped; {why}" in told
    assert "night no longer overdue" not in [notice["event"] for notice in story.sink.notices]

    status = story.service("status", check=False)
    assert status.returncode == 1
    assert f"Overdue: night {night} has no verdict" in status.stdout
    assert why in " ".join(status.stdout.split())
    doctor = story.service("doctor", check=False)
    assert doctor.returncode == 1
    assert f"overdue: night {night}" in doctor.stdout
    assert why in " ".join(story.service("lineage", "gaps").stdout.split())
    assert f"skipped: {why}" in " ".join(story.service("lineage", "night", night).stdout.split())
    assert f"{night}: skipped: {why}" in open_page(story, "/headlines/nights?year=2022")
    page = open_page(story, f"/headlines/night/{night}")
    assert why in page and "Runs in Airflow" in page and story.run(night)["dag_run_id"] in page
    assert '"state":"skipped"' in open_page(story, f"/headlines/api/night/{night}").replace(": ", ":")


def test_a_scheduler_that_is_killed_comes_back_and_begins_the_next_night(story: Story) -> None:
    night = "2022-02-04"
    killed = story.find_scheduler()
    assert killed
    os.kill(killed, signal.SIGKILL)
    # It came after all, so that the next night has it in its window, and says that it was missed.
    story.deliver("2022-02-03")
    story.deliver(night)
    story.wait_until(lambda: story.find_scheduler() not in (None, killed), 180, "there is another scheduler")
    story.begin(night)
    story.finish(night)
    assert_is_pushed(story, night, ["2022-02-01", "2022-02-02", "2022-02-03", night], "2022020201", due(night))
    story.service.wait_until_served("2022020401")
    wait_for_the_watch(story, "night no longer overdue", "2022-02-03")
    (missed, text), (pushed, _) = take_notices(story)
    assert (missed, pushed) == ("missed night", "pushed")
    assert "Overdue" not in story.status() and "skipped" in story.status()
    assert "1 night was missed (2022-02-03 to 2022-02-03)" in text


def test_after_an_outage_of_three_nights_the_newest_is_run_and_a_notice_names_the_others(story: Story) -> None:
    missed, newest = ["2022-02-05", "2022-02-06"], "2022-02-07"
    for night in (*missed, newest):
        story.deliver(night)
    back = due(newest) + timedelta(hours=10)
    story.restart(back)
    story.wait_until(lambda: newest in story.nights(), 300, "the schedule begins the newest night")
    story.finish(newest)
    see_it_mended(story, newest)
    drops = ["2022-02-01", "2022-02-02", "2022-02-03", "2022-02-04", *missed, newest]
    assert_is_pushed(story, newest, drops, "2022020401", back)
    story.service.wait_until_served("2022020701")

    *left, told, pushed = take_notices(story)
    assert told[0] == "missed night"
    assert f"2 nights were missed ({missed[0]} to {missed[1]})" in told[1]
    assert f"retraining backfill {missed[0]} {missed[1]}" in told[1]
    assert pushed[0] == "pushed"
    # The scheduler may begin the first of them before it has read the DAG anew, and has it skipped then.
    begun = [night for night in story.nights() if night in missed]
    assert begun in ([], [missed[0]])
    assert len(left) == len(begun)
    for night, (event, text) in zip(begun, left, strict=True):
        assert event == "missed night"
        assert f"night {night} is left to night {newest}" in text
        assert {instance["state"] for instance in story.tasks(night).values()} == {"skipped"}


def test_after_another_outage_each_of_three_nights_is_run_in_order(story: Story) -> None:
    nights = ["2022-02-08", "2022-02-09", "2022-02-10"]
    for night in nights:
        story.deliver(night)
    back = due(nights[-1]) + timedelta(hours=10)
    story.restart(back, CATCHUP_MODE="each")
    story.wait_until(lambda: nights[-1] in story.nights(), 2400, "the schedule begins the last night")
    story.finish(nights[-1])
    see_it_mended(story, nights[-1])
    champions = ["2022020701", "2022020801", "2022020901"]
    for night, champion in zip(nights, champions, strict=True):
        assert_is_pushed(story, night, [f"2022-02-{day:02}" for day in range(1, int(night[-2:]) + 1)], champion, back)
    story.service.wait_until_served("2022021001")
    runs = [story.run(night) for night in nights]
    for earlier, later in pairwise(runs):
        assert datetime.fromisoformat(earlier["end_date"]) <= datetime.fromisoformat(later["start_date"])
    assert [event for event, _ in take_notices(story)] == ["pushed"] * 3


def test_at_the_end_every_run_is_of_the_schedule_and_lineage_has_the_nights_that_were_trained(story: Story) -> None:
    trained = [f"2022-02-{day:02}" for day in (1, 2, 4, 7, 8, 9, 10)]
    versions = [f"{night.replace('-', '')}01" for night in trained]
    kinds = {(run["dag_id"], run["run_type"]) for run in story.runs("~")}
    assert kinds == {
        (DAG, "scheduled"),
        # It makes up for the search that was due before the first start, and skips it.
        ("headline_tuning", "scheduled"),
        ("headline_scoring", "dataset_triggered"),
    }
    assert {run["state"] for run in story.runs("~")} == {"success"}
    assert set(story.nights()) - {"2022-02-05"} == {"2022-01-31", "2022-02-03", *trained}
    reports = lineage.nights(story.service.settings)
    assert [(report.night, report.state, report.pushed_version) for report in reports] == [
        (night, "pushed", version) for night, version in zip(trained, versions, strict=True)
    ]
    assert [report.champion_version for report in reports] == ["", *versions[:-1]]
    assert story.service.versions() == versions
    # Asked on the moved clock: today's would have every night since be missing.
    gaps = json.loads(story.service("lineage", "gaps", "--json").stdout)["answer"]["nights"]
    assert [gap["night"] for gap in gaps] == ["2022-02-03", "2022-02-05", "2022-02-06"]
    story.wait_until(lambda: story.service("status", check=False).returncode == 0, 120, "everything is healthy")
    # Whoever comes back after nine finds the night overdue, unless it was quicker than the watch's first look.
    take_notices(story)
    watched = [event for event, _ in story.watched]
    assert watched == ["night overdue", "night no longer overdue"] * (len(watched) // 2)
    events = [notice["event"] for notice in story.sink.notices]
    assert (events.count("pushed"), events.count("late drop")) == (len(trained), 1)
    assert set(events) - {"night overdue", "night no longer overdue"} == {"pushed", "late drop", "missed night"}
