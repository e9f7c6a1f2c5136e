"""When a night is run, and until when its drop is in time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from croniter import croniter

from headlines.errors import HeadlinesError


class NightError(HeadlinesError):
    """A night may not be run; the message says why, and what to do."""


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
    day = date.fromisoformat(night)
    if settings.schedule == "none":
        return _midnight(settings, day)
    tick = _Clock(settings).find_first(day)
    # A weekly schedule has no tick on most nights.
    return tick if tick.date() == day else _midnight(settings, day)


def find_start(settings: Schedule, night: str) -> datetime | None:
    """When the schedule starts the night's run; None for a night that has none."""
    if settings.schedule == "none" or night < settings.scheduled_from:
        return None
    # Airflow runs a night when it is over, which is when the next begins.
    return _Clock(settings).find_next(find_logical_date(settings, night))


def find_cut_off(settings: Schedule, night: str) -> datetime | None:
    """Until when the night's scheduled run waits for its drop; None for a night that has none."""
    starts = find_start(settings, night)
    # Where clocks are changed meanwhile, a sum in local time would be an hour off.
    wait = timedelta(minutes=settings.drop_wait_minutes)
    return starts and (starts.astimezone(UTC) + wait).astimezone(starts.tzinfo)


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
    # Its day may have begun elsewhere; beyond that nothing has, and the last day of all has no next one.
    return list(_find_started(settings, begin, now)) if begin <= now.date() + timedelta(days=1) else []


def find_newest_due(settings: Schedule, now: datetime) -> Due | None:
    """The newest night that the schedule has started by now; None where there is none."""
    # However rare the ticks are, but without counting all nights of many years on most looks.
    for days in (10, 100, 10_000):
        if due := find_due(settings, now, (now.date() - timedelta(days=days)).isoformat()):
            return due[-1]
    return None


def check_night(settings: Schedule, night: str) -> None:
    """Refuses a night that may not be run, whoever asks.

    Raises:
      NightError: it is before the first night that may be.
    """
    if night < settings.start_date:
        raise NightError(
            f"night {night} is before START_DATE={settings.start_date}, the first night that may be run; choose a "
            f"later night, or set START_DATE to {night} and start the service again"
        )


def _find_started(settings: Schedule, begin: date, now: datetime) -> Iterator[Due]:
    clock, now = _Clock(settings), now.astimezone(UTC)
    tick = clock.find_first(begin)
    # Moments of one zone would be compared by what their clocks show, which is the same twice in autumn.
    while (starts := clock.find_next(tick)).astimezone(UTC) <= now:
        yield Due(tick.date().isoformat(), starts)
        # A schedule with several ticks a day runs a night at the first that follows its own.
        tick = starts if starts.date() > tick.date() else clock.find_first(tick.date() + timedelta(days=1))


class _Clock:
    """The moments of a cron expression in a time zone, those that `CronDataIntervalTimetable` of Airflow has.

    Airflow's own class would bring Airflow, whose import takes as long as that of the whole command and writes files.
    So this is its calculation (`_get_next` in airflow/timetables/_cron.py, `make_aware` in airflow/utils/timezone.py),
    and tests/unit/test_due_nights.py holds the two together: all zones, and the days on which clocks are changed.
    """

    def __init__(self, settings: Schedule) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._cron = croniter(settings.schedule)
        self._is_hourly = self._cron.expanded[1] == ["*"]
        self._begin = date.fromisoformat(settings.start_date)

    def find_next(self, moment: datetime) -> datetime:
        """The first tick after a moment with a time zone."""
        shown = self._show(moment)
        self._cron.set_current(shown, force=True)
        following: datetime = self._cron.get_next(datetime)
        if self._is_hourly:
            # An hour that comes twice has its ticks twice.
            return (moment.astimezone(UTC) + (following - shown)).astimezone(self._zone)
        before, after = (self._zone.utcoffset(following.replace(fold=fold)) for fold in (0, 1))
        assert before is not None and after is not None, "a time zone of the system's knows every moment"
        # An hour that is left out gives its ticks to the next; of one that comes twice the second has them.
        following += max(after - before, timedelta(0))
        return following.replace(tzinfo=self._zone, fold=1).astimezone(UTC).astimezone(self._zone)

    def find_first(self, day: date) -> datetime:
        """The first tick of a day or, where it has none, after it."""
        before = datetime.combine(day, datetime.min.time(), self._zone).astimezone(UTC) - timedelta(seconds=1)
        tick = self.find_next(before)
        if not self._is_hourly:
            return tick
        # A tick that is so many hours after the one before it is at another hour where clocks were changed between
        # the two, as over a weekend without ticks.
        earlier = self._find_earlier(day)
        if earlier.utcoffset() != tick.utcoffset():
            while earlier.date() < day:
                earlier = self.find_next(earlier)
            return earlier
        return tick

    def _find_earlier(self, day: date) -> datetime:
        """A tick two days before a day, or more where they are rare; the first of all where Airflow begins later."""
        limit = datetime.combine(day - timedelta(days=2), datetime.min.time(), self._zone).astimezone(UTC)
        self._cron.set_current(self._show(limit), force=True)
        # A clock never shows some of them; what stands for those may be after the limit.
        earlier = limit
        while earlier >= limit:
            shown: datetime = self._cron.get_prev(datetime)
            earlier = shown.replace(tzinfo=self._zone).astimezone(UTC)
        first = datetime.combine(self._begin, datetime.min.time(), self._zone).astimezone(UTC)
        if earlier < first and self._begin <= day:
            # Airflow's `_align_to_next`.
            following = self.find_next(first)
            earlier = first if self._find_previous(following) == first else following
        return earlier.astimezone(self._zone)

    def _find_previous(self, moment: datetime) -> datetime:
        """The tick before a moment, of a schedule with ticks in each hour."""
        shown = self._show(moment)
        self._cron.set_current(shown, force=True)
        previous: datetime = self._cron.get_prev(datetime)
        return moment.astimezone(UTC) - (shown - previous)

    def _show(self, moment: datetime) -> datetime:
        """What a clock of the zone shows at a moment."""
        return moment.astimezone(self._zone).replace(tzinfo=None, fold=0)


def _midnight(settings: Schedule, day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), ZoneInfo(settings.timezone))
