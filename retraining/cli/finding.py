"""What `doctor` says of one thing."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
      subject: what.
      level: how it is.
      text: what was found and, unless it is ok, what to do.
    """

    subject: str
    level: Level
    text: str
