"""What each page shows, from questions to lineage: plain values that a template draws and a script gets as JSON."""

from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import lineage
from headlines.drops.drops_folder import DropError, parse_night
from headlines.names import CARD_FILE, EVALUATOR, EXAMPLE_GEN, MODEL_CARD, SAVED_MODEL_FILE, TRAINER
from headlines.schedule import find_cut_off
from lineage import ArtifactRecord, Reader, UnknownError
from retraining.settings import Settings
from retraining.web import documents
from retraining.web.layout import lay_out

Page = dict[str, Any]

# The first of these that lineage knows is drawn unless one is asked for.
_METRICS = ("accuracy", "macro_f1")
_HISTORY_NIGHTS = 180
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
_GRAPH_NIGHTS = 3


def now_serving(reader: Reader, metric: str | None = None, nights: int = _HISTORY_NIGHTS) -> Page:
    """What serves, since when, from which drops, and how well the champion has done on each night's fresh rows.

    Args:
      reader: of lineage.
      metric: drawn over nights; None for accuracy.
      nights: how many of the newest are drawn.
    """
    serving = lineage.serving_now(reader)
    metrics = lineage.metrics(reader)
    drawn = metric or next((name for name in (*_METRICS, *metrics) if name in metrics), None)
    newest = lineage.drops(reader, limit=1)
    first = (date.fromisoformat(newest[0][0]) - timedelta(days=nights)).isoformat() if newest else None
    history = lineage.metric_history(reader, drawn, first=first) if drawn else None
    return {
        "serving": serving,
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
    values = {name: [getattr(point, name) for point in history.points] for name, *_ in (*_FRESH, *_HELD_OUT)}
    lines = [
        {"label": label, "color": colour, "dash": dash, "values": values[name]}
        for name, label, colour, dash in (_FRESH if any(filter(None, values["fresh_champion"])) else _HELD_OUT)
        if any(value is not None for value in values[name])
    ]
    return {"nights": [point.night for point in history.points], "lines": lines}


def nights(reader: Reader, settings: Settings, year: int | None = None) -> Page:
    """A year as months of nights, newest month first, the nights that came to no verdict, and those with a late drop.

    Args:
      reader: of lineage.
      settings: how long a night waits for its drop.
      year: None for that of the newest night.
    """
    delivered = [night for night, _ in lineage.drops(reader)]
    runs = lineage.models(reader, limit=1)
    newest = max([*delivered, *(model.night for model in runs)], default=None)
    chosen = year or (int(newest[:4]) if newest else datetime.now(UTC).year)
    first, last = f"{chosen:04}-01-01", f"{chosen:04}-12-31"
    cells = lineage.calendar(reader, first, last)
    months = [
        {"month": month, "offset": date.fromisoformat(f"{month}-01").weekday(), "nights": _fill(list(group))}
        for month, group in groupby(cells, key=lambda cell: cell.night[:7])
    ]
    return {
        "year": chosen,
        "years": sorted({int(night[:4]) for night in delivered} | {chosen}, reverse=True),
        "months": months[::-1],
        "gaps": lineage.find_gaps(reversed(cells)),
        "late": [cell.night for cell in cells if _is_late(settings, cell)],
    }


def _is_late(settings: Settings, cell: lineage.NightSummary) -> bool:
    if cell.delivered is None:
        return False
    cut_off = find_cut_off(settings, cell.night)
    return cut_off is not None and datetime.fromisoformat(cell.delivered) > cut_off


def _fill(cells: list[Any]) -> list[Any]:
    """Every day of a month up to its last known night; None before the first."""
    by_day = {int(cell.night[8:]): cell for cell in cells}
    return [by_day.get(day) for day in range(1, max(by_day) + 1)]


def night(reader: Reader, name: str) -> Page:
    """A night: its drop, every attempt of every run, and what the data of its newest run looked like."""
    detail = _night_detail(reader, name)
    artifacts = _newest_outputs(reader, detail)
    described = documents.statistics(artifacts.get(("StatisticsGen", "statistics")))
    return {
        "night": detail,
        "before": _neighbour(name, -1),
        "after": _neighbour(name, 1),
        "mixes": documents.class_mixes(artifacts.get((EXAMPLE_GEN, "examples")), described),
        "statistics": described,
        "anomalies": documents.anomalies(artifacts.get(("ExampleValidator", "anomalies"))),
        "quarantine": documents.count_reasons(artifacts.get((EXAMPLE_GEN, "quarantine"))),
    }


def _night_detail(reader: Reader, name: str) -> lineage.NightDetail:
    """What lineage knows of a night; of one that was never run, who was champion."""
    try:
        parse_night(name)
    except DropError as error:
        raise UnknownError(str(error)) from None
    try:
        return lineage.night_detail(reader, name)
    except UnknownError:
        before = lineage.champion_as_of(reader, name)
        version = before.version if before else None
        return lineage.NightDetail(name, None, (), (), version, version, ())


def _newest_outputs(reader: Reader, detail: lineage.NightDetail) -> dict[tuple[str, str], ArtifactRecord]:
    return lineage.artifacts_of_run(reader, detail.runs[-1].report.run_id).outputs if detail.runs else {}


def _neighbour(name: str, days: int) -> str | None:
    """The night so many days away; None beyond the first and the last day that can be written."""
    try:
        return (date.fromisoformat(name) + timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def model(reader: Reader, name: str) -> Page:
    """A model: its verdict check by check, how it errs, what it was made from, its card and where its logs are."""
    detail = lineage.model_detail(reader, name)
    artifacts = detail.artifacts
    card = next((artifact for (node, _), artifact in artifacts.items() if node == MODEL_CARD), None)
    return {
        "model": detail,
        "verdict": documents.verdict(artifacts.get((EVALUATOR, "evaluation"))),
        "card": documents.text_of(card, CARD_FILE),
        "model_run": artifacts[(TRAINER, "model_run")].uri if (TRAINER, "model_run") in artifacts else None,
        "picture": lay_out(lineage.path_back(reader, name)),
    }


def rows(settings: Settings, name: str, version: int, page: int, search: str) -> Page:
    """The rows of a version of a drop, as they were delivered."""
    lines = documents.drop_rows(settings.drops_dir, name, version)
    return {"night": name, "drop_version": version, **documents.select(lines, page, search)}


def quarantine(reader: Reader, name: str, page: int, search: str, reason: str) -> Page:
    """The rows that the newest run of a night put aside, each with its reason."""
    detail = _night_detail(reader, name)
    entries = documents.quarantined_rows(_newest_outputs(reader, detail).get((EXAMPLE_GEN, "quarantine")))
    chosen = [row for row in entries or () if row["reason"] == reason or not reason]
    return {
        "night": name,
        "is_known": entries is not None,
        "reasons": sorted({row["reason"] for row in entries or ()}),
        "reason": reason,
        **documents.select(chosen, page, search),
    }


def recall(reader: Reader, name: str | None = None, version: int | None = None) -> Page:
    """The models that a drop touched, whether one of them serves, and the commands that help."""
    answer = lineage.recall(reader, name, version) if name else None
    taints = answer.taints if answer else ()
    last = max((taint.model.night for taint in taints if "trained-on" in taint.ways), default=None)
    return {"drops": lineage.drops(reader), "recall": answer, "last_night": last}


def compare(reader: Reader, a: str | None = None, b: str | None = None) -> Page:
    """Two models side by side: data, settings, code, libraries, metrics, class mix."""
    return {
        "models": lineage.models(reader, limit=400),
        "a": a,
        "b": b,
        "comparison": lineage.compare(reader, a, b) if a and b else None,
    }


def graph(reader: Reader, name: str | None = None, full: bool = False) -> Page:
    """Lineage as a picture: of one night, or of the newest ones; domain steps, or everything."""
    answer = lineage.graph(reader, name, full=full, limit=_GRAPH_NIGHTS)
    return {"name": name, "full": full, "graph": answer, "picture": lay_out(answer)}


def execution(reader: Reader, identity: int) -> Page:
    """One attempt of a node: what it took, made and was given."""
    return {"execution": lineage.execution_detail(reader, identity)}


def newest_attempt(reader: Reader, run_id: str, node: str) -> int:
    """The execution of a task in a run.

    Raises:
      UnknownError: the task has recorded nothing, or not yet.
    """
    return lineage.find_execution(reader, run_id, node).id


def rollback_choices(reader: Reader, settings: Settings, to: int | None) -> Page:
    """What serves, and the pushed versions that one can go back to, as the command would choose.

    Args:
      reader: of lineage.
      settings: where the pushed models are.
      to: preselected if it is one of them; None for the version before.
    """
    serving = lineage.serving_version(reader)
    if serving is None:
        raise UnknownError("nothing has been pushed yet, so there is nothing to roll back")
    folder = settings.serving_dir
    pushed = lineage.pushed_versions(reader)
    versions = [
        version
        for version in pushed
        if version != serving.version and (folder / str(version) / SAVED_MODEL_FILE).is_file()
    ]
    before = next((version for version in versions if version < serving.version and not pushed[version]), None)
    chosen = to or before
    problem = None if chosen is None or chosen in versions else f"there is no pushed model {chosen} to go back to"
    return {"serving": serving, "versions": versions, "to": None if problem else chosen, "problem": problem}
