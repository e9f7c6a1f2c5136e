from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from retraining.web import moments

NOW = datetime(2022, 2, 3, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=0), "less than a minute"),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(seconds=60), "1 minute"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(hours=3, minutes=59), "3 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=2), "2 days"),
        (timedelta(days=60), "60 days"),
        (timedelta(days=61), "2 months"),
        (timedelta(days=400), "13 months"),
        (timedelta(days=1500), "4 years"),
    ],
)
def test_a_span_is_told_in_the_greatest_unit_of_which_it_has_two(span: timedelta, words: str) -> None:
    assert moments.tell_span(span) == words
    assert moments.tell_span_since(NOW - span, NOW) == words
    assert moments.tell_age(NOW - span, NOW) == f"{words} ago"


def test_what_is_yet_to_come_is_not_told_as_past() -> None:
    assert moments.tell_age(NOW + timedelta(minutes=5), NOW) == "in 5 minutes"


def test_a_moment_of_any_zone_is_told_in_the_zone_that_is_named() -> None:
    moment = datetime(2022, 2, 2, 23, 0, tzinfo=ZoneInfo("America/Sao_Paulo"))
    assert moments.tell_moment(moment) == "2022-02-03 02:00 UTC"
    assert moments.tell_local(moment.astimezone(UTC), "America/Sao_Paulo") == "2022-02-02 23:00 in America/Sao_Paulo"
