"""Commands about drops: check and deliver one, propose a schema from one."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import Night, console, example, fail, take_night
from retraining.settings import Settings

app = typer.Typer()
schema_app = typer.Typer(help="The reviewed schema that drops are checked against.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")


@app.command("drop", epilog=example("retraining drop headlines.csv --night 2022-02-01"))
def deliver_drop(
    file: Annotated[Path, typer.Argument(help="A CSV file with the columns title and sentiment.")],
    night: Annotated[
        str, typer.Option("--night", parser=take_night, metavar="YYYY-MM-DD", help="The night it belongs to.")
    ],
    correct: Annotated[bool, typer.Option("--correct", help="It corrects a drop: deliver it as v2, v3, ...")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Deliver it although the night's run would stop.")] = False,
) -> None:
    """Check a file as the night's run would, show what would be quarantined and why, and deliver it in one piece.

    Exits with 1, and delivers nothing, when the run would stop at it.
    """
    from headlines.drops import delivery
    from retraining.cli.inspection import render_inspection

    settings = Settings.from_env()
    inspection = delivery.inspect(settings, file, date.fromisoformat(night), correct)
    console.print(render_inspection(inspection), highlight=False)
    for problem in inspection.problems:
        console.print(f"- {escape(problem)}", style="red", highlight=False, soft_wrap=True)
    if inspection.problems and not anyway:
        fail("Not delivered: the run of this night would stop, for the reasons above. --anyway delivers it.")
    delivered = delivery.deliver(settings, inspection.version)
    console.print(f"Delivered: {escape(str(delivered))}", highlight=False, soft_wrap=True)


@schema_app.command("propose", epilog=example("retraining schema propose --night 2022-02-01 --output proposal.pbtxt"))
def propose_schema(
    night: Night,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of showing it.")] = None,
) -> None:
    """Infer a schema from one night's drop, as a proposal for modules/schema.pbtxt to be reviewed by a person."""
    from retraining.cli.schema import propose

    proposal = propose(Settings.from_env(), night)
    if output is None:
        print(proposal, end="")
        return
    output.write_text(proposal)
    console.print(f"Written to {output}; compare it with modules/schema.pbtxt.")
