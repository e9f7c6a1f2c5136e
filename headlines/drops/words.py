"""How labels go with words in the window of a night."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from headlines.drops.quarantine import Headline
from modules.features import LABELS

_WORD = re.compile(r"\w+")
# A word tells less than independent evidence would: words of one title go together.
_WORD_TRUST = 0.3

Scores = dict[str, float]


def list_words(text: str) -> list[str]:
    """The words of a title's `text`, in their order."""
    return _WORD.findall(text)


@dataclass(slots=True)
class WordCounts:
    """How many titles and which words have each label; those of a window are the sum of those of its parts."""

    titles: Counter[str] = field(default_factory=Counter)
    words_of: dict[str, Counter[str]] = field(default_factory=lambda: {label: Counter() for label in LABELS})

    def count(self, headline: Headline) -> None:
        """Counts one more row."""
        self.titles[headline.label] += 1
        self.words_of[headline.label].update(list_words(headline.text))

    def add(self, other: Self) -> None:
        """Counts the rows that another part has."""
        self.titles.update(other.titles)
        for label, words in other.words_of.items():
            self.words_of[label].update(words)


def count_words(headlines: Iterable[Headline]) -> WordCounts:
    """The words of rows by their labels."""
    counts = WordCounts()
    for headline in headlines:
        counts.count(headline)
    return counts


@dataclass(frozen=True, slots=True)
class Background:
    """What is told of a window as a whole: the shares of its labels, and of its words those that it has once."""

    titles: int
    mix: dict[str, float]
    has_words: bool
    share_once: float

    @property
    def judges_labels(self) -> bool:
        """Whether there is anything to judge labels by."""
        return any(self.mix.values())


class WordModel:
    """How labels go with words in the window: naive Bayes, good enough to tell one label from another in bulk."""

    def __init__(self, counts: WordCounts, expected_class_mix: Mapping[str, float]) -> None:
        """Learns from the labels and words of a window.

        Args:
          counts: of its rows, without those of the night that is judged.
          expected_class_mix: shares of the labels where the window is empty; may itself be empty.
        """
        self._words_of = counts.words_of
        self.words: Counter[str] = Counter()
        for words in counts.words_of.values():
            self.words.update(words)
        total = counts.titles.total()
        mix = (
            {label: counts.titles[label] / total for label in LABELS}
            if total
            else {label: expected_class_mix.get(label, 0.0) for label in LABELS}
        )
        once = sum(count == 1 for count in self.words.values()) / self.words.total() if self.words else 0.0
        self.background = Background(total, mix, bool(self.words), once)
        # No label is impossible, however rare it was.
        self._log_mix = {label: math.log((mix[label] + 0.01) / (1 + 0.01 * len(LABELS))) for label in LABELS}
        self._log_total = {
            label: math.log(words.total() + 0.5 * len(self.words)) if self.words else 0.0
            for label, words in self._words_of.items()
        }

    def score(self, text: str) -> Scores:
        """The log-probability of each label of a title's `text`."""
        words = [word for word in set(list_words(text)) if word in self.words]
        scores = {
            # `fsum`, since a set has its words in another order in another process.
            label: self._log_mix[label]
            + _WORD_TRUST
            * math.fsum(math.log(self._words_of[label][word] + 0.5) - self._log_total[label] for word in words)
            for label in LABELS
        }
        highest = max(scores.values())
        total = highest + math.log(sum(math.exp(score - highest) for score in scores.values()))
        return {label: score - total for label, score in scores.items()}
