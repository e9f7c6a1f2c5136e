"""Notes that people write on nights and versions: what one may hold, and how lineage keeps it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from headlines.display import STEERING
from headlines.errors import HeadlinesError
from headlines.names import ABOUT_NIGHT, ABOUT_VERSION, AT, BY, TEXT, WITHDRAWS

MOST_CHARACTERS = 1000
# MLMD on Postgres takes no string over about 2,700 bytes (google/ml-metadata#194).
_MOST_BYTES = 2000
_MOST_NAME_CHARACTERS = 100


class NoteError(HeadlinesError):
    """The note is not written; the message says why and what to do."""


@dataclass(frozen=True)
class Note:
    """What a person wrote on a night or a version. It is never deleted; another note may withdraw it.

    Attributes:
      id: of its artifact in MLMD; a later note has a greater one.
      night: `YYYY-MM-DD`, which it is about; of a version its night.
      version: the pushed version that it is about; None for one on the night as a whole.
      text: in the person's words; of one that withdraws another, why.
      by: the person.
      at: the moment, UTC.
      withdraws: id of the note that it withdraws; None for one that withdraws none.
      withdrawal: the note that withdrew it; None for one that stands.
    """

    id: int
    night: str
    version: int | None
    text: str
    by: str
    at: datetime
    withdraws: int | None = None
    withdrawal: Self | None = None

    def to_properties(self) -> dict[str, int | str]:
        """All but the id, as MLMD keeps it."""
        return {
            ABOUT_NIGHT: self.night,
            TEXT: self.text,
            BY: self.by,
            AT: self.at.isoformat(timespec="seconds"),
            **({} if self.version is None else {ABOUT_VERSION: self.version}),
            **({} if self.withdraws is None else {WITHDRAWS: self.withdraws}),
        }

    @classmethod
    def from_properties(cls, identity: int, properties: Mapping[str, int | str]) -> Self:
        """The note of an artifact in MLMD, whose properties may hold numbers as such or as text."""
        version, withdraws = (properties.get(name) for name in (ABOUT_VERSION, WITHDRAWS))
        return cls(
            identity,
            str(properties[ABOUT_NIGHT]),
            None if version is None else int(version),
            str(properties[TEXT]),
            str(properties[BY]),
            datetime.fromisoformat(str(properties[AT])),
            None if withdraws is None else int(withdraws),
        )


def pair(records: Iterable[Note]) -> tuple[Note, ...]:
    """The notes, newest first, each with the one that withdrew it; of several withdrawals the first counts."""
    withdrawals: dict[int, Note] = {}
    notes = []
    for record in sorted(records, key=lambda record: record.id):
        if record.withdraws is None:
            notes.append(record)
        else:
            withdrawals.setdefault(record.withdraws, record)
    return tuple(replace(note, withdrawal=withdrawals.get(note.id)) for note in reversed(notes))


def check_text(text: str) -> str:
    """The text of a note as it is kept: lines end with a line feed, and there is no white space around it.

    Raises:
      NoteError: it is empty, too long, or holds what would change how it is shown.
    """
    kept = text.replace("\r\n", "\n").strip()
    if not kept:
        raise NoteError("a note needs a text")
    if len(kept) > MOST_CHARACTERS or len(kept.encode("utf-8", "replace")) > _MOST_BYTES:
        raise NoteError(
            f"the note has {len(kept)} characters ({len(kept.encode('utf-8', 'replace'))} bytes); it may have "
            f"{MOST_CHARACTERS} ({_MOST_BYTES} bytes): shorten it, or write two"
        )
    _refuse_controls(kept)
    return kept


def check_name(name: str) -> str:
    """Who writes, as it is kept.

    Raises:
      NoteError: it is empty, too long, or holds what would change how it is shown.
    """
    kept = name.strip()
    if not kept or len(kept) > _MOST_NAME_CHARACTERS:
        raise NoteError(f"a note says who wrote it, in at most {_MOST_NAME_CHARACTERS} characters; this is {kept!r}")
    _refuse_controls(kept, also="\n\t")
    return kept


def _refuse_controls(text: str, also: str = "") -> None:
    for place, character in enumerate(text, 1):
        if STEERING.match(character) or character in also:
            raise NoteError(
                f"character {place} is U+{ord(character):04X}, which is not shown but changes how a text is shown; "
                "leave it out"
            )
