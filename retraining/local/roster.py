"""The roster: which programs the supervisor keeps running, by what the settings ask for."""

from retraining.local import model_server, postgres, redis_server
from retraining.local.supervisor import Program
from retraining.settings import Settings
from retraining.workers import command

AIRFLOW_PROGRAMS = (
    # Logs are read from the disk, so no process needs to serve them (Airflow's log server listens on every address,
    # apache/airflow#60117).
    Program("scheduler", "python -m airflow scheduler --skip-serve-logs", priority=20, stop_seconds=25),
    Program("triggerer", "python -m airflow triggerer --skip-serve-logs", priority=20),
    Program("webserver", "python -m airflow webserver", priority=30),
)
WATCH = Program("watch", "python -m retraining watch", priority=40)
"""Sees when a night comes to no verdict, whatever of the others runs: retraining/watching/watch.py."""


def list_programs(settings: Settings) -> list[Program]:
    """What the supervisor keeps running."""
    programs = [*AIRFLOW_PROGRAMS, *list_workers(settings), model_server.make_program(settings), WATCH]
    if settings.has_own_redis:
        programs = [redis_server.PROGRAM, *programs]
    if not settings.postgres_embedded:
        return programs
    # The interrupt signal asks Postgres not to wait for its clients, and is for its first process alone.
    server = Program(
        "postgres", postgres.server_command(settings), priority=1, stop_signal="INT", stop_group=False, stop_seconds=20
    )
    return [server, *programs]


def find_stop_seconds(settings: Settings) -> int:
    """The most that an orderly stop of all may take: the supervisor ends one after the other, Postgres last."""
    return sum(program.stop_seconds for program in list_programs(settings))


def list_workers(settings: Settings) -> list[Program]:
    """The Celery workers of this machine. Tasks get the signal that ends one as well, and are run again elsewhere."""
    if settings.executor != "celery":
        return []
    return [
        Program(
            f"{command.NAME}-{number}",
            f"python -m retraining worker --name {command.NAME}-{number}",
            priority=25,
            stop_seconds=25,
        )
        for number in range(1, settings.workers + 1)
    ]
