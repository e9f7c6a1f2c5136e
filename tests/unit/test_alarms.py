"""What the figures of a night tell, and which of them raise an alarm."""

import json
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from headlines.drops.alarms import Quarantined, find_alarms, tell_too_few
from headlines.drops.figures import Figures, compare
from headlines.drops.language import sample, share_not_portuguese
from headlines.drops.parsing import Row
from headlines.drops.quarantine import Headline, Reason, SetAside, sift
from headlines.drops.rows import read_file
from retraining.recording.store import storable
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
    mix = {"negative": 0.5, "positive": 0.5}
    window = [headline(n, ("negative", "positive")[n % 2]) for n in range(200)]
    night = [headline(1000 + n, ("negative", "positive")[n % 2], night=date(2022, 2, 2)) for n in range(200)]
    assert tell(compare(night, window, [], mix)) == ""
    complaint = tell(compare(swap(night, "negative", "positive"), window, [], mix))
    assert "the labels negative and positive look swapped" in complaint and "class mix of" not in complaint


def test_codes_that_are_shifted_by_one_are_named_too() -> None:
    shift = {"negative": "neutral", "neutral": "positive", "positive": "negative"}
    shifted = [replace(each, label=shift[each.label]) for each in make_night(2)]
    complaint = tell(compare(shifted, make_night(0), [], MIX))
    assert "the labels look rotated (negative should be positive, neutral should be negative, " in complaint


def test_titles_seen_on_an_earlier_night_with_another_label_are_counted_by_what_became_of_them() -> None:
    night = make_night(0)
    changed = [replace(each, label="neutral") if each.label == "negative" else each for each in night]
    figures = compare(changed, night, [], {})
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
def test_above_its_limit_a_figure_is_told(figure: str, value: Any, message: str) -> None:
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


@pytest.mark.parametrize("rows", [1, 5, 99, 173])
@pytest.mark.parametrize("nights", [2, 3, 7])
def test_a_night_of_few_rows_is_told_however_few_they_are(rows: int, nights: int) -> None:
    window = [each for number in range(nights) for each in make_night(number, 347)]
    complaint = tell(compare(make_night(20, rows), window, [], MIX))
    told = f"the night has {rows} row{'' if rows == 1 else 's'} with a title and a label, those of the window have 347"
    assert told in complaint
    assert "Look whether the file is whole" in complaint


def test_a_file_that_was_written_twice_is_told_by_its_rows_and_by_its_titles() -> None:
    night = make_night(9, 347)
    complaint = tell(compare([*night, *night], [*make_night(0, 347), *make_night(1, 347)], [], MIX))
    assert "the night has 694 rows" in complaint and (
        "347 of the night's 694 rows repeat a title (347 of this drop itself): a chance of" in complaint
    )
    # As many rows as ever, but every other title.
    halves = [*night[:174], *night[:174]]
    assert "174 of the night's 348 rows repeat a title" in tell(compare(halves, [], [], MIX))


def test_a_night_as_large_as_nights_are_and_a_small_sunday_raise_nothing() -> None:
    sizes = [347, 340, 352, 208, 210, 345, 347]
    window = [each for number, size in enumerate(sizes) for each in make_night(number, size)]
    for size in (342, 347, 205):
        assert tell(compare(make_night(20, size), window, [], MIX)) == ""
    assert compare(make_night(20, 5), [], [], MIX).row_count_surprisal is None


def test_the_file_of_another_night_is_told_also_when_it_is_only_a_part_of_the_drop() -> None:
    before, yesterday, today = (make_night(number) for number in range(3))
    again = [replace(each, night=date(2022, 2, 3)) for each in yesterday]
    for drop, repeated in ((again, 200), ([*again[:100], *today[:100]], 100)):
        complaint = tell(compare(drop, [*before, *yesterday], [], MIX))
        assert f"{repeated} of the night's 200 rows repeat a title ({repeated} of night 2022-02-02): " in complaint
    assert "Look whether this is the file of another night" in complaint


