"""The command that changes passwords and keys."""

from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import console, example
from retraining.cli.progress import show_steps
from retraining.local import lock
from retraining.settings import Settings
from retraining.upkeep import rotation

app = typer.Typer()


@app.command("rotate-secrets", epilog=example("retraining rotate-secrets MLMD_PASSWORD"))
def rotate_secrets(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Those to change; all of them without a name.")
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="Also while a night runs; its tasks are tried again.")] = False,
) -> None:
    """Change passwords and keys that were made at first start; a running service starts anew with them.

    Browsers log in again when AIRFLOW_SECRET_KEY changes. What stands in the environment, in .env or on a server of
    your own is not changed: how to change it is said.
    """
    settings = Settings.from_env()
    planned = rotation.plan(settings, names or [])
    with lock.hold(settings):
        if planned.renewed:
            with show_steps(console) as report:
                in_use = rotation.rotate(settings, planned.renewed, report, interrupt=now)
            said = "are changed" if in_use else "are made, and are used from the next `retraining up` on"
            console.print(f"New ones {said}: {', '.join(map(str.upper, planned.renewed))}", highlight=False)
    for name, what in planned.by_hand.items():
        text = f"{name.upper()} is not changed: it is not the service's own. By hand: {what}"
        console.print(escape(text), highlight=False, soft_wrap=True)
    if planned.by_hand and not planned.renewed:
        raise typer.Exit(1)
