"""Titles that are certainly broken: mojibake, letters that were lost, and what programs write for nothing.

What is only likely is for the figures of a night to show: see `figures`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

# No mojibake of Portuguese is written with these alone, and they spare all but one title in 25 a long look.
_USUAL = re.compile("[ -~àáâãçéêíóôõúü“”‘’–…]*")
# Spacing characters may come from a quoted line break. U+0085 is one too, and the ellipsis of Windows read as Latin-1.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_REPLACEMENT = "\ufffd"
# What pandas reads as nothing (its STR_NA_VALUES) and writes for it; the errors of spreadsheets, also as they read in
# Portuguese; what databases and programs write. All in small letters.
_NOTHING = frozenset(
    (
        *("nan", "-nan", "#na", "#n/a", "#n/a n/a", "n/a", "na", "<na>", "null", "none", "nat"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
        *("#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#spill!", "#calc!", "#error!", "#getting_data"),
        *("#nulo!", "#valor!", "#nome?", "#núm!", "#n/d", "#despejar!", "#erro!"),
        *("\\n", "(null)", "nil", "undefined", "[object object]", "n/d"),
    )
)
# `?` between two letters is in none of 4,159 real titles; with 95 % confidence in fewer than 1 of 1,000.
_LOST_LETTER = re.compile(r"\w\?+\w")
_USUAL_SHARE = 0.001
_CHANCE = 1e-4
# Where `?` stands for letters, it does so also at the ends of words; at the end of a title nobody can tell.
_NOT_A_QUESTION = re.compile(r"\?\w|(?<!\S)\?|\?[,;:.]|\? +[a-z]")


def find_nothing(title: str) -> str:
    """Why a title, on one line and not empty, is none; empty where it is one."""
    if title.casefold() in _NOTHING:
        return f"{title!r} is what programs write for nothing"
    if not any(character.isalnum() for character in title):
        return f"{title[:40]!r} has no letter and no digit"
    return ""


def find_damage(title: str) -> str:
    """How a title, as delivered, is certainly broken, and what it should be where that can be told; else empty."""
    if _USUAL.fullmatch(title):
        return ""
    from ftfy import fix_encoding

    # Of what ftfy mends only this is damage; curly quotes and ligatures are none.
    mended = " ".join(fix_encoding(title).split())
    if mended != " ".join(title.split()) and _REPLACEMENT not in mended:
        return f"its UTF-8 was read as another encoding; it should be {mended!r}"
    if _REPLACEMENT in title:
        return f"character {title.index(_REPLACEMENT) + 1} is U+FFFD, which stands for one that was lost"
    if control := _CONTROL.search(title):
        return f"character {control.start() + 1} is the control character U+{ord(control[0]):04X}"
    return ""


def find_lost_letters(titles: Iterable[str]) -> str:
    """Whether the titles of a drop have `?` for letters, in numbers that chance does not give; empty if not.

    Of such a drop those titles are broken that `has_lost_letters`.
    """
    lost = LostLetters()
    for title in titles:
        lost.look_at(title)
    return lost.tell()


@dataclass(slots=True)
class LostLetters:
    """Of so many titles, how many have `?` between two letters."""

    titles: int = 0
    broken: int = 0

    def look_at(self, title: str) -> None:
        """Counts one more title."""
        self.titles += 1
        self.broken += bool(_LOST_LETTER.search(title))

    def add(self, other: Self) -> None:
        """Counts those of other titles of the drop."""
        self.titles += other.titles
        self.broken += other.broken

    def tell(self) -> str:
        """What `find_lost_letters` says."""
        if _bound_chance(self.broken, self.titles, _USUAL_SHARE) >= _CHANCE:
            return ""
        return f"`?` stands for letters in titles of this drop, between two letters in {self.broken} of {self.titles}"


def has_lost_letters(title: str) -> bool:
    """Whether a title has `?` where no question ends."""
    return _NOT_A_QUESTION.search(title) is not None


def _bound_chance(count: int, total: int, share: float) -> float:
    """How likely chance gives at least `count` of `total` at most, when each is one with probability `share`.

    The bound of Chernoff and Hoeffding, exp(-n D(k/n || p)).
    """
    if not total or count / total <= share:
        return 1.0
    seen = count / total
    divergence = seen * math.log(seen / share)
    if seen < 1:
        divergence += (1 - seen) * math.log((1 - seen) / (1 - share))
    return math.exp(-total * divergence)
