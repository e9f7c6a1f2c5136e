"""What was told, and what is still to be: a file for each notice, in NOTICES_DIR.

No database: that it does not answer must be told as well. A file is made once, by whoever is first, so that a fact is
told once however many processes and machines come upon it; only whoever sends changes it.
"""

import json
import logging
import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from headlines.durable import replace_file, stage
from retraining.settings import Settings

log = logging.getLogger(__name__)

KEPT = timedelta(days=100)
"""For so long it is known that a fact was told; a night that is cleared later still is told of anew."""

_END = ".end"


@dataclass(frozen=True)
class Notice:
    """Something that people are told.

    Attributes:
      id: the name of its file: the event, the fact by a hash, and a number for each time that it came about.
      event: as in the table of events, or how that one's end is called.
      severity: how grave it is.
      subject: what happened, in a few words.
      text: why, and what to do.
      link: where more is to be seen.
      at: when it was noticed, ISO 8601, UTC.
      fields: further ones of the JSON that is posted.
      markdown: the text for who shows Markdown; empty where it follows from the text.
      html: the same in HTML.
      of: the id of the notice whose end this tells; empty for none.
      accepted: the marks of the addresses that took it.
      is_settled: whether nothing more is to be done about it.
    """

    id: str
    event: str
    severity: str
    subject: str
    text: str
    link: str
    at: str
    fields: dict[str, str] = field(default_factory=dict)
    markdown: str = ""
    html: str = ""
    of: str = ""
    accepted: tuple[str, ...] = ()
    is_settled: bool = False

    @property
    def age(self) -> timedelta:
        """How long ago it was noticed."""
        return datetime.now(UTC) - datetime.fromisoformat(self.at)


def folder(settings: Settings) -> Path:
    """Where the notices are."""
    return settings.notices_dir


def begin_id(settings: Settings, event: str, fact: str) -> str | None:
    """The id for a fact that has begun; None where it has been told and has not ended since."""
    number = _find_number(settings, event, fact)
    if number and not path_of(settings, f"{_stem(event, fact)}-{number}{_END}").exists():
        return None
    return f"{_stem(event, fact)}-{number + 1}"


def find_open(settings: Settings, event: str, fact: str) -> Notice | None:
    """The notice of a fact that was told and has not ended."""
    number = _find_number(settings, event, fact)
    one = read(settings, f"{_stem(event, fact)}-{number}") if number else None
    return one if one and not path_of(settings, end_id(one)).exists() else None


def list_open(settings: Settings, event: str) -> list[Notice]:
    """The notices of an event that were told and have not ended, oldest first."""
    ids = [path.stem for path in folder(settings).glob(f"{_slug(event)}-*.json")]
    ended = {one.removesuffix(_END) for one in ids if one.endswith(_END)}
    notices = [read(settings, one) for one in ids if not one.endswith(_END) and one not in ended]
    return sorted((one for one in notices if one), key=lambda one: (one.at, one.id))


def end_id(notice: Notice) -> str:
    """The id of the notice that tells the end of another."""
    return f"{notice.id}{_END}"


def add(settings: Settings, notice: Notice) -> bool:
    """Keeps a notice, unless it is kept already.

    Returns:
      Whether it was not.

    Raises:
      OSError: it cannot be written.
    """
    path = path_of(settings, notice.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with stage(path) as aside:
        replace_file(aside, to_text(notice))
        try:
            # Unlike a rename it fails where another process was faster; and nobody ever reads half a file.
            os.link(aside, path)
        except FileExistsError:
            return False
    return True


def to_text(notice: Notice) -> str:
    """A notice as its file has it."""
    return json.dumps(asdict(notice))


def update(settings: Settings, notice: Notice) -> None:
    """Keeps what became of a notice.

    Raises:
      OSError: it cannot be written.
    """
    replace_file(path_of(settings, notice.id), to_text(notice))


def read(settings: Settings, name: str) -> Notice | None:
    """A notice by its id; None where there is none, or its file is none."""
    path = path_of(settings, name)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return Notice(**{**known, "accepted": tuple(known["accepted"])})
    except FileNotFoundError:
        return None
    except (KeyError, OSError, TypeError, ValueError) as error:
        log.error("%s cannot be read (%s), and is not sent; it says what was to be told.", path, error)
        return None


def read_all(settings: Settings, without: Collection[str] = ()) -> list[Notice]:
    """The notices, oldest first, without some that are known already by their ids."""
    ids = {path.stem for path in folder(settings).glob("*.json")} - set(without)
    notices = [read(settings, one) for one in ids]
    return sorted((one for one in notices if one), key=lambda one: (one.at, one.id))


def forget(settings: Settings) -> None:
    """Removes what was told so long ago that nobody tells it again."""
    for one in read_all(settings):
        if one.is_settled and one.age > KEPT:
            path_of(settings, one.id).unlink(missing_ok=True)


def _find_number(settings: Settings, event: str, fact: str) -> int:
    """How often the fact has come about."""
    stem = _stem(event, fact)
    matches = (
        re.fullmatch(rf"{re.escape(stem)}-(\d+)\.json", path.name) for path in folder(settings).glob(f"{stem}-*")
    )
    return max((int(match[1]) for match in matches if match), default=0)


def _stem(event: str, fact: str) -> str:
    return f"{_slug(event)}-{sha256(fact.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _slug(event: str) -> str:
    return event.replace(" ", "-")


def path_of(settings: Settings, name: str) -> Path:
    """The file of a notice, by its id."""
    return folder(settings) / f"{name}.json"
