"""How a title is read: its identity in drops, splits and live traffic, and what the model sees of it.

Standard library only; `modules.preprocessing.normalise_text` reads titles in the same way in TensorFlow.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from modules.errors import ModellingError

# Bounds the cost of one request: what follows in a longer title is not read.
MAX_CHARACTERS = 1_000
# Code points from here on, rare ideographs and private use, are read as spaces; emoji are below.
CODE_POINTS = 0x20000
# What joins the digits of one number, once all digits are 0.
SEPARATORS = ".,:"
NUMBER = f"0+(?:[{SEPARATORS}]0+)*"
_NUMBER = re.compile(NUMBER)
_SPACE = ord(" ")
# Unicode calls them default ignorable though they are marks: the grapheme joiner and the variation selectors.
_IGNORABLE_MARKS = frozenset((0x034F, *range(0xFE00, 0xFE10)))
_NONCHARACTERS = frozenset((*range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF, 0x1FFFE, 0x1FFFF))

# Negations (não, nem, nunca, sem) are missing on purpose: they carry sentiment.
STOP_WORDS = """
a à ao aos aquela aquelas aquele aqueles aquilo as às até com como da das de dela delas dele deles depois do dos e é ela
elas ele eles em entre era eram essa essas esse esses esta está estão estar estas estava este estes eu foi foram há isso
isto já lhe lhes mais mas me mesmo meu meus minha minhas na nas no nos nós nossa nossas nosso nossos num numa o os ou
para pela pelas pelo pelos por qual quando que quem são se seja ser será seu seus só sua suas também te tem têm ter teu
teus tinha tu tua tuas um uma você vocês
"""


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """How a title is normalised before words and n-grams are read from it.

    Attributes:
      lowercase: lower-case the text.
      strip_accents: `eleição` becomes `eleicao`; a letter and its separate accent become the letter.
      strip_special_characters: all but letters, digits and spaces becomes a space.
      replace_digits: a number, its separators included, becomes `0`.
      remove_stop_words: drop Portuguese function words, negations excepted.
    """

    lowercase: bool = True
    strip_accents: bool = True
    strip_special_characters: bool = True
    replace_digits: bool = True
    remove_stop_words: bool = False

    @classmethod
    def from_config(cls, custom_config: Mapping[str, Any] | None) -> Self:
        """The settings in the `text` entry of Transform's custom_config; what it leaves out keeps its default.

        Raises:
          ModellingError: a setting is unknown or not a bool; the message names it.
        """
        text = dict((custom_config or {}).get("text") or {})
        names = [field.name for field in dataclasses.fields(cls)]
        for name, value in text.items():
            if name not in names:
                raise ModellingError(f"unknown text setting {name!r}; known are {', '.join(names)}")
            if not isinstance(value, bool):
                raise ModellingError(f"text setting {name} is {value!r}; it must be true or false")
        return cls(**text)

    @property
    def plain(self) -> Self:
        """The same but that stop words stay and all is lower-case: how a word is compared with a stop word."""
        return dataclasses.replace(self, lowercase=True, remove_stop_words=False)


def normalise(title: str, settings: TextSettings) -> str:
    """A title as the model sees it: two titles that it cannot tell apart are one headline.

    Args:
      title: any text; control characters, and halves of surrogate pairs, are read as spaces.
      settings: which steps to take.

    Returns:
      Words separated by single spaces, at most MAX_CHARACTERS long; empty where nothing of the title is read.
    """
    text = title[:MAX_CHARACTERS].translate(_find_readings(settings))
    if settings.replace_digits:
        text = _NUMBER.sub("0", text)
    if settings.strip_special_characters:
        for separator in SEPARATORS:
            text = text.replace(separator, " ")
    words = text.split()
    if settings.remove_stop_words:
        stop_words = _read_stop_words(settings.plain)
        plain = normalise(text, settings.plain).split()
        words = [word for word, as_compared in zip(words, plain, strict=True) if as_compared not in stop_words]
    return " ".join(words)


@cache
def list_readings(settings: TextSettings) -> tuple[int, ...]:
    """The code point that each code point up to CODE_POINTS is read as; 0 where it is passed over."""
    readings = _find_readings(settings)
    return tuple(readings[code_point] or 0 for code_point in range(CODE_POINTS + 1))


class _Readings(dict[int, int | None]):
    """What each character is read as, found out when it is first seen; for `str.translate`."""

    def __init__(self, settings: TextSettings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, code_point: int) -> int | None:
        self[code_point] = reading = _read(code_point, self._settings)
        return reading


@cache
def _find_readings(settings: TextSettings) -> _Readings:
    return _Readings(settings)


@cache
def _read_stop_words(settings: TextSettings) -> frozenset[str]:
    return frozenset(normalise(word, settings) for word in STOP_WORDS.split())


def _read(code_point: int, settings: TextSettings) -> int | None:
    """The code point that a character is read as; None where it is passed over, as if it were not there.

    The separators of numbers stay until the numbers are found.
    """
    character = chr(code_point)
    if code_point >= CODE_POINTS:
        return _SPACE
    # Zero-width spaces, soft hyphens, byte order marks: nobody sees them, and they may stand inside a word.
    if unicodedata.category(character) == "Cf" or code_point in _IGNORABLE_MARKS:
        return None
    if settings.strip_accents:
        if unicodedata.combining(character):
            return None
        base = [part for part in unicodedata.normalize("NFD", character) if not unicodedata.combining(part)]
        if len(base) == 1:
            character = base[0]
    if settings.lowercase:
        character = character.lower()[0]
    category = unicodedata.category(character)
    # TensorFlow writes no halves of surrogate pairs and no noncharacters.
    if character.isspace() or category in ("Cc", "Cs") or code_point in _NONCHARACTERS:
        return _SPACE
    if settings.replace_digits and category == "Nd":
        return ord("0")
    if settings.strip_special_characters and category[0] not in "LMN" and character not in SEPARATORS:
        return _SPACE
    return ord(character)
