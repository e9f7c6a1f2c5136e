"""What a drop touched."""

import lineage
from lineage import Reader
from retraining.web.page import Page


def recall(reader: Reader, name: str | None = None, version: int | None = None) -> Page:
    """The models that a drop touched, whether one of them serves, and the commands that help."""
    answer = lineage.recall(reader, name, version) if name else None
    taints = answer.taints if answer else ()
    nights = (taint.model.night for taint in taints if "trained-on" in taint.ways)
    last = max(filter(None, nights), default=None)
    return {"drops": lineage.drops(reader), "recall": answer, "last_night": last}
