"""How the service stands: what runs, what serves, what became of the last nights; for a person, or for a script."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

import lineage
from headlines import disk
from lineage import LineageError
from retraining.cli.fitting import Fitting
from retraining.local import model_server, postgres, service, supervisor
from retraining.local.processes import Stray
from retraining.notices import delivery
from retraining.notices.delivery import Backlog
from retraining.notices.links import web_root
from retraining.places.relocation import PlacesError, find_difference
from retraining.settings import Settings
from retraining.watching import deadlines, replicas
from retraining.watching.deadlines import Survey
from retraining.watching.replicas import Observation
from retraining.workers import asking
from retraining.workers.asking import BrokerError

UNPAUSE = "unpause in the web UI, or: `retraining exec airflow dags unpause <name>`"
_COMMAND_CHARACTERS = 80
VERSION = 1
"""Of the JSON: counts up when a field goes away or changes its meaning."""

_COLOURS = {"healthy": "green", "agrees": "green", "loading": "yellow", "unasked": ""}


@dataclass(frozen=True)
class Program:
    """A program of the service: how it is, its process if it runs, and where its log is."""

    state: str
    pid: int | None
    log: str


@dataclass(frozen=True)
class Status:
    """How the service stands.

    Attributes:
      programs: by name; empty where nothing runs, and then nobody is asked about the rest.
      addresses: where a browser finds Airflow and the model server.
      observed: what should serve, and what answers.
      survey: the last nights, and what stands in the way of the next.
      problem: why lineage cannot be read, or what it names is not found; empty where neither is so.
      unsent: the notices that wait to be accepted, of each address that has any.
      strays: processes of the service that belong to no running program.
      alarms: what else must be mended before a night can go well: a disk that is nearly full, data of another Postgres.
    """

    programs: dict[str, Program]
    addresses: dict[str, str]
    observed: Observation | None = None
    survey: Survey | None = None
    problem: str = ""
    unsent: tuple[Backlog, ...] = ()
    strays: list[Stray] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether all runs and is found, nothing besides, the right version answers, no night is or will be late."""
        is_up = bool(self.programs) and all(program.state == "healthy" for program in self.programs.values())
        is_served = self.observed is not None and self.observed.is_right
        is_known = self.survey is not None and not self.problem
        is_clean = not self.strays and not self.alarms
        return is_up and is_clean and is_served and is_known and not (self.survey and self.survey.overdue)


def find_status(settings: Settings) -> Status:
    """Asks everyone who knows."""
    unsent = tuple(delivery.survey(settings))
    addresses = {"airflow": web_root(settings), "model_server": model_server.address(settings)}
    states = service.health(settings).programs
    strays, alarms = service.find_strays(settings), find_alarms(settings)
    if not states:
        problem = "the service is down; start it with `retraining up`"
        return Status({}, addresses, problem=problem, unsent=unsent, strays=strays, alarms=alarms)
    alarms += find_worker_alarms(settings)
    observed, survey, problem = None, None, ""
    try:
        observed = replicas.observe(settings)
        survey = deadlines.survey(settings, datetime.now(UTC))
        problem = find_difference(settings)
    except (LineageError, PlacesError) as error:
        problem = str(error)
        observed = observed or Observation(None, replicas.ask(settings))
    if states.get(model_server.NAME) == "healthy" and any(
        one.address == addresses["model_server"] and one.state in ("differs", "nothing") for one in observed.replicas
    ):
        # A version answers, so it runs well; but not the one that should.
        states[model_server.NAME] = "failing"
    known = supervisor.states(settings)
    programs = {
        name: Program(state, known.get(name, {}).get("pid") or None, str(supervisor.log_path(settings, name)))
        for name, state in states.items()
    }
    return Status(programs, addresses, observed, survey, problem, unsent, strays, alarms)


def find_alarms(settings: Settings) -> list[str]:
    """What must be mended before a night can go well, beyond programs and databases."""
    alarms = []
    if low := disk.find_low(settings.written_places, settings.min_free_gb):
        alarms.append(f"{disk.tell_low(low, settings.min_free_gb)}: no night will begin; free some there")
    if problem := postgres.find_version_problem(settings):
        alarms.append(problem)
    return alarms


def find_worker_alarms(settings: Settings) -> list[str]:
    """Why tasks wait for ever, where they are left for workers."""
    if settings.executor != "celery":
        return []
    try:
        lonely = asking.find_queues_of_nobody(settings, asking.ask(settings))
    except BrokerError as error:
        return [str(error)]
    return [f"nobody takes tasks from {', '.join(lonely)}; start a worker that does: docs/scaling.md"] if lonely else []


def tell_stray(stray: Stray) -> str:
    """A stray in a line."""
    program = f", left by an earlier {stray.program}" if stray.program else ""
    return f"process {stray.pid}{program}, {stray.memory_mb} MB: {stray.command[:_COMMAND_CHARACTERS]}"


def to_json(status: Status) -> dict[str, Any]:
    """The status for a script; docs/serving.md tells its shape."""
    survey = status.survey
    overdue = survey.overdue if survey else None
    return {
        "version": VERSION,
        "is_well": status.is_well,
        "programs": lineage.to_json(status.programs),
        "addresses": status.addresses,
        "observed": lineage.to_json(status.observed),
        "nights": lineage.to_json(survey.nights) if survey else None,
        "obstacle": survey.obstacle if survey else None,
        "overdue": overdue
        and {
            "night": overdue.night,
            "state": overdue.state,
            "reason": overdue.reason,
            "age_seconds": int(overdue.age.total_seconds()),
        },
        "problem": status.problem or None,
        "unsent": lineage.to_json(status.unsent),
        "strays": lineage.to_json(status.strays),
        "alarms": status.alarms,
        "paused": survey.paused if survey else None,
    }


def render_programs(status: Status, settings: Settings) -> RenderableType:
    """What runs."""
    table = Fitting("program", "state", "process")
    for name, program in status.programs.items():
        table.add_row(name, Text(program.state, _COLOURS.get(program.state, "red")), str(program.pid or "-"))
    return Group(table, Text(f"Logs: {supervisor.log_path(settings, '<program>')}", style="dim", overflow="fold"))


def render_observation(observed: Observation) -> Text:
    """What should serve, and below it what each model server answers with."""
    style = _COLOURS.get(observed.state, "yellow" if observed.is_right else "bold red")
    text = Text(observed.verdict[:1].upper() + observed.verdict[1:], style)
    for one in observed.replicas:
        text.append(f"\n  {one.address} ", "not bold")
        text.append(one.text or replicas.tell(one), f"not bold {_COLOURS.get(one.state, 'red')}".strip())
    return text
