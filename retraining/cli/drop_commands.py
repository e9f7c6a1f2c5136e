"""Commands about drops: check and deliver one, accept one that was refused, propose a schema from one."""

import getpass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import lineage
from headlines.drops.drops_folder import DropsFolder
from headlines.drops.rulings import NO_PRECEDENTS, Codes, Precedents
from retraining.cli.console import Night, console, example, fail, print_json, take_night
from retraining.settings import Settings, SettingsError, parse_codes

app = typer.Typer()
schema_app = typer.Typer(help="The reviewed schema that drops are checked against.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")


@app.command("drop", epilog=example("retraining drop headlines.csv --night 2022-02-01"))
def deliver_drop(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A CSV file with the columns title and sentiment.")
    ] = None,
    night: Annotated[
        str | None, typer.Option("--night", parser=take_night, metavar="YYYY-MM-DD", help="The night it belongs to.")
    ] = None,
    correct: Annotated[bool, typer.Option("--correct", help="It corrects a drop: deliver it as v2, v3, ...")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Deliver it although the night's run would stop.")] = False,
    label_codes: Annotated[
        str | None,
        typer.Option(metavar="CODE=LABEL,...", help="The codes its labels are written in. Default: LABEL_CODES."),
    ] = None,
    accept: Annotated[
        str | None,
        typer.Option(
            parser=take_night, metavar="YYYY-MM-DD", help="Accept the drop of this night, which was refused, as it is."
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is accepted.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who accepts it. Default: the user of this system.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead; docs/drops.md tells its shape.")] = False,
) -> None:
    """Check a file as the night's run would, show what would be quarantined and why, and deliver it in one piece.

    Exits with 1, and delivers nothing, when the run would stop at it. With --accept NIGHT --reason TEXT instead: the
    newest version of that night's drop passes and is trained on as it is, and who accepted it and why is on record.
    """
    if accept is not None:
        if not (file is None and night is None and label_codes is None) or correct or anyway or as_json:
            raise typer.BadParameter(
                "--accept names a night whose drop was delivered: give neither FILE nor --night, nor --correct, "
                "--anyway, --label-codes or --json, which are for a delivery"
            )
        _accept(accept, reason or "", by or getpass.getuser())
        return
    if file is None or night is None:
        raise typer.BadParameter("a delivery takes a FILE and its --night; --accept NIGHT accepts what was delivered")
    if reason is not None or by is not None:
        raise typer.BadParameter("--reason and --by are for --accept")
    from headlines.drops import delivery
    from retraining.cli.inspection import describe_inspection, render_inspection, render_problems

    settings = Settings.from_env()
    codes = None if label_codes is None else _read_codes(label_codes)
    chosen = date.fromisoformat(night)
    precedents, unknown = _find_precedents(settings, chosen)
    inspection = delivery.inspect(settings, file, chosen, correct, codes, precedents)
    inspection.notices.extend(filter(None, [unknown]))
    delivered = None
    if not as_json:
        console.print(render_inspection(inspection, settings.alarm_limits), highlight=False)
        if inspection.problems:
            console.print(render_problems(inspection.problems), highlight=False)
    if anyway or not inspection.problems:
        delivered = delivery.deliver(settings, inspection.version)
    if as_json:
        print_json("drop", describe_inspection(inspection, delivered))
    elif delivered:
        console.print(f"Delivered: {escape(str(delivered))}", highlight=False, soft_wrap=True)
    if not delivered:
        where = "" if as_json else ", for the reasons above"
        fail(f"Not delivered{where}. --anyway delivers it.")


def _read_codes(text: str) -> Codes:
    try:
        return parse_codes(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} are no label codes: {error}. Write them as in LABEL_CODES, such as "
            "0=negative,1=neutral,2=positive"
        ) from None


def _find_precedents(settings: Settings, night: date) -> tuple[Precedents, str]:
    """What the run of a night would keep to, or nothing and why, where lineage does not answer."""
    if not settings.drops_dir.exists():
        return NO_PRECEDENTS, ""  # Nothing was delivered yet.
    delivered = [one.isoformat() for one in DropsFolder(settings.drops_dir).nights if one <= night]
    known_by = settings.drop_rules.known_by
    try:
        return lineage.find_precedents(settings, str(settings.drops_dir), delivered, known_by), ""
    except (lineage.LineageError, SettingsError) as error:
        return NO_PRECEDENTS, f"compared with every drop of the window, since which were refused is not known: {error}"


def _accept(night: str, reason: str, by: str) -> None:
    # Only now: it brings MLMD's own library.
    from retraining.recording.acceptances import accept_drop

    ruling = accept_drop(Settings.from_env(), night, reason, by)
    console.print(
        f"Version {ruling.version} of the drop of night {night} is accepted by {ruling.by}. Now run the night again: "
        f"`retraining run --night {night}`",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


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
