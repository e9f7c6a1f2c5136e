"""Rulings on versions of drops: what DropGate or a person decided of one, and what later nights keep to.

A ruling is on contents: a version of the same number with other bytes is another matter. The newest counts, but what a
person has accepted stays accepted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from headlines.drops.drops_folder import DropVersion
from headlines.names import ABOUT_NIGHT, ABOUT_VERSION, AT, BY, DROP_SHA256, RULED, TEXT

DROPS_DIR_PROPERTY = "drops_dir"
"""Property of examples: the folder whose drops they were made of. What one holds says nothing of another's."""

# MLMD on Postgres takes no string over about 2,700 bytes (google/ml-metadata#194), and nobody reads a longer one.
MOST_CHARACTERS = 500

Codes = dict[str, str]
"""Label codes as written in a drop, and the labels they stand for."""


class Ruled(StrEnum):
    """What was decided."""

    REFUSED = "refused"
    PASSED = "passed"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision on a version of a drop.

    Attributes:
      id: of its artifact in MLMD; a later ruling has a greater one.
      night: of the drop, `YYYY-MM-DD`.
      version: of the drop.
      sha256: of its contents.
      ruled: what was decided.
      why: of a refusal what is wrong with the drop, of an acceptance the person's reason; in one line.
      by: the person, or DropGate with its run.
      at: the moment, UTC.
    """

    id: int
    night: str
    version: int
    sha256: str
    ruled: Ruled
    why: str
    by: str
    at: datetime

    def to_properties(self) -> dict[str, int | str]:
        """All but the id, as MLMD keeps it."""
        return {
            ABOUT_NIGHT: self.night,
            ABOUT_VERSION: self.version,
            DROP_SHA256: self.sha256,
            RULED: self.ruled.value,
            TEXT: shorten(self.why),
            BY: self.by,
            AT: self.at.isoformat(timespec="seconds"),
        }

    @classmethod
    def from_properties(cls, identity: int, properties: Mapping[str, int | str]) -> Self:
        """The ruling of an artifact in MLMD, whose properties may hold numbers as such or as text."""
        return cls(
            identity,
            str(properties[ABOUT_NIGHT]),
            int(properties[ABOUT_VERSION]),
            str(properties[DROP_SHA256]),
            Ruled(str(properties[RULED])),
            str(properties[TEXT]),
            str(properties[BY]),
            datetime.fromisoformat(str(properties[AT])),
        )


@dataclass(frozen=True, slots=True)
class Precedents:
    """What was decided of the versions of drops before a run, which the run keeps to.

    Attributes:
      refused: the refusals that stand.
      codes: by night and version, the label codes that a version was first read with; those that are not known are
        left out.
    """

    refused: tuple[Ruling, ...] = ()
    codes: Mapping[tuple[str, int], Codes] = field(default_factory=dict)

    def find_refusal(self, version: DropVersion, sha256: str) -> Ruling | None:
        """The refusal of a version that stands; None for a version of other contents, and for one that was accepted."""
        return find_ruling(self.refused, (version.night.isoformat(), version.number, sha256))

    def choose_codes(self, version: DropVersion, for_new: Codes) -> Codes:
        """The label codes that a version is read with: those delivered with it, else those of its first use.

        Args:
          version: which.
          for_new: those of a version that says none and was never read.
        """
        if version.label_codes is not None:
            return version.label_codes
        return self.codes.get((version.night.isoformat(), version.number), for_new)

    def to_json(self) -> str:
        """The same text for the same precedents."""
        refused = [{**asdict(one), "at": one.at.isoformat()} for one in self.refused]
        codes = [[*key, self.codes[key]] for key in sorted(self.codes)]
        return json.dumps({"refused": refused, "codes": codes}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Takes them from JSON; none from an empty text."""
        if not text:
            return cls()
        kept = json.loads(text)
        refused = (
            Ruling(**{**one, "ruled": Ruled(one["ruled"]), "at": datetime.fromisoformat(one["at"])})
            for one in kept["refused"]
        )
        return cls(tuple(refused), {(night, version): codes for night, version, codes in kept["codes"]})


NO_PRECEDENTS = Precedents()


def find_counting(rulings: Iterable[Ruling], known_by: datetime | None = None) -> list[Ruling]:
    """Of each version that was ruled on, the ruling that counts, in the order in which they were made.

    Args:
      rulings: in any order.
      known_by: rulings made after this moment are not looked at; None for no such moment.
    """
    counting: dict[tuple[str, int, str], Ruling] = {}
    for ruling in sorted(rulings, key=lambda ruling: ruling.id):
        key = (ruling.night, ruling.version, ruling.sha256)
        is_final = key in counting and counting[key].ruled is Ruled.ACCEPTED
        if not is_final and (known_by is None or ruling.at <= known_by):
            counting[key] = ruling
    return sorted(counting.values(), key=lambda ruling: ruling.id)


def find_ruling(rulings: Iterable[Ruling], key: tuple[str, int, str]) -> Ruling | None:
    """The first ruling on a version, by night, number and content hash; None where there is none."""
    return next((one for one in rulings if (one.night, one.version, one.sha256) == key), None)


def find_refused(rulings: Iterable[Ruling], known_by: datetime | None = None) -> tuple[Ruling, ...]:
    """The refusals that stand; see `find_counting`."""
    return tuple(one for one in find_counting(rulings, known_by) if one.ruled is Ruled.REFUSED)


def shorten(text: str) -> str:
    """A text in one line, cut where it is too long to be read at once."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}..."


def tell_codes(codes: Codes) -> str:
    """Label codes as LABEL_CODES is written."""
    return ",".join(f"{code}={label}" for code, label in sorted(codes.items())) or "none"
