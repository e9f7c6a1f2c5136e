"""Commands about drops: check and deliver one, propose a schema from one."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from retraining.cli.console import Night, console, example, fail, print_json, take_night
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead; docs/drops.md tells its shape.")] = False,
) -> None:
    """Check a file as the night's run would, show what would be quarantined and why, and deliver it in one piece.

    Exits with 1, and delivers nothing, when the run would stop at it.
    """
    from headlines.drops import delivery
    from retraining.cli.inspection import describe_inspection, render_inspection

    settings = Settings.from_env()
    inspection = delivery.inspect(settings, file, date.fromisoformat(night), correct)
    delivered = None
    if not as_json:
        console.print(render_inspection(inspection), highlight=False)
        for problem in inspection.problems:
            console.print(f"- {escape(problem)}", style="red", highlight=False, soft_wrap=True)
    if anyway or not inspection.problems:
        delivered = delivery.deliver(settings, inspection.version)
    if as_json:
        print_json("drop", describe_inspection(inspection, delivered))
    elif delivered:
        console.print(f"Delivered: {escape(str(delivered))}", highlight=False, soft_wrap=True)
    if not delivered:
        where = "" if as_json else ", for the reasons above"
        fail(f"Not delivered: the run of this night would stop{where}. --anyway delivers it.")


@schema_app.command("propose", epilog=example("retraining schema propose --night 2022-02-01 --output proposal.pbtxt"))
def propose_schema(
    night: Night,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it here instead of showing it.")] = None,
) -> None:
    """Infer a schema from one night's drop, as a proposal for modules/schema.pbtxt to be reviewed by a person."""
    from retraining.cli.schema import propose

    if output is not None and not output.absolute().parent.is_dir():
        fail(f"{output} cannot be written: there is no folder {output.absolute().parent}; make it, or name another")
    proposal = propose(Settings.from_env(), night)
    if output is None:
        print(proposal, end="")
        return
    output.write_text(proposal)
    console.print(f"Written to {escape(str(output))}; compare it with modules/schema.pbtxt.", soft_wrap=True)
