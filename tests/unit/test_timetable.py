"""When Airflow makes runs by itself, beside its own timetable of a cron expression."""

from datetime import UTC, datetime
from pathlib import Path

import pendulum
import pytest
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable

from headlines.schedule import find_logical_date
from retraining.operators.arguments import begin_long_ago, dag_arguments, nightly_schedule
from retraining.operators.timetable import NightTimetable
from retraining.settings import Settings


def settings_of(tmp_path: Path, **overrides: object) -> Settings:
    return Settings.from_env(state_dir=tmp_path, **overrides)


def make(settings: Settings) -> NightTimetable:
    timetable = nightly_schedule(settings)
    assert timetable is not None
    return timetable


def find_first(timetable: CronDataIntervalTimetable, begin: pendulum.DateTime) -> DagRunInfo:
    info = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(begin, None, catchup=True)
    )
    assert info is not None
    return info


@pytest.mark.parametrize("timezone", ["America/Sao_Paulo", "Europe/Berlin", "Asia/Tokyo"])
def test_the_first_run_that_airflow_makes_is_that_of_the_first_night(tmp_path: Path, timezone: str) -> None:
    settings = settings_of(tmp_path, start_date="2022-10-30", timezone=timezone)
    begin = dag_arguments(settings)["start_date"]
    assert begin == begin_long_ago(settings) and begin.year == 1900 and str(begin.timezone) == timezone
    # As Airflow keeps it.
    for timetable in (make(settings), NightTimetable.deserialize(make(settings).serialize())):
        assert isinstance(timetable, NightTimetable)
        info = find_first(timetable, begin)
        assert info.logical_date == find_logical_date(settings, "2022-10-30").astimezone(UTC)
        # Later ones are those of Airflow's own.
        airflows = CronDataIntervalTimetable(settings.schedule, timezone)
        later = pendulum.datetime(2023, 3, 25, tz=timezone)
        assert find_first(timetable, later) == find_first(airflows, later)
        assert timetable.summary == airflows.summary


def test_whoever_asks_without_a_beginning_is_given_every_moment(tmp_path: Path) -> None:
    timetable = make(settings_of(tmp_path, start_date="2022-02-01", timezone="UTC"))
    interval = timetable.infer_manual_data_interval(run_after=pendulum.datetime(2021, 1, 1, 2))
    info = timetable.next_dagrun_info(
        last_automated_data_interval=interval, restriction=TimeRestriction(None, None, catchup=True)
    )
    assert info is not None and info.logical_date == datetime(2021, 1, 1, 2, tzinfo=UTC)


def test_without_a_schedule_there_is_none(tmp_path: Path) -> None:
    assert nightly_schedule(settings_of(tmp_path, schedule="none")) is None
