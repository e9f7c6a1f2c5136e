"""Commands that keep a service for years: a backup and the way back from one, and a service that has moved."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import console, example
from retraining.cli.progress import show_steps
from retraining.local import lock
from retraining.places import relocation
from retraining.settings import Settings
from retraining.upkeep import archive
from retraining.upkeep import restore as restoring
from retraining.upkeep.backup import back_up

app = typer.Typer()


@app.command(epilog=example("retraining backup /mnt/backups/headlines.tar.gz"))
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .tar.gz; an earlier one is replaced when it is whole.")
    ],
    with_drops: Annotated[bool, typer.Option("--with-drops", help="Put the delivered drops into it too.")] = False,
    without_secrets: Annotated[
        bool, typer.Option("--without-secrets", help="Leave the passwords and keys out; a restore makes new ones.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing: read FILE, and say whether it is whole and what is in it.")
    ] = False,
) -> None:
    """Write everything that a service needs into one file, while it runs: databases, models, artifacts, secrets.

    Others cannot read the file. Exits with 1, and leaves an earlier file as it was, when anything goes wrong.
    """
    if check:
        console.print(_describe(archive.check(file)), highlight=False, soft_wrap=True)
        return
    settings = Settings.from_env()
    with show_steps(console) as report:
        manifest = back_up(settings, file.absolute(), report, not without_secrets, with_drops)
    console.print(_describe(manifest), highlight=False, soft_wrap=True)
    console.print(f"Written: {escape(str(file))}, {file.stat().st_size / 1e6:,.1f} MB", highlight=False, soft_wrap=True)


@app.command(epilog=example("retraining restore /mnt/backups/headlines.tar.gz"))
def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup of `retraining backup`.")]) -> None:
    """Make a service again from a backup, on this machine or another: into empty folders and empty databases.

    Where they are, and on which ports it answers, say the settings of today. Start it with `retraining up`.
    """
    settings = Settings.from_env()
    with lock.hold(settings), show_steps(console) as report:
        done = restoring.restore(settings, file.absolute(), report)
    console.print(_describe(done.manifest), highlight=False, soft_wrap=True)
    console.print(f"{done.paths} paths in lineage rewritten.", highlight=False)
    if not done.manifest.has_secrets:
        console.print(
            "The backup holds no secrets: new ones were made, and Airflow cannot read connections it had encrypted.",
            style="yellow",
        )
    for name, (then, now) in done.differences.items():
        text = f"{name} is {now or 'not set'}, and was {then or 'not set'} when the backup was made"
        console.print(escape(text), style="yellow", highlight=False, soft_wrap=True)
    console.print("Restored; start it with `retraining up`.")


def _describe(manifest: archive.Manifest) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in manifest.counts.items())
    parts = [name for name, is_in in (("secrets", manifest.has_secrets), ("drops", manifest.has_drops)) if is_in]
    lines = [
        f"Backup of {manifest.made_at}, by version {manifest.project}: {counts}; {' and '.join(parts) or 'no secrets'}",
        *(f"Not in it: {path}: {why}" for path, why in manifest.left_out.items()),
    ]
    return escape("\n".join(lines))


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
