"""Commands of the service itself: start, stop, prepare, look after it."""

import logging
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from headlines.display import harmless
from headlines.names import NIGHTLY_DAG
from retraining.boot import foreground
from retraining.cli.console import console, example, fail, print_document
from retraining.cli.progress import show_steps
from retraining.cli.status import UNPAUSE, Status, find_status, render_observation, render_programs, tell_stray, to_json
from retraining.cli.summary import render_nights
from retraining.local import airflow, lock, model_server, night_runs, preparation, processes, service, standing
from retraining.notices.links import web_root
from retraining.settings import Settings
from retraining.watching import watch

app = typer.Typer()
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


@app.command(epilog=example("retraining up"))
def up(
    in_foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until the service ends, and stop it at Ctrl-C, as systemd does.")
    ] = False,
) -> None:
    """Start the service, or what of it does not run: Postgres, Airflow's three programs and the model server.

    What is healthy goes on running when something else is not; then this exits with 1. An interrupt stops what this
    call has started.
    """
    settings = Settings.from_env()
    _warn_of_old_names()
    if in_foreground:
        _keep_up(settings)
        return
    with lock.hold(settings), show_steps(console) as report:
        settings = service.up(settings, report)
    print_addresses(settings)


def _keep_up(settings: Settings) -> None:
    try:
        foreground.keep(settings, lambda line: console.print(line, highlight=False, soft_wrap=True), print_addresses)
    except SystemExit as end:
        # Whoever ends a service by its signal has got what was asked for.
        if end.code != 128 + signal.SIGTERM:
            raise


@app.command(epilog=example("retraining down"))
def down() -> None:
    """Stop the service. Nothing is lost: databases, models and logs stay in the state folder."""
    settings = Settings.from_env()
    with lock.hold(settings), console.status("stopping ..."):
        stopped = service.down(settings)
    console.print("The service is stopped." if stopped else "The service was not running.")


@app.command(epilog=example("retraining init"))
def init() -> None:
    """Prepare Postgres servers of your own, once: roles, databases, tables, types and the web user (for a team)."""
    settings = Settings.from_env()
    with lock.hold(settings), show_steps(console) as report:
        preparation.init(settings, report)


