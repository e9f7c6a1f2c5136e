"""The digest of the morning: what serves, what the night came to and why, and what needs a person.

It says it in the words of `retraining status` and of the pages, for it asks the same functions.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

import lineage
from headlines.display import count, harmless
from headlines.errors import HeadlinesError
from lineage import NightReport, Reader
from retraining.notices import delivery, outbox
from retraining.notices.events import EVENTS, NIGHT, NIGHTS, SERVING
from retraining.notices.links import link
from retraining.notices.outbox import Notice
from retraining.notices.telling import tell
from retraining.notices.wording import Part, as_html, as_markdown, as_text
from retraining.settings import Settings
from retraining.watching import deadlines, replicas
from retraining.watching.deadlines import Survey
from retraining.watching.night_words import tell_night

_LATE = timedelta(hours=12)
"""A machine that was asleep when a digest was due sends it within so long of it; later the next one does."""

_RECENT = timedelta(days=1)
_DRIFT, _QUARANTINE = "/drift", f"{NIGHT}/quarantine"


def tell_if_due(settings: Settings, now: datetime) -> None:
    """Sends the digest when DIGEST_SCHEDULE asks for one, once."""
    due = find_due(settings, now)
    if due is None or outbox.begin_id(settings, "digest", due.isoformat()) is None:
        return
    parts = gather(settings, now)
    tell(settings, "digest", as_text(parts), fact=due.isoformat(), markdown=as_markdown(parts), html=as_html(parts))


def find_due(settings: Settings, now: datetime) -> datetime | None:
    """When the newest digest was due that may still be sent; None where none is."""
    if settings.digest_schedule == "none":
        return None
    due: datetime = croniter(settings.digest_schedule, now.astimezone(ZoneInfo(settings.timezone))).get_prev(datetime)
    return due.astimezone(UTC) if now - due < _LATE else None


def gather(settings: Settings, now: datetime) -> tuple[Part, ...]:
    """How things stand, in the order in which a person wants to know.

    What cannot be asked is said to be so; the rest is told all the same.
    """
    needs = _tell_open(settings)
    parts: list[Part] = []
    try:
        with lineage.open_lineage(settings) as reader:
            observed = replicas.observe(settings, reader)
            survey = deadlines.survey(settings, now)
            needs += _tell_obstacles(survey, needs)
            lines = (_begin(observed.verdict), *(f"{one.address} {one.text}" for one in observed.replicas))
            parts.append(Part("What serves", lines, link(settings, SERVING)))
            if not observed.is_right and not any(one.startswith(_subject("serving differs")) for one in needs):
                needs.append(_begin(observed.verdict))
            parts += _tell_nights(settings, survey, reader)
    except HeadlinesError as error:
        needs.append(_begin(str(error)))
    needs += [_begin(str(backlog)) for backlog in delivery.survey(settings)]
    parts.insert(0, Part("What needs a person", tuple(needs) or ("Nothing does.",), link(settings, NIGHTS)))
    return tuple(parts)


def _tell_open(settings: Settings) -> list[str]:
    """What was told and has not ended; of failed tasks, which end only with their night's verdict, the new ones."""
    notices: list[Notice] = []
    for event in EVENTS.values():
        if event.ending:
            notices += outbox.list_open(settings, event.name)
    recent = [one for one in notices if one.event != "task failed" or one.age < _RECENT]
    return [f"{_begin(one.subject)}: {one.text}" for one in recent]


def _tell_obstacles(survey: Survey, needs: list[str]) -> list[str]:
    found = [f"No night will begin: {survey.obstacle}"] if survey.obstacle else []
    if survey.overdue and not any(survey.overdue.night in one for one in needs):
        found.append(f"Overdue: {survey.overdue}")
    return found


def _tell_nights(settings: Settings, survey: Survey, reader: Reader) -> list[Part]:
    if not survey.nights:
        return [Part("The newest night", ("None is due yet, and none was run.",), link(settings, NIGHTS))]
    newest = survey.nights[-1]
    page = link(settings, NIGHT.format(night=newest.night))
    parts = [Part("The newest night", (f"{newest.night} is {newest.state}: {tell_night(newest)}",), page)]
    if newest.rows_quarantined:
        lines = (f"{newest.rows_quarantined} of {count(newest.rows_in or 0, 'row')} of its drop.",)
        parts.append(Part("Quarantine", lines, link(settings, _QUARANTINE.format(night=newest.night))))
    return [*parts, *_tell_drift(settings, reader, newest)]


def _tell_drift(settings: Settings, reader: Reader, newest: NightReport) -> list[Part]:
    """What of the newest night's data is beyond its limits, and its labels."""
    measured = lineage.drift(reader, newest.night, newest.night)
    own = next((one for one in measured.nights if one.night == newest.night), None)
    series = [one for one in lineage.list_series(measured) if own]
    if own is None or not series:
        return []
    beyond = [
        f"{one.kind.label}: {one.kind.write(one.values[-1])}, {one.kind.tell_rule(one.limits[-1])}"
        for one in series
        if one.missed and one.values[-1] is not None
    ]
    limited = sum(one.limits[-1] is not None for one in series)
    verdict = beyond or [f"{count(limited, 'measure')} within their limits." if limited else "No measure has a limit."]
    labels = ", ".join(f"{label} {share:.1%}" for label, share in own.classes.items())
    return [Part("Drift", (*verdict, *([f"Labels: {labels}"] if labels else [])), link(settings, _DRIFT))]


def _subject(event: str) -> str:
    return _begin(EVENTS[event].subject)


def _begin(sentence: str) -> str:
    sentence = harmless(sentence)
    return sentence[:1].upper() + sentence[1:]
