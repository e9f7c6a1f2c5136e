"""How pages say when something was: in UTC, as the command does, and how long ago that is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

# In seconds; a month is a twelfth of a year.
_UNITS = (("year", 31_557_600), ("month", 2_629_800), ("day", 86_400), ("hour", 3_600), ("minute", 60))


def tell_moment(moment: datetime) -> str:
    """A moment to the minute, such as `2022-02-03 02:00 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def tell_local(moment: datetime, zone: str) -> str:
    """The same on the clocks of a zone, such as `2022-02-02 23:00 in America/Sao_Paulo`."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} in {zone}"


def tell_age(moment: datetime, now: datetime | None = None) -> str:
    """How long ago a moment was, such as `3 hours ago`, or how soon it is, such as `in 5 minutes`."""
    passed = (now or datetime.now(UTC)) - moment
    return f"in {tell_span(-passed)}" if passed < timedelta() else f"{tell_span(passed)} ago"


def tell_span_since(moment: datetime, now: datetime | None = None) -> str:
    """How long it has been since a moment, such as `3 hours`."""
    return tell_span((now or datetime.now(UTC)) - moment)


def tell_span(span: timedelta) -> str:
    """A length of time in the greatest unit of which it has two: 47 hours, then 2 days."""
    seconds = span.total_seconds()
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    return "1 minute" if seconds >= _UNITS[-1][1] else "less than a minute"