@app.command(
    "exec",
    epilog=example("retraining exec airflow dags list"),
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def execute(command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run.")]) -> None:
    """Run a command in the service's environment: Airflow's own command line, or Python with the same settings."""
    environment = airflow.environment(Settings.from_env())
    # It is the caller's process: `retraining down` must not end it.
    del environment[processes.MARK]
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        fail(f"{command[0]} cannot be run: {error.strerror}")


@app.command(epilog=example("retraining serve"))
def serve() -> None:
    """Serve the pushed models here, in the foreground, apart from the service; end it with Ctrl-C.

    The service runs the same server. It needs neither Postgres nor Airflow.
    """
    settings = Settings.from_env()
    _print_model_server(settings)
    model_server.run_here(settings)


@app.command("watch", epilog=example("retraining watch"))
def keep_watch() -> None:
    """See when a night comes to no verdict, a program fails or a disk fills, and tell, once; end it with Ctrl-C.

    The service runs the same program. With METRICS_PORT it is also what Prometheus asks.
    """
    from retraining.metrics import endpoint

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings.from_env()
    endpoint.start(settings)
    watch.run(settings, lambda: service.look_at_programs(settings))


@app.command(epilog=example("retraining status"))
def status(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead; docs/serving.md tells its shape.")
    ] = False,
) -> None:
    """Show what runs, where it is, which version serves, and what became of the last nights.

    Exits with 1 unless everything is healthy, when a model server answers with another version than should serve or
    with none, and when the newest night that is due has come to no verdict.
    """
    settings = Settings.from_env()
    found = find_status(settings)
    if as_json:
        print_document(to_json(found))
    else:
        _show_status(found, settings)
    if not found.is_well:
        raise typer.Exit(1)


def _warn_of_old_names() -> None:
    for sentence in Settings.find_old_names():
        console.print(escape(sentence), style="yellow", highlight=False, soft_wrap=True)


def _show_status(found: Status, settings: Settings) -> None:
    for backlog in found.unsent:
        console.print(f"Not sent: {escape(str(backlog))}", style="yellow", highlight=False, soft_wrap=True)
    _warn_of_old_names()
    if other := standing.tell_other_version(settings):
        console.print(escape(other[:1].upper() + other[1:]), style="yellow", highlight=False, soft_wrap=True)
    if not found.programs:
        console.print("The service is down; start it with `retraining up`.")
    else:
        console.print(render_programs(found, settings))
    for stray in found.strays:
        console.print(f"Stray: {escape(tell_stray(stray))}", style="red", highlight=False, soft_wrap=True)
    if found.strays:
        console.print("Strays belong to no running program; `retraining down` ends them.", highlight=False)
    for alarm in found.alarms:
        console.print(escape(alarm), style="red", highlight=False, soft_wrap=True)
    if not found.programs:
        return
    print_addresses(settings)
    if found.observed:
        console.print()
        console.print(render_observation(found.observed), highlight=False)
    if found.problem:
        console.print(escape(found.problem), style="red", soft_wrap=True)
    if found.survey is None:
        return
    if found.survey.nights:
        console.print(render_nights(found.survey.nights))
    if found.survey.obstacle:
        console.print(
            f"No night will begin: {escape(found.survey.obstacle)}", style="yellow", highlight=False, soft_wrap=True
        )
    if others := [dag for dag in found.survey.paused if dag != NIGHTLY_DAG]:
        console.print(f"Paused: {', '.join(others)}; {UNPAUSE}", style="yellow", highlight=False, soft_wrap=True)
    if found.survey.overdue:
        console.print(f"Overdue: {escape(str(found.survey.overdue))}", style="red", highlight=False, soft_wrap=True)


@app.command(epilog=example("retraining doctor"))
def doctor() -> None:
    """Check this machine, the packages, ports, disk, secrets, databases and DAGs, and say how to mend what is wrong."""
    from retraining.cli.doctor import examine

    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    levels = []
    for finding in examine():
        levels.append(finding.level)
        mark = f"[{colours[finding.level]}]{finding.level:<4}[/]"
        console.print(f"{mark}  {finding.subject:<17} {escape(finding.text)}", highlight=False, soft_wrap=True)
    if "fail" in levels:
        raise typer.Exit(1)


@app.command(epilog=example("retraining logs Trainer -f"))
def logs(
    name: Annotated[
        str | None, typer.Argument(help="A program, a step of the start, or a node of the pipeline.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines to begin with.")] = 40,
) -> None:
    """Show the end of a log; without a name, list the logs there are. A node's log is that of its newest attempt."""
    settings = Settings.from_env()
    paths = {path.stem: path for path in sorted(settings.state_dir.joinpath("logs").glob("*.log"))}
    if name is None:
        for program, path in paths.items():
            console.print(f"{program:<12} {path}", highlight=False, soft_wrap=True)
        console.print("A node of the pipeline by its name, such as: `retraining logs Trainer`")
        return
    log = paths.get(name) or night_runs.find_task_log(settings, None, name)
    if log is None:
        fail(f"there is no log of {name!r}; `retraining logs` lists programs, `retraining status` shows what ran")
    _show_end(log, lines, follow)


def _show_end(log: Path, lines: int, follow: bool) -> None:
    """Shows the end of a log, without its colours, and whatever text of others it holds without what steers."""
    command = ["tail", f"--lines={lines}", *(["-F"] if follow else []), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="surrogateescape") as tail:
        try:
            for line in tail.stdout or ():
                print(harmless(_COLOUR.sub("", line)), end="", flush=True)
        except KeyboardInterrupt:
            raise typer.Exit(128 + signal.SIGINT) from None
        finally:
            tail.terminate()


def print_addresses(settings: Settings) -> None:
    """Says where a browser finds the service, and who may log in."""
    secret = settings.secrets_dir / "airflow_admin_password"
    console.print()
    console.print(f"Airflow:         [bold]{web_root(settings)}[/]", highlight=False)
    _print_model_server(settings)
    if secret.is_file():
        console.print(f"Log in as {airflow.ADMIN}:  cat '{secret}'", highlight=False, soft_wrap=True)
    else:
        console.print(f"Log in as {airflow.ADMIN}:  with the AIRFLOW_ADMIN_PASSWORD you set", highlight=False)


def _print_model_server(settings: Settings) -> None:
    grpc = f", gRPC on port {settings.serving_grpc_port}" if settings.serving_grpc_port else ""
    console.print(f"Model server:    [bold]{model_server.address(settings)}[/]{grpc}", highlight=False)
