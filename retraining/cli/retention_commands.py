"""The command that removes what is not needed any more."""

from typing import Annotated

import typer
from rich.markup import escape

from headlines.display import count, tell_size
from retraining.cli.console import console, example, fail, print_document
from retraining.cli.fitting import Fitting
from retraining.settings import Settings

app = typer.Typer()


@app.command(epilog=example("retraining prune --dry-run"))
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead, with every single thing.")] = False,
) -> None:
    """Remove what no kept night, rollback or model server needs any more; the DAG headline_housekeeping does it weekly.

    These are the files of old artifacts, pushed versions, logs of Airflow and what killed processes have left. Drops,
    quarantined rows, verdicts and model cards stay, and so does all of lineage.
    """
    settings = Settings.from_env()
    # They bring MLMD.
    from retraining.retention import removal
    from retraining.retention.plan import sum_up

    pruning = removal.plan(settings) if dry_run else removal.remove(settings)
    if as_json:
        print_document(removal.to_json(pruning, is_done=not dry_run))
    else:
        table = Fitting("what", "why it may go", "number", "size", right=("number", "size"))
        for one in sum_up(pruning.items):
            table.add_row(one.what, one.why, f"{one.count:,}", tell_size(one.size_bytes))
        if table:
            console.print(table)
        what = f"{count(len(pruning.items), 'thing')}, {tell_size(pruning.size_bytes)}"
        console.print(f"{what} {'may go' if dry_run else 'removed'}.", highlight=False)
        for note in pruning.notes:
            console.print(escape(note), highlight=False, soft_wrap=True)
    if pruning.problems:
        fail("\n".join(pruning.problems))
