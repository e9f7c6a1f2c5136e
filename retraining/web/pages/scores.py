"""What pushed models said of unlabelled headlines."""

import lineage
from lineage import Reader
from retraining.web.page import Page


def scores(reader: Reader, night: str | None = None) -> Page:
    """The attempts to score unlabelled headlines, newest first.

    Args:
      reader: of lineage.
      night: whose headlines; None for all.
    """
    return {"scored_night": night, "scores": lineage.scores(reader, night)}