def test_where_every_night_repeats_titles_one_more_that_does_raises_nothing() -> None:
    def make(number: int) -> list[Headline]:
        night = date(2022, 2, 1) + timedelta(number)
        return [*(replace(each, night=night) for each in make_night(number - 1)[100:180]), *make_night(number)[80:]]

    figures = compare(make(6), [each for number in range(6) for each in make(number)], [], MIX)
    assert figures.repeated_rows == 80 and tell(figures) == ""
    # Or in the drop itself.
    window = [each for number in range(6) for each in make_night(number)[:180] + make_night(number)[:20]]
    figures = compare(make_night(9)[:180] + make_night(9)[:20], window, [], MIX)
    assert figures.repeated_rows == 20 and tell(figures) == ""
    # Where no night does, half of another night is too much.
    window = [each for number in range(6) for each in make_night(number)]
    half = [*make_night(5)[:100], *make_night(9)[:100]]
    assert "100 of the night's 200 rows repeat" in tell(compare(half, window, [], MIX))


@pytest.mark.parametrize("first", [True, False], ids=["first night", "later night"])
def test_a_correction_that_loses_what_it_corrects_is_told(first: bool) -> None:
    window = [] if first else [*make_night(0, 347), *make_night(1, 347)]
    earlier = make_night(5, 347)
    complaint = tell(compare(earlier[:1], window, earlier, MIX))
    assert "346 of the 347 titles of the version that this one corrects are gone" in complaint
    assert "99.7%, at most 10.0% may be" in complaint and "MAX_LOST_SHARE" in complaint


def test_a_correction_may_change_labels_add_rows_take_out_bad_ones_and_mend_titles() -> None:
    window, right = [*make_night(0), *make_night(1)], make_night(5)
    broken = [replace(each, key=f"{each.key} ã§ã£") for each in right]
    of_another_night = [replace(each, night=date(2022, 2, 6)) for each in make_night(1)]
    english = [headline(n, "neutral", f"the government announces plan {n} against inflation") for n in range(60)]
    for earlier in (
        swap(right, "negative", "neutral"),
        right[20:],
        [*right, *make_night(7, 10)],
        broken,
        [*right, *of_another_night],
        [*right, *english],
        # An archive: too many for a night, of which its own are left.
        [*right, *make_night(8, 1000)],
    ):
        figures = compare(right, window, earlier, MIX)
        assert (figures.lost_share <= LIMITS.max_lost_share, tell(figures)) == (True, "")


def test_a_correction_may_take_out_what_was_out_of_place_also_where_fewer_rows_than_usual_are_left() -> None:
    window, right = [*make_night(0), *make_night(1)], make_night(5)[:170]
    of_another_night = [replace(each, night=date(2022, 2, 6)) for each in make_night(1)[:30]]
    english = [headline(n, "neutral", f"the government announces plan {n} against inflation") for n in range(30)]
    for earlier in ([*right, *of_another_night], [*right, *english]):
        assert tell(compare(right, window, earlier, MIX)) == ""
    assert "30 of the 200 titles of the version" in tell(compare(right, window, make_night(5), MIX))


def test_of_a_small_correction_what_chance_gives_is_not_held_against_it() -> None:
    earlier = make_night(5, 10)
    assert tell(compare(earlier[:8], [], earlier, {})) == ""
    assert "8 of the 10 titles" in tell(compare(earlier[:2], [], earlier, {}))


@pytest.mark.parametrize("first", [True, False], ids=["first night", "later night"])
def test_a_label_that_is_gone_is_told_with_how_many_were_to_be_expected(first: bool) -> None:
    window = [] if first else [each for number in range(3) for each in make_night(number, 340)]
    night = [replace(each, label="neutral") if each.label == "positive" else each for each in make_night(9, 340)]
    complaint = tell(compare(night, window, [], MIX))
    assert "0 of the night's 340 titles are positive, where EXPECTED_CLASS_MIX leads to expect about 20" in complaint
    assert ("where the window leads to expect about 33" in complaint) == (not first)
    # Without an expectation the window alone says so.
    assert ("0 of the night's 340 titles are positive" in tell(compare(night, window, [], {}))) == (not first)


