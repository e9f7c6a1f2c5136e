"""Everything that people are told: the one table of it, which docs/notices.md shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "failure", "recovered"]


@dataclass(frozen=True)
class Ending:
    """How it is told that something is over."""

    name: str
    subject: str


@dataclass(frozen=True)
class Event:
    """A kind of thing that is told.

    Attributes:
      name: of the field `event` of what is posted as JSON: public, as documented.
      severity: how grave it is.
      subject: the sentence that it is told in, with the fields of a notice in braces; what follows it says why.
      page: the page of the web UI that it leads to, below its address; one whose fields a notice does not have leads to
        the log that the notice names, or to the calendar.
      ending: how it is told that it is over; None for what does not last.
    """

    name: str
    severity: Severity
    subject: str
    page: str
    ending: Ending | None = None


NIGHT, NIGHTS, MODEL, SERVING = "/night/{night}", "/nights", "/model/{version}", "/"

EVENTS = {
    event.name: event
    for event in (
        Event(
            "task failed",
            "failure",
            "a task failed: {task}",
            NIGHT,
            Ending("night has a verdict", "night {night} has come to a verdict after all"),
        ),
        Event("late drop", "warning", "the drop of night {night} is late", NIGHT),
        Event("missed night", "warning", "night {night} was missed", NIGHTS),
        Event(
            "night overdue",
            "failure",
            "night {night} is overdue",
            NIGHT,
            Ending("night no longer overdue", "night {night} is not overdue any more"),
        ),
        Event("pushed", "info", "version {version} is pushed", MODEL),
        Event(
            "serving differs",
            "failure",
            "what answers is not what should serve",
            SERVING,
            Ending("serving as it should again", "what should serve answers again"),
        ),
        Event("live traffic", "warning", "the live traffic is beyond its limits", NIGHT),
        Event(
            "program keeps failing",
            "failure",
            "the program {program} keeps failing",
            NIGHTS,
            Ending("program well again", "the program {program} is well again"),
        ),
        Event(
            "watch is silent",
            "failure",
            "nobody watches the nights",
            NIGHTS,
            Ending("watch looks again", "the nights are watched again"),
        ),
        Event(
            "disk nearly full",
            "failure",
            "the disk at {disk} is nearly full",
            NIGHTS,
            Ending("disk has room again", "the disk at {disk} has room again"),
        ),
        Event(
            "housekeeping failed",
            "warning",
            "housekeeping failed: {task}",
            NIGHTS,
            Ending("housekeeping works again", "housekeeping works again: {task}"),
        ),
        Event("digest", "info", "how things stand", SERVING),
        Event("test", "info", "a notice to try whether it arrives", NIGHTS),
    )
}


class _Fields(dict[str, str]):
    """What a sentence says where a field is missing: a notice goes out, whatever is wrong with it."""

    def __missing__(self, name: str) -> str:
        return "?"


def phrase(template: str, fields: Mapping[str, str]) -> str:
    """A subject or a page with the fields of a notice in it."""
    return template.format_map(_Fields(fields))
