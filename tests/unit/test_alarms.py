"""What the figures of a night tell, and which of them raise an alarm."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from headlines.drops.alarms import find_alarms
from headlines.drops.figures import Figures, compare, share_not_portuguese
from headlines.drops.quarantine import Headline
from headlines.drops.rows import Row
from retraining.settings import Settings

LIMITS = Settings.from_env().alarm_limits
MIX = {"negative": 0.23, "neutral": 0.71, "positive": 0.06}
PHRASES = {
    "negative": "Acidente grave mata",
    "neutral": "Prefeitura anuncia obra para",
    "positive": "Cura inédita salva",
}
FINE = Figures(titles=300, classes={"negative": 75, "neutral": 205, "positive": 20})


def headline(number: int, label: str, title: str | None = None, night: date = date(2022, 2, 1)) -> Headline:
    title = title or f"{PHRASES[label]} {number} pessoas em bairro {number % 50}"
    return Headline(night, 1, Row("a.csv", number + 2, title, title, label, 2, 2), title, label, title.casefold())


def make_night(number: int, size: int = 200) -> list[Headline]:
    night = date(2022, 2, 1) + timedelta(number)
    kinds = ["negative"] * 5 + ["neutral"] * 13 + ["positive"] * 2
    return [headline(1000 * number + place, kinds[place % 20], night=night) for place in range(size)]


def swap(night: list[Headline], one: str, other: str) -> list[Headline]:
    return [replace(each, label={one: other, other: one}.get(each.label, each.label)) for each in night]


def tell(figures: Figures) -> str:
    return "\n".join(find_alarms(figures, LIMITS))


def test_a_night_like_the_ones_before_raises_nothing() -> None:
    figures = compare(make_night(2), [*make_night(0), *make_night(1)], [], MIX)
    assert tell(figures) == ""
    assert figures.classes == {"negative": 50, "neutral": 130, "positive": 20}
    assert figures.class_mix_shift == pytest.approx(0)
    assert (figures.swap, figures.swap_evidence, figures.seen_titles) == ("", 0, 0)


@pytest.mark.parametrize("pair", [("negative", "neutral"), ("negative", "positive"), ("neutral", "positive")])
@pytest.mark.parametrize("first", [True, False], ids=["first night", "later night"])
def test_a_swapped_pair_of_codes_is_named(pair: tuple[str, str], first: bool) -> None:
    window = [] if first else make_night(0)
    complaint = tell(compare(swap(make_night(2), *pair), window, [], MIX))
    assert f"the labels {pair[0]} and {pair[1]} look swapped" in complaint


def test_where_two_labels_are_as_frequent_their_words_give_the_swap_away() -> None:
    window = [headline(n, ("negative", "positive")[n % 2]) for n in range(200)]
    night = [headline(1000 + n, ("negative", "positive")[n % 2]) for n in range(200)]
    assert tell(compare(night, window, [], MIX)) == ""
    complaint = tell(compare(swap(night, "negative", "positive"), window, [], MIX))
    assert "the labels negative and positive look swapped" in complaint and "class mix of" not in complaint


def test_codes_that_are_shifted_by_one_are_named_too() -> None:
    shift = {"negative": "neutral", "neutral": "positive", "positive": "negative"}
    shifted = [replace(each, label=shift[each.label]) for each in make_night(2)]
    complaint = tell(compare(shifted, make_night(0), [], MIX))
    assert "the labels look rotated (negative should be positive, neutral should be negative, " in complaint


def test_titles_seen_on_an_earlier_night_with_another_label_are_counted_by_what_became_of_them() -> None:
    night = make_night(0)
    changed = [replace(each, label="neutral") if each.label == "negative" else each for each in night]
    figures = compare(changed, night, [], MIX)
    assert (figures.seen_titles, figures.relabelled, figures.relabelled_swap) == (200, {"negative->neutral": 50}, "")
    assert figures.relabelled_share == 0.25
    assert "50 of 200 titles seen before" in tell(figures) and "25.0%, at most 20.0% may" in tell(figures)
    assert "old->new negative->neutral 50" in tell(figures)


def test_an_earlier_version_counts_only_when_its_labels_read_better() -> None:
    right, wrong = make_night(2), swap(make_night(2), "negative", "neutral")
    for_the_worse = compare(wrong, make_night(0), right, MIX)
    assert for_the_worse.relabelled_swap == "negative=neutral,neutral=negative"
    assert for_the_worse.seen_titles == 200
    for_the_better = compare(right, make_night(0), wrong, MIX)
    assert for_the_better.relabelled == {} and tell(for_the_better) == ""
    # Of a first night too, by the mix alone.
    assert tell(compare(right, [], wrong, MIX)) == ""


def test_without_a_window_and_without_an_expectation_labels_are_not_judged() -> None:
    figures = compare(swap(make_night(2), "neutral", "positive"), [], [], {})
    assert figures.swap_evidence is None and figures.class_mix_shift is None and figures.unseen_word_excess is None
    assert tell(figures) == ""


@pytest.mark.parametrize(
    ("figure", "value", "message"),
    [
        ("class_mix_shift", 0.26, "the class mix of the night (negative 25.0%, neutral 68.3%, positive 6.7%) is 26.0%"),
        ("not_portuguese_share", 0.11, "11.0% of the night's titles are not Portuguese, at most 10.0%"),
        ("unseen_word_excess", 0.13, "13.0% more than it leads to expect, at most 12.0%"),
    ],
)
def test_above_its_limit_a_figure_is_told(figure: str, value: float, message: str) -> None:
    figures = replace(FINE, unseen_word_share=0.3, **{figure: value})
    assert message in tell(figures)
    assert tell(replace(figures, titles=99)) == ""
    assert tell(replace(figures, **{figure: value - 0.02})) == ""


def test_a_broken_encoding_shows_in_words_never_seen() -> None:
    def write(number: int, garble: bool = False) -> Headline:
        title = f"Eleição e inflação em São Luís não são questão de opinião {number % 40}"
        return headline(number, "neutral", title.encode().decode("latin-1") if garble else title)

    window = [write(number) for number in range(300)]
    night = [replace(write(n), key=f"{write(n).key} {n}") for n in range(120)]
    garbled = [replace(write(n, garble=True), key=f"{write(n, garble=True).key} {n}") for n in range(120)]
    assert "never seen" not in tell(compare(night, window, [], {}))
    assert "broken encoding" in tell(compare(garbled, window, [], {}))


def test_languages_are_told_apart_in_bulk() -> None:
    portuguese = [
        "polícia prende três suspeitos de assalto a banco no centro",
        "governo anuncia novo plano contra a inflação",
        "chuva forte causa alagamentos na zona sul de são paulo",
        "seleção vence e garante vaga na final do campeonato",
    ]
    english = ["government announces a new plan against inflation", "police arrest three suspects in the city centre"]
    assert (share_not_portuguese(portuguese * 30) or 0) < 0.05
    assert share_not_portuguese(portuguese * 20 + english * 10) == pytest.approx(0.2, abs=0.03)
