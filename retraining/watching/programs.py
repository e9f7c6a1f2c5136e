"""Whether a program of the service keeps failing, counted in looks and in starts: told once, and when it is over."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from retraining.notices import outbox
from retraining.notices.telling import end, tell
from retraining.settings import Settings

HOUR = 3600.0
MANY_STARTS = 4
"""A program that was started so often within an hour keeps failing; each start after the first follows an end."""
PATIENT_LOOKS = 10
"""A program that at so many looks in a row does not do its work does not merely start: five minutes."""
WELL_SECONDS = 1200.0
"""A program is well again when it has run so long; one that fails MANY_STARTS times an hour never does."""
_WORKS = ("healthy", "loading", "failing")
"""With these a program answers; what the model server answers with is looked at by itself (replicas.py)."""
_KEEPS_FAILING = "program keeps failing"


@dataclass(frozen=True)
class Program:
    """A program at one look.

    Attributes:
      state: `healthy`, or how else it is.
      started_at: when its process was started, in seconds since 1970.
    """

    state: str
    started_at: float


@dataclass(frozen=True)
class Look:
    """The programs at one look.

    Attributes:
      programs: by name; empty where no supervisor answers.
      supervisor: its process, whose own start is no failure of its programs.
      now: when that was, in seconds since 1970.
    """

    programs: Mapping[str, Program]
    supervisor: int
    now: float


@dataclass(frozen=True)
class Failures:
    """What is remembered of programs from look to look; what was told of them is with the notices.

    Attributes:
      supervisor: the process of the supervisor at the last look.
      starts: when each was started within the last hour, as far as a look has seen it.
      looks: at how many looks in a row each did not do its work.
    """

    supervisor: int = 0
    starts: dict[str, list[float]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)


def judge(settings: Settings, look: Look, known: Failures) -> Failures:
    """Tells, once, which programs keep failing, and which no longer do.

    Args:
      settings: whom to tell.
      look: how they are now.
      known: what is remembered of earlier looks.

    Returns:
      What is to be remembered.
    """
    if not look.programs:
        return known
    if look.supervisor != known.supervisor:
        known = replace(known, supervisor=look.supervisor, starts={}, looks={})
    starts = {
        name: sorted({*(one for one in known.starts.get(name, ()) if look.now - one < HOUR), program.started_at})
        for name, program in look.programs.items()
    }
    looks = {
        name: 0 if program.state in _WORKS else known.looks.get(name, 0) + 1 for name, program in look.programs.items()
    }
    told = {notice.fields["program"]: notice for notice in outbox.list_open(settings, _KEEPS_FAILING)}
    for name, program in look.programs.items():
        if name not in told:
            if why := _explain(name, program, len(starts[name]), looks[name]):
                tell(settings, _KEEPS_FAILING, why, fact=name, program=name)
        elif program.state in _WORKS and look.now - program.started_at >= WELL_SECONDS:
            text = f"{name} has run for {int(WELL_SECONDS // 60)} minutes: it no longer fails"
            end(settings, told[name], text)
            # What was before it is over.
            starts[name] = [program.started_at]
    return Failures(look.supervisor, starts, looks)


def _explain(name: str, program: Program, starts: int, looks: int) -> str:
    """Why a program is said to keep failing; empty for one that does not."""
    advice = f"it is started again without end; see `retraining logs {name}` and `retraining status`"
    if starts >= MANY_STARTS:
        return f"{name} ended and was started again {starts - 1} times within an hour; {advice}"
    if looks >= PATIENT_LOOKS:
        return f"{name} does not do its work, it is {program.state} for minutes; {advice}"
    return ""
