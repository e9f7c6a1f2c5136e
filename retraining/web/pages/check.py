"""One check of the quality bar over nights, and the document that says what the bar is."""

import lineage
from headlines.bar.checks import DOC
from lineage import Reader, UnknownError
from retraining.settings import BUNDLE
from retraining.web.axis import draw
from retraining.web.charts import Line, chart
from retraining.web.page import Page
from retraining.web.prose import render


def check(reader: Reader, name: str, nights: int) -> Page:
    """A check over the newest nights, with the limit of each night.

    Args:
      reader: of lineage.
      name: of the check.
      nights: how many of the newest.
    """
    history = lineage.check_history(reader, name, newest=nights)
    points = [(point, point.check) for point in history.points if point.check]
    newest = points[-1][1] if points else None
    lines: list[Line] = [
        ("value", [check.value for _, check in points], "#014fb0", []),
        ("lower end of its interval", [check.low for _, check in points], "#54606e", [2, 3]),
        ("upper end of its interval", [check.high for _, check in points], "#54606e", [2, 3]),
        ("limit", [check.limit for _, check in points], "#a61b1b", [6, 3]),
    ]
    return {
        "name": name,
        "newest": newest,
        "history": history,
        "others": lineage.checks(reader),
        "nights": nights,
        "axes": {name: draw(newest)} if newest else {},
        "chart": chart([point.night for point, _ in points], lines, [point for point, _ in points]),
    }


def quality_bar() -> Page:
    """The document that tells what a candidate must show.

    Raises:
      UnknownError: it is not installed here.
    """
    path = BUNDLE / DOC
    if not path.is_file():
        raise UnknownError(f"{DOC} is not installed here; it is in the repository")
    text = path.read_text(encoding="utf-8")
    return {"name": DOC, "text": text, "rendered": render(text, below=0)}
