"""What serves: since when, from which drops, and how champions did over nights."""

from datetime import UTC, datetime

import lineage
from lineage import Reader
from retraining.settings import Settings
from retraining.watching import replicas
from retraining.web.charts import chart
from retraining.web.layout import lay_out
from retraining.web.page import Page, find_refresh

# The first of these that lineage knows is drawn unless one is asked for.
_METRICS = ("accuracy", "macro_f1")
_HISTORY_NIGHTS = 180
# Of so many of the newest nights it is told when one is not over yet.
_NEWEST_NIGHTS = 3
# Of a line in the chart: field, label, colour, dashes.
_Line = tuple[str, str, str, list[int]]
_FRESH: tuple[_Line, ...] = (
    ("fresh_champion", "champion, fresh rows", "#014fb0", []),
    ("fresh_lr", "LR, fresh rows", "#a86a00", [6, 3]),
    ("fresh_majority", "majority, fresh rows", "#54606e", [2, 3]),
)
_HELD_OUT: tuple[_Line, ...] = (
    ("candidate", "candidate, held-out rows", "#0b6b34", []),
    ("champion", "champion, held-out rows", "#014fb0", []),
    ("lr", "LR, held-out rows", "#a86a00", [6, 3]),
    ("majority", "majority, held-out rows", "#54606e", [2, 3]),
)


def now_serving(reader: Reader, settings: Settings, metric: str | None = None, nights: int = _HISTORY_NIGHTS) -> Page:
    """What serves, since when, from which drops, and how well the champion has done on each night's fresh rows.

    Args:
      reader: of lineage.
      settings: where the model servers are, which are asked what they answer with.
      metric: drawn over nights; None for accuracy.
      nights: how many of the newest are drawn.
    """
    serving = lineage.serving_now(reader)
    metrics = lineage.metrics(reader)
    drawn = metric or next((name for name in (*_METRICS, *metrics) if name in metrics), None)
    history = lineage.metric_history(reader, drawn, newest=nights) if drawn else None
    newest_nights = lineage.calendar(reader, newest=_NEWEST_NIGHTS)
    under_way = [one for one in newest_nights if one.state in ("running", "waiting", "stuck")]
    observed = replicas.observe(settings, reader, replicas.PAGE_SECONDS)
    is_loading = any(one.state == "loading" for one in observed.replicas)
    return {
        "serving": serving,
        "observed": observed,
        "under_way": under_way,
        "refresh_seconds": find_refresh([*(one.state for one in under_way), *(["running"] if is_loading else [])]),
        "days": (datetime.now(UTC) - serving.since).days if serving else None,
        "detail": lineage.model_detail(reader, f"#{serving.model.id}") if serving and serving.model else None,
        "picture": lay_out(serving.path) if serving else None,
        "metric": drawn,
        "metrics": metrics,
        "history": history,
        "chart": _chart(history) if history else None,
        "reigns": lineage.reigns(reader, limit=8),
    }


def _chart(history: lineage.History) -> Page:
    """The lines of a history that have anything in them: on fresh rows, or where there are none on held-out ones."""
    points = history.points
    lines = _FRESH if any(point.fresh_champion is not None for point in points) else _HELD_OUT
    drawn = [(label, [getattr(point, name) for point in points], colour, dash) for name, label, colour, dash in lines]
    return chart([point.night for point in points], drawn, points)
