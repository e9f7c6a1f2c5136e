"""Which nights the schedule has started, beside Airflow's own timetable."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from headlines.schedule import find_due, find_newest_due, find_start
from retraining.settings import Settings

NOW = datetime(2022, 4, 20, 12, tzinfo=UTC)


def settings_of(tmp_path: Path, **overrides: object) -> Settings:
    return Settings.from_env(state_dir=tmp_path, **{"scheduled_from": "2022-02-01", **overrides})


def what_airflow_starts(settings: Settings) -> list[tuple[str, datetime]]:
    """The night and the start of every run that Airflow makes from the first start of the service on, until now."""
    zone = pendulum.timezone(settings.timezone)
    timetable = CronDataIntervalTimetable(settings.schedule, zone)
    begin = pendulum.parse(settings.scheduled_from, tz=settings.timezone)
    interval, starts = None, []
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=interval, restriction=TimeRestriction(begin, None, True)
    ):
        if info.run_after > NOW:
            return starts
        interval = info.data_interval
        starts.append((str(info.logical_date.in_timezone(zone).date()), info.run_after))
    raise AssertionError("a schedule without an end")


@pytest.mark.parametrize("timezone", ["America/Sao_Paulo", "Asia/Tokyo", "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "schedule", ["0 2 * * *", "30 23 * * *", "0 0 * * *", "15 4 * * 1-5", "0 2 * * 0", "0 6 1 * *"]
)
def test_the_nights_that_are_due_are_those_that_airflow_starts(tmp_path: Path, schedule: str, timezone: str) -> None:
    if timezone == "Europe/Berlin" and schedule.startswith("0 2"):
        schedule = schedule.replace("0 2", "0 5", 1)  # An hour that no day leaves out.
    settings = settings_of(tmp_path, schedule=schedule, timezone=timezone)
    due = find_due(settings, NOW)
    assert [(one.night, one.starts_at) for one in due] == what_airflow_starts(settings)
    assert [one.starts_at for one in due] == [find_start(settings, one.night) for one in due]
    assert find_newest_due(settings, NOW) == due[-1]
    assert find_due(settings, NOW, due[-1].night) == due[-1:]


def test_a_night_that_several_ticks_name_is_due_at_the_one_after_its_first(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, schedule="*/20 * * * *")
    zone = ZoneInfo("America/Sao_Paulo")
    due = find_due(settings, datetime(2022, 2, 3, 0, 30, tzinfo=zone))
    assert [(one.night, one.starts_at.isoformat()) for one in due] == [
        (f"2022-02-0{day}", f"2022-02-0{day}T00:20:00-03:00") for day in (1, 2, 3)
    ]


def test_a_night_is_due_from_its_start_on_and_not_before(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    two = datetime(2022, 2, 2, 5, tzinfo=UTC)
    assert find_due(settings, two - timedelta(seconds=1)) == []
    assert find_newest_due(settings, two - timedelta(seconds=1)) is None
    assert [one.night for one in find_due(settings, two)] == ["2022-02-01"]


def test_without_a_schedule_or_a_first_start_no_night_is_due(tmp_path: Path) -> None:
    assert find_due(settings_of(tmp_path, schedule="none"), NOW) == []
    assert find_due(settings_of(tmp_path, scheduled_from=""), NOW) == []
    assert find_newest_due(settings_of(tmp_path, scheduled_from=""), NOW) is None
