"""Which ruling on a version counts, and what a run keeps to of earlier ones."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from headlines.drops.drops_folder import DropVersion
from headlines.drops.rulings import NO_PRECEDENTS, Precedents, Ruled, Ruling, find_counting, find_refused, tell_codes

NIGHT = "2022-02-01"
REFUSED = Ruling(
    3, NIGHT, 1, "a" * 64, Ruled.REFUSED, 'look "swapped"', "DropGate", datetime(2022, 2, 2, 3, tzinfo=UTC)
)
VERSION = DropVersion(date(2022, 2, 1), 1, ())
CODES = {"0": "negative"}


def then(ruled: Ruled, ruling: Ruling = REFUSED) -> Ruling:
    return replace(ruling, id=ruling.id + 1, ruled=ruled, at=ruling.at + timedelta(days=1))


def test_the_newest_ruling_counts_in_whatever_order_they_are_read() -> None:
    passed = then(Ruled.PASSED)
    assert find_refused([passed, REFUSED]) == ()
    assert find_counting([then(Ruled.REFUSED, passed), passed, REFUSED]) == [then(Ruled.REFUSED, passed)]


def test_what_a_person_accepted_stays_accepted() -> None:
    accepted = then(Ruled.ACCEPTED)
    assert find_counting([REFUSED, accepted, then(Ruled.REFUSED, accepted)]) == [accepted]


def test_a_ruling_is_on_one_version_of_one_content() -> None:
    others = [replace(REFUSED, id=9, **change) for change in ({"version": 2}, {"sha256": "b"}, {"night": "2022-02-02"})]
    assert find_refused([REFUSED, *(replace(other, ruled=Ruled.PASSED) for other in others)]) == (REFUSED,)
    precedents = Precedents((REFUSED,))
    assert precedents.find_refusal(VERSION, "a" * 64) == REFUSED
    assert precedents.find_refusal(VERSION, "b") is None
    assert precedents.find_refusal(replace(VERSION, number=2), "a" * 64) is None


def test_as_known_at_a_moment_later_rulings_are_not_known() -> None:
    accepted = then(Ruled.ACCEPTED)
    assert find_refused([REFUSED, accepted], REFUSED.at) == (REFUSED,)
    assert find_refused([REFUSED, accepted], accepted.at) == ()
    assert find_refused([REFUSED], REFUSED.at - timedelta(seconds=1)) == ()


def test_a_ruling_is_kept_in_one_line_of_bounded_length_and_read_again() -> None:
    kept = replace(REFUSED, why="linha\n" * 1000).to_properties()
    assert "\n" not in str(kept["text"]) and len(str(kept["text"]).encode()) < 2000
    assert Ruling.from_properties(3, REFUSED.to_properties()) == REFUSED
    # As lineage reads it: everything is text.
    assert Ruling.from_properties(3, {name: str(value) for name, value in REFUSED.to_properties().items()}) == REFUSED


def test_a_version_is_read_with_the_codes_of_its_delivery_else_of_its_first_use_else_of_the_setting() -> None:
    precedents = Precedents(codes={(NIGHT, 1): CODES})
    assert precedents.choose_codes(replace(VERSION, label_codes={"9": "positive"}), {}) == {"9": "positive"}
    assert precedents.choose_codes(VERSION, {"1": "neutral"}) == CODES
    assert precedents.choose_codes(replace(VERSION, number=2), {"1": "neutral"}) == {"1": "neutral"}
    assert precedents.choose_codes(replace(VERSION, label_codes={}), CODES) == {}


def test_precedents_are_read_again_as_they_were_written() -> None:
    precedents = Precedents((REFUSED,), {(NIGHT, 1): CODES})
    assert Precedents.from_json(precedents.to_json()) == precedents
    assert Precedents.from_json("") == NO_PRECEDENTS


@pytest.mark.parametrize(("codes", "told"), [({"2": "positive", "0": "neutral"}, "0=neutral,2=positive"), ({}, "none")])
def test_codes_are_told_as_the_setting_is_written(codes: dict[str, str], told: str) -> None:
    assert tell_codes(codes) == told
