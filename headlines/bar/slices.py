"""The slices of a set of titles on which a model is looked at by itself."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from headlines.bar.tally import Integers
from headlines.bar.verdict import LENGTH
from modules.features import LABEL, LABELS, NIGHT

# Words up to which a title is short, and up to which it is medium: 39 % and 36 % of real headlines.
_LENGTHS = {"short": 10, "medium": 12}


def find_slices(
    titles: list[str], actual: Integers, nights: list[str], patterns: Mapping[str, str]
) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """The slices that have a row: group, value, and which rows [n] are in it.

    Args:
      titles: raw.
      actual: label ids.
      nights: `YYYY-MM-DD`.
      patterns: regular expressions; each makes a group of its name with the values `yes` and `no`, by whether it is
        found in the title.
    """
    words = np.array([len(title.split()) for title in titles])
    groups = {
        LABEL: [LABELS[index] for index in actual],
        NIGHT: nights,
        LENGTH: [next((name for name, most in _LENGTHS.items() if count <= most), "long") for count in words],
    }
    for name, pattern in patterns.items():
        expression = re.compile(pattern)
        groups[name] = ["yes" if expression.search(title) else "no" for title in titles]
    for group, values in groups.items():
        column = np.array(values)
        for value in np.unique(column):
            yield group, str(value), column == value
