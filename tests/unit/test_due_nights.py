"""Which nights the schedule has started, beside Airflow's own timetable."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pendulum
import pytest
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headlines.schedule import (
    NightError,
    check_night,
    find_cut_off,
    find_due,
    find_logical_date,
    find_newest_due,
    find_start,
)
from retraining.settings import Settings

NOW = datetime(2022, 4, 20, 12, tzinfo=UTC)


class CircleError(Exception):
    """Airflow's timetable stands still or goes in a circle, and starts no night after a moment any more.

    Its `_align_to_prev` does so where an hour comes twice between two ticks of `0 * * * 1-5`.
    """

    def __init__(self, last: datetime) -> None:
        super().__init__(last)
        self.last = last


def settings_of(tmp_path: Path, **overrides: object) -> Settings:
    return Settings.from_env(state_dir=tmp_path, **{"scheduled_from": "2022-02-01", **overrides})


def what_airflow_starts(settings: Settings, now: datetime = NOW) -> dict[str, tuple[datetime, datetime]]:
    """The first run that Airflow makes of each night from the first start of the service on: logical date and start."""
    zone = pendulum.timezone(settings.timezone)
    timetable = CronDataIntervalTimetable(settings.schedule, zone)
    begin = pendulum.parse(settings.scheduled_from, tz=settings.timezone)
    interval, runs = None, {}
    while info := timetable.next_dagrun_info(
        last_automated_data_interval=interval, restriction=TimeRestriction(begin, None, True)
    ):
        if info.run_after > now:
            return runs
        if interval and info.logical_date <= interval.start:
            raise CircleError(interval.start)
        interval = info.data_interval
        # As the DAG's own template says what night a run is for.
        night = info.logical_date.in_timezone(zone).strftime("%Y-%m-%d")
        runs.setdefault(night, (info.logical_date, info.run_after))
    raise AssertionError("a schedule without an end")


@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_no_night_is_due_at_either_end_of_the_calendar(timezone: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, timezone=timezone)
    assert find_due(settings, NOW, "9999-12-31") == find_due(settings, NOW, "9999-12-30") == []
    assert find_due(settings, NOW, "0001-01-01") == find_due(settings, NOW)


def is_as_airflow_has_it(settings: Settings, now: datetime = NOW) -> bool:
    """Whether each night that is due, its logical date and its start are Airflow's."""
    try:
        theirs = what_airflow_starts(settings, now)
    except CircleError as circle:
        return is_as_airflow_has_it(settings, circle.last)
    due = find_due(settings, now)
    # Of an hour that comes twice, Python takes no moment of one zone for the same as one of another (PEP 495).
    ours = {
        one.night: (find_logical_date(settings, one.night).astimezone(UTC), one.starts_at.astimezone(UTC))
        for one in due
    }
    assert ours == theirs
    assert [one.starts_at for one in due] == [find_start(settings, one.night) for one in due]
    return len(due) == len(ours)


