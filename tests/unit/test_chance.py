"""How surprising counts are, where the distribution is one that can be summed by hand."""

import math

import pytest

from headlines.drops.chance import (
    Expected,
    expect_count,
    expect_share,
    surprisal_of_count,
    surprisal_of_hits,
    surprisal_of_share,
)

NIGHT_OF_60_PERCENT, HALF_A_NIGHT = 208, 173


@pytest.mark.parametrize("count", [0, 3, 4, 6, 9, 10])
def test_where_every_share_is_as_likely_so_is_every_count(count: int) -> None:
    # Beta(1, 1), and so one chance in eleven for each count of ten.
    uniform = Expected(0.5, 1 / 3)
    tail = count + 1 if count < 5 else 10 - count + 1
    assert surprisal_of_share(count, 10, uniform) == pytest.approx(-math.log10(tail / 11))


@pytest.mark.parametrize("count", [0, 2, 9, 40])
def test_where_a_count_spreads_as_wide_as_its_mean_it_is_geometric(count: int) -> None:
    upper = (5 / 6) ** count
    tail = 1 - (5 / 6) ** (count + 1) if count < 5 else upper
    assert surprisal_of_count(count, Expected(5, 1)) == pytest.approx(-math.log10(tail))


@pytest.mark.parametrize(("count", "total", "share"), [(3, 10, 0.1), (14, 340, 0.005), (5, 5, 0.5)])
def test_hits_without_any_spread_are_binomial(count: int, total: int, share: float) -> None:
    terms = (math.comb(total, n) * share**n * (1 - share) ** (total - n) for n in range(count, total + 1))
    assert surprisal_of_hits(count, total, share) == pytest.approx(-math.log10(sum(terms)))


def test_no_more_hits_than_are_to_be_expected_are_no_surprise_and_one_of_what_never_comes_is_any() -> None:
    assert surprisal_of_hits(3, 30, 0.1) == surprisal_of_hits(0, 0, 0.1) == 0
    assert surprisal_of_hits(1, 30, 0) == math.inf


def test_a_tail_of_which_nothing_is_left_in_floating_point_has_its_surprisal_all_the_same() -> None:
    assert 400 < surprisal_of_share(2000, 2000, Expected(0.001, 0.0001)) < math.inf


@pytest.mark.parametrize("nights", [2, 3, 11])
def test_half_a_night_is_surprising_beside_two_full_ones_and_a_night_of_sixty_percent_is_not(nights: int) -> None:
    expected = expect_count([347] * nights, 0.012)
    assert surprisal_of_count(HALF_A_NIGHT, expected) > 4
    assert surprisal_of_count(NIGHT_OF_60_PERCENT, expected) < 4
    assert surprisal_of_count(342, expected) < 1
    assert surprisal_of_count(2 * 347, expected) > 4


def test_beside_one_night_a_wreck_is_surprising_and_a_sunday_before_a_monday_is_not() -> None:
    assert surprisal_of_count(99, expect_count([347], 0.012)) > 4
    assert surprisal_of_count(400, expect_count([NIGHT_OF_60_PERCENT], 0.012)) < 4
    assert surprisal_of_count(400, expect_count([NIGHT_OF_60_PERCENT] * 2, 0.012)) > 4


def test_nights_that_vary_lead_to_expect_what_varies() -> None:
    with_sundays = [347] * 5 + [NIGHT_OF_60_PERCENT] * 2 + [347] * 4
    assert surprisal_of_count(HALF_A_NIGHT, expect_count(with_sundays, 0.012)) < 3
    shares = [(0, 100), (20, 100), (0, 100), (20, 100)]
    assert surprisal_of_share(25, 100, expect_share(shares, 0.1, 1, 0.001)) < 2
    assert surprisal_of_share(25, 100, expect_share([(10, 100)] * 4, 0.1, 1, 0.001)) > 4


def test_a_share_is_that_of_all_nights_and_of_what_was_expected_before_them() -> None:
    alone = expect_share([], 0.2, 50, 0.01)
    assert alone.mean == pytest.approx(0.2) and alone.spread == 0.01
    assert expect_share([(10, 100), (30, 150)], 0.2, 50, 0.01).mean == pytest.approx((40 + 10) / 300)
    # None is certain, however many nights had none or nothing else.
    assert expect_share([(0, 900)], 0, 50, 0.01).mean == 0.001
    assert expect_share([(900, 900)], 1, 50, 0.01).mean == 0.999
