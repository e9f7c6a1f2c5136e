"""What a drop is measured by, and which side of a limit is the right one."""

import pytest

from headlines.drops import measures
from headlines.drops.alarms import Limits
from headlines.drops.measures import KINDS, RECORDED, find_missed, measure, share_classes
from retraining.settings import Settings

PROPERTIES = {
    "night_rows_in": 100,
    "night_rows_quarantined": 5,
    "rows_used": 200,
    "titles": 100,
    "seen_titles": 20,
    "relabelled_share": 0.2,
    "swap_evidence": 0.1,
    "class_mix_shift": 0.25,
    "not_portuguese_share": 0.1,
    "unseen_word_excess": 0.12,
    "row_count_surprisal": 4.0,
    "repeated_surprisal": 4.0,
    "earlier_titles": 100,
    "lost_share": 0.1,
    "class_surprisal": 4.0,
    "expected_class_surprisal": 4.0,
    "unknown_label_surprisal": 4.0,
}
LIMITS = {
    "max_quarantined_share": 0.05,
    "min_headlines": 200,
    "max_relabelled_share": 0.2,
    "max_swap_evidence": 0.1,
    "max_class_mix_shift": 0.25,
    "max_not_portuguese_share": 0.1,
    "max_unseen_word_excess": 0.12,
    "max_lost_share": 0.1,
    "max_surprisal": 4.0,
}


def test_what_is_at_its_limit_passes_and_what_is_beyond_it_on_its_own_side_does_not() -> None:
    assert find_missed(PROPERTIES, LIMITS) == set()
    for kind in (kind for kind in KINDS if kind.limit):
        beyond = LIMITS | {kind.limit: LIMITS[kind.limit] + (1 if kind.is_floor else -0.001)}
        assert find_missed(PROPERTIES, beyond) == {other.name for other in KINDS if other.limit == kind.limit}
        within = LIMITS | {kind.limit: LIMITS[kind.limit] + (-1 if kind.is_floor else 0.001)}
        assert find_missed(PROPERTIES, within) == set()


def test_every_limit_is_a_setting_and_every_limit_of_the_alarms_is_a_measure_s() -> None:
    limits = {kind.limit for kind in KINDS if kind.limit}
    assert limits <= Settings.model_fields.keys()
    assert set(Limits.__dataclass_fields__) <= limits
    assert all(kind.limit.upper() in kind.advice for kind in KINDS if kind.limit)


def judge(name: str, value: float, titles: int) -> measures.Measure:
    counts = {"titles": titles, "seen_titles": titles, "earlier_titles": titles}
    [one] = (one for one in measure({name: value, **counts}, LIMITS) if one.kind.name == name)
    return one


@pytest.mark.parametrize(
    ("name", "few", "chance", "wrong"),
    [
        # So many beyond the limit come by chance once in 10,000 nights: 5 of 5, 24 of 50, 15 of 20.
        ("relabelled_share", 5, 5 / 5, None),
        ("relabelled_share", 6, 5 / 6, 6 / 6),
        ("class_mix_shift", 20, 12 / 20, 15 / 20),
        ("class_mix_shift", 99, 0.26, 0.45),
        ("not_portuguese_share", 30, 9 / 30, 12 / 30),
        ("unseen_word_excess", 50, 0.25, 0.4),
        ("lost_share", 20, 6 / 20, 10 / 20),
        # By e^9.2, all titles together.
        ("swap_evidence", 20, 0.4, 0.5),
    ],
)
def test_what_few_titles_have_beyond_the_limit_is_held_against_them_when_it_is_no_chance(
    name: str, few: int, chance: float, wrong: float | None
) -> None:
    spared = judge(name, chance, few)
    assert (spared.passed, spared.verdict) == (None, f"not judged: of {few} titles, it may be chance")
    assert judge(name, 0.01, few).passed is True
    if wrong is not None:
        assert (judge(name, wrong, few).passed, judge(name, wrong, few).verdict) == (False, "missed")


def test_what_many_titles_have_beyond_the_limit_is_no_chance() -> None:
    assert judge("class_mix_shift", 0.26, 100).passed is False
    assert judge("relabelled_share", 0.21, 20).passed is False


def test_what_chance_hardly_gives_is_written_as_odds() -> None:
    [kind] = (kind for kind in KINDS if kind.name == measures.CLASS_SURPRISAL)
    assert [kind.write(value) for value in (0.0, 0.301, 4.0, 17.4, 19.9)] == [
        "1 in 1", "1 in 2", "1 in 10,000", "1 in 10^17", "1 in 10^20"
    ]  # fmt: skip
    assert {kind.write(value) for value in (20.0, 584.2, float("inf"))} == {"practically none"}
    assert kind.tell_rule(4.0) == "no rarer than 1 in 10,000"


def test_no_advice_says_that_something_was_delivered_since_a_drop_may_be_judged_before_it_is() -> None:
    assert not [kind.name for kind in KINDS if "corrected drop" in kind.advice]


def test_text_as_lineage_has_it_is_measured_as_numbers_are() -> None:
    as_text = {name: str(value) for name, value in PROPERTIES.items()}
    assert measure(as_text, LIMITS) == measure(PROPERTIES, LIMITS)
    assert as_text.keys() <= RECORDED


def test_nothing_recorded_is_neither_passed_nor_missed() -> None:
    assert {(one.shown, one.passed) for one in measure({}, LIMITS)} == {("not recorded", None)}
    assert {one.passed for one in measure(PROPERTIES, {})} == {None}


@pytest.mark.parametrize("text", [None, "", "{}", '{"negative": 0}'])
def test_a_night_without_labels_has_no_shares(text: str | None) -> None:
    assert share_classes({} if text is None else {"classes": text}) == {}


def test_a_share_is_of_all_labels_of_the_night() -> None:
    assert share_classes({"classes": '{"negative": 1, "neutral": 3}'}) == {"negative": 0.25, "neutral": 0.75}
