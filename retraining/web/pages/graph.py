"""Lineage as a picture, and one attempt of a node in it."""

import lineage
from lineage import Reader
from retraining.web.layout import lay_out
from retraining.web.page import Page

_GRAPH_NIGHTS = 3


def graph(reader: Reader, name: str | None = None, full: bool = False) -> Page:
    """Lineage as a picture: of one night, or of the newest ones; domain steps, or everything."""
    answer = lineage.graph(reader, name, full=full, limit=_GRAPH_NIGHTS)
    return {"name": name, "full": full, "graph": answer, "picture": lay_out(answer)}


def execution(reader: Reader, identity: int) -> Page:
    """One attempt of a node: what it took, made and was given."""
    detail = lineage.execution_detail(reader, identity)
    return {"execution": detail, "night": lineage.find_night_of_execution(reader, identity)}


def newest_attempt(reader: Reader, run_id: str, node: str) -> int:
    """The execution of a task in a run.

    Raises:
      UnknownError: the task has recorded nothing, or not yet.
    """
    return lineage.find_execution(reader, run_id, node).id
