"""What a night's labels, words and language look like beside everything that came before it.

Which of the figures stop a run is for `alarms` to say.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cache
from random import Random
from typing import Any, Self

from headlines.drops.counts import (
    count_classes,
    expect_classes,
    find_misfit_nights,
    find_unknown_labels,
    judge_classes,
    judge_repeats,
    judge_row_count,
    locate_repeats,
)
from headlines.drops.quarantine import Headline, SetAside
from modules.features import LABELS

_WORD = re.compile(r"\w+")
# A word tells less than independent evidence would: words of one title go together.
_WORD_TRUST = 0.3
# A permutation of the labels is named when it explains this share of the titles seen before.
_EXPLAINED_SHARE = 0.8
_LANGUAGE_ROUNDS = 50
# Rows and labels are held to four weeks, each weekday among them: in a longer window a lasting change would have to be
# accepted for as many nights as it takes to outweigh all those before it.
_NIGHTS_COMPARED = 28
# Of titles that a correction takes out, so many in another language are why.
_FOREIGN_SHARE = 0.5
# What retraining/recording/store.py puts in the place of a backslash. JSON in ASCII has it only so.
_AS_WRITTEN = {0x29F5: "\\"}
# So many titles tell a share of 10 % to within half a point; each takes 2 kB and 80 µs.
_LANGUAGE_TITLES = 20_000

Scores = dict[str, float]
# Of as many titles as a night may have, their scores are asked for and not kept.
Score = Callable[[str], Scores]
Property = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A night beside the nights before it; what cannot be told is None.

    Attributes:
      titles: different readable titles of the night.
      classes: how many of them each label has.
      class_mix_shift: half the sum of the differences between the shares of the labels tonight and in the window.
      swap: the labels as they would have to be exchanged to read best, such as `negative=neutral,neutral=negative`.
      swap_evidence: how much better they would read then, in nats a title; 0 when they read best as they are.
      misread: how often a title reads like one label and has another, such as `negative->neutral`.
      seen_titles: titles that were in the window before, or in the earlier version of this drop.
      relabelled: how many of those have another label now, such as `negative->neutral`. A correction after which an
        earlier version's labels read better is none.
      relabelled_swap: like `swap`, the exchange of labels that explains `relabelled`.
      not_portuguese_share: of the titles, judged together.
      unseen_word_share: of the words, those that the window has never seen.
      unseen_word_excess: how far that is above the share that the window itself leads to expect (Good and Turing: the
        share of its words that it saw once).
      mean_title_characters: of the titles, on one line.
      readable_rows: rows of the night that have a title and a label.
      expected_rows: how many the nights of the window have in the mean; None without any.
      row_count_surprisal: how surprising the night's are beside those; surprisals are told in `chance`.
      repeated_rows: rows whose title another night of the window has, or an earlier row of the drop.
      repeated_within: how many of them repeat one of the drop itself.
      repeated_nights: the nights of the window that have the most of the drop's titles, with how many.
      repeated_surprisal: how surprising so many are beside those of the window's nights.
      earlier_titles: titles of the version that this one corrects, without those that other nights of the window have.
      lost_titles: how many of those are gone without another title in their place.
      misfit_class: the label whose count is the most surprising beside those of the window's nights.
      misfit_class_expected: how many titles of it those lead to expect.
      class_surprisal: how surprising its count is.
      misfit_class_of_mix: the label whose count is the most surprising beside the expected class mix, which no window
        can spoil.
      misfit_class_of_mix_expected: how many titles of it that leads to expect.
      expected_class_surprisal: how surprising its count is.
      misfit_nights: nights of the window that are farther from the expected class mix than by chance, with how many
        rows of each label they have; the newest few.
      unknown_labels: what rows have for a label that is none, and how many rows have it; the most frequent few.
      unknown_label_surprisal: how surprising it is that slips of the pen give the most frequent one so often.
    """

    titles: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    class_mix_shift: float | None = None
    swap: str = ""
    swap_evidence: float | None = None
    misread: dict[str, int] = field(default_factory=dict)
    seen_titles: int = 0
    relabelled: dict[str, int] = field(default_factory=dict)
    relabelled_swap: str = ""
    not_portuguese_share: float | None = None
    unseen_word_share: float | None = None
    unseen_word_excess: float | None = None
    mean_title_characters: float | None = None
    readable_rows: int = 0
    expected_rows: float | None = None
    row_count_surprisal: float | None = None
    repeated_rows: int = 0
    repeated_within: int = 0
    repeated_nights: dict[str, int] = field(default_factory=dict)
    repeated_surprisal: float | None = None
    earlier_titles: int = 0
    lost_titles: int = 0
    misfit_class: str = ""
    misfit_class_expected: float | None = None
    class_surprisal: float | None = None
    misfit_class_of_mix: str = ""
    misfit_class_of_mix_expected: float | None = None
    expected_class_surprisal: float | None = None
    misfit_nights: dict[str, dict[str, int]] = field(default_factory=dict)
    unknown_labels: dict[str, int] = field(default_factory=dict)
    unknown_label_surprisal: float | None = None

    @property
    def lost_share(self) -> float:
        """Of the titles of the version that is corrected, those that are gone."""
        return self.lost_titles / self.earlier_titles if self.earlier_titles else 0.0

    @property
    def relabelled_share(self) -> float:
        """Of the titles seen before, those whose label changed."""
        return sum(self.relabelled.values()) / self.seen_titles if self.seen_titles else 0.0

    def to_properties(self) -> dict[str, Property]:
        """The figures as lineage keeps them; one that cannot be told is left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        texts = {name: json.dumps(value) for name, value in values.items() if isinstance(value, dict)}
        return values | texts | {"relabelled_share": self.relabelled_share, "lost_share": self.lost_share}

    @classmethod
    def from_properties(cls, properties: dict[str, Property]) -> Self:
        """The figures that were kept, among other properties."""
        dicts = {"classes", "misread", "relabelled", "repeated_nights", "misfit_nights", "unknown_labels"}
        values: dict[str, Any] = {
            name: json.loads(str(properties[name]).translate(_AS_WRITTEN)) if name in dicts else properties[name]
            for name in (field.name for field in fields(cls))
            if name in properties
        }
        return cls(**values)


class WordModel:
    """How labels go with words in the window: naive Bayes, good enough to tell one label from another in bulk."""

    def __init__(self, headlines: Iterable[Headline], expected_class_mix: dict[str, float]) -> None:
        """Counts the labels and words of a window.

        Args:
          headlines: without those of the night that is judged.
          expected_class_mix: shares of the labels where the window is empty; may itself be empty.
        """
        self.titles = Counter[str]()
        self._words_of = {label: Counter[str]() for label in LABELS}
        for headline in headlines:
            self.titles[headline.label] += 1
            self._words_of[headline.label].update(_WORD.findall(headline.text))
        self.words: Counter[str] = sum(self._words_of.values(), Counter())
        total = self.titles.total()
        self.mix = (
            {label: self.titles[label] / total for label in LABELS}
            if total
            else {label: expected_class_mix.get(label, 0.0) for label in LABELS}
        )
        # No label is impossible, however rare it was.
        self._log_mix = {label: math.log((self.mix[label] + 0.01) / (1 + 0.01 * len(LABELS))) for label in LABELS}
        self._log_total = {
            label: math.log(words.total() + 0.5 * len(self.words)) if self.words else 0.0
            for label, words in self._words_of.items()
        }

    def judges_labels(self) -> bool:
        """Whether there is anything to judge labels by."""
        return any(self.mix.values())

    def score(self, text: str) -> Scores:
        """The log-probability of each label of a title's `text`."""
        words = [word for word in set(_WORD.findall(text)) if word in self.words]
        scores = {
            label: self._log_mix[label]
            + _WORD_TRUST * sum(math.log(self._words_of[label][word] + 0.5) - self._log_total[label] for word in words)
            for label in LABELS
        }
        highest = max(scores.values())
        total = highest + math.log(sum(math.exp(score - highest) for score in scores.values()))
        return {label: score - total for label, score in scores.items()}


