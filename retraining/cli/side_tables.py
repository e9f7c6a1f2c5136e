"""What is told beside the nights' course, for a person to read: measures, scores, searches, notes."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

import lineage
from lineage import GateReport, Note, Scoring, Search, Series
from retraining.cli.fitting import Fitting

_LABELS = ("negative", "neutral", "positive")


def render_drift(answer: lineage.Drift, name: str | None = None) -> RenderableType:
    """A line for each measure; or, of one measure, a line for each night.

    Raises:
      UnknownError: no night has such a measure.
    """
    series = {one.kind.name: one for one in lineage.list_series(answer)}
    if not answer.nights:
        return Text("No night is on record. Run one: `retraining run --night YYYY-MM-DD`")
    if name is not None:
        if name not in series:
            raise lineage.UnknownError(f"these nights have no measure {name!r}; there are {', '.join(series)}")
        return _nights_of(answer, series[name])
    table = Fitting("measure", "newest", "limit", "least to most", "beyond", "recorded")
    for one in series.values():
        known = [number for number, value in enumerate(one.values) if value is not None]
        values = [value for value in one.values if value is not None]
        beyond = Text(str(len(one.missed)), style="red" if one.missed else "")
        between = f"{one.kind.write(min(values))} to {one.kind.write(max(values))}"
        rule = one.kind.tell_rule(one.limits[known[-1]])
        table.add_row(one.kind.name, one.kind.write(values[-1]), rule, between, beyond, str(len(known)))
    first, last = answer.nights[0].night, answer.nights[-1].night
    return Group(
        Text(f"{len(answer.nights)} nights, {first} to {last}; of one measure night by night: "
             "`retraining lineage drift MEASURE`"),
        table,
    )  # fmt: skip


def _nights_of(answer: lineage.Drift, one: Series) -> RenderableType:
    table = Fitting("night", "value", "limit", "")
    for night, value, limit in zip(answer.nights, one.values, one.limits, strict=True):
        mark = Text("beyond", style="red") if night.night in one.missed else Text()
        shown = "not recorded" if value is None else one.kind.write(value)
        table.add_row(night.night, shown, one.kind.tell_rule(limit), mark)
    return Group(Text(f"{one.kind.label}: {one.kind.meaning}"), table)


def render_gate(answer: GateReport) -> RenderableType:
    """What a night's data were held to."""
    table = Fitting("DropGate's measure", "value", "limit", "")
    for one in answer.measures:
        if one.kind.limit:
            style = "" if one.passed is None else "green" if one.passed else "red"
            table.add_row(one.kind.label, one.shown, one.rule, Text(one.verdict, style=style))
    advice = [f"{one.kind.label}: {one.kind.advice}." for one in answer.measures if one.passed is False]
    return Group(table, *map(Text, advice))


def render_notes(answer: Iterable[Note]) -> RenderableType:
    """Notes, newest first, each with who wrote it and when."""
    lines: list[RenderableType] = []
    for note in answer:
        about = f"night {note.night}" if note.version is None else f"version {note.version}"
        lines.append(Text(f"note {note.id} on {about}, by {note.by}, {note.at:%Y-%m-%d %H:%M} UTC", style="bold"))
        lines.append(Text(f"  {note.text}".replace("\n", "\n  "), style="dim" if note.withdrawal else ""))
        if note.withdrawal:
            back = note.withdrawal
            lines.append(Text(f"  withdrawn by {back.by}, {back.at:%Y-%m-%d %H:%M} UTC: {back.text}"))
    return Group(*lines) if lines else Text("No notes. Write one: `retraining note --night YYYY-MM-DD 'text'`")


def render_scores(answer: Iterable[Scoring]) -> RenderableType:
    """A line for each night that was scored, and for each attempt that scored none."""
    table = Fitting("night", "version", "rows", *_LABELS, "state", "file")
    scorings = list(answer)
    for one in scorings:
        for each in one.nights:
            counts = ["-" if each.labels is None else str(each.labels.get(label, 0)) for label in _LABELS]
            table.add_row(each.night, one.version, str(each.rows), *counts, one.state, each.file)
        if not one.nights:
            table.add_row("-", one.version or "-", "-", "-", "-", "-", one.state, one.error or "")
    if not table:
        return Text("No unlabelled headlines were scored yet; docs/scoring.md says how.")
    return Group(table, *_tell_cut(len(scorings), lineage.MOST_SCORINGS))


def _tell_cut(count: int, most: int) -> list[Text]:
    """A line where there may be more than were asked for."""
    return [Text(f"These are the newest {most}; older ones are not listed.", style="dim")] if count >= most else []


def render_searches(answer: Iterable[Search]) -> RenderableType:
    """A line for each search, newest first."""
    table = Fitting("night", "state", "trials", "best", "trained with it", "found")
    searches = list(answer)
    for one in searches:
        found = ", ".join(f"{name} {value}" for name, value in one.hyperparameters.items())
        used = f"{len(one.used_by)}, {one.used_by[0]} to {one.used_by[-1]}" if one.used_by else "none yet"
        best = "-" if one.score is None else f"{one.objective} {one.score:.4f}"
        trials = "-" if one.trials is None else str(one.trials)
        table.add_row(one.night or "-", one.state, trials, best, used, found or one.error or "-")
    if not table:
        return Text("Nothing was searched for yet; docs/tuning.md says how.")
    return Group(table, *_tell_cut(len(searches), lineage.MOST_SEARCHES))
