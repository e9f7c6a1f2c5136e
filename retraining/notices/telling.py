"""Telling people, whoever has something to tell: a task, or a program that sees that no task runs."""

import logging
from datetime import UTC, datetime

from retraining.notices import delivery, outbox, sending
from retraining.notices.events import EVENTS, phrase
from retraining.notices.links import find_link
from retraining.notices.outbox import Notice
from retraining.notices.wording import shorten
from retraining.settings import Settings

log = logging.getLogger(__name__)

# Of this process; of notices that could not be kept.
_sent_once: set[str] = set()

_ALONE_SECONDS = 10.0
"""How long an address may hold up whoever tells something where no watch runs that would send it."""


def tell(
    settings: Settings, event: str, text: str, *, fact: str, markdown: str = "", html: str = "", **fields: str
) -> None:
    """Tells people of something, once, and logs it. It fails nothing, and holds nothing up where a watch runs.

    Args:
      settings: whom to tell, and where it is kept until they are.
      event: a name of the table of events.
      text: why, and what to do.
      fact: what makes it this fact and no other of its kind, such as the night: the same is not told again, unless it
        has ended since (`tell_end`).
      markdown: the text as that; by default it follows.
      html: likewise.
      **fields: what its subject and its page name, and whoever is posted JSON may want.
    """
    try:
        identity = outbox.begin_id(settings, event, fact)
    except OSError as error:
        log.error("Whether %s was told before cannot be read (%s): it is told.", event, error)
        identity = f"{event.replace(' ', '-')}-unknown"
    if identity is None:
        log.debug("Told before, %s: %s", event, text)
        return
    kind = EVENTS[event]
    _tell(
        settings,
        Notice(
            identity,
            event,
            kind.severity,
            phrase(kind.subject, fields),
            text if event == "digest" else shorten(text),
            find_link(settings, kind.page, fields),
            _now(),
            fields,
            markdown,
            html,
        ),
    )


def tell_end(settings: Settings, event: str, text: str, *, fact: str, **fields: str) -> None:
    """Tells people that something is over, whoever was told of it.

    Args:
      settings: as of `tell`.
      event: as it was told when it began.
      text: how things stand now.
      fact: as it was told when it began.
      **fields: these win over those of the beginning.
    """
    try:
        beginning = outbox.find_open(settings, event, fact)
    except OSError as error:
        log.error("Whether %s was told before cannot be read (%s): its end is not told: %s", event, error, text)
        return
    if beginning:
        end(settings, beginning, text, **fields)


def end(settings: Settings, beginning: Notice, text: str, **fields: str) -> None:
    """The same of a notice that is known, such as one of `outbox.list_open`."""
    kind = EVENTS[beginning.event]
    assert kind.ending is not None, f"{beginning.event} does not last"
    fields = {**beginning.fields, **fields}
    _tell(
        settings,
        Notice(
            outbox.end_id(beginning),
            kind.ending.name,
            "recovered",
            phrase(kind.ending.subject, fields),
            shorten(text),
            find_link(settings, kind.page, fields),
            _now(),
            fields,
            of=beginning.id,
        ),
    )


def _tell(settings: Settings, notice: Notice) -> None:
    try:
        is_new = outbox.add(settings, notice)
    except OSError as error:
        # A full disk is no reason to be silent about it.
        log.error("The notice of %s cannot be kept (%s): it is sent once. %s", notice.event, error, notice.text)
        _send_at_once(settings, notice)
        return
    if not is_new:
        log.debug("Told before, %s: %s", notice.event, notice.text)
        return
    log.info("Notice of %s: %s", notice.event, notice.text)
    try:
        delivery.deliver_alone(settings, _ALONE_SECONDS)
    except OSError as error:
        log.error("The notices cannot be sent from here (%s): they wait for the watch.", error)


def _send_at_once(settings: Settings, notice: Notice) -> None:
    """Sends a notice that cannot be kept; an end is not told so, for who was told of the beginning is not known."""
    if notice.of or notice.id in _sent_once:
        return
    _sent_once.add(notice.id)
    for address in sending.find_addresses(settings):
        is_told = address.takes(notice.severity, is_digest=notice.event == "digest")
        if is_told and (problem := sending.send(address, notice, _ALONE_SECONDS)):
            log.error("The notice of %s is lost at %s: %s", notice.event, address, problem)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def make_test(settings: Settings) -> Notice:
    """A notice to try whether notices arrive; it is kept nowhere."""
    kind = EVENTS["test"]
    text = "If you read this, notices of the headline service arrive here: á, ç, ã, õ and <&> as well."
    return Notice("test", kind.name, kind.severity, kind.subject, text, find_link(settings, kind.page, {}), _now())
