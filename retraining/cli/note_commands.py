"""The command that writes a note on a night or a version, or withdraws one."""

import getpass
from typing import Annotated

import typer

from headlines.notes import NoteError
from retraining.cli.console import console, example, take_night
from retraining.settings import Settings

app = typer.Typer()


@app.command(epilog=example("retraining note --night 2022-02-02 'swapped labels; the agency sends a new file at noon'"))
def note(
    text: Annotated[str, typer.Argument(help="What is to be known; of a withdrawal, why.")],
    night: Annotated[
        str | None, typer.Option("--night", parser=take_night, metavar="YYYY-MM-DD", help="On this night.")
    ] = None,
    version: Annotated[int | None, typer.Option("--version", help="On this pushed version.")] = None,
    withdraw: Annotated[
        int | None, typer.Option("--withdraw", metavar="NOTE", help="Withdraw the note of this number; both are kept.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who writes it. Default: the user of this system.")] = None,
) -> None:
    """Write a note on a night or a version, for the pages and `retraining lineage notes`; it is never deleted."""
    if sum(one is not None for one in (night, version, withdraw)) != 1:
        raise NoteError("a note is on a night, on a version or withdraws another: say --night, --version or --withdraw")
    # Only now: it brings MLMD's own library.
    from retraining.recording.notes import withdraw_note, write_note

    settings, name = Settings.from_env(), by or getpass.getuser()
    if withdraw is not None:
        done = withdraw_note(settings, withdraw, text, name)
        sentence = f"Note {done.id} on night {done.night} is withdrawn."
    else:
        done = write_note(settings, text, name, night, version)
        about = f"night {done.night}" if done.version is None else f"version {done.version}"
        sentence = f"Note {done.id} on {about} is written; `retraining lineage notes` shows it."
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)
