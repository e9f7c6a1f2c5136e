"""When a night is overdue, and how things stand with the newest: for whoever looks, be it the watch or a person."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import lineage
from headlines.schedule import Due, find_newest_due
from lineage import NightReport, NightSummary, Reader
from retraining.settings import Settings


@dataclass(frozen=True)
class Overdue:
    """A night that should have come to a verdict by now.

    Attributes:
      night: `YYYY-MM-DD`.
      age: how long ago the schedule asked for its run.
      state: how it stands; `unknown` where nobody can be asked.
      reason: why, and what to do.
    """

    night: str
    age: timedelta
    state: str
    reason: str

    def __str__(self) -> str:
        age = _hours(self.age)
        return f"night {self.night} has no verdict {age} after its scheduled start: {self.state}; {self.reason}"


@dataclass(frozen=True)
class Survey:
    """How things stand.

    Attributes:
      nights: the newest that were run or should have been, oldest first.
      overdue: the night that should have come to a verdict by now, if there is one.
      obstacle: what keeps the next night from beginning, with what to do; None where nothing does.
      paused: the DAGs of the service that are paused.
    """

    nights: list[NightReport]
    overdue: Overdue | None
    obstacle: str | None
    paused: list[str] = field(default_factory=list)


def find_overdue(settings: Settings, now: datetime, reader: Reader | None = None) -> Overdue | None:
    """The newest night that should have come to a verdict by now, when neither it nor a later one has.

    Args:
      settings: the schedule and the databases.
      now: the moment of asking.
      reader: lineage, where it is open already.

    Raises:
      LineageError: MLMD or Airflow's database cannot be asked.
    """
    due = find_deadline(settings, now)
    return judge(due, now, lineage.calendar(reader or settings, first=due.night)) if due else None


def survey(settings: Settings, now: datetime, newest: int = 5) -> Survey:
    """How things stand, with the newest few nights, for a person.

    Raises:
      LineageError: MLMD or Airflow's database cannot be asked.
    """
    with lineage.open_lineage(settings) as reader:
        obstacle = lineage.find_obstacle(reader) if settings.schedule != "none" else None
        overdue = find_overdue(settings, now, reader)
        return Survey(lineage.latest(reader, newest), overdue, obstacle, lineage.find_paused(reader))


def find_deadline(settings: Settings, now: datetime) -> Due | None:
    """The newest night that should have come to a verdict by now."""
    return find_newest_due(settings, now - timedelta(minutes=settings.night_due_minutes))


def judge(due: Due, now: datetime, nights: Iterable[NightSummary]) -> Overdue | None:
    """The night that was due, if neither it nor a later one has come to a verdict."""
    later = [one for one in nights if one.night >= due.night]
    if any(one.state in lineage.VERDICTS for one in later):
        return None
    one = next((one for one in later if one.night == due.night), None)
    state, reason = (one.state, one.reason) if one else ("missing", "neither Airflow nor lineage knows a run of it")
    return Overdue(due.night, now - due.starts_at, state, reason)


def _hours(passed: timedelta) -> str:
    minutes = int(passed.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
