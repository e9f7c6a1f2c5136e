"""The dead man's switch: a program that sees when a night comes to no verdict, also where no task runs to say so.

It runs beside Airflow, under the supervisor, and needs neither Airflow nor MLMD to speak up. It also sees when a model
server does not answer with the version that should serve, when a program of the service fails again and again, and when
a disk is nearly full. Should it be silent itself, the supervisor starts it again, the next night tells
(retraining/operators/waiting.py), and whatever waits for HEARTBEAT_URL misses its sign of life.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lineage
from headlines import disk
from headlines.durable import replace_file
from headlines.errors import HeadlinesError
from headlines.schedule import Due, find_newest_due
from lineage import LineageError, NightReport, NightSummary, Reader
from retraining.settings import Settings
from retraining.watching import replicas
from retraining.watching.programs import Failures, Look, judge
from retraining.watching.webhook import give_sign_of_life, notify

log = logging.getLogger(__name__)

STARTED_WITH = "started-with"
"""The file, in the state folder, that each start of the service writes."""
POLL_SECONDS = 30.0
_START_SECONDS = 600.0
"""How long a service may take from there to the first look."""
_MISSED_LOOKS = 4
"""After as many polls without a look the program is taken to be stuck."""
_PATIENT_LOOKS = 10
"""What serves may be wrong, or only loading, at as many looks in a row before it is told: five minutes."""
_ENOUGH = 1.1
"""A disk that was nearly full has room again when so much more than the limit is free."""


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


@dataclass(frozen=True)
class Memory:
    """What the program has said, so that it says nothing twice, whatever restarts it.

    Attributes:
      told: the overdue night that a notice was sent about; empty when nothing is overdue.
      heard: the newest night that a sign of life was given for.
      differing: at how many looks in a row not every model server answered with what should serve.
      told_serving: whether a notice was sent about that.
      failures: what is known of programs that end again and again.
      told_disks: where the disks are mounted that a notice was sent about, since little is free on them.
      looked_at: when it last looked, ISO 8601.
    """

    told: str = ""
    heard: str = ""
    differing: int = 0
    told_serving: bool = False
    failures: Failures = field(default_factory=Failures)
    told_disks: list[str] = field(default_factory=list)
    looked_at: str = field(default="", compare=False)


def find_overdue(settings: Settings, now: datetime, reader: Reader | None = None) -> Overdue | None:
    """The newest night that should have come to a verdict by now, when neither it nor a later one has.

    Args:
      settings: the schedule and the databases.
      now: the moment of asking.
      reader: lineage, where it is open already.

    Raises:
      LineageError: MLMD or Airflow's database cannot be asked.
    """
    due = _find_deadline(settings, now)
    return _judge(due, now, lineage.calendar(reader or settings, first=due.night)) if due else None


def survey(settings: Settings, now: datetime, newest: int = 5) -> Survey:
    """How things stand, with the newest few nights, for a person.

    Raises:
      LineageError: MLMD or Airflow's database cannot be asked.
    """
    with lineage.open_lineage(settings) as reader:
        obstacle = lineage.find_obstacle(reader) if settings.schedule != "none" else None
        overdue = find_overdue(settings, now, reader)
        return Survey(lineage.latest(reader, newest), overdue, obstacle, lineage.find_paused(reader))


def look(settings: Settings, memory: Memory, now: datetime) -> Memory:
    """Looks once, and tells what is new: a night is overdue, is no longer so, or came to a verdict.

    Args:
      settings: the schedule, the databases, and whom to tell.
      memory: what was told before.
      now: the moment of the look.

    Returns:
      What has been told by now; what could not be sent is told again at the next look.
    """
    memory = replace(memory, looked_at=now.isoformat())
    deadline, newest = _find_deadline(settings, now), find_newest_due(settings, now)
    if newest is None:
        return memory
    try:
        nights = lineage.calendar(settings, first=(deadline or newest).night)
        overdue = _judge(deadline, now, nights) if deadline else None
    except LineageError as error:
        # A night whose verdict was heard is not overdue because its database does not answer now.
        if deadline is None or deadline.night <= memory.heard:
            return memory
        nights, overdue = (), Overdue(deadline.night, now - deadline.starts_at, "unknown", str(error))
    if overdue:
        if overdue.night != memory.told and notify("night overdue", str(overdue), night=overdue.night):
            memory = replace(memory, told=overdue.night)
    elif memory.told:
        text = f"night {memory.told} or a later one has come to a verdict: nothing is overdue any more"
        if notify("night no longer overdue", text, night=memory.told):
            memory = replace(memory, told="")
    healthy = max((one.night for one in nights if one.state in lineage.VERDICTS), default="")
    if healthy >= newest.night and healthy > memory.heard and give_sign_of_life():
        memory = replace(memory, heard=healthy)
    return memory


def look_at_servers(settings: Settings, memory: Memory) -> Memory:
    """Asks the model servers once, and tells, once, when for minutes they have not answered with what should serve.

    Counted in looks, not by the clock, which jumps when a machine wakes up.

    Args:
      settings: where lineage and the model servers are, and whom to tell.
      memory: what was told before.

    Returns:
      What has been told by now; what could not be sent is told again at the next look.
    """
    try:
        observed = replicas.observe(settings)
    except HeadlinesError as error:
        # What should serve is not known now; that lineage does not answer is told where a night is overdue.
        log.warning("What should serve is not known: %s", error)
        return memory
    version = str(observed.expected.version) if observed.expected else ""
    if observed.is_right and observed.state != "loading":
        if memory.told_serving and notify("serving as it should again", observed.text, version=version):
            memory = replace(memory, told_serving=False)
        return replace(memory, differing=0)
    memory = replace(memory, differing=memory.differing + 1)
    if memory.differing >= _PATIENT_LOOKS and not memory.told_serving:
        memory = replace(memory, told_serving=notify("serving differs", observed.text, version=version))
    return memory


def look_at_disks(settings: Settings, memory: Memory) -> Memory:
    """Tells, once for each disk, that less is free than a night needs, and when it is enough again.

    Args:
      settings: where a night writes, how much must be free, and whom to tell.
      memory: what was told before.

    Returns:
      What has been told by now; what could not be sent is told again at the next look.
    """
    try:
        low = disk.find_low(settings.written_places, settings.min_free_gb)
        # What goes up and down at the limit is told once.
        nearly_low = disk.find_low(settings.written_places, settings.min_free_gb * _ENOUGH)
    except OSError as error:
        log.warning("How much of a disk is free is not known: %s", error)
        return memory
    told = list(memory.told_disks)
    for one in low:
        text = f"{disk.tell_low([one], settings.min_free_gb)}: no night will begin; free some there"
        if str(one.mount) not in told and notify("disk nearly full", text, disk=str(one.mount)):
            told.append(str(one.mount))
    for mount in set(told) - {str(one.mount) for one in nearly_low}:
        text = f"there is room again on the disk at {mount}, more than MIN_FREE_GB={settings.min_free_gb:g}"
        if notify("disk has room again", text, disk=mount):
            told.remove(mount)
    return replace(memory, told_disks=told)


def run(settings: Settings, find_programs: Callable[[], Look]) -> None:
    """Looks until it is ended.

    Args:
      settings: where everything is, and whom to tell.
      find_programs: how the programs of the service are.
    """
    log.info("Watching: a night is overdue %s minutes after its scheduled start.", settings.night_due_minutes)
    memory = replace(remember(settings), looked_at=datetime.now(UTC).isoformat())
    while True:
        _keep(settings, memory)
        # First of all: a scheduler that was started a moment ago has not been heard of yet.
        time.sleep(POLL_SECONDS)
        memory = look_at_servers(settings, look(settings, memory, datetime.now(UTC)))
        memory = look_at_disks(settings, memory)
        memory = replace(memory, failures=judge(find_programs(), memory.failures, notify))


def remember(settings: Settings) -> Memory:
    """What was told before; nothing where the file is missing or cannot be read."""
    try:
        kept = json.loads(_file(settings).read_text())
        return Memory(**{**kept, "failures": Failures(**kept.get("failures", {}))})
    except FileNotFoundError:
        return Memory()
    except (OSError, TypeError, ValueError) as error:
        log.warning("%s cannot be read (%s): what was told before may be told again.", _file(settings), error)
        return Memory()


def is_watching(settings: Settings, now: datetime) -> bool:
    """Whether the program has looked lately."""
    looked_at = remember(settings).looked_at
    return bool(looked_at) and now - datetime.fromisoformat(looked_at) < timedelta(seconds=_MISSED_LOOKS * POLL_SECONDS)


def find_silence(settings: Settings, now: datetime) -> str | None:
    """Since when the program has not looked, where it once has; None where it looks, never did, or has yet to begin."""
    looked_at, started = remember(settings).looked_at, settings.state_dir / STARTED_WITH
    is_starting = started.exists() and now.timestamp() - started.stat().st_mtime < _START_SECONDS
    return None if not looked_at or is_starting or is_watching(settings, now) else looked_at


def _find_deadline(settings: Settings, now: datetime) -> Due | None:
    """The newest night that should have come to a verdict by now."""
    return find_newest_due(settings, now - timedelta(minutes=settings.night_due_minutes))


def _judge(due: Due, now: datetime, nights: Iterable[NightSummary]) -> Overdue | None:
    later = [one for one in nights if one.night >= due.night]
    if any(one.state in lineage.VERDICTS for one in later):
        return None
    one = next((one for one in later if one.night == due.night), None)
    state, reason = (one.state, one.reason) if one else ("missing", "neither Airflow nor lineage knows a run of it")
    return Overdue(due.night, now - due.starts_at, state, reason)


def _file(settings: Settings) -> Path:
    return settings.state_dir / "watch.json"


def _keep(settings: Settings, memory: Memory) -> None:
    replace_file(_file(settings), json.dumps(asdict(memory)))


def _hours(passed: timedelta) -> str:
    minutes = int(passed.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
