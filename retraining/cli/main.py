"""The `retraining` command: its groups, and how it ends.

Nothing heavy is imported here or by what this imports: `--help` and `status` answer at once.
"""

import inspect
import re
import signal
import sys
from typing import Annotated, NoReturn

import typer

from headlines.errors import HeadlinesError
from retraining.cli import (
    boot_commands,
    drop_commands,
    engine_commands,
    lineage_commands,
    night_commands,
    note_commands,
    notice_commands,
    retention_commands,
    secret_commands,
    service_commands,
    upgrade_commands,
    upkeep_commands,
    worker_commands,
)
from retraining.cli.console import fail
from retraining.settings import Settings
from retraining.version import VERSION

app = typer.Typer(
    name="retraining",
    no_args_is_help=True,
    rich_markup_mode="rich",
    # For every command: click hands them down.
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(service_commands.app)
app.add_typer(boot_commands.app, name="service")
app.add_typer(upkeep_commands.app)
app.add_typer(upgrade_commands.app)
app.add_typer(night_commands.app)
app.add_typer(drop_commands.app)
app.add_typer(note_commands.app)
app.add_typer(notice_commands.app)
app.add_typer(retention_commands.app)
app.add_typer(secret_commands.app)
app.add_typer(worker_commands.app)
app.add_typer(engine_commands.app)
app.add_typer(lineage_commands.app, name="lineage")


def _let_help_flow(of: typer.Typer) -> None:
    """Joins the lines of each paragraph of the commands' docstrings, whose ends Typer keeps on a narrow terminal."""
    for info in of.registered_commands:
        info.help = re.sub(r"(?<!\n)\n(?![\n ])", " ", inspect.getdoc(info.callback) or "")
    for group in of.registered_groups:
        if group.typer_instance:
            _let_help_flow(group.typer_instance)


_let_help_flow(app)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"retraining {VERSION}")
        raise typer.Exit


@app.callback()
def take_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Nightly retraining of a headline-sentiment model: the service and its runs."""


def _fail_for_a_place(error: OSError) -> None:
    """Ends the command where what it could not use is a folder of a setting; elsewhere the traceback tells more."""
    try:
        message = Settings.from_env().explain(error)
    except HeadlinesError as problem:
        message = str(problem)
    if message:
        fail(message)


def main() -> NoReturn:
    """Runs the command; what a user can mend is one message, not a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that what was begun is ended on the way out.
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        app(prog_name="retraining")
    except HeadlinesError as error:
        fail(str(error))
    except OSError as error:
        _fail_for_a_place(error)
        raise
    sys.exit(0)