def compare(
    night: Sequence[Headline],
    window: Sequence[Headline],
    earlier_version: Sequence[Headline],
    expected_class_mix: dict[str, float],
    quarantined: Sequence[SetAside] = (),
    left_out: Sequence[Headline] = (),
) -> Figures:
    """Compares a night with what came before it.

    Args:
      night: its readable rows, those with conflicting labels among them.
      window: those of the earlier nights of the window, oldest first.
      earlier_version: those of the version of the night's drop that this one corrects.
      expected_class_mix: the labels' shares to expect of any night; may be empty.
      quarantined: the night's rows that are not used.
      left_out: readable rows of refused drops, which are no yardstick, but may be delivered again.
    """
    labels = {headline.key: headline.label for headline in night}
    texts = {headline.key: headline.text for headline in night}
    unknown, unknown_surprisal = find_unknown_labels(len(night), quarantined)
    if not labels:
        return Figures(unknown_labels=unknown, unknown_label_surprisal=unknown_surprisal)
    model = WordModel(window, expected_class_mix)

    def score(key: str) -> Scores:
        return model.score(texts[key])

    classes = Counter(labels.values())
    swap, evidence, misread = _find_swap(labels, score) if model.judges_labels() else ("", None, {})
    seen_titles, confusion = _find_seen(labels, score, window, earlier_version)
    words = Counter(word for text in texts.values() for word in _WORD.findall(text))
    unseen = (
        sum(count for word, count in words.items() if word not in model.words) / words.total()
        if words and model.words
        else None
    )
    once = sum(count == 1 for count in model.words.values()) / model.words.total() if model.words else 0.0
    nights = dict(list(count_classes(window).items())[-_NIGHTS_COMPARED:])
    expected_rows, row_count_surprisal = judge_row_count(len(night), nights)
    repeated_rows, repeated_surprisal = judge_repeats(night, window, left_out)
    repeated_within, repeated_nights = locate_repeats(night, [*window, *left_out])
    earlier_titles, lost_titles = _find_lost(labels, window, earlier_version, nights)
    of_window = expect_classes(list(nights.values()), expected_class_mix) if nights else {}
    of_mix = expect_classes([], expected_class_mix) if expected_class_mix else {}
    misfit, misfit_of_mix = judge_classes(classes, of_window), judge_classes(classes, of_mix)
    return Figures(
        titles=len(labels),
        classes={label: classes[label] for label in LABELS},
        class_mix_shift=(
            sum(abs(classes[label] / len(labels) - model.mix[label]) for label in LABELS) / 2 if model.titles else None
        ),
        swap=swap,
        swap_evidence=evidence,
        misread=misread,
        seen_titles=seen_titles,
        relabelled={name_change(*pair): count for pair, count in confusion.most_common() if pair[0] != pair[1]},
        relabelled_swap=_explain(confusion),
        not_portuguese_share=share_not_portuguese(list(texts.values())),
        unseen_word_share=unseen,
        unseen_word_excess=None if unseen is None else unseen - once,
        mean_title_characters=sum(map(len, texts.values())) / len(texts),
        readable_rows=len(night),
        expected_rows=expected_rows,
        row_count_surprisal=row_count_surprisal,
        repeated_rows=repeated_rows,
        repeated_within=repeated_within,
        repeated_nights=repeated_nights,
        repeated_surprisal=repeated_surprisal,
        earlier_titles=earlier_titles,
        lost_titles=lost_titles,
        misfit_class=misfit.label if misfit else "",
        misfit_class_expected=misfit.expected if misfit else None,
        class_surprisal=misfit.surprisal if misfit else None,
        misfit_class_of_mix=misfit_of_mix.label if misfit_of_mix else "",
        misfit_class_of_mix_expected=misfit_of_mix.expected if misfit_of_mix else None,
        expected_class_surprisal=misfit_of_mix.surprisal if misfit_of_mix else None,
        misfit_nights=find_misfit_nights(nights, of_mix),
        unknown_labels=unknown,
        unknown_label_surprisal=unknown_surprisal,
    )


