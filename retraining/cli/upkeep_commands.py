"""Commands that keep a service for years: a backup and the way back from one, and a service that has moved."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import console, example, fail
from retraining.cli.progress import show_steps
from retraining.local import lock
from retraining.places import relocation
from retraining.settings import Settings

app = typer.Typer()


@app.command(epilog=example("retraining relocate --dry-run"))
def relocate(
    old: Annotated[
        Path | None,
        typer.Option("--from", metavar="OLD", help="A folder that lay there. Default: wherever lineage says."),
    ] = None,
    new: Annotated[
        Path | None, typer.Option("--to", metavar="NEW", help="Where that folder lies. Default: STATE_DIR.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
) -> None:
    """Rewrite the paths in lineage after the service's folders have moved; while no night is at work.

    `retraining up` does so by itself where Postgres is the embedded one, whose data move with the folder.
    """
    if new is not None and old is None:
        raise typer.BadParameter("--to is the new place of the folder that --from names; give both")
    settings = Settings.from_env()
    with lock.hold(settings):
        done = relocation.relocate(settings, old and old.absolute(), new and new.absolute(), dry_run)
    if not done.moves:
        console.print("Everything lies where lineage says.")
        return
    for move in done.moves.moves:
        if move.old != move.new:
            console.print(f"{escape(move.old)} -> {escape(move.new)}", highlight=False, soft_wrap=True)
    verb = "would be rewritten" if dry_run else "rewritten"
    console.print(f"{done.paths} paths in lineage {verb}.", highlight=False)
    for hint in done.hints:
        console.print(escape(hint), style="yellow", highlight=False, soft_wrap=True)
