"""The dead man's switch: a program that sees when a night comes to no verdict, also where no task runs to say so.

It runs beside Airflow, under the supervisor, and needs neither Airflow nor MLMD to speak up. It also sees when a model
server does not answer with the version that should serve, when a program of the service fails again and again, and when
a disk is nearly full. Should it be silent itself, the supervisor starts it again, the next night tells
(retraining/operators/waiting.py), and whatever waits for HEARTBEAT_URL misses its sign of life.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lineage
from headlines import disk
from headlines.durable import replace_file
from headlines.errors import HeadlinesError
from headlines.schedule import find_newest_due
from lineage import LineageError
from retraining.notices import delivery, outbox, sending
from retraining.notices.heartbeat import give_sign_of_life
from retraining.notices.telling import end, tell, tell_end
from retraining.settings import Settings
from retraining.watching import digest, programs, replicas
from retraining.watching.deadlines import Overdue, find_deadline, judge
from retraining.watching.programs import Failures, Look
from retraining.workers import sharing

log = logging.getLogger(__name__)

STARTED_WITH = "started-with"
"""The file, in the state folder, that each start of the service writes."""
POLL_SECONDS = 30.0
_START_SECONDS = 600.0
"""How long a service may take from there to the first look."""
_MISSED_LOOKS = 4
"""After as many polls without a look the program is taken to be stuck."""
_SERVING = "serving"
_DISK = "disk nearly full"
SILENT = "watch is silent"
"""What the task tells that finds this program silent."""
_PATIENT_LOOKS = 10
"""What serves may be wrong, or only loading, at as many looks in a row before it is told: five minutes."""
_ENOUGH = 1.1
"""A disk that was nearly full has room again when so much more than the limit is free."""


@dataclass(frozen=True)
class Memory:
    """What the program has seen, whatever restarts it; what it has told is with the notices (retraining/notices).

    Attributes:
      heard: the newest night that a sign of life was given for.
      differing: at how many looks in a row not every model server answered with what should serve.
      failures: what is known of programs that end again and again.
      looked_at: when it last looked, ISO 8601.
    """

    heard: str = ""
    differing: int = 0
    failures: Failures = field(default_factory=Failures)
    looked_at: str = field(default="", compare=False)


def look(settings: Settings, memory: Memory, now: datetime) -> Memory:
    """Looks once, and tells what is new: a night is overdue, is no longer so, or came to a verdict.

    Args:
      settings: the schedule, the databases, and whom to tell.
      memory: what was seen before.
      now: the moment of the look.

    Returns:
      What has been seen by now.
    """
    memory = replace(memory, looked_at=now.isoformat())
    deadline, newest = find_deadline(settings, now), find_newest_due(settings, now)
    if newest is None:
        return memory
    try:
        nights = lineage.calendar(settings, first=(deadline or newest).night)
        overdue = judge(deadline, now, nights) if deadline else None
    except LineageError as error:
        # A night whose verdict was heard is not overdue because its database does not answer now.
        if deadline is None or deadline.night <= memory.heard:
            return memory
        nights, overdue = (), Overdue(deadline.night, now - deadline.starts_at, "unknown", str(error))
    if overdue:
        tell(settings, "night overdue", str(overdue), fact=overdue.night, night=overdue.night)
    else:
        for notice in outbox.list_open(settings, "night overdue"):
            text = f"night {notice.fields['night']} or a later one has come to a verdict: nothing is overdue any more"
            end(settings, notice, text)
    healthy = max((one.night for one in nights if one.state in lineage.VERDICTS), default="")
    if healthy >= newest.night and healthy > memory.heard and give_sign_of_life(settings):
        memory = replace(memory, heard=healthy)
    return memory


def look_at_failures(settings: Settings) -> None:
    """Tells of each night of which a failure was told, that it has come to a verdict after all."""
    failures = [one for one in outbox.list_open(settings, "task failed") if "night" in one.fields]
    if not failures:
        return
    try:
        nights = lineage.calendar(settings, first=min(one.fields["night"] for one in failures))
    except LineageError as error:
        log.warning("Whether a night that failed has a verdict is not known: %s", error)
        return
    judged = {one.night: one for one in nights if one.state in lineage.VERDICTS}
    for notice in failures:
        if one := judged.get(notice.fields["night"]):
            end(settings, notice, f"night {one.night} is {one.state}: {one.reason}")


def look_at_servers(settings: Settings, memory: Memory) -> Memory:
    """Asks the model servers once, and tells, once, when for minutes they have not answered with what should serve.

    Counted in looks, not by the clock, which jumps when a machine wakes up.

    Args:
      settings: where lineage and the model servers are, and whom to tell.
      memory: what was seen before.

    Returns:
      What has been seen by now.
    """
    try:
        observed = replicas.observe(settings)
    except HeadlinesError as error:
        # What should serve is not known now; that lineage does not answer is told where a night is overdue.
        log.warning("What should serve is not known: %s", error)
        return memory
    version = str(observed.expected.version) if observed.expected else ""
    if observed.is_right and observed.state != "loading":
        tell_end(settings, "serving differs", observed.text, fact=_SERVING, version=version)
        return replace(memory, differing=0)
    memory = replace(memory, differing=memory.differing + 1)
    if memory.differing >= _PATIENT_LOOKS:
        tell(settings, "serving differs", observed.text, fact=_SERVING, version=version)
    return memory


def look_at_disks(settings: Settings) -> None:
    """Tells of each disk that less is free than a night needs, and when it is enough again."""
    try:
        # What goes up and down at the limit is told once.
        nearly_low = disk.find_low(settings.written_places, settings.min_free_gb * _ENOUGH)
    except OSError as error:
        log.warning("How much of a disk is free is not known: %s", error)
        return
    for one in nearly_low:
        if not one.is_low(settings.min_free_gb):
            continue
        text = f"{disk.tell_low([one], settings.min_free_gb)}: no night will begin; free some there"
        tell(settings, _DISK, text, fact=str(one.mount), disk=str(one.mount))
    still_low = {str(one.mount) for one in nearly_low}
    for notice in outbox.list_open(settings, _DISK):
        mount = notice.fields["disk"]
        if mount not in still_low:
            text = f"there is room again on the disk at {mount}, more than MIN_FREE_GB={settings.min_free_gb:g}"
            end(settings, notice, text)


def run(settings: Settings, find_programs: Callable[[], Look]) -> None:
    """Looks until it is ended, and sends what anybody tells.

    Args:
      settings: where everything is, and whom to tell.
      find_programs: how the programs of the service are.

    Raises:
      RuntimeError: nothing is sent any more; the supervisor starts the program anew.
    """
    log.info("Watching: a night is overdue %s minutes after its scheduled start.", settings.night_due_minutes)
    for address in sending.find_addresses(settings):
        if problem := sending.find_problem(address):
            log.error("%s; nobody is told there until NOTIFY is corrected.", problem)
    # Where that cannot be, it is said here, and not by a thread.
    outbox.folder(settings).mkdir(parents=True, exist_ok=True)
    # Beside the looks, which must go on while an address does not answer.
    stop = threading.Event()
    sender = threading.Thread(target=delivery.run, args=(settings, stop), daemon=True)
    sender.start()
    try:
        _look_on(settings, sender, find_programs)
    finally:
        stop.set()


def _look_on(settings: Settings, sender: threading.Thread, find_programs: Callable[[], Look]) -> None:
    memory = replace(remember(settings), looked_at=datetime.now(UTC).isoformat())
    while True:
        _keep(settings, memory)
        # First of all: a scheduler that was started a moment ago has not been heard of yet.
        time.sleep(POLL_SECONDS)
        if not sender.is_alive():
            raise RuntimeError("what sends the notices has ended; the log says why")
        now = datetime.now(UTC)
        memory = look_at_servers(settings, look(settings, memory, now))
        memory = replace(memory, failures=programs.judge(settings, find_programs(), memory.failures))
        look_at_failures(settings)
        look_at_disks(settings)
        sharing.keep_published(settings)
        digest.tell_if_due(settings, now)
        tell_end(settings, SILENT, "the watch looks again", fact=SILENT)


def remember(settings: Settings) -> Memory:
    """What was seen before; nothing where the file is missing or cannot be read."""
    try:
        kept = json.loads(_file(settings).read_text())
        # An earlier version of the program kept more.
        known = {name: value for name, value in kept.items() if name in {one.name for one in fields(Memory)}}
        return Memory(**{**known, "failures": Failures(**known.get("failures", {}))})
    except FileNotFoundError:
        return Memory()
    except (AttributeError, OSError, TypeError, ValueError) as error:
        log.warning("%s cannot be read (%s): a sign of life may be given again.", _file(settings), error)
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


def _file(settings: Settings) -> Path:
    return settings.state_dir / "watch.json"


def _keep(settings: Settings, memory: Memory) -> None:
    try:
        replace_file(_file(settings), json.dumps(asdict(memory)))
    except OSError as error:
        # A full disk is one of the things to be told.
        log.error("%s cannot be written (%s): `retraining status` takes the watch to be stuck.", _file(settings), error)
