"""Commands about what people are told: whether it arrives, and what the digest says."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from retraining.cli.console import console, example, fail
from retraining.notices import delivery, sending
from retraining.notices.telling import make_test
from retraining.settings import Settings
from retraining.watching import digest

app = typer.Typer()
_TELLS = {
    "info": "told everything",
    "warning": "told warnings and failures",
    "failure": "told failures",
    "digest": "sent the digest",
}


@app.command(epilog=example("retraining notify --test"))
def notify(
    test: Annotated[
        bool, typer.Option("--test", help="Send a notice to each address, and say whether it took it.")
    ] = False,
) -> None:
    """Show who is told of what happens, by the addresses of NOTIFY, and what waits to be accepted there.

    Exits with 1 when an address is none or, with --test, when one does not accept the notice.
    """
    settings = Settings.from_env()
    addresses = sending.find_addresses(settings)
    if not addresses:
        fail("Nobody is told of anything, for NOTIFY is not set; docs/notices.md says how an address is written.")
    notice, is_well = make_test(settings), True
    for address in addresses:
        problem = sending.find_problem(address) or (sending.send(address, notice) if test else "")
        is_well &= not problem
        outcome = (
            f"[red]not accepted: {escape(problem)}[/]" if problem else "[green]accepted[/]" if test else "can be used"
        )
        console.print(f"{address}, {_TELLS[address.least]}: {outcome}", highlight=False, soft_wrap=True)
    for backlog in delivery.survey(settings):
        console.print(escape(f"{backlog}."), style="yellow", highlight=False, soft_wrap=True)
    if not is_well:
        raise typer.Exit(1)


@app.command("digest", epilog=example("retraining digest"))
def show_digest() -> None:
    """Show how things stand, as the digest of the morning says it (DIGEST_SCHEDULE): also what needs a person."""
    for part in digest.gather(Settings.from_env(), datetime.now(UTC)):
        console.print(Text(part.heading, style="bold"))
        for line in part.lines:
            console.print(Text(line, overflow="fold"))
        console.print(Text(part.link, style="dim"), soft_wrap=True)
        console.print()
