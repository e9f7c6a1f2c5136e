"""When a night is run, and until when its drop is in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from croniter import croniter


class Schedule(Protocol):
    """When nights are run, as the settings of the same names say."""

    @property
    def schedule(self) -> str: ...  # noqa: D102
    @property
    def timezone(self) -> str: ...  # noqa: D102
    @property
    def start_date(self) -> str: ...  # noqa: D102
    @property
    def scheduled_from(self) -> str: ...  # noqa: D102
    @property
    def drop_wait_minutes(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Due:
    """A night that the schedule asks for, and the moment at which its run is to start."""

    night: str
    starts_at: datetime


def find_logical_date(settings: Schedule, night: str) -> datetime:
    """The moment Airflow's schedule gives the night, so that a run by hand and a scheduled one are the same run."""
    midnight = _midnight(settings, date.fromisoformat(night))
    if settings.schedule == "none":
        return midnight
    tick: datetime = croniter(settings.schedule, midnight - timedelta(seconds=1)).get_next(datetime)
    # A weekly schedule has no tick on most nights.
    return tick if tick.date() == midnight.date() else midnight


def find_start(settings: Schedule, night: str) -> datetime | None:
    """When the schedule starts the night's run; None for a night that has none."""
    if settings.schedule == "none" or night < settings.scheduled_from:
        return None
    # Airflow runs a night when it is over, which is when the next begins.
    starts: datetime = croniter(settings.schedule, find_logical_date(settings, night)).get_next(datetime)
    return starts


def find_cut_off(settings: Schedule, night: str) -> datetime | None:
    """Until when the night's scheduled run waits for its drop; None for a night that has none."""
    starts = find_start(settings, night)
    return starts and starts + timedelta(minutes=settings.drop_wait_minutes)


def find_due(settings: Schedule, now: datetime, first: str = "") -> list[Due]:
    """The nights that the schedule has started by now, oldest first.

    Nights before the first start of the service are not among them; before it was ever started, there are none.

    Args:
      settings: when nights are run.
      now: with a time zone.
      first: the earliest night asked for; empty for no limit.
    """
    if settings.schedule == "none" or not settings.scheduled_from:
        return []
    begin = date.fromisoformat(max(settings.scheduled_from, settings.start_date, first))
    return list(_find_started(settings, begin, now))


def find_newest_due(settings: Schedule, now: datetime) -> Due | None:
    """The newest night that the schedule has started by now; None where there is none."""
    # However rare the ticks are, but without counting all nights of many years on most looks.
    for days in (10, 100, 10_000):
        if due := find_due(settings, now, (now.date() - timedelta(days=days)).isoformat()):
            return due[-1]
    return None


def _find_started(settings: Schedule, begin: date, now: datetime) -> Iterator[Due]:
    before = timedelta(seconds=1)
    ticks = croniter(settings.schedule, _midnight(settings, begin) - before)
    tick: datetime = ticks.get_next(datetime)
    while True:
        starts: datetime = ticks.get_next(datetime)
        if starts > now:
            return
        yield Due(tick.date().isoformat(), starts)
        if starts.date() == tick.date():
            # A schedule with several ticks a day runs a night at the first that follows its own.
            ticks.set_current(_midnight(settings, tick.date() + timedelta(days=1)) - before, force=True)
            starts = ticks.get_next(datetime)
        tick = starts


def _midnight(settings: Schedule, day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), ZoneInfo(settings.timezone))
