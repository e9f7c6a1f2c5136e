"""A worker of the pool: `python -m retraining.engines.worker <control endpoint> <worker id>` for its jobs."""

import os
import sys
import threading

from apache_beam.runners.worker.sdk_worker import SdkHarness


def _end(failed: threading.ExceptHookArgs) -> None:
    threading.__excepthook__(failed)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    # Where the thread that reads what a job sends has failed, Beam's harness lives on without it, and the job waits for
    # ever; of a worker that has ended the runner hears, and does its part again.
    threading.excepthook = _end
    SdkHarness(sys.argv[1], worker_id=sys.argv[2]).run()
