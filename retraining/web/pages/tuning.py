"""Searches for better hyperparameters."""

import lineage
from lineage import Reader
from retraining.web import documents
from retraining.web.page import Page


def tuning(reader: Reader, identity: int | None = None) -> Page:
    """The searches, newest first, and the trials of one of them.

    Args:
      reader: of lineage.
      identity: MLMD's id of what the search found, whose trials are listed; None for the newest that found something.
    """
    searches = lineage.searches(reader)
    if identity is None:
        chosen = next((one for one in searches if one.night), None)
    else:
        chosen = lineage.find_search(reader, identity)
    return {
        "searches": searches,
        "most": lineage.MOST_SEARCHES,
        "chosen": chosen,
        "trials": documents.trials(chosen.results_uri) if chosen else None,
    }
