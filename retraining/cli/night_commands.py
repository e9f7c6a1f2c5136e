"""Commands that run nights: one, several, from the samples, once more, back to an earlier version."""

import getpass
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from headlines.drops.drops_folder import DropError, DropsFolder
from headlines.schedule import NightError, check_night
from lineage import latest
from retraining.cli.console import Night, check_order, console, example, fail, take_night
from retraining.cli.fitting import Fitting
from retraining.cli.progress import show_run, show_steps
from retraining.cli.service_commands import print_addresses
from retraining.cli.summary import render_nights
from retraining.local import airflow, lock, night_runs, service
from retraining.nights.past import find_past_run
from retraining.nights.reruns import find_changes
from retraining.settings import Settings

app = typer.Typer()


@app.command(epilog=example("retraining run --night 2022-02-01"))
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
        # Said before TensorFlow is loaded, which takes long; one that may still grow is waited for later.
        check_night(settings, night)
        if problem := night_runs.find_drop_problem(settings, night):
            raise DropError(problem)
        airflow.compute_as_the_service()
        from retraining.nights.in_process import run_locally

        run_locally(settings, night)
        return
    try:
        problems = _run_night(settings, night, force)
    except KeyboardInterrupt:
        console.print(f"Night {night} goes on without being followed, as long as the service is up.")
        raise
    _print_nights(settings, [night])
    if problems:
        _print_problems(problems)
        raise typer.Exit(1)


@app.command(epilog=example("retraining backfill 2022-02-01 2022-02-05"))
def backfill(
    first: Annotated[str, typer.Argument(parser=take_night, metavar="FROM", help="First night, YYYY-MM-DD.")],
    last: Annotated[str, typer.Argument(parser=take_night, metavar="TO", help="Last night, YYYY-MM-DD.")],
    force: Annotated[bool, typer.Option("--force", help="Run nights again that succeeded.")] = False,
) -> None:
    """Run every night from FROM to TO that has a drop, oldest first. A failed night does not stop the later ones.

    Nights that succeeded are run again when a drop of their window was corrected or came late, or when the champion
    they were compared with is another one by now; all others are left alone.
    """
    check_order(first, last)
    settings = Settings.from_env()
    chosen = [night for night in _find_nights(settings) if first <= night <= last]
    if not chosen:
        fail(f"no drop from {first} to {last} in {settings.drops_dir}; check the dates and DROPS_DIR")
    # Before any is run.
    check_night(settings, chosen[0])
    failed = [night for night in chosen if not _try_night(settings, night, force)]
    _print_nights(settings, chosen)
    if failed:
        fail(f"failed: {', '.join(failed)}; see why above, then run it again")


@app.command(epilog=example("retraining demo --nights 3"))
def demo(
    count: Annotated[int, typer.Option("--nights", min=1, help="How many nights, from the oldest drop on.")] = 3,
) -> None:
    """Start the service, write sample drops if there are none, run the first nights in order and sum them up."""
    settings = Settings.from_env()
    with lock.hold(settings):
        _provide_drops(settings)
        nights = _find_nights(settings)
        chosen = [night for night in nights if night >= settings.start_date][:count]
        if not chosen:
            check_night(settings, nights[-1])
        was_up = service.health(settings).has_started
        try:
            with show_steps(console) as report:
                settings = service.up(settings, report)
            failed = [night for night in chosen if not _try_night(settings, night)]
        except (KeyboardInterrupt, SystemExit):
            if not was_up:
                with service.uninterrupted():
                    console.print("stopping the service ...")
                    service.down(settings)
            raise
    _print_nights(settings, chosen)
    print_addresses(settings)
    console.print("Stop it: `make down`; `make demo` goes on where it left off.")
    if failed:
        fail(f"failed: {', '.join(failed)}; see why above")


@app.command("rehearse", epilog=example("retraining rehearse"))
def rehearse_night() -> None:
    """Show on a scratch service, in two minutes or so, that the clock starts a night here and that its model is pushed.

    It has ports, databases and folders of its own, and leaves nothing behind unless it fails; the service may be up.
    """
    from retraining.nights.rehearsal import rehearse

    with show_steps(console) as report:
        rehearsal = rehearse(Settings.from_env(), report, lambda night, looks: show_run(console, night, looks))
    console.print(
        f"The clock started night {rehearsal.night} as {rehearsal.run_id}, {rehearsal.late_seconds:.0f} s after the "
        f"minute. Version {rehearsal.version} was pushed and served; {len(rehearsal.heard.events)} notices "
        f"({', '.join(rehearsal.heard.events)}) and a sign of life came.",
        highlight=False,
        soft_wrap=True,
    )


