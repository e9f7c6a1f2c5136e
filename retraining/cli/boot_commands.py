"""Commands of the start at boot: `retraining service install`, `uninstall`, `show`."""

from typing import Annotated

import typer

from retraining.boot import installing
from retraining.boot.unit import NAME, Kind, write_unit
from retraining.cli.console import console, example
from retraining.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Start the service at boot, by systemd: docs/operations.md.")

System = Annotated[
    bool | None,
    typer.Option(
        "--system/--user",
        help="A unit of the system's, or of your own. Default: the system's for root.",
        show_default=False,
    ),
]
RunAs = Annotated[str | None, typer.Option("--run-as", metavar="USER", help="Whom a system unit runs as; never root.")]
Name = Annotated[str, typer.Option("--name", help="Of the unit, for a second service on one machine.")]


@app.command(epilog=example("retraining service install --run-as headlines"))
def install(system: System = None, run_as: RunAs = None, name: Name = NAME) -> None:
    """Write a systemd unit that starts the service at boot, hardened, and keeps it running."""
    settings = Settings.from_env()
    kind = installing.choose_kind(_kind(system))
    account = installing.find_account(run_as) if kind == "system" else None
    path, commands = installing.install(settings, kind, account, name)
    console.print(f"Written: {path}. To use it:", highlight=False, soft_wrap=True)
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)


@app.command(epilog=example("retraining service uninstall"))
def uninstall(system: System = None, name: Name = NAME) -> None:
    """Remove that unit; databases, models and logs stay."""
    path, commands = installing.uninstall(installing.choose_kind(_kind(system)), name)
    console.print(f"Removed: {path}. To have systemd forget it:", highlight=False, soft_wrap=True)
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)


@app.command(epilog=example("retraining service show --system --run-as headlines"))
def show(system: System = None, run_as: RunAs = None, name: Name = NAME) -> None:
    """Print the unit that `install` would write, and write nothing."""
    settings = Settings.from_env()
    kind = _kind(system) or installing.choose_kind(None)
    account = installing.find_account(run_as) if kind == "system" else None
    print(write_unit(settings, kind, account, installing.find_given(), name), end="")


def _kind(system: bool | None) -> Kind | None:
    return None if system is None else "system" if system else "user"