def name_change(old: str, new: str) -> str:
    """How a change of label is written."""
    return f"{old}->{new}"


def share_not_portuguese(titles: list[str]) -> float | None:
    """The share of titles in other languages, judged in bulk; None without the language identifier.

    One short title tells little (Galician or Portuguese?), all of them together tell much: the shares are those that
    make the titles likeliest, found by expectation maximisation over every language the identifier knows. Of more than
    20,000 titles a sample is judged, always the same one.
    """
    if not titles:
        return None
    if len(titles) > _LANGUAGE_TITLES:
        titles = Random(0).sample(titles, _LANGUAGE_TITLES)
    identifier = _load_identifier()
    import numpy as np

    def score(title: str) -> Any:
        # As `nb_classprobs` does, but with the few features that a title has, not with all 7,480.
        counts = identifier.instance2fv(title)
        present = np.flatnonzero(counts)
        return counts[present] @ identifier.nb_ptc[present] + identifier.nb_pc

    likelihoods = np.stack([score(title) for title in titles])
    likelihoods = np.exp(likelihoods - likelihoods.max(axis=1, keepdims=True))
    shares = np.full(likelihoods.shape[1], 1 / likelihoods.shape[1])
    for _ in range(_LANGUAGE_ROUNDS):
        weighed = likelihoods * shares
        shares = (weighed / weighed.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(1 - shares[list(identifier.nb_classes).index("pt")])


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_pickled_model(MODEL_FILE)


def _find_lost(
    labels: Mapping[str, str],
    window: Iterable[Headline],
    earlier_version: Sequence[Headline],
    nights: Mapping[date, Counter[str]],
) -> tuple[int, int]:
    """How many titles a correction could lose, and has lost; none where it corrects that there were too many.

    A title in other words is a title mended, one that other nights have was out of place, and titles in another
    language were no loss.
    """
    earlier = {headline.key for headline in earlier_version}
    if earlier:
        earlier -= {headline.key for headline in window}
    gone = earlier - labels.keys()
    lost = max(0, len(gone) - len(labels.keys() - earlier))
    match [judge_row_count(rows, nights)[1] for rows in (len(labels), len(earlier_version))]:
        case [float(now), float(before)] if now < before:
            lost = 0
    if lost and (share_not_portuguese(list(gone)) or 0.0) > _FOREIGN_SHARE:
        lost = 0
    return len(earlier), lost


def _find_swap(labels: dict[str, str], score: Score) -> tuple[str, float, dict[str, int]]:
    """The exchange of labels that reads best, by how much a title, and how titles read beside their labels."""
    read_as: dict[tuple[str, str], float] = dict.fromkeys(itertools.product(LABELS, LABELS), 0.0)
    misread: Counter[tuple[str, str]] = Counter()
    for key, label in labels.items():
        scores = score(key)
        for other, probability in scores.items():
            read_as[label, other] += probability / len(labels)
        best = max(scores, key=scores.__getitem__)
        if best != label:
            misread[best, label] += 1

    def fit(exchange: tuple[str, ...]) -> float:
        return sum(read_as[pair] for pair in zip(LABELS, exchange, strict=True))

    best_exchange = max(itertools.permutations(LABELS), key=fit)
    changes = {name_change(*pair): count for pair, count in misread.most_common()}
    return _name_exchange(best_exchange), fit(best_exchange) - fit(LABELS), changes


def _find_seen(
    labels: dict[str, str], score: Score, window: Iterable[Headline], earlier_version: Iterable[Headline]
) -> tuple[int, Counter[tuple[str, str]]]:
    """How many titles were seen before, and how often which label became which."""
    of_window = {headline.key: headline.label for headline in window if headline.key in labels}
    of_version = {headline.key: headline.label for headline in earlier_version if headline.key in labels}
    # The labels of a refused drop are not what a correction is held to: it is one when its own read better.
    gains = ((score(key), labels[key], old) for key, old in of_version.items())
    better = sum(scores[new] - scores[old] for scores, new, old in gains) > 0
    before = of_window if better else of_window | of_version
    return len(before), Counter((old, labels[key]) for key, old in before.items())


def _explain(confusion: Counter[tuple[str, str]]) -> str:
    """The exchange of labels that explains what became of the titles seen before; empty when none does."""

    def explained(exchange: tuple[str, ...]) -> int:
        return sum(confusion[pair] for pair in zip(LABELS, exchange, strict=True))

    best = max(itertools.permutations(LABELS), key=explained)
    enough = (
        confusion and explained(best) >= _EXPLAINED_SHARE * confusion.total() and explained(best) > explained(LABELS)
    )
    return _name_exchange(best) if enough else ""


def _name_exchange(exchange: tuple[str, ...]) -> str:
    return ",".join(f"{label}={other}" for label, other in zip(LABELS, exchange, strict=True) if label != other)
