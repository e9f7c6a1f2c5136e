"""The list of models."""

import lineage
from lineage import Reader
from retraining.web.page import Page

MODELS_PER_PAGE = 50


def models(reader: Reader, state: str, search: str, page: int) -> Page:
    """Every model with its verdict and what became of it, newest first.

    Args:
      reader: of lineage.
      state: only those in it; empty for all.
      search: a text in night, version, id or reason.
      page: from 1; one beyond the last is the last.
    """
    number = max(page, 1)
    answer = lineage.list_models(reader, state, search, MODELS_PER_PAGE, (number - 1) * MODELS_PER_PAGE)
    pages = max(1, -(-answer.count // MODELS_PER_PAGE))
    if number > pages:
        number = pages
        answer = lineage.list_models(reader, state, search, MODELS_PER_PAGE, (number - 1) * MODELS_PER_PAGE)
    return {
        "models": answer.models,
        "count": answer.count,
        "states": answer.states,
        "state": state,
        "search": search,
        "page": number,
        "pages": pages,
    }
