"""Commands of Celery workers: run one, list them."""

from typing import Annotated

import typer

from headlines.names import SCHEDULER_QUEUE
from retraining.cli.console import console, example, fail
from retraining.cli.fitting import Fitting
from retraining.local import airflow, processes
from retraining.settings import Settings
from retraining.workers import asking, command, sharing

app = typer.Typer()


@app.command("worker", epilog=example("retraining worker"))
def work(
    name: Annotated[str, typer.Option(help="What it is called, apart from others of this machine.")] = command.NAME,
) -> None:
    """Run a Celery worker here, in the foreground, which runs tasks of a service whose scheduler is elsewhere.

    It first sees whether this machine shares what it must: databases, keys, folders, code and time. `retraining up`
    runs WORKERS of them on the scheduler's own machine.
    """
    settings = _get_settings()
    for sentence in sharing.check(settings):
        console.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True)
    asking.check_broker(settings)
    queues = [*settings.queues_taken, *([SCHEDULER_QUEUE] if sharing.shares_state(settings) else [])]
    console.print(
        f"Taking tasks from {', '.join(queues)}, {settings.worker_slots} at a time.", highlight=False, soft_wrap=True
    )
    environment = airflow.environment(settings)
    if not processes.is_program():
        # It is the caller's process: `retraining down` must not end it.
        del environment[processes.MARK]
    command.become(settings, name, queues, environment)


@app.command("workers", epilog=example("retraining workers"))
def list_workers() -> None:
    """List the Celery workers that answer, on whatever machine; exits with 1 where a queue has none."""
    settings = _get_settings()
    workers = asking.ask(settings)
    table = Fitting("worker", "queues", "tasks at a time")
    for worker in workers:
        table.add_row(worker.name, " ".join(worker.queues), str(worker.slots))
    if workers:
        console.print(table)
    if lonely := asking.find_queues_of_nobody(settings, workers):
        fail(
            f"nobody takes tasks from {', '.join(lonely)}: start a worker that does, or correct QUEUE and QUEUE_TRAINER"
        )


def _get_settings() -> Settings:
    settings = Settings.from_env()
    if settings.executor != "celery":
        fail("tasks run in the scheduler's own processes; set EXECUTOR=celery to have workers: docs/scaling.md")
    command.check_packages()
    return settings
