"""Live progress of a start and of a run: bars and clocks on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn
from rich.table import Column

from retraining.local.night_runs import Run, Task
from retraining.local.preparation import Report

_BARS_FROM = 80
"""Columns of the narrowest terminal on which bars leave room for what is said beside them."""

_DONE = {"success": "[green]done[/]", "failed": "[red]failed[/]", "skipped": "[dim]skipped[/]"}
_STATES = {
    "": "[dim]waiting[/]",
    "scheduled": "[dim]queued[/]",
    "queued": "[dim]queued[/]",
    "running": "[cyan]running[/]",
    "deferred": "[cyan]waiting for the drop[/]",
    "up_for_retry": "[yellow]failed, will be tried again[/]",
    "restarting": "[yellow]starting over[/]",
    "upstream_failed": "[red]not run: an earlier node failed[/]",
    **_DONE,
}


@contextmanager
def show_steps(console: Console) -> Iterator[Report]:
    """Yields what to call with each step's name; each is shown with the seconds since the start."""
    begun = time.monotonic()
    with console.status("") as status:

        def report(step: str) -> None:
            console.print(f"[dim]{time.monotonic() - begun:6.1f} s[/]  {step}", highlight=False)
            status.update(f"{step} ...")

        yield report


def show_run(console: Console, night: str, looks: Iterable[Run]) -> Run:
    """Shows a run, which is looked at again and again until it is done, and returns the last look."""
    return _show_bars(console, night, looks) if console.is_terminal else _show_lines(console, night, looks)


def _show_bars(console: Console, night: str, looks: Iterable[Run]) -> Run:
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=console.width // 5),
        TextColumn("{task.fields[clock]:>8}"),
        # It may be long, and then takes lines instead of being cut off.
        TextColumn("{task.fields[state]}", table_column=Column(overflow="fold")),
    ]
    if console.width < _BARS_FROM:
        del columns[1]
    with Progress(*columns, console=console) as progress:
        whole = progress.add_task(f"[bold]night {night}[/]", total=None, clock="", state="")
        rows: dict[str, TaskID] = {}
        begun = time.monotonic()
        for run in looks:
            for task in run.tasks:
                if task.name not in rows:
                    rows[task.name] = progress.add_task(f"  {task.name}", total=1, clock="", state="")
                progress.update(
                    rows[task.name],
                    # Without a total the bar moves to and fro.
                    total=None if task.state == "running" else 1,
                    completed=1 if task.state in _DONE else 0,
                    clock=_clock(task.seconds) if task.seconds else "",
                    state=_word(task),
                )
            progress.update(
                whole,
                total=len(run.tasks) or None,
                completed=sum(task.state in _DONE for task in run.tasks),
                clock=_clock(time.monotonic() - begun),
                state=_whole(run),
            )
    return run


def _show_lines(console: Console, night: str, looks: Iterable[Run]) -> Run:
    begun = time.monotonic()
    shown: dict[str, str] = {}
    for run in looks:
        words = {"night " + night: _whole(run)} | {task.name: _word(task) for task in run.tasks if task.state}
        seconds = {task.name: task.seconds for task in run.tasks if task.state in _DONE}
        for name, word in words.items():
            if shown.get(name) != word and word:
                shown[name] = word
                took = f" in {seconds[name]:.1f} s" if name in seconds else ""
                elapsed = time.monotonic() - begun
                console.print(f"{elapsed:7.1f} s  {name:<22} {word}{took}", highlight=False, soft_wrap=True)
    return run


def _whole(run: Run) -> str:
    if run.state == "queued" and run.behind:
        return f"[yellow]queued behind {escape(', '.join(run.behind))}[/]"
    return _STATES.get(run.state, run.state)


def _word(task: Task) -> str:
    attempt = f" (attempt {task.attempt})" if task.attempt > 1 and task.state not in ("", "skipped") else ""
    return _STATES.get(task.state, task.state) + attempt


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:04.1f}"
