"""Decimal numbers, by the rules of `WriteDecimal` in json_tensor.cc and of `ParseNumber` in RapidJSON's reader.h."""

import math

import numpy as np
import pytest

from serving.decimals import TooBigError, parse_decimal, write_decimals


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (2 / 3, "0.666666687"),
        (1e-05, "1e-05"),
        (9_000_000, "9e+06"),
        (123_456_789, "123456792.0"),
        (-0.0, "-0.0"),
        (3.4028235e38, "3.40282347e+38"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_a_float_is_written_with_six_digits_or_nine(value: float, text: str) -> None:
    assert write_decimals(np.array([[value]], np.float32)) == [text]


def test_a_double_is_written_with_six_digits_or_seventeen() -> None:
    assert write_decimals(np.array([0.1, 1 / 3, 1e22, 12])) == ["0.1", "0.33333333333333331", "1e+22", "12.0"]


def test_no_numbers_are_no_texts() -> None:
    assert write_decimals(np.zeros((0, 3), np.float32)) == []


def test_a_number_is_too_big_by_its_exponent() -> None:
    assert parse_decimal("1.8e308") == math.inf
    assert parse_decimal("-10e308") == -math.inf
    for text in ("1e309", "-1.5e310", "1" * 400 + ".0"):
        with pytest.raises(TooBigError, match=text):
            parse_decimal(text)
