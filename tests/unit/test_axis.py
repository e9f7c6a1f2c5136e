from headlines.bar.checks import Check
from retraining.web.axis import WIDTH, draw


def test_value_interval_and_limit_are_in_order_on_one_axis() -> None:
    axis = draw(Check("accuracy", 0.81, 0.7, True, 0.79, 0.83))
    assert axis and axis.low is not None and axis.high is not None
    assert 0 < axis.limit < axis.low < axis.value < axis.high < WIDTH
    assert axis.zero is None
    assert axis.label == "value 0.810, 95 % interval 0.790 to 0.830; limit: at least 0.700"


def test_the_side_beyond_the_limit_is_below_it_or_above_it_where_less_is_better() -> None:
    below = draw(Check("accuracy_change", -0.03, -0.02, True, -0.07, 0.01))
    above = draw(Check("log_loss_change", 0.03, 0.02, True, -0.01, 0.07))
    assert below and above
    assert below.bad_from < below.value < below.bad_to == below.limit
    assert above.limit == above.bad_from < above.value < above.bad_to
    assert below.zero is not None and below.zero > below.limit
    assert above.zero is not None and above.zero < above.limit


def test_a_check_whose_values_are_all_one_is_drawn_and_one_without_a_value_is_not() -> None:
    same = draw(Check("accuracy", 0.7, 0.7, True))
    assert same and same.value == same.limit == WIDTH / 2
    assert draw(Check("accuracy", None, 0.7, False)) is None
