"""What became of the nights, for a person to read, at any width from 60 columns on."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from lineage import NightReport
from retraining.cli.fitting import Fitting
from retraining.watching.night_words import tell_night

STATE_COLOURS = {
    "pushed": "green",
    "refused": "yellow",
    "skipped": "yellow",
    **dict.fromkeys(("failed", "blocked", "stuck", "missing"), "red"),
}
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def render_nights(reports: Iterable[NightReport]) -> RenderableType:
    """A table of the nights, and for each its drop, the reason of its verdict and every check it did not pass."""
    table = Fitting("night", "state", "version", *_METRICS.values(), right=_METRICS.values())
    notes: list[Text] = []
    for report in reports:
        table.add_row(
            report.night,
            _state(report),
            report.pushed_version or "-",
            *(_against_bar(report, name) for name in _METRICS),
        )
        notes.append(_note(report))
    legend = Text("value/bar: what the candidate reached, and the least it had to reach", style="dim")
    return Group(table, legend, Text(), *notes)


def _against_bar(report: NightReport, metric: str) -> Text:
    value = report.metrics.get(metric)
    if value is None:
        return Text("-")
    floors = [check for check in report.checks if check.name == metric]
    bar = f"/{floors[0].limit:.2f}" if floors else ""
    failed = any(not check.passed for check in report.checks if check.name.startswith(metric))
    return Text(f"{value:.3f}{bar}", style="red" if failed else "")


def _state(report: NightReport) -> Text:
    return Text(report.state, style=STATE_COLOURS.get(report.state, ""))


def _note(report: NightReport) -> Text:
    note = Text(f"{report.night}  ", style="bold", overflow="fold")
    note.append(tell_night(report), style="not bold")
    return note
