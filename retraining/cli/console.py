"""What every group of commands shows and takes: the terminal, an error as one message, a night as an option."""

import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from headlines.drops.drops_folder import DropError, parse_night
from retraining.cli.summary import WIDTH

console = Console(width=None if sys.stdout.isatty() else WIDTH)
errors = Console(stderr=True)


def take_night(value: str) -> str:
    """A night as an argument.

    Raises:
      typer.BadParameter: it is no date.
    """
    try:
        return parse_night(value).isoformat()
    except DropError as error:
        raise typer.BadParameter(str(error)) from None


Night = Annotated[str, typer.Option("--night", parser=take_night, metavar="YYYY-MM-DD", help="The night to run.")]


def example(text: str) -> str:
    """How an example of a command is shown in its help."""
    return f"[dim]Example:[/] [bold]{text}[/]"


def fail(message: str) -> NoReturn:
    """Ends the command with a message for whoever can mend it."""
    errors.print(f"[red]{escape(message)}[/]", highlight=False, soft_wrap=True)
    sys.exit(1)
