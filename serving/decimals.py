"""Decimal numbers as TensorFlow Serving reads and writes them in JSON.

After `WriteDecimal` of tensorflow_serving/util/json_tensor.cc and `ParseNumber` of RapidJSON 1.1.0's reader.h.
"""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# The greatest power of ten of a double.
_MAX_EXPONENT = 308
_PARTS = re.compile(r"-?[0-9]+(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


class TooBigError(ValueError):
    """A number that the parser refuses; the text of it is its argument."""


def write_decimals(tensor: NDArray[Any]) -> list[str]:
    """The texts of the numbers of a float tensor, in order.

    Six digits if they say it all, otherwise as many as it takes to read the same number again; a whole number ends in
    `.0`, unless it has an exponent.

    Args:
      tensor: float32 or float64, of any shape.
    """
    flat = tensor.ravel()
    values = flat.tolist()
    texts = [f"{value:.6g}" for value in values]
    digits = 9 if flat.dtype == np.float32 else 17
    with np.errstate(over="ignore"):
        lossy = np.flatnonzero(np.array([float(text) for text in texts], np.float64).astype(flat.dtype) != flat)
    for index in lossy.tolist():
        texts[index] = f"{values[index]:.{digits}g}"
    return [text if "." in text or "e" in text else _NAMES.get(text) or f"{text}.0" for text in texts]


def parse_decimal(text: str) -> float:
    """The number of a JSON text with a fraction or an exponent.

    Raises:
      TooBigError: its exponent is beyond a double's. A number beyond by less than that is infinite.
    """
    value = float(text)
    if math.isinf(value):
        parts = _PARTS.fullmatch(text) if len(text) <= _MAX_EXPONENT else None
        if not parts or int(parts[2] or 0) > _MAX_EXPONENT + len(parts[1] or ""):
            raise TooBigError(text)
    return value
