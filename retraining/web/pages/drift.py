"""How the data of nights drift: each label and each measure over nights, with the limits that were in force."""

from typing import Any

import lineage
from lineage import Reader, Series
from retraining.web.charts import MOST_ROWS
from retraining.web.page import Page

_NIGHTS = 180
# Of a line in a chart: colour and dashes.
_COLOURS = {"label:negative": "#a61b1b", "label:neutral": "#54606e", "label:positive": "#0b6b34"}
_VALUE, _LIMIT = "#014fb0", "#a86a00"


def drift(reader: Reader, nights: int = _NIGHTS) -> Page:
    """Each label and each measure over the newest nights.

    Args:
      reader: of lineage.
      nights: how many.
    """
    answer = lineage.drift(reader, newest=nights)
    series = lineage.list_series(answer)
    return {"drift": answer, "chart": _draw(answer, series)}


def _draw(answer: lineage.Drift, series: tuple[Series, ...]) -> Page:
    """The charts, a summary of each measure, and a row for each night, newest first."""
    names = [night.night for night in answer.nights]
    labels = [one for one in series if one.kind.name in _COLOURS]
    measures = [one for one in series if one not in labels]
    recorded = {one.kind.name for one in series}
    return {
        "labels": {"nights": names, "lines": [_line(one, one.kind.label, _COLOURS[one.kind.name]) for one in labels]},
        "measures": [_measure(one, names) for one in measures],
        "not_recorded": [kind.label for kind in answer.kinds if kind.name not in recorded],
        "columns": [one.kind.label for one in series],
        "rows": [
            {"night": night, "cells": [_cell(one, number, night) for one in series]}
            for number, night in list(enumerate(names))[: -MOST_ROWS - 1 : -1]
        ],
        "count": len(names),
    }


def _measure(one: Series, names: list[str]) -> dict[str, Any]:
    known = [(value, limit) for value, limit in zip(one.values, one.limits, strict=True) if value is not None]
    value, limit = known[-1]
    lines = [_line(one, one.kind.label, _VALUE)]
    if any(limit is not None for limit in one.limits):
        lines.append({"label": "limit", "color": _LIMIT, "dash": [6, 3], "stepped": True, "values": list(one.limits)})
    return {
        "kind": one.kind,
        "newest": one.kind.write(value),
        "rule": one.kind.tell_rule(limit),
        "least": one.kind.write(min(value for value, _ in known)),
        "most": one.kind.write(max(value for value, _ in known)),
        "missed": one.missed,
        "recorded": len(known),
        "data": {"nights": names, "lines": lines},
    }


def _line(one: Series, label: str, colour: str) -> dict[str, Any]:
    return {"label": label, "color": colour, "dash": [], "stepped": False, "values": list(one.values)}


def _cell(one: Series, number: int, night: str) -> tuple[str, bool]:
    value = one.values[number]
    return ("–" if value is None else one.kind.write(value)), night in one.missed
