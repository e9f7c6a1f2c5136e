"""What became of the nights, for a person to read, in at most 100 columns."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lineage import Check, NightReport

WIDTH = 100
STATE_COLOURS = {
    "pushed": "green",
    "refused": "yellow",
    "skipped": "yellow",
    **dict.fromkeys(("failed", "blocked", "stuck", "missing"), "red"),
}
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1"}


def render_nights(reports: Iterable[NightReport]) -> RenderableType:
    """A table of the nights, and for each the reason of its verdict and every check it did not pass."""
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, pad_edge=False)
    table.add_column("night", no_wrap=True)
    for title in ("drop", "rows used", "quarantined", *_METRICS.values()):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("pushed version", no_wrap=True)
    notes: list[Text] = []
    for report in reports:
        table.add_row(
            report.night,
            "-" if report.drop_version is None else f"v{report.drop_version}",
            "-" if report.rows_used is None else f"{report.rows_used} of {report.rows_in}",
            "-" if report.rows_quarantined is None else str(report.rows_quarantined),
            *(_against_bar(report, name) for name in _METRICS),
            _verdict(report),
            report.pushed_version or "-",
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


def _verdict(report: NightReport) -> Text:
    if report.state == "pushed":
        return Text("blessed", style="green")
    return Text(report.state, style=STATE_COLOURS.get(report.state, ""))


def _note(report: NightReport) -> Text:
    note = Text(f"{report.night}  ", style="bold", no_wrap=False)
    note.append((report.error or report.reason or report.state).strip(), style="not bold")
    failed = [_explain(check) for check in report.checks if not check.passed]
    if failed:
        note.append(f" ({'; '.join(failed)})", style="not bold")
    return note


def _explain(check: Check) -> str:
    value = "no value" if check.value is None else f"{check.value:.3f}"
    interval = "" if check.low is None else f" [{check.low:.3f}, {check.high:.3f}]"
    return f"{check.name} {value}{interval}, must be {check.rule}"
