"""What pushed models said of unlabelled headlines."""

import lineage
from lineage import Reader
from retraining.web.page import Page, check_night


def scores(reader: Reader, night: str | None = None) -> Page:
    """The attempts to score unlabelled headlines, newest first.

    Args:
      reader: of lineage.
      night: whose headlines; None for all.

    Raises:
      UnknownError: the night is no date.
    """
    if night is not None:
        check_night(night)
    return {"scored_night": night, "most": lineage.MOST_SCORINGS, "scores": lineage.scores(reader, night)}
