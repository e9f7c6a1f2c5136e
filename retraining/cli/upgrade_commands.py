"""The command that brings a service to the version of this checkout, or back."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import console, example, fail
from retraining.cli.progress import show_steps
from retraining.local import lock
from retraining.settings import Settings
from retraining.upkeep import plans
from retraining.upkeep import upgrade as upgrading
from retraining.version import VERSION

app = typer.Typer()


@app.command(epilog=example("retraining upgrade"))
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    old_postgres: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Binaries of the Postgres that made the data, where they cannot be fetched."
        ),
    ] = None,
    back: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Undo an upgrade: put back the copy that it made. What came since is lost."
        ),
    ] = None,
) -> None:
    """Bring a service to the version of this checkout: after `git pull` (or checking out a tag) and `make setup`.

    It stops the service, copies its databases into the state folder, migrates them, starts the service, and sees that
    lineage and the model server answer as before. Run again it has nothing to do.
    """
    settings = Settings.from_env()
    with lock.hold(settings):
        if back is not None:
            if dry_run or old_postgres:
                fail("--back goes alone; leave the other options out")
            with show_steps(console) as report:
                advice = upgrading.go_back(settings, back.absolute(), report)
            console.print(f"The databases are as they were. Now {escape(advice)}.", soft_wrap=True)
            return
        with show_steps(console) as report:
            plan = plans.make_plan(settings, report, old_postgres)
        for sentence in plan.old_names:
            console.print(escape(sentence), style="yellow", highlight=False, soft_wrap=True)
        if not plan.steps:
            console.print(f"There is nothing to do: this state is version {VERSION}'s already.", highlight=False)
            return
        for step in plan.steps:
            console.print(f"- {escape(step)}", highlight=False, soft_wrap=True)
        if dry_run:
            console.print("Nothing was done: --dry-run.")
            return
        with show_steps(console) as report:
            done = upgrading.upgrade(settings, plan, report, old_postgres)
    _show(done, settings)


def _show(done: upgrading.Done, settings: Settings) -> None:
    said = [f"This service is version {VERSION}'s now."]
    if done.compared:
        said.append(f"Lineage answers as before: {done.compared} questions were compared.")
    if settings.postgres_embedded:
        said.append(f"Version {done.served} answers." if done.served else "No version was pushed yet.")
    else:
        said.append("Start what you stopped.")
    if done.gap_seconds is not None:
        said.append(f"The model server did not answer for {done.gap_seconds:.0f} s at most.")
    console.print(" ".join(said), highlight=False, soft_wrap=True)
    folder = escape(str(done.folder))
    console.print(
        f"The databases as they were: {folder}; remove it when you need it no more. "
        f"Back: `retraining upgrade --back '{folder}'`",
        highlight=False,
        soft_wrap=True,
    )
    if done.kept_data:
        console.print(
            f"The data of the older Postgres: {escape(str(done.kept_data))}. Remove it when you need it no more.",
            highlight=False,
            soft_wrap=True,
        )
