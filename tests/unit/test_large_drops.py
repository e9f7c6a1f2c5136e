"""What the memory of a check grows with: the text of the rows and the words in it, not all that is counted of a row."""

from collections.abc import Callable
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from allocations import measure_peak

from headlines.drops import language
from headlines.drops.figures import compare
from headlines.drops.language import sample, share_not_portuguese
from headlines.drops.quarantine import Headline, sift
from headlines.drops.rows import read_file
from headlines.drops.rules import Rules

WORDS = [
    "governo",
    "anuncia",
    "plano",
    "novo",
    "para",
    "escolas",
    "públicas",
    "depois",
    "das",
    "chuvas",
    "fortes",
    "no",
    "interior",
]
PORTUGUESE = [f"o {a} {b} {c} desde ontem" for a, b, c in product(WORDS, repeat=3)]
ENGLISH = [f"the {a} of the {b} will not be seen" for a, b in product(("house", "people", "work", "weather"), repeat=2)]


@pytest.fixture
def headlines(deliver: Callable[..., Path], drop_rules: dict[str, Any]) -> list[Headline]:
    labels = ("negative", "neutral", "positive")
    rows = "".join(f"{title},{labels[number % 3]}\n" for number, title in enumerate(PORTUGUESE))
    return sift([(date(2022, 2, 1), 1, read_file(deliver("2022-02-01", rows)).rows)], Rules(**drop_rules)).readable


def compare_with_few_told_by_language(headlines: list[Headline]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "SAMPLE_TITLES", 20)
        compare(headlines, headlines[:50], [], {})


def test_what_a_night_is_compared_by_is_not_kept_for_every_title(headlines: list[Headline]) -> None:
    """The scores of a title take 400 bytes, its words as many, what its language is told by 2,000."""
    assert measure_peak(compare_with_few_told_by_language, headlines) / len(headlines) < 350


def test_a_row_that_is_good_as_it_is_keeps_each_text_once(headlines: list[Headline]) -> None:
    first, second = headlines[0], headlines[3]
    assert first.title is first.row.title and first.title is first.key
    assert first.label is second.label and first.row.label is second.row.label
    assert first.row.file is second.row.file


def test_the_language_of_very_many_titles_is_told_from_a_sample_that_is_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titles = [*PORTUGUESE[:400], *ENGLISH * 6]
    all_together = share_not_portuguese(sample(titles))
    monkeypatch.setattr(language, "SAMPLE_TITLES", 200)
    sampled = share_not_portuguese(sample(titles))
    assert sampled is not None and all_together is not None and sampled != all_together
    assert sampled == pytest.approx(all_together, abs=0.1)
    assert share_not_portuguese(sample(titles)) == sampled
