"""What a night's labels, words and language look like beside everything that came before it.

Which of the figures stop a run is for `alarms` to say.
"""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any, Self

from headlines.drops.counts import (
    choose_unknown_labels,
    count_unknown_labels,
    expect_classes,
    find_misfit_nights,
    judge_classes,
    judge_repeats,
    judge_row_count,
    judge_unknown_labels,
    name_repeated,
)
from headlines.drops.language import share_not_portuguese
from headlines.drops.quarantine import Headline, Reason, SetAside
from headlines.drops.tallies import UNITS_PER_NAT, Change, Tally, tally
from headlines.drops.words import Background, WordModel, count_words
from modules.features import LABELS

# A permutation of the labels is named when it explains this share of the titles seen before.
_EXPLAINED_SHARE = 0.8
# Rows and labels are held to four weeks, each weekday among them: in a longer window a lasting change would have to be
# accepted for as many nights as it takes to outweigh all those before it.
_NIGHTS_COMPARED = 28
# Of titles that a correction takes out, so many in another language are why.
_FOREIGN_SHARE = 0.5
# What retraining/recording/store.py puts in the place of a backslash. JSON in ASCII has it only so.
_AS_WRITTEN = {0x29F5: "\\"}

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
    model = WordModel(count_words(window), expected_class_mix)
    return conclude(
        tally(night, window, earlier_version, left_out, model),
        model.background,
        expected_class_mix,
        count_unknown_labels(quarantined),
        sum(entry.reason is not Reason.CONFLICT for entry in quarantined),
    )


def conclude(
    found: Tally,
    background: Background,
    expected_class_mix: dict[str, float],
    unknown_labels: Mapping[str, int],
    rows_unreadable: int,
) -> Figures:
    """Compares a night with what came before it, by what was counted of both.

    Args:
      found: of all rows.
      background: of the window.
      expected_class_mix: the labels' shares to expect of any night; may be empty.
      unknown_labels: labels that are none, the most frequent among them, and how many rows of the night have them.
      rows_unreadable: of the night.
    """
    unknown = choose_unknown_labels(unknown_labels)
    unknown_surprisal = judge_unknown_labels(unknown, found.rows + rows_unreadable)
    titles = found.classes.total()
    if not titles:
        return Figures(unknown_labels=unknown, unknown_label_surprisal=unknown_surprisal)
    swap, evidence = _find_swap(found) if background.judges_labels else ("", None)
    # The labels of a refused drop are not what a correction is held to: it is one when its own read better.
    confusion = found.seen_in_window if found.gain > 0 else found.seen_in_either
    unseen = found.unseen_words / found.words if found.words and background.has_words else None
    nights = dict(sorted(found.rows_of.items())[-_NIGHTS_COMPARED:])
    expected_rows, row_count_surprisal = judge_row_count(found.rows, nights)
    repeated_within = found.rows - titles
    repeated_rows = repeated_within + found.repeated_titles
    usual = [(found.repeats_of[night], found.rows_of[night].total()) for night in sorted(found.rows_of)]
    of_window = expect_classes(list(nights.values()), expected_class_mix) if nights else {}
    of_mix = expect_classes([], expected_class_mix) if expected_class_mix else {}
    misfit, misfit_of_mix = judge_classes(found.classes, of_window), judge_classes(found.classes, of_mix)
    mix = background.mix
    return Figures(
        titles=titles,
        classes={label: found.classes[label] for label in LABELS},
        class_mix_shift=(
            sum(abs(found.classes[label] / titles - mix[label]) for label in LABELS) / 2 if background.titles else None
        ),
        swap=swap,
        swap_evidence=evidence,
        misread=_name_changes(found.misread),
        seen_titles=confusion.total(),
        relabelled={name: count for name, count in _name_changes(confusion).items() if name not in _UNCHANGED},
        relabelled_swap=_explain(confusion),
        not_portuguese_share=share_not_portuguese(found.sample),
        unseen_word_share=unseen,
        unseen_word_excess=None if unseen is None else unseen - background.share_once,
        mean_title_characters=found.characters / titles,
        readable_rows=found.rows,
        expected_rows=expected_rows,
        row_count_surprisal=row_count_surprisal,
        repeated_rows=repeated_rows,
        repeated_within=repeated_within,
        repeated_nights=name_repeated(found.shared_with),
        repeated_surprisal=judge_repeats(repeated_rows, found.rows, usual),
        earlier_titles=found.version_titles,
        lost_titles=_judge_lost(found, nights),
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


_UNCHANGED = frozenset(name_change(label, label) for label in LABELS)


def _name_changes(counts: Mapping[Change, int]) -> dict[str, int]:
    """The most frequent first; of those that are as frequent the first by name."""
    return {name_change(*change): counts[change] for change in sorted(counts, key=lambda one: (-counts[one], one))}


def _judge_lost(found: Tally, nights: Mapping[date, Counter[str]]) -> int:
    """How many titles a correction has lost; none where it corrects that there were too many.

    A title in other words is a title mended, one that other nights have was out of place, and titles in another
    language were no loss.
    """
    lost = max(0, found.gone_titles - found.new_titles)
    match [judge_row_count(rows, nights)[1] for rows in (found.classes.total(), found.version_rows)]:
        case [float(now), float(before)] if now < before:
            lost = 0
    if lost and (share_not_portuguese(found.gone_sample) or 0.0) > _FOREIGN_SHARE:
        lost = 0
    return lost


def _find_swap(found: Tally) -> tuple[str, float]:
    """The exchange of labels that reads best, and by how much a title."""

    def fit(exchange: tuple[str, ...]) -> int:
        return sum(found.read_as[pair] for pair in zip(LABELS, exchange, strict=True))

    best = max(itertools.permutations(LABELS), key=fit)
    return _name_exchange(best), (fit(best) - fit(LABELS)) / UNITS_PER_NAT / found.classes.total()


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
