"""When a night is run, and until when its drop is in time."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from retraining.settings import Settings


def find_logical_date(settings: Settings, night: str) -> datetime:
    """The moment Airflow's schedule gives the night, so that a run by hand and a scheduled one are the same run."""
    midnight = datetime.combine(date.fromisoformat(night), datetime.min.time(), ZoneInfo(settings.timezone))
    if settings.schedule == "none":
        return midnight
    tick: datetime = croniter(settings.schedule, midnight - timedelta(seconds=1)).get_next(datetime)
    # A weekly schedule has no tick on most nights.
    return tick if tick.date() == midnight.date() else midnight


def find_cut_off(settings: Settings, night: str) -> datetime | None:
    """Until when the night's scheduled run waits for its drop; None for a night that has none."""
    if settings.schedule == "none" or night < settings.scheduled_from:
        return None
    # Airflow runs a night when it is over, which is when the next begins.
    starts: datetime = croniter(settings.schedule, find_logical_date(settings, night)).get_next(datetime)
    return starts + timedelta(minutes=settings.drop_wait_minutes)
