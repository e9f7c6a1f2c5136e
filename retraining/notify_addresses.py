"""What NOTIFY says: addresses at which somebody is told, each with how grave what it is told must be at the least."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Literal, get_args

Least = Literal["info", "warning", "failure", "digest"]
"""The least severity that an address is told of; with `digest` it is sent the digest, and nothing else."""

_GRAVITY = {"info": 0, "warning": 1, "failure": 2}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://\S")
# No scheme has a bar in it, and what follows one may.
_LEAST = re.compile(r"[^:/|]*\|")
_EVERYTHING: Least = "info"


@dataclass(frozen=True)
class Address:
    """One address of NOTIFY.

    Attributes:
      position: from 1, as NOTIFY has it.
      scheme: such as `slack`; of what follows nothing may be shown.
      least: of which notices it is told.
      url: as Apprise takes it, or of `http` or `https` to be posted to.
    """

    position: int
    scheme: str
    least: Least
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"address {self.position} of NOTIFY ({self.scheme}://)"

    @property
    def mark(self) -> str:
        """By which it is known, without what is secret in it, that it was told; another address has another."""
        return hashlib.sha256(f"{self.least}|{self.url}".encode()).hexdigest()[:16]

    @property
    def is_plain(self) -> bool:
        """Whether it is sent JSON as this service has it, and not what a service of Apprise's makes of it."""
        return self.scheme in ("http", "https")

    def takes(self, severity: str, is_digest: bool) -> bool:
        """Whether it is told of something as grave."""
        if is_digest or self.least == "digest":
            return is_digest and self.least in ("digest", _EVERYTHING)
        return _GRAVITY[severity] >= _GRAVITY[self.least]

    def hide(self, text: str) -> str:
        """A text of others, in which nothing of the address is left that could be secret."""
        parts = {part for part in re.split(r"[/:@?&=#,%+]+", self.url.partition("://")[2]) if len(part) > 3}
        for part in (self.url, *sorted(parts, key=len, reverse=True)):
            text = text.replace(part, "***")
        return text


def parse_addresses(text: str) -> tuple[Address, ...]:
    """The addresses of NOTIFY, in its order.

    Args:
      text: addresses separated by spaces or lines, each perhaps with `warning|`, `failure|` or `digest|` before it.

    Raises:
      ValueError: one is none; the message says which by its position, and nothing of its own.
    """
    addresses: list[Address] = []
    for position, word in enumerate(text.split(), start=1):
        least, bar, url = word.partition("|") if _LEAST.match(word) else ("", "", word)
        if bar and least not in get_args(Least):
            raise ValueError(
                f"address {position} begins with a word that is no severity; write one of "
                f"{', '.join(f'{one}|' for one in get_args(Least))} before it, or nothing"
            )
        if not (match := _SCHEME.match(url)):
            raise ValueError(
                f"address {position} is none; write each as slack://..., mailto://..., https://... or another of "
                "https://appriseit.com/services/, separated by spaces, with %20 for a space within one"
            )
        addresses.append(Address(position, match[1].lower(), least or _EVERYTHING, url))  # type: ignore[arg-type]
    return tuple(addresses)
