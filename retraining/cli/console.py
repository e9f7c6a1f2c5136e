"""What every group of commands shows and takes: the terminal, an error as one message, a night, a span of nights."""

import json
import shutil
import sys
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

import lineage
from headlines import command, display
from headlines.drops.drops_folder import DropError, parse_night
from retraining.cli.fitting import show

# What no terminal reads is not broken into lines, unless COLUMNS says how long they may be.
_UNLIMITED = (10_000, 24)


class Terminal(Console):
    """Where everything is shown, so that nothing of it steers the terminal, whatever data, files and errors hold."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Makes a text of a string; else rich would drop some control characters without a sign."""
        return super().render_str(display.harmless(text), **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Renders everything, at whatever depth."""
        for segment in super().render(show(renderable) if isinstance(renderable, Text) else renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(display.harmless(segment.text), segment.style)


console = Terminal(width=None if sys.stdout.isatty() else shutil.get_terminal_size(_UNLIMITED).columns)
errors = Terminal(stderr=True)


def take_night(value: str) -> str:
    """A night as an argument.

    Raises:
      typer.BadParameter: it is no date.
    """
    try:
        return parse_night(value).isoformat()
    except DropError as error:
        raise typer.BadParameter(str(error)) from None


def check_order(first: str | None, last: str | None) -> None:
    """Refuses a span of nights that ends before it begins.

    Raises:
      typer.BadParameter: it does.
    """
    if first and last and first > last:
        raise typer.BadParameter(f"the first night, {first}, is after the last, {last}; give the earlier one first")


Night = Annotated[str, typer.Option("--night", parser=take_night, metavar="YYYY-MM-DD", help="The night to run.")]


def example(text: str) -> str:
    """How an example of a command is shown in its help: as it is typed from here."""
    name, arguments = text.split(" ", 1)
    return f"[dim]Example:[/] [bold]{escape(command.how_to_type(name))} {arguments}[/]"


def print_json(question: str, answer: Any, **more: Any) -> None:
    """Prints an answer for a script, in the shape that docs/lineage.md tells, and nothing else."""
    document = {"version": lineage.VERSION, "question": question, "answer": lineage.to_json(answer)}
    document |= {name: lineage.to_json(value) for name, value in more.items()}
    print_document(document)


def print_document(document: Any) -> None:
    """Prints what `json.dumps` takes, so that it reads the same and steers no terminal."""
    text = json.dumps(document, ensure_ascii=False, indent=2)
    # JSON may have these as they are, a terminal may not.
    print(display.STEERING.sub(lambda match: display.escape(match[0]), text))


def fail(message: str) -> NoReturn:
    """Ends the command with a message for whoever can mend it."""
    # No terminal, no lines to be broken.
    errors.print(f"[red]{escape(message)}[/]", highlight=False, soft_wrap=not errors.is_terminal)
    sys.exit(1)