@app.command(epilog=example("retraining replay --night 2022-02-05"))
def replay(night: Night) -> None:
    """Run a past night again, apart from the service: does it come out the same? Exits with 1 when something differs.

    It gets the drops it had then, in the same versions, and the champion it was compared with.

    What it makes is kept in the state folder, under replay/<night>.
    """
    settings = Settings.from_env()
    # What is missing is said before TensorFlow is loaded, which takes long.
    find_past_run(settings, night)
    airflow.compute_as_the_service()
    from retraining.nights.replay import replay as replay_night

    outcome = replay_night(settings, night)
    table = Fitting("made", "", "content")
    for comparison in outcome.comparisons:
        mark = Text("identical", "green") if comparison.identical else Text("differs", "red")
        table.add_row(comparison.name, mark, comparison.detail)
    place = escape(str(outcome.place))
    console.print(f"Night {night} as run {escape(outcome.run_id)} ran it, and again in {place}:", soft_wrap=True)
    console.print(table)
    for cause in outcome.causes:
        console.print(f"different this time: {escape(cause)}", highlight=False, soft_wrap=True)
    if not outcome.is_identical:
        if not outcome.causes:
            console.print("Code, data, settings and libraries are the same: something in the training is not seeded.")
        raise typer.Exit(1)


@app.command(epilog=example("retraining rollback --reason 'the drop of 2 February has swapped labels'"))
def rollback(
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")],
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="What to serve. Default: the version before.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who decided it. Default: the user of this system.")] = None,
) -> None:
    """Serve an earlier pushed version again, until a newer one is pushed; the later nights' champion follows."""
    from retraining.recording.rollback import roll_back

    outcome = roll_back(Settings.from_env(), reason, by or getpass.getuser(), to)
    console.print(
        f"{outcome.to_version} is to serve now instead of {outcome.from_version or 'nothing'}; the champion follows "
        f"from night {outcome.night} on. What newer model servers had loaded is let go within seconds.",
        highlight=False,
        soft_wrap=True,
    )


def _find_nights(settings: Settings) -> list[str]:
    return list(map(str, DropsFolder(settings.drops_dir).nights)) if settings.drops_dir.is_dir() else []


def _try_night(settings: Settings, night: str, force: bool = False) -> bool:
    """Runs one of several nights, and says why when it cannot be run or fails; the others go on."""
    try:
        problems = _run_night(settings, night, force)
    except (DropError, NightError) as error:
        problems = [str(error)]
    _print_problems(problems)
    return not problems


def _print_problems(problems: list[str]) -> None:
    for problem in problems:
        console.print(escape(problem), style="red", highlight=False, soft_wrap=True)


def _run_night(settings: Settings, night: str, force: bool = False) -> list[str]:
    """Runs a night and follows it to its end: why it failed, a text for each node; nothing when it did not."""
    changes = [] if force else find_changes(settings, night)
    if changes:
        console.print(f"Night {night} was run on something else: {escape('; '.join(changes))}.", soft_wrap=True)
    start = night_runs.begin(settings, night, force or bool(changes))
    if start.how == "done":
        console.print(f"Night {night} was run before, on the same drops and champion; --force runs it again.")
        return []
    if start.how == "following":
        console.print(f"Night {night} is at work already; following it.")
    last = show_run(console, night, night_runs.follow(settings, start.run_id))
    return night_runs.explain_failure(settings, last)


def _provide_drops(settings: Settings) -> None:
    if _find_nights(settings):
        return
    if settings.drops_dir != Settings.model_fields["drops_dir"].default:
        fail(f"DROPS_DIR={settings.drops_dir} holds no night; it needs folders named YYYY-MM-DD with CSV files in them")
    from headlines.drops.samples import write_samples

    write_samples(settings.drops_dir)
    console.print(f"Wrote sample drops, made up by this project, to {escape(str(settings.drops_dir))}.", soft_wrap=True)


def _print_nights(settings: Settings, chosen: list[str]) -> None:
    reports = [report for report in latest(settings) if report.night in chosen]
    if reports:
        console.print()
        console.print(render_nights(reports))
