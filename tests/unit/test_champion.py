"""The one rule of who is champion; as artifacts, tables and folders know it: test_as_of, test_lineage and others."""

from datetime import UTC, date, datetime

from headlines.names import version_of
from headlines.pushes.champion import Rollback, choose_champion, find_withdrawn

FIRST, SECOND, THIRD, AGAIN = (
    version_of(date(2022, 2, 1)),
    version_of(date(2022, 2, 2)),
    version_of(date(2022, 2, 3)),
    version_of(date(2022, 2, 2), 2),
)
VERSIONS = [THIRD, FIRST, AGAIN, SECOND]


def back(to: int, *withdrawn: int, identity: int = 1, night: str = "2022-02-04") -> Rollback:
    at = datetime(2022, 2, 4, 8, tzinfo=UTC)
    return Rollback(identity, max(withdrawn), to, "ana", "rótulos trocados", at, night, withdrawn)


def test_what_serves_is_the_greatest_version() -> None:
    assert choose_champion(VERSIONS, []) == THIRD
    assert choose_champion([], []) is None


def test_a_night_is_compared_with_the_greatest_version_of_an_earlier_night_and_never_with_its_own() -> None:
    assert [choose_champion(VERSIONS, [], date(2022, 2, day)) for day in (1, 2, 3, 4)] == [None, FIRST, AGAIN, THIRD]


def test_a_rollback_counts_from_its_night_on_and_for_what_serves() -> None:
    rollbacks = [back(FIRST, SECOND, AGAIN, THIRD)]
    assert choose_champion(VERSIONS, rollbacks) == FIRST
    assert [choose_champion(VERSIONS, rollbacks, date(2022, 2, day)) for day in (3, 4)] == [AGAIN, FIRST]


def test_of_two_rollbacks_the_later_counts_in_whatever_order_they_come() -> None:
    rollbacks = [back(AGAIN, THIRD, identity=2), back(FIRST, SECOND, AGAIN, THIRD)]
    assert choose_champion(VERSIONS, rollbacks) == AGAIN
    assert {version: one.id for version, one in find_withdrawn(rollbacks).items()} == {SECOND: 1, THIRD: 2}


def test_a_rollback_is_read_as_it_was_recorded_also_where_numbers_are_text() -> None:
    rollback = back(FIRST, SECOND, THIRD, identity=9)
    properties = rollback.to_properties()
    assert Rollback.from_properties(9, properties) == rollback
    assert Rollback.from_properties(9, {name: str(value) for name, value in properties.items()}) == rollback
