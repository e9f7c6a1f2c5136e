"""Who is champion: one rule, wherever the pushes are known from (artifacts, MLMD's tables, or folders of versions)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

from headlines.names import AT, BY, FROM_VERSION, NIGHT, REASON, TO_VERSION, WITHDRAWN_PREFIX, is_before


@dataclass(frozen=True)
class Rollback:
    """One decision of a person to serve an earlier version again.

    Attributes:
      id: of its artifact in MLMD; a later rollback has a greater one.
      from_version: what served before; 0 if nothing did.
      to_version: what serves from then on.
      by: the person.
      reason: why, in the person's words.
      at: the moment, UTC.
      night: `YYYY-MM-DD`, the first night whose champion follows it.
      withdrawn: every version above `to_version` that there had been; none of them is served or a champion any more,
        until a later rollback returns to it.
    """

    id: int
    from_version: int
    to_version: int
    by: str
    reason: str
    at: datetime
    night: str
    withdrawn: tuple[int, ...]

    def counts_for(self, night: date | None) -> bool:
        """Whether a night's champion follows it; what serves now, which no night bounds, follows every one."""
        return night is None or date.fromisoformat(self.night) <= night

    def to_properties(self) -> dict[str, int | str]:
        """All but the id, as MLMD keeps it."""
        return {
            FROM_VERSION: self.from_version,
            TO_VERSION: self.to_version,
            BY: self.by,
            REASON: self.reason,
            AT: self.at.isoformat(timespec="seconds"),
            NIGHT: self.night,
            **{f"{WITHDRAWN_PREFIX}{version}": 1 for version in self.withdrawn},
        }

    @classmethod
    def from_properties(cls, identity: int, properties: Mapping[str, int | str]) -> Self:
        """The rollback of an artifact in MLMD, whose properties may hold numbers as such or as text."""
        prefix = WITHDRAWN_PREFIX
        return cls(
            identity,
            int(properties[FROM_VERSION]),
            int(properties[TO_VERSION]),
            str(properties[BY]),
            str(properties[REASON]),
            datetime.fromisoformat(str(properties[AT])),
            str(properties[NIGHT]),
            tuple(sorted(int(name.removeprefix(prefix)) for name in properties if name.startswith(prefix))),
        )


def find_withdrawn(rollbacks: Iterable[Rollback], night: date | None = None) -> dict[int, Rollback]:
    """The versions that are not to be served, each with the rollback that says so.

    Args:
      rollbacks: in any order; a version that a later one went back to is not withdrawn any more.
      night: leaves out the rollbacks that count for later nights only. Default: all count.
    """
    withdrawn: dict[int, Rollback] = {}
    for rollback in sorted(rollbacks, key=lambda rollback: rollback.id):
        if rollback.counts_for(night):
            withdrawn.update(dict.fromkeys(rollback.withdrawn, rollback))
            withdrawn.pop(rollback.to_version, None)
    return withdrawn


def choose_champion(versions: Iterable[int], rollbacks: Iterable[Rollback], night: date | None = None) -> int | None:
    """The version that a night's candidate is compared with, or that serves now.

    That is the greatest one of an earlier night that no rollback has withdrawn. A night's own push is left out, so that
    a rerun is compared with what its first run was compared with, and not with itself; so is every later night's,
    however early it was made.

    Args:
      versions: all that were pushed, in any order.
      rollbacks: all that there were, in any order.
      night: whose champion. Default: what serves now, which no night bounds.

    Returns:
      None where there is none.
    """
    withdrawn = find_withdrawn(rollbacks, night)
    earlier = [version for version in versions if night is None or is_before(version, night)]
    return max((version for version in earlier if version not in withdrawn), default=None)
