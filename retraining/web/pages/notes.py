"""Notes on nights and versions."""

from typing import Any

import lineage
from headlines.notes import MOST_CHARACTERS
from lineage import Reader
from retraining.web.page import Page


def notes(reader: Reader, written: dict[str, Any] | None = None, problem: str = "") -> Page:
    """Every note, newest first, and the form that writes one.

    Args:
      reader: of lineage.
      written: what was filled in, by field, where it could not be kept.
      problem: why not.
    """
    return {
        "notes": lineage.notes(reader),
        "written": written or {},
        "problem": problem,
        "most_characters": MOST_CHARACTERS,
    }