def test_few_titles_need_not_have_every_label() -> None:
    window = [each for number in range(3) for each in make_night(number, 20)]
    night = [each for each in make_night(9, 20) if each.label != "positive"]
    assert tell(compare(night, window, [], MIX)) == ""


def test_every_night_is_held_to_the_expected_mix_whatever_the_window_has() -> None:
    swapped = [swap(make_night(number), "negative", "neutral") for number in range(4)]
    window = [each for night in swapped[:3] for each in night]
    figures = compare(swapped[3], window, [], MIX)
    assert "where EXPECTED_CLASS_MIX leads to expect about 142" in tell(figures)
    assert "window" not in tell(figures)
    assert tell(compare(swapped[3], window, [], {})) == ""


def test_a_good_night_beside_a_swapped_window_is_told_that_it_is_the_window_that_disagrees() -> None:
    window = [*make_night(0), *swap(make_night(1), "negative", "neutral"), *swap(make_night(2), "negative", "neutral")]
    complaint = tell(compare(make_night(3), window, [], MIX))
    assert "the labels negative and neutral look swapped" in complaint
    assert complaint.startswith("it is the window that disagrees with EXPECTED_CLASS_MIX, and the night agrees with it")
    assert "In the window are 2022-02-02 negative 65.0%, neutral 25.0%, positive 10.0%; 2022-02-03 neg" in complaint
    assert "Correct the drops of those nights, not this one, and then deliver or run this night again" in complaint
    # Of a swapped night nobody says so.
    window = [each for number in range(3) for each in make_night(number)]
    assert "disagrees" not in tell(compare(swap(make_night(3), "negative", "neutral"), window, [], MIX))


def set_aside(labels: list[str]) -> list[SetAside]:
    rows = (Row("a.csv", 400 + n, f"Título,{label}", "Título", label, 2, 2) for n, label in enumerate(labels))
    return [SetAside(date(2022, 2, 3), 1, row, Reason.UNKNOWN_LABEL, f"label {row.label!r}") for row in rows]


def test_one_unknown_label_on_many_rows_is_told_with_every_value_and_its_count() -> None:
    quarantined = set_aside(["3"] * 14 + ["POSITIVO"] * 2 + ["1.0"])
    complaint = tell(compare(make_night(9, 326), [], [], {}, quarantined))
    assert "the label '3', which is none, is on 14 rows: so many slips" in complaint
    assert "'3' (14 rows), 'POSITIVO' (2 rows), '1.0' (1 row) are neither a label nor a code; a code is" in complaint


def test_a_drop_of_which_no_row_can_be_read_names_its_labels_too() -> None:
    assert "the label '1.0', which is none, is on 9 rows" in tell(compare([], [], [], MIX, set_aside(["1.0"] * 9)))


def count_quarantined(reasons: dict[str, int], delivered: int = 340) -> Quarantined:
    return Quarantined(bad=sum(reasons.values()), delivered=delivered, max_share=0.05, reasons=Counter(reasons))


def test_unknown_labels_are_told_once_beside_the_codes_that_the_drop_was_read_with() -> None:
    night = [each for each in make_night(9, 340) if each.label != "positive"]
    figures = compare(night, [], [], MIX, set_aside(["0"] * 34))
    bad = count_quarantined({Reason.UNKNOWN_LABEL: 34})
    codes = {"1": "negative", "2": "neutral", "3": "positive"}
    alarms = list(find_alarms(figures, LIMITS, bad, codes))
    assert len(alarms) == 3
    told = (
        "'0' (34 rows) is neither a label nor one of the codes 1, 2, 3; a code is declared by --label-codes "
        "1=negative,2=neutral,3=positive,0=LABEL with the delivery, or in LABEL_CODES."
    )
    assert [told in alarm for alarm in alarms] == [True, False, False]
    # Where fewer rows are quarantined than may be, the next alarm tells them.
    assert [told in alarm for alarm in find_alarms(figures, LIMITS, None, codes)] == [True, False]


