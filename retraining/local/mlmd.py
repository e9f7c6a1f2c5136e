"""Prepares MLMD before any run: tables, every type, and the sweep of executions whose process died.

Run as a process of its own (`python -m retraining.local.mlmd`), since it imports TFX.
"""

from retraining.pipeline import create_pipeline
from retraining.settings import Settings
from retraining.store import initialise, settle_dead_executions


def main() -> None:
    """Prepares the MLMD database that the settings name."""
    settings = Settings.from_env()
    initialise(settings, [create_pipeline(settings)])
    for sentence in settle_dead_executions(settings):
        print(sentence)


if __name__ == "__main__":
    main()
