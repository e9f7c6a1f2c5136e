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
}
LIMITS = {
    "max_quarantined_share": 0.05,
    "min_headlines": 200,
    "max_relabelled_share": 0.2,
    "max_swap_evidence": 0.1,
    "max_class_mix_shift": 0.25,
    "max_not_portuguese_share": 0.1,
    "max_unseen_word_excess": 0.12,
}


def test_what_is_at_its_limit_passes_and_what_is_beyond_it_on_its_own_side_does_not() -> None:
    assert find_missed(PROPERTIES, LIMITS) == set()
    for kind in (kind for kind in KINDS if kind.limit):
        beyond = LIMITS | {kind.limit: LIMITS[kind.limit] + (1 if kind.is_floor else -0.001)}
        assert find_missed(PROPERTIES, beyond) == {kind.name}
        within = LIMITS | {kind.limit: LIMITS[kind.limit] + (-1 if kind.is_floor else 0.001)}
        assert find_missed(PROPERTIES, within) == set()


def test_every_limit_is_a_setting_and_every_limit_of_the_alarms_is_a_measure_s() -> None:
    limits = {kind.limit for kind in KINDS if kind.limit}
    assert limits <= Settings.model_fields.keys()
    assert set(Limits.__dataclass_fields__) <= limits
    assert all(kind.limit.upper() in kind.advice for kind in KINDS if kind.limit)


def test_too_few_titles_are_not_judged() -> None:
    few = PROPERTIES | {"titles": 99, "seen_titles": 19}
    nothing_allowed = {name: -1.0 for name in LIMITS if name.startswith("max_")}
    assert find_missed(few, nothing_allowed) == {measures.QUARANTINED_SHARE}


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