@pytest.mark.parametrize(
    ("reasons", "advice"),
    [
        (
            {Reason.BROKEN_TEXT: 30, Reason.UNDECODABLE: 10},
            "broken text 30, undecodable row 10. Export the file again as UTF-8. Then deliver the file again, or raise "
            "MAX_QUARANTINED_SHARE",
        ),
        (
            {Reason.BLANK_TITLE: 20, Reason.CONFLICT: 19, Reason.LONG_TITLE: 18, Reason.WRONG_FIELDS: 1},
            "Give every row its title; give every title one label; shorten the titles, or raise MAX_TITLE_CHARACTERS. "
            "Then deliver",
        ),
        ({Reason.WRONG_FIELDS: 40}, "Quote every title that has a delimiter in it. Then deliver"),
        ({Reason.UNBALANCED_QUOTES: 40}, 'Close every quoted title and write a quote inside one twice (""). Then'),
        ({Reason.UNKNOWN_LABEL: 40}, "unknown label 40. Correct the labels, or declare what is a code. Then deliver"),
    ],
)
def test_what_to_do_about_quarantined_rows_is_said_by_their_foremost_reasons(
    reasons: dict[str, int], advice: str
) -> None:
    [alarm] = find_alarms(FINE, LIMITS, count_quarantined(reasons))
    assert f"{sum(reasons.values())} of the 340 rows of the night's drop are quarantined" in alarm and advice in alarm
    assert list(find_alarms(FINE, LIMITS, count_quarantined(reasons, 34_000))) == []


def test_what_follows_too_many_quarantined_rows_is_behind_their_alarm() -> None:
    bad = replace(count_quarantined({Reason.CONFLICT: 1}, 1), shown=". All of them are in q.csv")
    [alarm] = find_alarms(FINE, LIMITS, bad)
    assert "1 of the 1 row of the night's drop" in alarm
    assert alarm.endswith("or raise MAX_QUARANTINED_SHARE. All of them are in q.csv")


