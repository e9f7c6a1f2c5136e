"""Commands of the engines that data nodes run on: the worker pool beside a task manager or an executor."""

import logging
import signal

import typer

from retraining.cli.console import console, example
from retraining.settings import Settings

app = typer.Typer()


@app.command("beam-pool", epilog=example("retraining beam-pool"))
def serve_pool() -> None:
    """Run a worker pool here, in the foreground: one beside each task manager of Flink or executor of Spark.

    It starts the Python processes that do their part of the data nodes' work, with this project and its packages, and
    ends them when it is ended. BEAM_WORKER_POOL says on which port, BEAM_POOL_HOST on which address.
    """
    settings = Settings.from_env()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # It brings Beam.
    from retraining.engines.pool import serve

    address = f"{settings.beam_pool_host}:{settings.beam_worker_pool.rpartition(':')[2]}"
    with serve(address):
        console.print(f"Workers are started as {address} is asked for them.", highlight=False, soft_wrap=True)
        while True:
            signal.pause()
