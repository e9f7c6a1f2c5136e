"""Sending what waits: to every address what it takes, again until it is accepted, by one process at a time."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headlines.durable import replace_file
from headlines.holding import hold
from retraining.notices import outbox
from retraining.notices.outbox import Notice
from retraining.notices.sending import LIMIT_SECONDS, find_addresses, send
from retraining.notify_addresses import Address
from retraining.settings import Settings

log = logging.getLogger(__name__)

GIVE_UP = timedelta(days=7)
"""What nobody has accepted for so long is not sent any more: it would tell of a night long gone."""

_LOOK_SECONDS = 2.0
_SLOW_SECONDS = 3.0
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)
_FORGET_EVERY = timedelta(days=1)


@dataclass(frozen=True)
class Trouble:
    """An address that accepts nothing.

    Attributes:
      since: when it first did not, ISO 8601.
      tries: how often it has been tried in a row.
      next_at: when it is tried again.
      problem: why it did not accept the last notice.
    """

    since: str
    tries: int
    next_at: str
    problem: str


@dataclass(frozen=True)
class Backlog:
    """What waits for an address.

    Attributes:
      address: in words, without what is secret.
      waiting: how many notices.
      problem: why it accepted none lately; empty where it was not tried.
      since: since when it accepts none, ISO 8601; empty likewise.
    """

    address: str
    waiting: int
    problem: str
    since: str

    def __str__(self) -> str:
        number = "1 notice waits" if self.waiting == 1 else f"{self.waiting} notices wait"
        if not self.problem:
            return f"{number} for {self.address}"
        moment = datetime.fromisoformat(self.since).astimezone(UTC)
        return (
            f"{number} for {self.address}, which accepts none since {moment:%Y-%m-%d %H:%M} UTC: {self.problem}; it is "
            f"tried again for {GIVE_UP.days} days; to try it now: `retraining notify --test`"
        )


# What this process could not write down, as on a full disk, it does not send again: of a notice, the address's mark.
_unwritten: set[tuple[str, str]] = set()


class _Busy(Exception):
    """Another process sends."""


def run(settings: Settings, stop: threading.Event) -> None:
    """Sends what is to be told, as soon as it is, until it is to stop; waits while another process does so."""
    with hold(_lock(settings)):
        settled: set[str] = set()
        forgotten_at = datetime.min.replace(tzinfo=UTC)
        while not stop.is_set():
            settled |= deliver(settings, settled)
            if datetime.now(UTC) - forgotten_at > _FORGET_EVERY:
                outbox.forget(settings)
                forgotten_at = datetime.now(UTC)
            stop.wait(_LOOK_SECONDS)


def deliver_alone(settings: Settings, limit_seconds: float) -> None:
    """Sends what waits if no other process does, as where no watch runs; else leaves it to that one.

    Raises:
      OSError: nothing in the state folder can be locked.
    """
    try:
        with hold(_lock(settings), refuse=_Busy):
            deliver(settings, limit_seconds=limit_seconds)
    except _Busy:
        log.debug("Another process sends.")


def deliver(settings: Settings, settled: set[str] | None = None, limit_seconds: float = LIMIT_SECONDS) -> set[str]:
    """Sends once what waits, to every address that is not known to be in trouble at this moment.

    Args:
      settings: with the addresses.
      settled: the ids of notices that need not be looked at.
      limit_seconds: how long an address may take.

    Returns:
      The ids of those that nothing more is to be done about.
    """
    addresses, now = find_addresses(settings), datetime.now(UTC)
    known = _read_trouble(settings)
    trouble = {address.mark: known[address.mark] for address in addresses if address.mark in known}
    at_rest = {mark for mark, one in trouble.items() if now < datetime.fromisoformat(one.next_at)}
    problems: dict[str, str] = {}
    reached: set[str] = set()
    done: set[str] = set()
    for notice in outbox.read_all(settings, settled or ()):
        for address in _find_waiting(settings, notice, addresses):
            if address.mark in at_rest:
                continue
            begun = time.monotonic()
            problem = send(address, notice, limit_seconds)
            if problem:
                log.warning("The notice %r was not accepted by %s: %s.", notice.subject, address, problem)
                problems[address.mark] = problem
                # Another notice may be accepted where this one is not; but each would take as long.
                if time.monotonic() - begun > _SLOW_SECONDS:
                    at_rest.add(address.mark)
            else:
                reached.add(address.mark)
                notice = replace(notice, accepted=(*notice.accepted, address.mark))
                if not _keep(settings, notice):
                    _unwritten.add((notice.id, address.mark))
        if _settle(settings, notice, addresses):
            done.add(notice.id)
    for mark in reached - set(problems):
        trouble.pop(mark, None)
    for mark, problem in problems.items():
        trouble[mark] = _grow(trouble.get(mark), problem, now)
    if trouble != known:
        _keep_trouble(settings, trouble)
    return done


def survey(settings: Settings) -> list[Backlog]:
    """What waits for each address that something waits for."""
    trouble, waiting = _read_trouble(settings), dict.fromkeys(find_addresses(settings), 0)
    for notice in outbox.read_all(settings):
        for address in _find_waiting(settings, notice, tuple(waiting)):
            waiting[address] += 1
    backlogs = []
    for address, number in waiting.items():
        if number:
            one = trouble.get(address.mark)
            backlogs.append(Backlog(str(address), number, one.problem if one else "", one.since if one else ""))
    return backlogs


def _find_waiting(settings: Settings, notice: Notice, addresses: tuple[Address, ...]) -> Iterator[Address]:
    """The addresses that are still to accept the notice; of an end, those that were told of the beginning."""
    if notice.is_settled:
        return
    beginning = outbox.read(settings, notice.of) if notice.of else None
    for address in addresses:
        if address.mark in notice.accepted or (notice.id, address.mark) in _unwritten:
            continue
        if beginning is None and not notice.of:
            if address.takes(notice.severity, is_digest=notice.event == "digest"):
                yield address
        elif beginning and address.mark in beginning.accepted:
            yield address


def _settle(settings: Settings, notice: Notice, addresses: tuple[Address, ...]) -> bool:
    """Keeps that nothing more is to be done about a notice, if so; returns whether it is."""
    if notice.is_settled:
        return True
    if notice.of and (beginning := outbox.read(settings, notice.of)) and not beginning.is_settled:
        # Whoever is told of the beginning yet, will be told of the end.
        return False
    waiting = [str(address) for address in _find_waiting(settings, notice, addresses)]
    if waiting and notice.age < GIVE_UP:
        return False
    if waiting:
        log.error(
            "The notice %r of %s is given up after %d days: %s did not accept it. It said: %s",
            notice.subject,
            notice.at,
            GIVE_UP.days,
            ", ".join(waiting),
            notice.text,
        )
    _keep(settings, replace(notice, is_settled=True))
    return True


def _keep(settings: Settings, notice: Notice) -> bool:
    """Writes down what became of a notice; returns whether that could be done."""
    try:
        outbox.update(settings, notice)
    except OSError as error:
        log.error("What became of the notice %r cannot be kept (%s): it may be sent twice.", notice.subject, error)
        return False
    return True


def _keep_trouble(settings: Settings, trouble: dict[str, Trouble]) -> None:
    try:
        replace_file(_trouble_file(settings), json.dumps({mark: asdict(one) for mark, one in trouble.items()}))
    except OSError as error:
        log.error("Which addresses accept nothing cannot be kept (%s): each is tried at once.", error)


def _grow(before: Trouble | None, problem: str, now: datetime) -> Trouble:
    tries = before.tries + 1 if before else 1
    wait = min(_FIRST_WAIT * 2 ** min(tries - 1, 10), _LONGEST_WAIT)
    return Trouble(before.since if before else now.isoformat(), tries, (now + wait).isoformat(), problem)


def _read_trouble(settings: Settings) -> dict[str, Trouble]:
    try:
        return {mark: Trouble(**one) for mark, one in json.loads(_trouble_file(settings).read_text()).items()}
    except FileNotFoundError:
        return {}
    except (AttributeError, OSError, TypeError, ValueError) as error:
        log.warning("%s cannot be read (%s): every address is tried at once.", _trouble_file(settings), error)
        return {}


def _trouble_file(settings: Settings) -> Path:
    return outbox.folder(settings) / "trouble"


def _lock(settings: Settings) -> Path:
    place = outbox.folder(settings)
    place.mkdir(parents=True, exist_ok=True)
    return place / "sending.lock"