def test_the_nights_that_have_most_of_a_drop_s_titles_are_named_the_newest_of_equals_first() -> None:
    window = [each for number in range(6) for each in make_night(number)]
    again = [each for number in range(5) for each in make_night(number)[: 40 + number // 4]]
    figures = compare([*again, again[0]], window, [], MIX)
    assert figures.repeated_nights == {"2022-02-05": 41, "2022-02-04": 40, "2022-02-03": 40}
    assert figures.repeated_within == 1
    assert "(41 of night 2022-02-05, 40 of night 2022-02-04, 40 of night 2022-02-03): " in tell(figures)
    # One title is no explanation, nor is a night that has few of them.
    assert "(200 of night 2022-02-02): " in tell(compare([*make_night(1), make_night(0)[0]], window, [], MIX))
    # What was recorded before they were told has none.
    assert "repeat a title: a chance of" in tell(replace(figures, repeated_nights={}, repeated_within=0))


@pytest.mark.parametrize(("nights", "told"), [(1, "of 1 night, at"), (12, "of 12 nights, at")])
def test_too_few_headlines_are_told_with_the_nights_they_are_of(nights: int, told: str) -> None:
    [alarm] = tell_too_few(170, nights, 200)
    assert f"only 170 usable headlines in the window {told} least 200 are needed. Deliver more" in alarm
    assert not list(tell_too_few(200, nights, 200))


def test_scattered_slips_of_the_pen_are_no_new_code() -> None:
    slips = [f"neut{'r' * n}al" for n in range(2, 16)] + ["neutra"] * 5
    assert tell(compare(make_night(9, 326), [], [], {}, set_aside(slips))) == ""


def test_what_is_recorded_of_a_night_is_what_was_found_and_no_text_of_it_is_too_long_for_lineage() -> None:
    window = [each for number in range(9) for each in swap(make_night(number), "negative", "neutral")]
    unknown = set_aside([f"\u2028{number}" + "\U0001f600" * 200 for number in range(30)])
    figures = compare(make_night(20), window, make_night(20), MIX, unknown)
    recorded = figures.to_properties()
    assert Figures.from_properties(recorded) == figures
    assert len(figures.misfit_nights) == 5 and len(figures.unknown_labels) == 8
    # google/ml-metadata#194
    assert max(len(str(value)) for value in recorded.values()) < 2000
    assert json.loads(str(recorded["misfit_nights"]))["2022-02-09"] == {"negative": 130, "neutral": 50, "positive": 20}


@pytest.mark.parametrize("label", ['neutral"', "n\u00e3o", "a\\b", "\u29f5", "neutral\tx"])
def test_an_unknown_label_of_any_characters_is_read_again_from_postgres(label: str) -> None:
    figures = compare(make_night(9), [], [], MIX, set_aside([label] * 20))
    recorded = {
        name: storable(value) if isinstance(value, str) else value for name, value in figures.to_properties().items()
    }
    assert Figures.from_properties(recorded) == figures
    assert list(figures.unknown_labels) == [label]


def read_twelve(drops_dir: Path) -> list[list[Row]]:
    return [list(read_file(path).rows) for path in sorted(drops_dir.glob("2022-02-*/*.csv"))]


def judge(nights: list[list[Row]]) -> str:
    """What is said of the last of some nights."""
    rules = Settings.from_env().drop_rules
    days = [date(2022, 2, 1) + timedelta(number) for number in range(len(nights))]
    sifted = sift(((day, 1, rows) for day, rows in zip(days, nights, strict=True)), rules)
    before = [each for each in reversed(sifted.readable) if each.night < days[-1]]
    night = [each for each in sifted.readable if each.night == days[-1]]
    quarantined = [each for each in sifted.quarantined if each.night == days[-1]]
    return tell(compare(night, before, [], rules.expected_class_mix, quarantined))


@pytest.mark.parametrize("seed", range(3))
def test_the_twelve_nights_raise_nothing_in_whatever_order_within_a_week(twelve_nights: Path, seed: int) -> None:
    nights = read_twelve(twelve_nights)
    chance = Random(seed)
    order = [*chance.sample(range(7), 7), *chance.sample(range(7, 12), 5)]
    for last in range(12):
        assert judge([nights[number] for number in order[: last + 1]]) == "", (order, last)


def test_of_the_twelve_nights_each_without_its_positives_is_told(twelve_nights: Path) -> None:
    nights = read_twelve(twelve_nights)
    rules = Settings.from_env().drop_rules
    positives = {"positive", *(code for code, label in rules.label_codes.items() if label == "positive")}
    for written, message in (("neutral", "titles are positive, where EXPECTED_CLASS_MIX"), ("3", "the label '3', ")):
        for last in range(12):
            changed = [replace(row, label=written) if row.label in positives else row for row in nights[last]]
            assert message in judge([*nights[:last], changed]), last


def test_languages_are_told_apart_in_bulk() -> None:
    portuguese = [
        "polícia prende três suspeitos de assalto a banco no centro",
        "governo anuncia novo plano contra a inflação",
        "chuva forte causa alagamentos na zona sul de são paulo",
        "seleção vence e garante vaga na final do campeonato",
    ]
    english = ["government announces a new plan against inflation", "police arrest three suspects in the city centre"]
    assert (share_not_portuguese(sample(portuguese * 30)) or 0) < 0.05
    assert share_not_portuguese(sample(portuguese * 20 + english * 10)) == pytest.approx(0.2, abs=0.03)
