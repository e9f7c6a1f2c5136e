"""The `retraining` command.

Nothing heavy is imported here or by what this imports: `--help` and `status` answer at once.
"""

import getpass
import logging
import os
import signal
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from headlines.drops.drops_folder import DropError, list_nights, parse_night
from lineage import LineageError, latest
from retraining.cli import lineage as lineage_commands
from retraining.cli.progress import show_run, show_steps
from retraining.cli.summary import WIDTH, render_nights
from retraining.local import LocalError, airflow, lock, model_server, preparation, service, supervisor
from retraining.local import night_runs as runs
from retraining.nights.reruns import find_changes
from retraining.settings import Settings, SettingsError
from retraining.watching import watch

app = typer.Typer(
    name="retraining",
    help="Nightly retraining of a headline-sentiment model: the service and its runs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
schema_app = typer.Typer(help="The reviewed schema that drops are checked against.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")
app.add_typer(lineage_commands.app, name="lineage")
console = Console(width=None if sys.stdout.isatty() else WIDTH)
errors = Console(stderr=True)


def _parse_night(value: str) -> str:
    try:
        return parse_night(value).isoformat()
    except DropError as error:
        raise typer.BadParameter(str(error)) from None


Night = Annotated[str, typer.Option("--night", parser=_parse_night, metavar="YYYY-MM-DD", help="The night to run.")]


def _example(text: str) -> str:
    return f"[dim]Example:[/] [bold]{text}[/]"


@app.command(epilog=_example("retraining up"))
def up() -> None:
    """Start the service, or what of it does not run: Postgres, Airflow's three programs and the model server."""
    settings = Settings.from_env()
    with lock.hold(settings), show_steps(console) as report:
        settings = service.up(settings, report)
    _print_addresses(settings)


@app.command(epilog=_example("retraining down"))
def down() -> None:
    """Stop the service. Nothing is lost: databases, models and logs stay in the state folder."""
    settings = Settings.from_env()
    with lock.hold(settings), console.status("stopping ..."):
        stopped = service.down(settings)
    console.print("The service is stopped." if stopped else "The service was not running.")


@app.command(epilog=_example("retraining init"))
def init() -> None:
    """Prepare Postgres servers of your own, once: roles, databases, tables, types and the web user (for a team)."""
    settings = Settings.from_env()
    with lock.hold(settings), show_steps(console) as report:
        preparation.init(settings, report)


@app.command(
    "exec",
    epilog=_example("retraining exec airflow dags list"),
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def execute(command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run.")]) -> None:
    """Run a command in the service's environment: Airflow's own command line, or Python with the same settings."""
    environment = airflow.environment(Settings.from_env())
    # It is the caller's process: `retraining down` must not end it.
    del environment[airflow.MARK]
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        _fail(f"{command[0]} cannot be run: {error.strerror}")


@app.command(epilog=_example("retraining serve"))
def serve() -> None:
    """Serve the pushed models here, in the foreground, apart from the service; end it with Ctrl-C.

    `retraining up` starts the same server. It needs neither Postgres nor Airflow.
    """
    settings = Settings.from_env()
    console.print(f"Model server:    [bold]{model_server.address(settings)}[/]", highlight=False)
    model_server.run_here(settings)


@app.command("watch", epilog=_example("retraining watch"))
def keep_watch() -> None:
    """See when a night comes to no verdict in time, and tell, once; in the foreground, until it is ended with Ctrl-C.

    `retraining up` starts the same program.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    watch.run(Settings.from_env())


@app.command(epilog=_example("retraining status"))
def status() -> None:
    """Show what runs, where it is, and what became of the last nights.

    Exits with 1 unless everything is healthy, and when the newest night that is due has come to no verdict.
    """
    settings = Settings.from_env()
    health = service.health(settings)
    if not health.programs:
        console.print("The service is down; start it with: retraining up")
        raise typer.Exit(1)
    table = Table("program", "state", "process", "log", box=box.SIMPLE_HEAD, pad_edge=False)
    known = supervisor.states(settings)
    for name, state in health.programs.items():
        colour = "green" if state == "healthy" else "red"
        log = supervisor.log_path(settings, name)
        table.add_row(name, f"[{colour}]{state}[/]", str(known[name]["pid"] or "-") if name in known else "-", str(log))
    console.print(table)
    _print_addresses(settings)
    try:
        survey = watch.survey(settings, datetime.now(UTC))
    except LineageError as error:
        console.print(escape(str(error)), style="red", soft_wrap=True)
        raise typer.Exit(1) from None
    if survey.nights:
        console.print(render_nights(survey.nights))
    if survey.obstacle:
        console.print(
            f"No night will begin: {escape(survey.obstacle)}", style="yellow", highlight=False, soft_wrap=True
        )
    if survey.overdue:
        console.print(f"Overdue: {escape(str(survey.overdue))}", style="red", highlight=False, soft_wrap=True)
    if survey.overdue or not health.is_up:
        raise typer.Exit(1)


@app.command(epilog=_example("retraining run --night 2022-02-01"))
def run(
    night: Night,
    force: Annotated[bool, typer.Option("--force", help="Run it again although it succeeded.")] = False,
    local: Annotated[bool, typer.Option("--local", help="In this one process, without Airflow.")] = False,
) -> None:
    """Run one night and follow it to its end; a night that is running is followed.

    One that succeeded is left alone, unless its drops or its champion have changed since.
    """
    settings = Settings.from_env()
    if local:
        airflow.compute_as_the_service()
        from retraining.nights.in_process import run_locally

        run_locally(settings, night)
        return
    try:
        succeeded = _run_night(settings, night, force)
    except KeyboardInterrupt:
        console.print(f"Night {night} goes on without being followed, as long as the service is up.")
        raise
    _print_nights(settings, [night])
    if not succeeded:
        raise typer.Exit(1)


@app.command(epilog=_example("retraining backfill 2022-02-01 2022-02-05"))
def backfill(
    first: Annotated[str, typer.Argument(parser=_parse_night, metavar="FROM", help="First night, YYYY-MM-DD.")],
    last: Annotated[str, typer.Argument(parser=_parse_night, metavar="TO", help="Last night, YYYY-MM-DD.")],
    force: Annotated[bool, typer.Option("--force", help="Run nights again that succeeded.")] = False,
) -> None:
    """Run every night from FROM to TO that has a drop, oldest first. A failed night does not stop the later ones.

    Nights that succeeded are run again when a drop of their window was corrected or came late, or when the champion
    they were compared with is another one by now; all others are left alone.
    """
    settings = Settings.from_env()
    chosen = [night for night in _find_nights(settings) if first <= night <= last]
    if not chosen:
        _fail(f"no drop from {first} to {last} in {settings.drops_dir}; check the dates and DROPS_DIR")
    failed = [night for night in chosen if not _run_night(settings, night, force)]
    _print_nights(settings, chosen)
    if failed:
        _fail(f"failed: {', '.join(failed)}; see why above, then run it again")


@app.command("rehearse", epilog=_example("retraining rehearse"))
def rehearse_night() -> None:
    """Show on a scratch service, in two minutes or so, that the clock starts a night here and that its model is pushed.

    It has ports, databases and folders of its own, and leaves nothing behind unless it fails; the service may be up.
    """
    from retraining.nights.rehearsal import rehearse

    with show_steps(console) as report:
        done = rehearse(Settings.from_env(), report, lambda night, looks: show_run(console, night, looks))
    console.print(
        f"The clock started night {done.night} as {done.run_id}, {done.late_seconds:.0f} s after the minute. "
        f"Version {done.version} was pushed and served; {len(done.heard.events)} notices "
        f"({', '.join(done.heard.events)}) and a sign of life came.",
        highlight=False,
        soft_wrap=True,
    )


@app.command(epilog=_example("retraining replay --night 2022-02-05"))
def replay(night: Night) -> None:
    """Run a past night again, apart from the service: does it come out the same? Exits with 1 when something differs.

    It gets the drops it had then, in the same versions, and the champion it was compared with.

    What it makes is kept in the state folder, under replay/<night>.
    """
    airflow.compute_as_the_service()
    from retraining.nights.replay import replay as replay_night

    done = replay_night(Settings.from_env(), night)
    table = Table("made", "", "content", box=box.SIMPLE_HEAD, pad_edge=False)
    for comparison in done.comparisons:
        mark = "[green]identical[/]" if comparison.identical else "[red]differs[/]"
        table.add_row(comparison.name, mark, escape(comparison.detail))
    console.print(f"Night {night} as run {done.run_id} ran it, and again in {done.place}:", soft_wrap=True)
    console.print(table)
    for cause in done.causes:
        console.print(f"different this time: {cause}", highlight=False, soft_wrap=True)
    if not done.is_identical:
        if not done.causes:
            console.print("Code, data, settings and libraries are the same: something in the training is not seeded.")
        raise typer.Exit(1)


@app.command(epilog=_example("retraining rollback --reason 'the drop of 2 February has swapped labels'"))
def rollback(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")],
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="What to serve. Default: the version before.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who decided it. Default: the user of this system.")] = None,
) -> None:
    """Serve an earlier pushed version again, until a newer one is pushed; the later nights' champion follows."""
    from retraining.recording.rollback import RollbackError, roll_back
    from retraining.recording.store import StoreError

    try:
        done = roll_back(Settings.from_env(), reason, by or getpass.getuser(), to)
    except (RollbackError, StoreError) as error:
        _fail(str(error))
    console.print(
        f"{done.to_version} is to serve now instead of {done.from_version or 'nothing'}; the champion follows from "
        f"night {done.night} on. What newer model servers had loaded is let go within seconds.",
        highlight=False,
        soft_wrap=True,
    )


@app.command(epilog=_example("retraining doctor"))
def doctor() -> None:
    """Check this machine, the packages, ports, disk, secrets, databases and DAGs, and say how to mend what is wrong."""
    from retraining.cli.doctor import examine

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    found = []
    for finding in examine(Settings.from_env()):
        found.append(finding.level)
        mark = f"[{colours[finding.level]}]{finding.level:<4}[/]"
        console.print(f"{mark}  {finding.subject:<17} {escape(finding.text)}", highlight=False, soft_wrap=True)
    if "fail" in found:
        raise typer.Exit(1)


@app.command(epilog=_example("retraining logs Trainer -f"))
def logs(
    name: Annotated[
        str | None, typer.Argument(help="A program, a step of the start, or a node of the pipeline.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines to begin with.")] = 40,
) -> None:
    """Show the end of a log; without a name, list the logs there are. A node's log is that of its newest attempt."""
    settings = Settings.from_env()
    known = {path.stem: path for path in sorted(settings.state_dir.joinpath("logs").glob("*.log"))}
    if name is None:
        for known_name, path in known.items():
            console.print(f"{known_name:<12} {path}", highlight=False, soft_wrap=True)
        console.print("A node of the pipeline by its name, such as: retraining logs Trainer")
        return
    found = known.get(name) or runs.find_task_log(settings, None, name)
    if found is None:
        _fail(f"there is no log of {name!r}; `retraining logs` lists programs, `retraining status` shows what ran")
    os.execvp("tail", ["tail", f"--lines={lines}", *(["-F"] if follow else []), str(found)])


@app.command(epilog=_example("retraining demo --nights 3"))
def demo(
    count: Annotated[int, typer.Option("--nights", min=1, help="How many nights, from the oldest drop on.")] = 3,
) -> None:
    """Start the service, write sample drops if there are none, run the first nights in order and sum them up."""
    settings = Settings.from_env()
    with lock.hold(settings):
        _provide_drops(settings)
        chosen = _find_nights(settings)[:count]
        was_up = service.health(settings).is_up
        try:
            with show_steps(console) as report:
                settings = service.up(settings, report)
            failed = [night for night in chosen if not _run_night(settings, night)]
        except (KeyboardInterrupt, SystemExit):
            if not was_up:
                with service.uninterrupted():
                    console.print("stopping the service ...")
                    service.down(settings)
            raise
    _print_nights(settings, chosen)
    _print_addresses(settings)
    console.print("Stop it:         [bold]make down[/]; `make demo` goes on where it left off.")
    if failed:
        _fail(f"failed: {', '.join(failed)}; see why above")


@app.command("drop", epilog=_example("retraining drop headlines.csv --night 2022-02-01"))
def deliver_drop(
    file: Annotated[Path, typer.Argument(help="A CSV file with the columns title and sentiment.")],
    night: Annotated[
        str, typer.Option("--night", parser=_parse_night, metavar="YYYY-MM-DD", help="The night it belongs to.")
    ],
    correct: Annotated[bool, typer.Option("--correct", help="It corrects a drop: deliver it as v2, v3, ...")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Deliver it although the night's run would stop.")] = False,
) -> None:
    """Check a file as the night's run would, show what would be quarantined and why, and deliver it in one piece.

    Exits with 1, and delivers nothing, when the run would stop at it.
    """
    from headlines.drops import delivery
    from retraining.cli.drops import render_inspection

    settings = Settings.from_env()
    inspection = delivery.inspect(settings, file, date.fromisoformat(night), correct)
    console.print(render_inspection(inspection), highlight=False)
    for problem in inspection.problems:
        console.print(f"- {escape(problem)}", style="red", highlight=False, soft_wrap=True)
    if inspection.problems and not anyway:
        _fail("Not delivered: the run of this night would stop, for the reasons above. --anyway delivers it.")
    delivered = delivery.deliver(settings, inspection.version)
    console.print(f"Delivered: {escape(str(delivered))}", highlight=False, soft_wrap=True)


@schema_app.command("propose", epilog=_example("retraining schema propose --night 2022-02-01 --output proposal.pbtxt"))
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


def main() -> NoReturn:
    """Runs the command; what a user can mend is one message, not a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As an exception, so that what was begun is ended on the way out.
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        app(prog_name="retraining")
    except (LocalError, SettingsError, LineageError, DropError) as error:
        _fail(str(error))
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    errors.print(f"[red]{escape(message)}[/]", highlight=False, soft_wrap=True)
    sys.exit(1)


def _find_nights(settings: Settings) -> list[str]:
    return list(map(str, list_nights(settings.drops_dir))) if settings.drops_dir.is_dir() else []


def _run_night(settings: Settings, night: str, force: bool = False) -> bool:
    changes = [] if force else find_changes(settings, night)
    if changes:
        console.print(f"Night {night} was run on something else: {'; '.join(changes)}.", soft_wrap=True)
    start = runs.begin(settings, night, force or bool(changes))
    if start.how == "done":
        console.print(f"Night {night} was run before, on the same drops and champion; --force runs it again.")
        return True
    if start.how == "following":
        console.print(f"Night {night} is at work already; following it.")
    last = show_run(console, night, runs.follow(settings, start.run_id))
    for explanation in runs.explain_failure(settings, last):
        console.print(escape(explanation), style="red", highlight=False, soft_wrap=True)
    return last.state == "success"


def _provide_drops(settings: Settings) -> None:
    if _find_nights(settings):
        return
    if settings.drops_dir != Settings.model_fields["drops_dir"].default:
        _fail(
            f"DROPS_DIR={settings.drops_dir} holds no night; it needs folders named YYYY-MM-DD with CSV files in them"
        )
    from headlines.drops.samples import write_samples

    write_samples(settings.drops_dir)
    console.print(f"Wrote sample drops, made up by this project, to {settings.drops_dir}.")


def _print_nights(settings: Settings, chosen: list[str]) -> None:
    reports = [report for report in latest(settings) if report.night in chosen]
    if reports:
        console.print()
        console.print(render_nights(reports))


def _print_addresses(settings: Settings) -> None:
    secret = settings.secrets_dir / "airflow_admin_password"
    console.print()
    console.print(f"Airflow:         [bold]{airflow.web_address(settings)}[/]", highlight=False)
    console.print(f"Model server:    [bold]{model_server.address(settings)}[/]", highlight=False)
    if secret.is_file():
        console.print(f"Log in as {airflow.ADMIN}:  cat '{secret}'", highlight=False, soft_wrap=True)
    else:
        console.print(f"Log in as {airflow.ADMIN}:  with the AIRFLOW_ADMIN_PASSWORD you set", highlight=False)


if __name__ == "__main__":
    main()