@pytest.mark.parametrize("timezone", ["America/Sao_Paulo", "Asia/Tokyo", "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(
    "schedule", ["0 2 * * *", "30 23 * * *", "0 0 * * *", "15 4 * * 1-5", "0 2 * * 0", "0 6 1 * *"]
)
def test_the_nights_that_are_due_are_those_that_airflow_starts(tmp_path: Path, schedule: str, timezone: str) -> None:
    settings = settings_of(tmp_path, schedule=schedule, timezone=timezone)
    assert is_as_airflow_has_it(settings)
    due = find_due(settings, NOW)
    assert find_newest_due(settings, NOW) == due[-1]
    assert find_due(settings, NOW, due[-1].night) == due[-1:]


def find_changes_of_clocks(zone: ZoneInfo, year: int) -> list[date]:
    """The days of a year on which the clocks of a zone are changed."""
    noons = [datetime(year, 1, 1, 12, tzinfo=zone) + timedelta(days=number) for number in range(365)]
    return [later.date() for earlier, later in pairwise(noons) if earlier.utcoffset() != later.utcoffset()]


@st.composite
def days_of_zones(draw: st.DrawFn) -> tuple[str, date]:
    """A zone and a day, one on which its clocks are changed where there is any."""
    # A folder of the system's beside the zones, and zones by another rule.
    timezone = draw(st.sampled_from(sorted(zone for zone in available_timezones() if zone != "localtime")))
    year = draw(st.integers(1975, 2037))
    return timezone, draw(st.sampled_from(find_changes_of_clocks(ZoneInfo(timezone), year) or [date(year, 7, 1)]))


minutes = st.sampled_from(["0", "1", "15", "30", "59", "0,30"])
hours = st.sampled_from([*map(str, range(24)), "*", "*/2", "1-3", "0,12", "1,2", "22,23"])
weekdays = st.sampled_from(["*", "*", "0", "1-5", "6,0"])


@settings(deadline=None, max_examples=40)
@given(st.builds("{} {} * * {}".format, minutes, hours, weekdays), days_of_zones())
# Two o'clock comes twice, not at all, and midnight, which a clock change has left out or given twice.
@example("0 2 * * *", ("Europe/Berlin", date(2026, 10, 25)))
@example("0 2 * * *", ("Europe/Berlin", date(2026, 3, 29)))
@example("0 0 * * *", ("America/Sao_Paulo", date(2018, 11, 4)))
@example("30 23 * * *", ("America/Sao_Paulo", date(2018, 2, 18)))
@example("0 0 * * *", ("America/Havana", date(2026, 11, 1)))
@example("0 * * * *", ("America/Havana", date(2026, 11, 1)))
# An hour that comes or goes while there are no ticks.
@example("0 * * * 1-5", ("America/Dawson", date(1980, 4, 27)))
@example("0 * * * 1-5", ("Europe/Berlin", date(2026, 10, 25)))
@example("0 * * * 6", ("Pacific/Apia", date(2011, 12, 31)))
@example("15 1 * * *", ("Australia/Lord_Howe", date(2026, 4, 5)))
@example("0 2 * * *", ("Pacific/Apia", date(2011, 12, 31)))
def test_where_clocks_are_changed_nights_are_still_those_that_airflow_starts(
    schedule: str, place: tuple[str, date]
) -> None:
    timezone, day = place
    around = [str(day + timedelta(days=days)) for days in (-3, 4)]
    settings = settings_of(
        Path("/nowhere"), schedule=schedule, timezone=timezone, scheduled_from=around[0], start_date=around[0]
    )
    end = datetime.fromisoformat(around[1]).replace(tzinfo=UTC)
    if schedule.endswith("* * *"):
        assert is_as_airflow_has_it(settings, end)
    else:
        # Weeks later the rarest has been due twice.
        assert is_as_airflow_has_it(settings, end + timedelta(days=14))


@pytest.mark.parametrize("schedule", ["@daily", "@hourly", "@weekly", "@monthly", "@yearly"])
def test_a_schedule_by_its_name_is_airflows(tmp_path: Path, schedule: str) -> None:
    assert is_as_airflow_has_it(settings_of(tmp_path, schedule=schedule, timezone="Europe/Berlin"))


def test_an_hour_that_comes_twice_is_one_night_and_a_wait_is_as_long_as_on_other_nights(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, timezone="Europe/Berlin", drop_wait_minutes=120)
    due = find_due(settings, datetime(2022, 10, 31, 12, tzinfo=UTC), "2022-10-29")
    assert [(one.night, one.starts_at.isoformat()) for one in due] == [
        ("2022-10-29", "2022-10-30T02:00:00+01:00"),
        ("2022-10-30", "2022-10-31T02:00:00+01:00"),
    ]
    assert find_logical_date(settings, "2022-10-30").isoformat() == "2022-10-30T02:00:00+01:00"
    # Two o'clock is three o'clock that night; two hours later it is five.
    assert str(find_cut_off(settings, "2022-03-26")) == "2022-03-27 05:00:00+02:00"


def test_no_night_before_the_first_that_may_be_run_is_let_in(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, start_date="2022-01-01")
    check_night(settings, "2022-01-01")
    with pytest.raises(
        NightError, match=r"night 2021-12-31 is before START_DATE=2022-01-01.*; choose a later night, or"
    ):
        check_night(settings, "2021-12-31")


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
