"""What is counted of the headlines of a night and its window, in whole numbers that parts of them add up to.

Each part has all rows of the headlines that it has any of, so that the sum is the same however they are divided.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Self

from headlines.drops import language
from headlines.drops.quarantine import Headline
from headlines.drops.words import Scores, WordModel, list_words

UNITS_PER_NAT = 2**40
"""Logarithms are summed in whole units, since the sum of floats depends on their order."""

Score = Callable[[str], Scores]
Change = tuple[str, str]
"""A label, and what it became."""


@dataclass(slots=True)
class Tally:
    """What is counted; of the night, unless something else is said.

    Attributes:
      rows: that are readable.
      classes: different titles by label.
      characters: of those titles, on one line.
      words: of those titles.
      unseen_words: those that the window has never seen.
      read_as: by label and other label, what titles of the one score as the other, in units.
      misread: how many titles read like one label and have another.
      rows_of: of each night of the window, the rows by label.
      repeats_of: of each night of the window, the rows whose title another of its nights has, or an earlier row.
      repeated_titles: titles that the window or a drop left out has too.
      shared_with: of each of those nights, how many.
      seen_in_window: titles by the label that the window has for them last, and their own.
      seen_in_either: the same, by the label in the version that is corrected, else in the window.
      gain: how much better their labels read than those in the version that is corrected, in units.
      version_rows: of the version that is corrected.
      version_titles: its titles, without those that other nights of the window have.
      gone_titles: those of them that the night has not.
      new_titles: those of the night that are none of them.
      sample: of the titles, to tell their language.
      gone_sample: of those that are gone.
    """

    rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    words: int = 0
    unseen_words: int = 0
    read_as: Counter[Change] = field(default_factory=Counter)
    misread: Counter[Change] = field(default_factory=Counter)
    rows_of: dict[date, Counter[str]] = field(default_factory=dict)
    repeats_of: Counter[date] = field(default_factory=Counter)
    repeated_titles: int = 0
    shared_with: Counter[date] = field(default_factory=Counter)
    seen_in_window: Counter[Change] = field(default_factory=Counter)
    seen_in_either: Counter[Change] = field(default_factory=Counter)
    gain: int = 0
    version_rows: int = 0
    version_titles: int = 0
    gone_titles: int = 0
    new_titles: int = 0
    sample: language.Sample = field(default_factory=list)
    gone_sample: language.Sample = field(default_factory=list)

    def add(self, other: Self) -> None:
        """Counts what another part has."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            # Not `+`, which loses what is negative.
            getattr(self, name).update(getattr(other, name))
        for night, labels in other.rows_of.items():
            self.rows_of.setdefault(night, Counter()).update(labels)
        self.sample = language.join(self.sample, other.sample)
        self.gone_sample = language.join(self.gone_sample, other.gone_sample)


_NUMBERS = (
    *("rows", "characters", "words", "unseen_words", "repeated_titles", "gain"),
    *("version_rows", "version_titles", "gone_titles", "new_titles"),
)
_COUNTERS = (*("classes", "read_as", "misread", "repeats_of", "shared_with", "seen_in_window", "seen_in_either"),)


def tally(
    night: Sequence[Headline],
    window: Sequence[Headline],
    earlier_version: Sequence[Headline],
    left_out: Iterable[Headline],
    model: WordModel,
) -> Tally:
    """Counts a part, or all, of the readable rows that a night is judged by.

    Args:
      night: its own, as delivered.
      window: those of earlier nights, oldest night first, and of each night last what was delivered first.
      earlier_version: those of the version of the night's drop that this one corrects.
      left_out: those of refused drops.
      model: of the whole window.
    """
    labels = {headline.key: headline.label for headline in night}
    texts = {headline.key: headline.text for headline in night}
    found = Tally(rows=len(night), version_rows=len(earlier_version))
    found.classes = Counter(labels.values())
    found.characters = sum(map(len, texts.values()))
    for text in texts.values():
        for word in list_words(text):
            found.words += 1
            found.unseen_words += word not in model.words

    def score(key: str) -> Scores:
        # Of as many titles as a night may have, their scores are asked for and not kept.
        return model.score(texts[key])

    if model.background.judges_labels:
        _read_labels(found, labels, score)
    _find_repeats(found, night, window, left_out)
    _find_seen(found, labels, score, window, earlier_version)
    _find_gone(found, labels, window, earlier_version)
    found.sample = language.sample(texts.values())
    return found


def _read_labels(found: Tally, labels: Mapping[str, str], score: Score) -> None:
    for key, label in labels.items():
        scores = score(key)
        for other, logarithm in scores.items():
            found.read_as[label, other] += to_units(logarithm)
        best = max(scores, key=scores.__getitem__)
        if best != label:
            found.misread[best, label] += 1


def _find_repeats(
    found: Tally, night: Sequence[Headline], window: Sequence[Headline], left_out: Iterable[Headline]
) -> None:
    night_of: dict[str, date] = {}
    of_several = {
        headline.key for headline in window if night_of.setdefault(headline.key, headline.night) != headline.night
    }
    for other, group in itertools.groupby(window, key=lambda headline: headline.night):
        rows = list(group)
        own = {headline.key for headline in rows}
        found.rows_of[other] = Counter(headline.label for headline in rows)
        found.repeats_of[other] = len(rows) - len(own) + sum(key in of_several for key in own)
    own = {headline.key for headline in night}
    of_others = {(other.night, other.key) for other in itertools.chain(window, left_out) if other.key in own}
    found.repeated_titles = len({key for _, key in of_others})
    found.shared_with = Counter(other for other, _ in of_others)


def _find_seen(
    found: Tally,
    labels: Mapping[str, str],
    score: Score,
    window: Iterable[Headline],
    earlier_version: Iterable[Headline],
) -> None:
    of_window = {headline.key: headline.label for headline in window if headline.key in labels}
    of_version = {headline.key: headline.label for headline in earlier_version if headline.key in labels}
    for key, old in of_version.items():
        scores = score(key)
        found.gain += to_units(scores[labels[key]] - scores[old])
    found.seen_in_window = Counter((old, labels[key]) for key, old in of_window.items())
    found.seen_in_either = Counter((old, labels[key]) for key, old in (of_window | of_version).items())


def _find_gone(
    found: Tally, labels: Mapping[str, str], window: Iterable[Headline], earlier_version: Iterable[Headline]
) -> None:
    earlier = {headline.key for headline in earlier_version}
    if earlier:
        earlier -= {headline.key for headline in window}
    gone = earlier - labels.keys()
    found.version_titles, found.gone_titles = len(earlier), len(gone)
    found.new_titles = len(labels.keys() - earlier)
    found.gone_sample = language.sample(gone)


def to_units(nats: float) -> int:
    """A logarithm in whole units."""
    return round(nats * UNITS_PER_NAT)
